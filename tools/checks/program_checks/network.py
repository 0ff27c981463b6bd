"""network: names, files and logins served to others."""

import base64
import contextlib
import ftplib
import io
import os
import secrets
import signal

from .harness import LOOPBACK, Program, free_port, listens, wait_until


def named(run):
    """bind9: threads for each CPU after it became a daemon and another user; signs a zone, reloads, transfers."""
    port, control = free_port(), free_port()
    state = run.folder("state", "bind", 0o775)
    for name, count in (("plain", 2000), ("signed", 100)):
        records = "".join(f"h{i} IN A 127.{i // 250}.{i % 250}.1\nh{i} IN TXT \"{'t' * (i % 200)}{i}\"\n"
                          for i in range(count))
        zone = f"$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS ns\nns IN A {LOOPBACK}\n{records}"
        os.chown(run.write(f"state/{name}.zone", zone), state.stat().st_uid, -1)
    key = f'key "k" {{ algorithm hmac-sha256; secret "{base64.b64encode(secrets.token_bytes(32)).decode()}"; }};\n'
    config = run.write("named.conf", f"""{key}
controls {{ inet {LOOPBACK} port {control} allow {{ {LOOPBACK}; }} keys {{ "k"; }}; }};
options {{
  directory "{state}"; pid-file "{state}/pid"; session-keyfile "{state}/session.key";
  listen-on port {port} {{ {LOOPBACK}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; allow-transfer {{ any; }}; notify no; empty-zones-enable no;
}};
logging {{ channel c {{ file "{run.log('state/log')}"; severity info; }}; category default {{ c; }}; }};
zone "plain.example" {{ type primary; file "plain.zone"; allow-update {{ key "k"; }}; }};
zone "signed.example" {{ type primary; file "signed.zone"; dnssec-policy default; inline-signing yes; }};
""")
    where = f'options {{ default-key "k"; default-server {LOOPBACK}; default-port {control}; }};\n'
    rndc = ["rndc", "-c", run.write("rndc.conf", key + where)]

    client = ["dig", f"@{LOOPBACK}", "-p", port, "+time=10", "+tries=3", "+noall", "+answer"]

    def dig(*words):
        return run.call(*client, *words, preload=False)

    def ask():
        for name in ("h7.plain.example", "h1999.plain.example", "ns.signed.example", "none.plain.example"):
            dig(name, "A")
            dig(name, "TXT", "+tcp")

    daemon = run.daemonise("named", "-c", config, "-u", "bind", ready=listens(port), name="named")
    ask()
    dig("plain.example", "AXFR")
    wait_until(lambda: "RRSIG" in run.quiet(*client, "+dnssec", "h1.signed.example", preload=False), 60,
               "the zone was not signed")
    update = run.write("update", f"server {LOOPBACK} {port}\nzone plain.example\n"
                       + "".join(f"update add new{i}.plain.example 60 A {LOOPBACK}\n" for i in range(200)) + "send\n")
    run.call("nsupdate", "-k", run.write("k.key", key), update, preload=False)
    dig("new150.plain.example", "A")
    for word in ("reload", "reconfig", "flush", "status", "stop"):
        run.quiet(*rndc, word)
        if word != "stop":
            ask()
    run.stop_daemon(daemon, None)


def vsftpd(run):
    """Limits its own address space, and serves each session from a process without rights.

    Its seccomp filter lacks calls of newer glibcs and kills it without the library, too.
    """
    port = free_port()
    for i in range(50):
        run.write(f"root/file{i}", f"line {i}\n" * (i * 500))
    run.folder("empty")
    config = run.write("vsftpd.conf", f"""
listen=YES
background=YES
listen_address={LOOPBACK}
listen_port={port}
anonymous_enable=YES
local_enable=NO
anon_root={run.dir}/root
no_anon_password=YES
nopriv_user=nobody
ftp_username=daemon
secure_chroot_dir={run.dir}/empty
pasv_address={LOOPBACK}
xferlog_enable=YES
vsftpd_log_file={run.log('log')}
seccomp_sandbox=NO
""")
    daemon = run.daemonise("vsftpd", config, ready=listens(port), name="vsftpd")
    for _ in range(3):
        with ftplib.FTP() as ftp:
            ftp.connect(LOOPBACK, port, timeout=30)
            run.text.append(ftp.login() + "\n")
            lines = []
            ftp.retrlines("NLST", lines.append)
            run.text.append(" ".join(sorted(lines)) + "\n")
            for name in ("file0", "file7", "file49"):
                data = io.BytesIO()
                ftp.retrbinary("RETR " + name, data.write)
                run.text.append(f"{name} {len(data.getvalue())}\n")
            try:
                ftp.cwd("none")
            except ftplib.error_perm as error:
                run.text.append(f"{error}\n")
    run.stop_daemon(daemon, signal.SIGTERM)


def samba(run):
    """A process for each client, forked from a daemon."""
    port = free_port()
    for name in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
        run.folder(name, mode=0o700 if name == "private" else 0o755)
    share = run.folder("share", "nobody", 0o777)
    config = run.write("smb.conf", f"""
[global]
  server role = standalone server
  interfaces = lo
  bind interfaces only = yes
  disable netbios = yes
  smb ports = {port}
  private dir = {run.dir}/private
  lock directory = {run.dir}/lock
  state directory = {run.dir}/state
  cache directory = {run.dir}/cache
  pid directory = {run.dir}/pid
  ncalrpc dir = {run.dir}/ncalrpc
  log file = {run.log('log')}
  log level = 0
  map to guest = Bad User
  guest account = nobody
  load printers = no
  printing = bsd
  rpc start on demand helpers = no
[share]
  path = {share}
  guest ok = yes
  read only = no
""")
    data = run.write("data", "".join(f"line {i * 7919}\n" for i in range(30_000)))
    daemon = run.daemonise("smbd", "-D", "-s", config, ready=listens(port), name="smbd")

    def client(words):
        def normalise(text):  # without speeds
            return "".join(line + "\n" for line in text.splitlines() if "kb/s" not in line)

        return run.call("smbclient", f"//{LOOPBACK}/share", "-s", config, "-p", port, "-N", "-t", "60", "-c", words,
                        preload=False, normalise=normalise)

    for i in range(3):
        client(f"put {data} one{i}; mkdir d{i}; cd d{i}; put {data} two; rename two three; cd ..; "
               f"get one{i} {run.dir}/back")
        run.check((run.dir / "back").read_bytes() == data.read_bytes(), "another file came back")
    run.call("smbcontrol", "-s", config, "smbd", "reload-config")
    client("del one0; cd d1; del three; cd ..; rmdir d1")
    run.text.append(" ".join(sorted(str(path.relative_to(share)) for path in share.rglob("*"))) + "\n")
    run.stop_daemon(daemon, signal.SIGTERM)


def sshd(run):
    """Executes itself for each session, which has a child behind a seccomp filter."""
    port = free_port()
    made = not os.path.isdir("/run/sshd")
    os.makedirs("/run/sshd", exist_ok=True)  # compiled in; its unit makes it
    for name in ("host", "user"):
        run.quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", run.dir / name)
    (run.dir / "user.pub").rename(run.dir / "authorized")
    config = run.write("sshd_config", f"""
ListenAddress {LOOPBACK}:{port}
HostKey {run.dir}/host
PidFile {run.dir}/pid
AuthorizedKeysFile {run.dir}/authorized
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
SetEnv LD_PRELOAD={run.library or ''}
Subsystem sftp /usr/lib/openssh/sftp-server
""")
    options = ["-F", "/dev/null", "-i", run.dir / "user", "-o", "StrictHostKeyChecking=no",
               "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=30"]
    with contextlib.ExitStack() as stack:
        if made:
            stack.callback(os.rmdir, "/run/sshd")
        daemon = run.daemonise("/usr/sbin/sshd", "-f", config, "-E", run.log("log"), ready=listens(port), name="sshd")
        ssh = ["ssh", *options, "-p", port, f"root@{LOOPBACK}"]
        run.call(*ssh, "seq 20000 | sort -n | cksum; echo $((6 * 7)) >&2", preload=False)
        run.call(*ssh, "kill -SEGV $$", preload=False, status=None)
        data = run.write("data", "".join(f"line {i}\n" for i in range(50_000)))
        there = run.dir / "there"
        batch = run.write("batch", f"put {data} {there}\nget {there} {run.dir}/back\nls {there}\n")
        run.call("sftp", *options, "-q", "-P", port, "-b", batch, f"root@{LOOPBACK}", preload=False)
        run.check((run.dir / "back").read_bytes() == data.read_bytes(), "another file came back")
        os.kill(daemon, signal.SIGHUP)  # executes itself, and becomes a daemon again
        wait_until(lambda: (run.dir / "log").read_text().count("Server listening") == 2, 30, "sshd did not listen again")
        run.call(*ssh, "echo again", preload=False)
        run.stop_daemon(run.find("sshd"), signal.SIGTERM, statuses=(0, 255))


PROGRAMS = [
    Program("named", ["named", "rndc", "dig", "nsupdate"], ["bind9", "bind9-utils", "bind9-dnsutils"], named,
            root=True, probe=["-v"]),
    Program("vsftpd", ["vsftpd"], ["vsftpd"], vsftpd, root=True, probe=["-v"]),
    Program("samba", ["smbd", "smbclient"], ["samba", "smbclient"], samba, root=True),
    Program("sshd", ["/usr/sbin/sshd", "ssh", "sftp"], ["openssh-server", "openssh-client"], sshd,
            root=True, probe=["-V"]),
]
