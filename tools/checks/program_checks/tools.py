"""tools: interpreters, compilers and command line programs."""

import os
import shutil
import subprocess

from .harness import DATA, PATH, ROOT, Program, Run


def script(*argv, status=0):
    return lambda run: run.call(*argv, status=status)


def git(run):
    source = make_git_source(run.shared)
    run.call("git", "clone", "-q", "--no-local", source, "copy", timeout=300)
    run.call("git", "-C", "copy", "gc", "-q", "--aggressive", "--prune=now", timeout=300)
    run.call("git", "-C", "copy", "fsck", "--full", "--strict", timeout=300)
    run.call("git", "-C", "copy", "log", "--stat", "--format=%H %T %s")
    run.call("git", "-C", "copy", "status", "--short")


def make_git_source(directory):
    """A snapshot of this repository, or of some headers while it has no commit. Made once."""
    target, env = directory / "source.git", Run(directory, None, None).env
    if target.exists():
        return target
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "-q", "--verify", "HEAD"], **quiet).returncode == 0:
        if subprocess.run(["git", "clone", "-q", "--bare", ROOT, target], **quiet).returncode == 0:
            return target
    shutil.rmtree(target, ignore_errors=True)
    tree = ["git", f"--git-dir={target}", "--work-tree=/usr/include/linux"]
    subprocess.run(["git", "init", "-q", "--bare", target], check=True, **quiet)
    subprocess.run(tree + ["add", "-A", "."], check=True, **quiet)
    subprocess.run(tree + ["commit", "-q", "-m", "headers"], check=True, **quiet)
    return target


def sqlite(run):
    lines = ["create table t(id integer primary key, k text, v blob);", "begin;"]
    lines += [f"insert into t values({i}, 'k{i * 7919 % 100003}', '{'x' * (i % 200)}{i}');" for i in range(100_000)]
    lines += ["commit;", "create index by_k on t(k, v);", "delete from t where id % 3 = 0;", "vacuum;",
              "pragma integrity_check;",
              "select count(*), sum(id), sum(length(v)), max(k), count(distinct substr(k, 1, 3)) from t;",
              "select k, group_concat(id) from t group by k order by k limit 20 offset 5000;"]
    run.call("sqlite3", "-batch", "-bail", "test.db", stdin=run.write("script.sql", "\n".join(lines)))


def compiler(command):
    def run_it(run):
        run.call(command, "-std=c++20", "-O2", "-g", "-c", DATA / "words.cc", "-o", "words.o")
        run.call(command, "words.o", "-pthread", "-o", "words")
        run.call(run.dir / "words")
    return run_it


def java(run):
    run.call("java", "--version")
    if shutil.which("javac", path=PATH):
        run.call("java", "-Xmx256m", DATA / "Main.java")


def xz(run):
    run.write("text", "".join(f"{i} {i * i} {'line ' * (i % 17)}\n" for i in range(60_000)))
    run.call("xz", "-k", "-6", "-T2", "text")
    run.call("xz", "-t", "text.xz")
    run.call("cksum", "text.xz")
    run.call("sh", "-c", "xz -dc text.xz | cksum")


def groff(run):
    """troff frees with delete[] what came from malloc."""
    page = run.write("page.1", ".TH PAGE 1\n.SH NAME\npage \\- one\n" + "".join(
        f".SH S{i}\n.B bold {i}\ntext that is filled \\fIand\\fP adjusted, \\(bu {i * 7919}\n.IP \\(bu 2\nitem\n"
        for i in range(400)))
    run.call("groff", "-man", "-Tutf8", page)
    run.call("groff", "-t", "-man", "-Tps", page, normalise=lambda text: text[text.index("%%EndComments"):])


def php(run):
    """Debian's PHP loads its extensions with RTLD_DEEPBIND."""
    run.call("php", "-v")
    run.call("php", "-m")
    run.call("php", DATA / "words.php")


PROGRAMS = [
    Program("bash", ["bash"], ["bash"], script("bash", DATA / "words.sh", status=7), quick=True),
    Program("ls", ["ls"], ["coreutils"], script("ls", "-lR", "/usr/include"), quick=True),
    Program("perl", ["perl"], ["perl"], script("perl", DATA / "words.pl"), quick=True),
    Program("lua", ["lua5.4"], ["lua5.4"], script("lua5.4", DATA / "words.lua"), quick=True, probe=["-v"]),
    Program("xz", ["xz"], ["xz-utils"], xz, quick=True),
    Program("git", ["git"], ["git"], git, quick=True),
    Program("sqlite3", ["sqlite3"], ["sqlite3"], sqlite, quick=True),
    Program("groff", ["troff", "groff"], ["groff"], groff, quick=True),
    Program("php", ["php"], ["php-cli", "php-mbstring", "php-xml", "php-sqlite3", "php-intl", "php-gd"], php, quick=True,
            probe=["-v"]),
    Program("g++", ["g++"], ["g++"], compiler("g++"), quick=True),
    Program("clang-19", ["clang++-19"], ["clang-19"], compiler("clang++-19")),
    Program("node", ["node"], ["nodejs"], script("node", DATA / "workers.js"), quick=True),
    Program("java", ["java"], ["default-jdk-headless"], java),
]
