# SPDX-License-Identifier: Apache-2.0
"""The only places where a test waits for anything but a socket. Every wait is bounded, and generously: a machine may be slow, or stand still for a while,
and no test may fail for that."""
import os
import select
import subprocess
import time

PATIENCE_S = 240
PATIENCE = f"{PATIENCE_S}s"  # for the time-outs of programs, where what they wait for must come
GROWING = ("300ms", "1200ms", "5s", "20s", "80s")
STEP_S = 0.005


def idle(seconds):
    """Let time pass, for measuring what a process does in it. Never a way to wait for something to happen."""
    select.select([], [], [], seconds)


def wait_until(condition, seconds=PATIENCE_S, what="the condition"):
    """Ask again and again until condition() is true, and return what it gave. Fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {seconds} s")
        idle(STEP_S)


def with_growing_time_outs(check):
    """check(time-out) is right as soon as the time-out is long enough for what is there, and has to pass for what is not. Assertions count at the end."""
    for time_out in GROWING[:-1]:
        try:
            return check(time_out)
        except AssertionError:
            pass  # was it the machine? With more time that is no excuse
    return check(GROWING[-1])


def wait_for_end(process, seconds=PATIENCE_S):
    """Wait until a process ends and return its exit code."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"pid {process.pid} did not end within {seconds} s") from None


def cpu_seconds(pid):
    """Processor time that a process has used, all its threads together."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_memory_bytes(pid):
    """Memory of a process that no other shares: not the segment, not the files it is made of."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("/proc/PID/status has no RssAnon")
