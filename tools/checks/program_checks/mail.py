"""mail: servers of many small daemons that a master starts, each in an environment of its own."""

import imaplib
import os
import poplib
import re
import signal
import smtplib
from pathlib import Path

from .harness import LOOPBACK, Program, free_port, listens, wait_until

BODY = "".join(f"line {i} of a message {'x' * (i % 60)}\r\n" for i in range(500))


# Debian's, without chroots: what a folder of this check does not have.
MASTER = """
{listen}  inet  n  -  n  -  -  smtpd
pickup  unix  n  -  n  60  1  pickup
cleanup  unix  n  -  n  -  0  cleanup
qmgr  unix  n  -  n  300  1  qmgr
tlsmgr  unix  -  -  n  1000?  1  tlsmgr
rewrite  unix  -  -  n  -  -  trivial-rewrite
bounce  unix  -  -  n  -  0  bounce
defer  unix  -  -  n  -  0  bounce
trace  unix  -  -  n  -  0  bounce
proxymap  unix  -  -  n  -  -  proxymap
anvil  unix  -  -  n  -  1  anvil
scache  unix  -  -  n  -  1  scache
showq  unix  n  -  n  -  -  showq
error  unix  -  -  n  -  -  error
virtual  unix  -  n  n  -  -  virtual
postlog  unix-dgram  n  -  n  -  1  postlogd
"""


def message(number):
    return f"From: a@example.org\r\nTo: b@example.org\r\nSubject: number {number}\r\n\r\n{BODY}"


def dovecot(run):
    imap, pop = free_port(), free_port()
    run.folder("mail", "mail")
    run.folder("base")
    run.folder("state")
    user = "b:{PLAIN}secret:mail:mail::" + f"{run.dir}/mail/b::\n"
    config = run.write("dovecot.conf", f"""
base_dir = {run.dir}/base
state_dir = {run.dir}/state
log_path = {run.log('log')}
instance_name = check{os.getpid()}
protocols = imap pop3
listen = {LOOPBACK}
ssl = no
disable_plaintext_auth = no
import_environment = $import_environment LD_PRELOAD
first_valid_uid = 1
first_valid_gid = 1
mail_location = mdbox:~/mdbox
passdb {{
  driver = passwd-file
  args = {run.write('users', user)}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={run.dir}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
""")
    daemon = run.daemonise("dovecot", "-c", config, ready=lambda: listens(imap)() and listens(pop)(), name="dovecot")

    def session(first):
        with imaplib.IMAP4(LOOPBACK, imap, timeout=60) as box:
            box.login("b", "secret")
            for i in range(first, first + 20):
                box.append("INBOX", "", None, message(i).encode())
            box.select("INBOX")
            run.check_all_loaded()
            run.text.append(f"{box.search(None, 'SUBJECT', '7')}\n{box.search(None, 'BODY', 'line 499')}\n")
            run.text.append(f"{box.fetch('1:*', '(RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODYSTRUCTURE)')}\n")
            run.text.append(f"{box.sort('REVERSE SUBJECT', 'UTF-8', 'ALL') if 'SORT' in box.capabilities else ''}\n")
            box.create(f"folder{first}")
            box.copy("1:5", f"folder{first}")
            box.store("2:4", "+FLAGS", "\\Deleted")
            run.text.append(f"{box.expunge()}\n{sorted(box.list()[1])}\n")

    session(0)
    run.call("doveadm", "-c", config, "reload")
    session(100)
    box = poplib.POP3(LOOPBACK, pop, timeout=60)
    box.user("b")
    box.pass_("secret")
    run.text.append(f"{box.stat()} {len(box.retr(3)[1])} {box.dele(3)}\n")
    box.quit()
    run.quiet("doveadm", "-c", config, "-o", "stats_writer_socket_path=", "who")
    run.call("doveadm", "-c", config, "stop")
    run.stop_daemon(daemon, None)


def postfix(run):
    port = free_port()
    queue, data = run.folder("queue"), run.folder("data", "postfix")
    run.folder("box", "mail")
    run.write("etc/main.cf", f"""
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {run.log('log')}
maillog_file_prefixes = {run.dir}
myhostname = mail.example.org
mydestination =
inet_interfaces = {LOOPBACK}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_PRELOAD
export_environment = TZ LANG LD_PRELOAD
virtual_mailbox_domains = example.org
virtual_mailbox_base = {run.dir}/box
virtual_mailbox_maps = static:b
virtual_uid_maps = static:{Path(run.dir / 'box').stat().st_uid}
virtual_gid_maps = static:{Path(run.dir / 'box').stat().st_gid}
virtual_minimum_uid = 1
virtual_alias_maps = regexp:{run.write('etc/aliases', '/^alias@/ b@example.org' + chr(10))}
alias_maps =
alias_database =
smtpd_relay_restrictions = permit_mynetworks, reject
header_checks = regexp:{run.write('etc/checks', '/^Subject: refused/ REJECT no' + chr(10))}
""")
    run.write("etc/master.cf", MASTER.format(listen=f"{LOOPBACK}:{port}"))
    postfix = ["postfix", "-c", run.dir / "etc"]
    daemon = run.daemonise(*postfix, "start", ready=listens(port), name="master")

    def send(first):
        with smtplib.SMTP(LOOPBACK, port, local_hostname="client", timeout=60) as client:
            for i in range(first, first + 10):
                client.sendmail("a@example.org", ["b@example.org", "alias@example.org"], message(i))
            try:
                client.sendmail("a@example.org", ["b@example.org"], message("x").replace("number", "refused"))
            except smtplib.SMTPException as error:
                run.text.append(re.sub(r"[0-9A-F]{8,}", "ID", f"{error}\n"))

    def delivered():
        path = run.dir / "box" / "b"
        return len(re.findall(r"^From ", path.read_text(), re.M)) if path.exists() else 0

    send(0)
    wait_until(lambda: delivered() == 20, 60, "mail was not delivered")
    run.call(*postfix, "reload")
    send(100)
    wait_until(lambda: delivered() == 40, 60, "mail was not delivered")
    run.text += sorted(re.findall(r"^Subject: .*\n", (run.dir / "box" / "b").read_text(), re.M))
    run.call(*postfix, "stop")
    run.stop_daemon(daemon, None)


PROGRAMS = [
    Program("dovecot", ["dovecot", "doveadm"], ["dovecot-core", "dovecot-imapd", "dovecot-pop3d"], dovecot, root=True),
    Program("postfix", ["postconf", "postfix"], ["postfix"], postfix, root=True, probe=["-h", "mail_version"]),
]
