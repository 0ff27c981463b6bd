"""browser: Chromium without a screen, which has processes, sandboxes and an allocator of its own."""

import os

from .harness import DATA, Program

FLAGS = ["--headless", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-default-browser-check",
         "--proxy-server=127.0.0.1:9", "--timeout=60000"]


def chromium(run):
    """In a sandbox as an ordinary user, without one as root: Chromium refuses the other."""
    page = run.write("page.html", (DATA / "page.html").read_text())
    if os.geteuid() == 0:
        run.folder("home", "nobody")
        run.call("chromium", *FLAGS, f"--user-data-dir={run.dir}/home/profile", "--dump-dom", page.as_uri(), timeout=180,
                 user="nobody", env={"HOME": f"{run.dir}/home"})
    else:
        run.call("chromium", *FLAGS, f"--user-data-dir={run.dir}/profile", "--dump-dom", page.as_uri(), timeout=180)


PROGRAMS = [Program("chromium", ["chromium"], ["chromium", "chromium-sandbox"], chromium)]
