# SPDX-License-Identifier: Apache-2.0
"""What the measurements of this folder share: Redis, the machine they ran on, and how they report."""
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "test", "lib"))
from grid import Port, program  # noqa: E402
from waiting import wait_until  # noqa: E402

READY_S = 30


def tool(name):
    """Path of a program of this folder, of the build under test."""
    return os.path.join(os.path.dirname(program("mcomp")), "..", "..", "test", "bench", name)


# Debian's redis-tools brings the server under another name; a Redis program does what it is called as.
def redis_server():
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


class Redis:
    """A Redis server that saves nothing by itself; further options as on its command line."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        self.port = Port()
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port.number), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                                         *self.options], executable=redis_server(), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.say("PING") == "PONG", READY_S, "Redis")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.port.close()

    def say(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port.number), *words], capture_output=True, text=True, check=False).stdout.strip()


def install():
    """The peers, if they are missing."""
    if subprocess.run([os.path.join(TOP, "scripts", "install-deps"), "bench"], check=False).returncode != 0:
        sys.exit(1)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": models[0] if models else platform.machine(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "memory_bytes": memory}


def first_line(*command, executable=None):
    return subprocess.run(command, executable=executable, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]


def versions():
    return {"mcomp": first_line(program("mcomp"), "--version"), "redis": first_line("redis-server", "--version", executable=redis_server())}


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def progress(text=""):
    """One line that goes away again, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def print_machine(report):
    here = report["machine"]
    print(f"{report['date']}, {here['cpu']}, {here['cores']} cores, Linux {here['kernel']}")
    print(", ".join(report["versions"].values()))


def print_columns(table, to_the_right):
    """Rows of text; to_the_right: the columns that hold figures."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        cells = [cell.rjust(width) if i in to_the_right else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())


def write_json(path, report):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
