"""stores: databases, caches and directories, as daemons."""

import os
import random
import re
import signal
import socket
import time
from pathlib import Path

from .harness import LOOPBACK, Program, connects, free_port, listens, wait_until


def redis(run):
    path = str(run.dir / "redis.sock")
    (run.dir / "redis.conf").write_text(f"port 0\nunixsocket {path}\nsave ''\nappendonly no\ndaemonize no\ndir {run.dir}\n"
                                        .replace("''", '""'))
    server = run.serve("redis-server", "redis.conf", ready=lambda: connects(socket.AF_UNIX, path))

    def cli(*words):
        return run.call("redis-cli", "-s", path, *words, preload=False)

    def bench(*words):
        text = run.quiet("redis-benchmark", "-s", path, "-n", "100000", "-c", "50", "-q", *words, timeout=300, preload=False)
        run.check("requests per second" in text and "rror" not in text, "redis-benchmark: " + text[-500:])

    bench("-t", "set,get,incr,lpush,rpush,lpop,sadd,hset,zadd")
    cli("DBSIZE")
    cli("GET", "key:__rand_int__")
    bench("-t", "set,get,zadd,hset", "-r", "20000", "-d", "200", "-P", "8")
    keys = int(cli("DBSIZE"))
    run.text.pop()  # random keys
    run.check(15_000 < keys < 25_000, f"DBSIZE {keys}")
    info = cli("INFO")
    run.text.pop()
    for field in (r"connected_clients:\d+", r"used_memory:[1-9]\d+", r"total_commands_processed:[1-9]\d{5}"):
        run.check(re.search(field, info), "INFO lacks " + field)
    cli("FLUSHALL")
    cli("SHUTDOWN", "NOSAVE")
    run.stop(server, None)
    run.check("crashed" not in server.out.read_text(), server.out.read_text()[-1500:])


def memcached(run):
    path = str(run.dir / "memcached.sock")
    server = run.serve("memcached", "-s", path, "-m", "64", "-t", "4", *(["-u", "root"] if os.geteuid() == 0 else []),
                       ready=lambda: connects(socket.AF_UNIX, path))
    values = random.Random(1)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(path)
        stream = s.makefile("rb")
        for first in range(0, 50_000, 100):
            batch = {b"k%d" % i: values.randbytes(1 + values.randrange(1 if i % 50 else 8000) + i % 700)
                     for i in range(first, first + 100)}
            s.sendall(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(v), v) for k, v in batch.items()))
            for k in batch:
                run.check(stream.readline() == b"STORED\r\n", f"set {k}")
            s.sendall(b"get " + b" ".join(batch) + b"\r\n")
            for k, v in batch.items():
                run.check(stream.readline() == b"VALUE %s 0 %d\r\n" % (k, len(v)), f"get {k}: header")
                run.check(stream.read(len(v) + 2) == v + b"\r\n", f"get {k}: data")
            run.check(stream.readline() == b"END\r\n", "get: end")
        s.sendall(b"stats\r\n")
        stats = dict(line.split()[1:3] for line in iter(stream.readline, b"END\r\n"))
        run.text.append(f"{stats[b'cmd_set']} {stats[b'get_hits']} {stats[b'curr_items']}\n")
    run.stop(server, signal.SIGTERM)


def postgres():
    """The server's path: Debian keeps it out of PATH."""
    return str(max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default="postgres"))


def postgresql(run):
    """A process for each session and for each job in the background, with shared memory."""
    user, port = {"user": "postgres"}, free_port()
    data, log = run.dir / "data", run.log("state/log")
    run.folder("state", "postgres")
    bin_folder = Path(postgres()).parent
    run.folder("data", "postgres", 0o700)
    run.quiet(bin_folder / "initdb", "-D", data, "-A", "trust", "-N", "--no-instructions", "--locale=C.UTF-8", **user)
    with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write(f"listen_addresses = '{LOOPBACK}'\nport = {port}\nunix_socket_directories = ''\n"
                   "max_parallel_workers_per_gather = 2\nmin_parallel_table_scan_size = 0\nparallel_setup_cost = 0\n"
                   "autovacuum_naptime = 1\n")
    control = [bin_folder / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-s"]
    daemon = run.daemonise(*control, "start", ready=listens(port), name="postgres", **user)

    client = ["-h", LOOPBACK, "-p", port, "-U", "postgres"]

    def sql(*texts):
        words = [word for text in texts for word in ("-c", text)]
        run.call(bin_folder / "psql", *client, "-XAtq", "-v", "ON_ERROR_STOP=1", *words, preload=False)

    sql("create table t as select i, md5(i::text) as m, repeat('x', i % 500) as r from generate_series(1, 50000) i")
    sql("create index on t(m); create index on t using gin (to_tsvector('simple', m))")
    sql("select count(*), sum(length(r)), max(m) from t where m like '%a%'")
    sql("select left(m, 1), count(*), md5(string_agg(r, ',' order by i)) from t group by 1 order by 1")
    sql("select jsonb_agg(jsonb_build_object('i', i, 'm', m)) -> 777 from t where i < 2000")
    sql("do $$ declare n int := 0; begin for k in 1 .. 20000 loop n := n + length(k::text || 'x'); end loop; "
        "raise notice '%', n; end $$")
    sql("delete from t where i % 3 = 0", "vacuum full t", "analyze t", "select count(*) from t")
    run.quiet(bin_folder / "pgbench", *client, "-i", "-q", "postgres", preload=False)
    run.quiet(bin_folder / "pgbench", *client, "-c", "4", "-t", "50", "-n", "postgres", preload=False)
    sql("select count(*) from pgbench_history")
    run.call(*control, "reload", **user)
    sql("select sum(i) from t")
    run.call(*control, "-m", "fast", "stop", **user)
    run.stop_daemon(daemon, None)


def mariadb(run):
    """Some forty threads; not a daemon by itself, as its unit starts it."""
    path = run.dir / "state" / "socket"
    run.folder("state", "mysql")
    words = ["--no-defaults", f"--datadir={run.dir}/state/data", f"--log-error={run.log('state/errors')}", "--user=mysql"]
    run.quiet("mariadb-install-db", *words, "--auth-root-authentication-method=normal", "--skip-test-db", timeout=300)
    server = run.serve("mariadbd", *words, f"--socket={path}", "--skip-networking", f"--pid-file={run.dir}/state/pid",
                       ready=lambda: connects(socket.AF_UNIX, str(path)))

    def sql(text):
        run.call("mariadb", "--no-defaults", f"--socket={path}", "-N", "-B", "-e", text, preload=False)

    sql("create database d; create table d.t(i int primary key, m char(32), r text, key(m), fulltext(r)) engine=innodb")
    sql("insert into d.t select seq, md5(seq), concat(repeat('word ', seq % 100), seq) from d.seq_1_to_20000")
    sql("select count(*), sum(length(r)), max(m) from d.t where m like '%a%'")
    sql("select left(m, 1) l, count(*), md5(group_concat(i order by i)) from d.t group by l order by l")
    sql("select count(*) from d.t where match(r) against ('777')")
    sql("create table d.a engine=aria as select * from d.t; alter table d.a add key(r(50)); check table d.a; "
        "optimize table d.t")
    sql("select json_extract(json_arrayagg(json_object('i', i, 'm', m)), '$[7]') from d.t where i < 100")
    sql("flush tables; flush logs; flush privileges; delete from d.t where i % 3 = 0; select count(*) from d.t")
    run.call("mariadb-admin", "--no-defaults", f"--socket={path}", "shutdown", preload=False)
    run.stop(server, None)


def slapd(run):
    """A directory with threads, started as a daemon of another user."""
    port = free_port()
    run.folder("state/db", "openldap")
    run.folder("state", "openldap")
    config = run.write("slapd.conf", f"""
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {run.dir}/state/pid
argsfile {run.dir}/state/args
threads 8
sizelimit unlimited
database mdb
suffix dc=example,dc=org
rootdn cn=admin,dc=example,dc=org
rootpw secret
directory {run.dir}/state/db
maxsize 104857600
index objectClass eq
index uid,cn eq,sub
overlay syncprov
""")
    entries = "".join(f"dn: uid=u{i},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: u{i}\ncn: Name {i}\n"
                      f"sn: {'S' * (i % 90 + 1)}\n\n" for i in range(1000))
    base = "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n"
    run.call("slapadd", "-q", "-f", config, "-l", run.write("base.ldif", base))
    for path in (run.dir / "state/db").iterdir():
        os.chown(path, (run.dir / "state/db").stat().st_uid, -1)
    daemon = run.daemonise("slapd", "-f", config, "-h", f"ldap://{LOOPBACK}:{port}", "-u", "openldap", "-g", "openldap",
                           ready=listens(port), name="slapd")
    where = ["-x", "-H", f"ldap://{LOOPBACK}:{port}", "-o", "nettimeout=30"]
    admin = [*where, "-D", "cn=admin,dc=example,dc=org", "-w", "secret"]
    run.call("ldapadd", *admin, "-f", run.write("entries.ldif", entries), preload=False)
    changes = "".join(f"dn: uid=u{i},dc=example,dc=org\nchangetype: modify\nadd: mail\nmail: u{i}@example.org\n\n"
                      for i in range(0, 1000, 3))
    run.call("ldapmodify", *admin, "-f", run.write("changes.ldif", changes), preload=False)
    for query in ("(cn=*77*)", "(&(uid=u1*)(mail=*))", "(!(mail=*))"):
        run.call("ldapsearch", *where, "-LLL", "-b", "dc=example,dc=org", query, preload=False)
    # Several clients at once: the pool of threads grows.
    searches = [run.start("ldapsearch", *where, "-LLL", "-b", "dc=example,dc=org", "(sn=*)", "dn", preload=False)
                for _ in range(8)]
    for search in searches:
        run.check(run.finish(search, 60) == 0, "ldapsearch failed")
        run.text.append(search.out.read_text())
    run.stop_daemon(daemon, signal.SIGTERM)
    run.call("slapcat", "-f", config, normalise=lambda text: "".join(re.findall(r"^(?:dn|mail|sn): .*\n", text, re.M)))


PROGRAMS = [
    Program("redis", ["redis-server", "redis-benchmark", "redis-cli"], ["redis-server", "redis-tools"], redis),
    Program("memcached", ["memcached"], ["memcached"], memcached, quick=True),
    Program("postgresql", [postgres(), "pg_ctlcluster"], ["postgresql"], postgresql, root=True),
    Program("mariadb", ["mariadbd", "mariadb"], ["mariadb-server", "mariadb-client"], mariadb, root=True),
    Program("slapd", ["slapd", "ldapadd"], ["slapd", "ldap-utils"], slapd, root=True, probe=["-VV"]),
]
