"""web: HTTP servers and proxies as daemons, with workers, reloads and what they start."""

import contextlib
import http.server
import os
import re
import signal
import threading

from .harness import LOOPBACK, Program, Skip, free_port, listens, wait_until

MODULES = "/usr/lib/apache2/modules"
PAGE = "<p>hello</p>\n" * 500


@contextlib.contextmanager
def origin():
    """A small HTTP server in this process; yields its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = PAGE.encode()
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "max-age=3600")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(run, port, *paths, requests=400, clients=8):
    """Requests from several clients at once; every answer must be 2xx."""
    for path in paths:
        text = run.quiet("ab", "-q", "-s", "60", "-n", requests, "-c", clients, f"http://{LOOPBACK}:{port}{path}",
                         preload=False)
        # Answers may differ in length.
        fine = re.search(r"Failed requests:        0\n|\(Connect: 0, Receive: 0, Length: \d+, Exceptions: 0\)", text)
        run.check(fine and f"Complete requests:      {requests}\n" in text and "Non-2xx" not in text, text[-1500:])


def nginx(run):
    port, control = free_port(), ["nginx", "-p", f"{run.dir}/", "-c", "nginx.conf", "-e", "error.log"]
    run.write("www/index.html", PAGE)
    errors = run.log("error.log")
    run.write("nginx.conf", f"""
user www-data; worker_processes 2; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off; gzip on; types {{ text/html html; }}
  {' '.join(f'{kind}_temp_path {kind};' for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))}
  server {{
    listen {LOOPBACK}:{port}; root www;
    location = /proxy {{ proxy_pass http://{LOOPBACK}:{port}/; }}
  }}
}}
""")
    daemon = run.daemonise(*control, ready=listens(port), name="nginx")
    for page, more in (("", []), ("", ["-H", "Accept-Encoding: gzip"]), ("proxy", [])):
        text = run.quiet("wrk", "-t2", "-c20", "-d2s", *more, f"http://{LOOPBACK}:{port}/{page}", preload=False)
        requests = re.search(r"(\d+) requests in", text)
        run.check(requests and int(requests[1]) > 0 and "Non-2xx" not in text and "Socket errors" not in text, text)
    run.call(*control, "-s", "reload")
    run.get(port, "/")
    run.call(*control, "-s", "quit")
    run.stop_daemon(daemon, None)
    told = errors.read_text()
    run.check(not re.search(r"\[(warn|error|crit|alert|emerg)\]", told), "error.log: " + told[:1500])


def apache_config(run, port, modules, more):
    """What Debian's apache2 would have in its files. Returns the words that start apache2 with it."""
    run.log("error.log")
    run.write("www/index.html", PAGE)
    run.write("www/cgi/shell", "#!/bin/sh\necho Content-Type: text/plain\necho\necho $QUERY_STRING\n"
              "seq 2000 | sort -n | tail -1\n", 0o755)
    run.write("www/cgi/perl", "#!/usr/bin/perl\nprint \"Content-Type: text/plain\\n\\n\";\n"
              "my %h = map { $_ => 'x' x $_ } 1 .. 500; print length(join '', values %h), \"\\n\";\n", 0o755)
    run.write("www/words.php", "<?php $a = []; for ($i = 0; $i < 5000; ++$i) $a[] = str_repeat('x', $i % 100) . $i;\n"
              "echo php_sapi_name(), ' ', sha1(json_encode($a)), ' ', mb_strlen(implode($a)), \"\\n\";\n")
    run.folder("run", "www-data")
    load = "".join(f"LoadModule {name}_module {MODULES}/mod_{file}.so\n" for name, file in modules.items())
    run.write("apache2.conf", f"""
{load}
ServerRoot {run.dir}
ServerName localhost
Listen {LOOPBACK}:{port}
User www-data
Group www-data
PidFile {run.dir}/run/apache2.pid
DefaultRuntimeDir {run.dir}/run
Mutex file:{run.dir}/run default
ErrorLog {run.dir}/error.log
Timeout 60
TypesConfig /dev/null
DocumentRoot {run.dir}/www
ScriptAlias /cgi/ {run.dir}/www/cgi/
{"PassEnv LD_PRELOAD" if run.library else ""}
<Directory {run.dir}/www>
  Require all granted
</Directory>
{more}
""")
    return ["apache2", "-d", run.dir, "-f", run.dir / "apache2.conf", "-k"]


def check_apache(run, apache, port):
    """Starts apache2 as its init script does, asks, reloads and stops it."""
    def ask():
        for page in ("/", "/cgi/shell?a=b", "/cgi/perl", "/words.php", "/missing"):
            run.get(port, page)

    daemon = run.daemonise(*apache, "start", ready=listens(port), name="apache2")
    ask()
    load(run, port, "/", "/cgi/shell", "/cgi/perl", "/words.php")
    run.call(*apache, "graceful")
    ask()
    load(run, port, "/", "/cgi/shell", "/words.php", requests=100)
    run.call(*apache, "restart")
    resumed = "resuming normal operations"  # at the start, after graceful and after restart
    wait_until(lambda: (run.dir / "error.log").read_text().count(resumed) == 3, 30, "apache2 did not restart")
    ask()
    run.call(*apache, "stop")
    run.stop_daemon(daemon, None)


COMMON_MODULES = {name: name for name in ("authz_core", "authz_host", "alias", "env", "mime", "dir", "deflate")}


def apache_prefork(run):
    """One process per request, CGI, and PHP inside the server."""
    port = free_port()
    php = next((name for name in ("8.2", "8.3", "8.4") if os.path.exists(f"{MODULES}/libphp{name}.so")), None)
    if php is None:
        raise Skip("no libapache2-mod-php")
    apache = apache_config(run, port, {"mpm_prefork": "mpm_prefork", **COMMON_MODULES, "cgi": "cgi"}, f"""
LoadModule php_module {MODULES}/libphp{php}.so
<FilesMatch \\.php$>
  SetHandler application/x-httpd-php
</FilesMatch>
StartServers 3
MaxConnectionsPerChild 50
""")
    check_apache(run, apache, port)


def apache_event(run):
    """Threads in several processes, a CGI daemon forked beside them, and PHP in a process manager of its own."""
    port, socket_path = free_port(), run.dir / "run" / "php.sock"
    apache = apache_config(run, port, {"mpm_event": "mpm_event", **COMMON_MODULES, "cgid": "cgid", "proxy": "proxy",
                                       "proxy_fcgi": "proxy_fcgi"}, f"""
ScriptSock {run.dir}/run/cgid.sock
<FilesMatch \\.php$>
  SetHandler "proxy:unix:{socket_path}|fcgi://localhost/"
</FilesMatch>
StartServers 2
ThreadsPerChild 8
MaxRequestWorkers 32
MaxConnectionsPerChild 100
""")
    run.write("fpm.conf", f"""
[global]
pid = {run.dir}/run/fpm.pid
error_log = {run.log("fpm.log")}
daemonize = yes
[www]
user = www-data
group = www-data
listen = {socket_path}
listen.owner = www-data
pm = dynamic
pm.max_children = 4
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 3
pm.max_requests = 40
catch_workers_output = yes
""")
    command = php_fpm()
    run.daemonise(command, "--fpm-config", run.dir / "fpm.conf", ready=socket_path.exists, name=command)
    check_apache(run, apache, port)
    log = run.dir / "fpm.log"
    os.kill(run.find(command), signal.SIGUSR2)  # reload: it executes itself, and becomes a daemon again
    wait_until(lambda: log.read_text().count("ready to handle connections") == 2, 30, "php-fpm did not reload")
    run.stop_daemon(run.find(command), signal.SIGQUIT)


def php_fpm():
    """Debian's name of php-fpm, which has the version in it."""
    for folder in os.environ.get("PATH", "").split(":") + ["/usr/sbin"]:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if re.fullmatch(r"php-fpm[0-9.]+", name):
                return name
    return "php-fpm"


def haproxy(run):
    """A master that executes itself at a reload, workers with threads in an empty root directory."""
    port = free_port()
    run.folder("empty")
    with origin() as backend:
        run.write("haproxy.cfg", f"""
global
  chroot {run.dir}/empty
  user haproxy
  group haproxy
  nbthread 2
  daemon
defaults
  mode http
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend front
  bind {LOOPBACK}:{port}
  http-request set-header X-Long %[req.hdrs,base64]
  http-response set-header X-Seen yes
  compression algo gzip
  default_backend back
backend back
  server one {LOOPBACK}:{backend}
""")
        daemon = run.daemonise("haproxy", "-W", "-D", "-f", "haproxy.cfg", "-p", "haproxy.pid", ready=listens(port),
                               name="haproxy")
        run.get(port, "/")
        run.get(port, "/missing")
        load(run, port, "/")
        os.kill(daemon, signal.SIGUSR2)
        load(run, port, "/")
        run.get(port, "/", {"Accept-Encoding": "identity"})
        run.stop_daemon(daemon, signal.SIGTERM)


def squid(run):
    """A cache: its first process watches over the one that works, which starts helpers.

    As its own user from the start: as root it gives the one that works another effective user only, for which ld.so
    ignores LD_PRELOAD (tools/checks/machine has it as root). In the foreground, as its unit starts it: a daemon's
    reports would be lost.
    """
    user = {"user": "proxy"}
    port = free_port()
    state = run.folder("state", "proxy")
    run.log("state/cache.log")
    config = run.write("squid.conf", f"""
http_port {LOOPBACK}:{port}
http_access allow localhost
pid_filename {state}/squid.pid
cache_dir ufs {state}/cache 20 4 8
cache_mem 16 MB
cache_log {state}/cache.log
access_log stdio:{state}/access.log
coredump_dir {state}
netdb_filename none
pinger_enable off
shutdown_lifetime 1 second
visible_hostname localhost
url_rewrite_program /usr/bin/perl -ne "BEGIN {{ $| = 1 }} print qq(ERR\\n)"
url_rewrite_children 2
""")
    squid = ["squid", "-n", f"check{os.getpid()}", "-f", config]
    with origin() as backend:
        run.quiet(*squid, "-z", "-N", **user)
        server = run.serve(*squid, "--foreground", "-d", "0", ready=listens(port), **user)
        where = f"http://{LOOPBACK}:{backend}"

        def ask():
            for page in ("/", "/", "/other", "/missing"):
                run.get(port, where + page)

        ask()
        run.check_all_loaded()
        text = run.quiet("ab", "-q", "-n", "300", "-c", "8", "-X", f"{LOOPBACK}:{port}", where + "/many", preload=False)
        run.check("Failed requests:        0\n" in text and "Non-2xx" not in text, text[-1500:])
        run.call(*squid, "-k", "reconfigure", **user)
        wait_until(lambda: (state / "cache.log").read_text().count("Accepting HTTP") > 1, 30, "squid did not reconfigure")
        ask()
        run.call(*squid, "-k", "shutdown", **user)
        run.stop(server, None)


PROGRAMS = [
    Program("nginx", ["nginx", "wrk"], ["nginx-light", "wrk"], nginx, root=True, probe=["-v"]),
    Program("apache prefork, CGI, PHP", ["apache2", "ab"],
            ["apache2", "apache2-utils", "libapache2-mod-php", "php-mbstring"], apache_prefork, root=True, probe=["-v"]),
    Program("apache event, CGI, PHP", ["apache2", "ab", php_fpm()],
            ["apache2", "apache2-utils", "php-fpm", "php-mbstring"], apache_event, root=True, probe=["-v"]),
    Program("haproxy", ["haproxy", "ab"], ["haproxy", "apache2-utils"], haproxy, root=True, probe=["-v"]),
    Program("squid", ["squid", "ab"], ["squid", "apache2-utils"], squid, root=True, probe=["-v"]),
]
