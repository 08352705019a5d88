# SPDX-License-Identifier: Apache-2.0
"""mcomp as a process: in pipes and on terminals."""
import os
import pty
import subprocess
import sys
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(TOP, "test", "lib"))
from grid import program  # noqa: E402
from waiting import PATIENCE, PATIENCE_S  # noqa: E402

RUN_S = 2 * PATIENCE_S


def environment(**changes):
    """That of the test without what changes mcomp's output; None removes a variable."""
    env = {key: value for key, value in os.environ.items() if key not in ("MCOMP_CONFIG", "NO_COLOR", "COLUMNS")}
    env["TERM"] = "xterm"
    for key, value in changes.items():
        env.pop(key, None) if value is None else env.__setitem__(key, value)
    return env


def command_line(arguments, config=None):
    """With a configuration, patient unless the arguments have a --timeout: a grid may be slow to answer."""
    patience = ["--timeout", PATIENCE] if config and "--timeout" not in arguments else []
    return [program("mcomp"), *(["-c", config] if config else []), *patience, *[str(a) for a in arguments]]


def run(*arguments, config=None, stdin=b"", env=None, cwd=None):
    """Run to the end, in pipes. Output as text."""
    done = subprocess.run(command_line(arguments, config), input=stdin, capture_output=True, timeout=RUN_S, env=environment(**(env or {})), cwd=cwd,
                          check=False)
    done.stdout, done.stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    return done


def start(*arguments, config=None, **options):
    """Start and return the process."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command_line(arguments, config), env=environment(), **options)


class Terminal:
    """mcomp with standard output, error, or both on a terminal of its own; what is not there is a pipe."""

    def __init__(self, *arguments, config=None, stdout=True, stderr=False, columns=80, env=None, **options):
        try:
            self.master, slave = pty.openpty()
        except OSError as error:
            raise unittest.SkipTest(f"no pseudo-terminals here: {error}") from None
        self._set_width(slave, columns)
        options = {"stdin": subprocess.DEVNULL, **options}
        self.process = subprocess.Popen(command_line(arguments, config), stdout=slave if stdout else subprocess.PIPE,
                                        stderr=slave if stderr else subprocess.PIPE, env=environment(**(env or {})), **options)
        os.close(slave)

    @staticmethod
    def _set_width(fd, columns):
        import fcntl
        import struct
        import termios
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        """Some output, b"" at the end."""
        try:
            return os.read(self.master, 65536)
        except OSError: # Linux says EIO when the other side is closed
            return b""

    def finish(self):
        """What the terminal saw until the end, line ends as written; closes it."""
        seen = b""
        while True:
            piece = self.read()
            if not piece:
                break
            seen += piece
        os.close(self.master)
        self.process.wait(RUN_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        return seen.decode("utf-8", "replace").replace("\r\n", "\n")
