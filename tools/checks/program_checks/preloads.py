"""preloads: libraries that are preloaded beside ours, and replace calls that an allocator may make."""

import glob

from .harness import DATA, Program

THREADS = ("import threading, json\n"
           "def work(n): out[n] = len(json.dumps([list(range(i)) for i in range(200)]))\n"
           "out = {}; threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
           "[t.start() for t in threads]; [t.join() for t in threads]; print(sorted(out.items()))\n")


def find(name):
    """The path of a library that is preloaded by its path; nothing when it is not installed."""
    folders = ("/usr/lib/*", "/usr/lib/*/*", "/usr/libexec/*")
    return next(iter(sorted(path for folder in folders for path in glob.glob(f"{folder}/{name}"))), None)


def beside(library, env={}, commands=()):
    """Runs some programs with `library` in front of ours and behind it."""
    def run_it(run):
        other = find(library)
        for order in ({"before": other}, {"behind": other}):
            for argv in (*commands, ["cat", "/etc/hostname"], ["bash", DATA / "words.sh"], ["python3", "-c", THREADS]):
                run.call(*argv, env=env, timeout=30, status=7 if DATA / "words.sh" in argv else 0, **order)
    return run_it


def fakeroot(run):
    script = ("touch f; chown 1:2 f; stat -c '%u %g' f; mknod n c 1 3; stat -c '%F' n; "
              "tar -cf t f n; tar -tvf t | cut -c1-20; rm -f f n")
    run.call("fakeroot", "sh", "-c", script)
    # In front of libfakeroot, as in the second of two wrappers.
    first = run.library or ""
    run.call("fakeroot", "sh", "-c", f'LD_PRELOAD="{first}:$LD_PRELOAD" exec sh -c "$0"', script)
    run.call("fakeroot", "python3", "-c", THREADS)
    run.call("fakeroot", "perl", DATA / "words.pl")


FAKE_TIME = {"FAKETIME": "2001-02-03 04:05:06", "DONT_FAKE_MONOTONIC": "1"}
DATE = [["date", "+%F"], ["python3", "-c", "import time; print(time.gmtime().tm_year)"],
        ["perl", "-e", "print scalar gmtime(time - time % 86400)"]]


def wrapper(name, package, library, quick=True, **more):
    return Program(name, ["bash"], [package], beside(library, **more), quick=quick,
                   present=lambda: find(library) is not None)


PROGRAMS = [
    Program("fakeroot", ["bash", "fakeroot"], ["fakeroot"], fakeroot, quick=True),
    wrapper("faketime", "faketime", "libfaketime.so.1", env=FAKE_TIME, commands=DATE),
    wrapper("faketime for threads", "faketime", "libfaketimeMT.so.1", env=FAKE_TIME, commands=DATE),
    wrapper("eatmydata", "eatmydata", "libeatmydata.so"),
    wrapper("uid_wrapper", "libuid-wrapper", "libuid_wrapper.so", env={"UID_WRAPPER": "1", "UID_WRAPPER_ROOT": "1"},
            commands=[["id", "-u"]]),
    wrapper("nss_wrapper", "libnss-wrapper", "libnss_wrapper.so", commands=[["getent", "passwd", "somebody"]],
            env={"NSS_WRAPPER_PASSWD": str(DATA / "passwd"), "NSS_WRAPPER_GROUP": str(DATA / "group")}),
    wrapper("socket_wrapper", "libsocket-wrapper", "libsocket_wrapper.so"),
    wrapper("torsocks", "torsocks", "libtorsocks.so"),
    wrapper("fakechroot", "libfakechroot", "libfakechroot.so"),
    wrapper("stdbuf", "coreutils", "libstdbuf.so", env={"_STDBUF_O": "L"}),
]
