"""What scripts/bench and scripts/scale share: the program, a place for mounts that is always cleaned up, tables."""

import contextlib
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A mount that does not answer in so many seconds never will.
PATIENCE = 60


def run(*command, **more):
    """Runs `command`, and answers what it prints."""
    more.setdefault("timeout", PATIENCE)
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def build():
    """Builds the program and the measuring client as they are released; answers both paths."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-q"], cwd=ROOT, check=True)
    words = ["cargo", "bench", "--locked", "-q", "--no-run", "--bench", "open_read_close", "--message-format", "json"]
    lines = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    named = [line for line in map(json.loads, lines) if line.get("target", {}).get("name") == "open_read_close"]
    target = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", "1", cwd=ROOT))["target_directory"]
    return pathlib.Path(target, "release", "kmsfs"), pathlib.Path(named[-1]["executable"])


class Rig:
    """A temporary directory, and the mounts in it: both are gone when the rig is left."""

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        # What ends the script takes its mounts away too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kmsfs-rig-"))
        self.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def place(self, name):
        path = self.dir / name
        path.mkdir()
        return path

    def unmount_later(self, point):
        self.stack.callback(subprocess.run, ["umount", "-l", str(point)], stderr=subprocess.DEVNULL)

    def kmsfs(self, program, name, *options):
        """A store of its own with a mount, which takes `options` of kmsfs. Ends when the rig does."""
        mount = Kmsfs(program, self.place(name))
        mount.options = options or mount.options
        run(program, "init", "--store", mount.store, "--key-file", mount.key, stdin=subprocess.DEVNULL)
        self.stack.callback(mount.stop)
        mount.start()
        return mount


class Kmsfs:
    """A mount that can be stopped and started."""

    def __init__(self, program, place):
        self.program, self.store, self.key, self.point = program, place / "store", place / "key", place / "mount"
        self.log, self.pid, self.options = place / "log", None, ("--audit", place / "audit")
        self.point.mkdir()

    def start(self):
        """Mounts; answers the seconds until `kmsfs mount` returned."""
        begin = time.monotonic()
        keys = ("--store", self.store, "--key-file", self.key, "--anchor", "none", "--log", self.log, *self.options)
        run(self.program, "mount", *keys, self.point, stdin=subprocess.DEVNULL)
        took = time.monotonic() - begin
        self.pid = json.loads((self.point / ".kmsfs/status").read_text())["worker_pid"]
        return took

    def stop(self):
        if self.pid:
            self.pid = None
            subprocess.run([str(self.program), "umount", str(self.point)], timeout=PATIENCE)

    def rss(self):
        """Resident memory in MiB."""
        return int(self.of_status("VmRSS").split()[0]) / 1024

    def of_status(self, field):
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(line.partition(":")[2] for line in lines if line.startswith(field + ":")).strip()


def machine():
    """The machine in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()} {platform.machine()}"


def table(head, rows):
    """Prints a table as Markdown has it."""
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for at, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if at == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def needs_root():
    if os.geteuid() != 0:
        sys.exit(f"{os.path.basename(sys.argv[0])}: error: it mounts, pins and reads /proc as root\nhint: run it as root")
