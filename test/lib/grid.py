# SPDX-License-Identifier: Apache-2.0
"""A grid of real processes on this machine for the length of a test.

    with Grid(nodes=3) as grid:
        grid.mcomp("write", "0", "--text", "hello")

With snapd=True each node has a snapshot process too. Ports are chosen by the kernel and held for the grid's life, readiness is waited for, and
leaving the block checks that every daemon ended in order, that no sanitizer found anything, and that nothing is left in /dev/shm.
"""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from waiting import PATIENCE, PATIENCE_S, wait_for_end

READY_S = END_S = PATIENCE_S
NO_TAKEOVER = ' takeover = "1h"'  # a slow machine is no reason to let another node lead
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "WARNING: ThreadSanitizer", "ERROR: LeakSanitizer", "runtime error:", "FATAL: ThreadSanitizer",
                   "assertion failed")
SHARED_MEMORY = "/dev/shm"
PROGRAMS = {"mcompd": "src/server/mcompd", "mcomp-snapd": "src/snapd/mcomp-snapd", "mcomp": "src/cli/mcomp",
            "hammer": "test/integration/hammer", "transfers": "test/integration/transfers"}


def program(name):
    """Path of a program of the build under test: $MCOMP_BUILD, else build/release of this tree."""
    here = os.path.dirname(os.path.abspath(__file__))
    build = os.environ.get("MCOMP_BUILD") or os.path.join(here, "..", "..", "build", "release")
    path = os.path.abspath(os.path.join(build, PROGRAMS[name]))
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is missing: build it, or set MCOMP_BUILD to the build folder")
    return path


def sanitized():
    """Is the build under test an instrumented one? Its memory and speed say nothing then."""
    return bool(os.environ.get("MCOMP_SANITIZE"))


class Port:
    """A port of 127.0.0.1 that is ours until close(): bound and never listening, so that only a server that is told it can listen there."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.number = self.socket.getsockname()[1]

    def close(self):
        self.socket.close()


class Daemon:
    """One mcompd or mcomp-snapd process and what it said."""

    def __init__(self, name, arguments, error_path, notify_path, environment=None, launcher=(), pass_fds=()):
        self.name = name
        self.error_path = error_path
        self.killed = False
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        self.notify.bind(notify_path)
        env = dict(os.environ, NOTIFY_SOCKET=notify_path, **(environment or {}))
        with open(error_path, "ab") as error_file:
            self.error_start = error_file.tell()
            self.process = subprocess.Popen([*launcher, program(name), *arguments], stdin=subprocess.DEVNULL, stdout=error_file,
                                            stderr=error_file, env=env, pass_fds=pass_fds)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """What this process wrote to standard error so far."""
        with open(self.error_path, "rb") as file:
            file.seek(self.error_start)
            return file.read().decode("utf-8", "replace")

    def wait_notice(self, notice, seconds=READY_S):
        """Wait until the daemon tells its manager so ("READY=1"); fails when it ends before."""
        end = os.pidfd_open(self.pid)
        try:
            poller = select.poll()
            poller.register(self.notify, select.POLLIN)
            poller.register(end, select.POLLIN)
            while True:
                events = dict(poller.poll(seconds * 1000))
                if not events:
                    raise AssertionError(f"{self.name} did not say {notice} within {seconds} s")
                if self.notify.fileno() in events:
                    if notice in self.notify.recv(4096).decode().split("\n"):
                        return
                elif end in events:
                    raise AssertionError(f"{self.name} ended with {self.process.wait()} before it said {notice}:\n{self.log()}")
        finally:
            os.close(end)

    def kill(self, number):
        """Send a signal; SIGKILL makes the end of the process an expected one."""
        if number == signal.SIGKILL:
            self.killed = True
        self.process.send_signal(number)

    def wait(self, seconds=END_S):
        """Wait for the end and return the exit code (negative: the signal)."""
        return wait_for_end(self.process, seconds)

    def faults(self):
        """What is wrong with the way this process ended; empty when nothing is."""
        found = [f"{self.name} wrote to standard error: {line.strip()}" for line in self.log().splitlines()
                 if any(mark in line for mark in SANITIZER_MARKS)]
        code = self.process.returncode
        if code != 0 and not (self.killed and code == -signal.SIGKILL):
            found.append(f"{self.name} (pid {self.pid}) ended with {code}")
        return found

    def dispose(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notify.close()


class Grid:
    """Options: server, snapshot and oplog are the insides of these sections of mcomp.cfg; arguments, environment and launcher (a prefix of the
    command line) go to every mcompd; snapd=True: snapshot processes too, which take snapshots on request unless `snapshot` says otherwise, and of which
    the first leads, however late its answers are, unless `snapshot` has a takeover; start=False leaves starting to the test."""

    count = 0

    def __init__(self, nodes=1, segment_size="1MiB", server="", oplog="", name=None, arguments=(), environment=None, launcher=(), start=True,
                 snapd=False, snapshot="interval = 0"):
        Grid.count += 1
        self.nodes = nodes
        self.name = name or f"test-{os.getpid()}-{Grid.count}"
        self.segment_size = segment_size
        self.snapd = snapd
        self.options = {"server": server, "oplog": oplog, "snapshot": snapshot + ("" if "takeover" in snapshot else NO_TAKEOVER) if snapd else ""}
        self.arguments, self.environment, self.launcher = list(arguments), environment, list(launcher)
        self.autostart = start
        self.servers = {}
        self.snapds = {}
        self.past = []
        self.ports = []
        self.snapshot_ports = []
        self.names = {self.name}

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="mcomp-test-")
        try:
            self.ports = [Port() for _ in range(self.nodes)]
            self.snapshot_ports = [Port() for _ in range(self.nodes if self.snapd else 0)]
            self.config = self.path("mcomp.cfg")
            self.write_config()
            if self.autostart:
                self.start()
                if self.snapd:
                    self.start_snapd()
        except BaseException:
            self._clean(failed=True)
            raise
        return self

    def __exit__(self, kind, *_):
        failed = kind is not None
        faults = []
        try:
            faults = self._end_all()
        finally:
            faults += self._clean(failed or bool(faults))
        if faults and not failed:
            raise AssertionError("\n".join(faults))
        if faults:
            print("\n".join(faults), file=sys.stderr)

    def path(self, name):
        return os.path.join(self.directory, name)

    def port(self, node=0):
        return self.ports[node].number

    def snapshot_port(self, node=0):
        return self.snapshot_ports[node].number

    def snapshot_host(self, node=0):
        """Where its snapshot process listens."""
        return "127.0.0.1"

    def write_config(self, name=None, segment_size=None, **options):
        """Write mcomp.cfg, with other values than the grid's own where given."""
        if name:
            self.names.add(name)
        options = {**self.options, **options}
        lines = [f'grid = "{name or self.name}"', f'segment_size = "{segment_size or self.segment_size}"', f"nodes = {self.nodes}"]
        for i in range(self.nodes):
            snapshot = f'  snapshot_address = "{self.snapshot_host(i)}:{self.snapshot_port(i)}"' if self.snapd else ""
            lines.append(f'node {i} {{ address = "127.0.0.1:{self.port(i)}"{snapshot} }}')
        lines += [f"{section} {{ {text} }}" for section, text in options.items() if text]
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def launch(self, node=0, arguments=(), launcher=None, pass_fds=(), environment=None):
        """Start mcompd for a node without waiting for anything; the caller waits, or expects it to fail."""
        server = Daemon("mcompd", ["--config", self.config, "--node", str(node), *self.arguments, *arguments], self.path(f"node-{node}.err"),
                        self.path(f"notify-{node}-{len(self.past)}"), {**(self.environment or {}), **(environment or {})},
                        self.launcher if launcher is None else launcher, pass_fds)
        self.past.append(server)
        return server

    def start(self, *nodes):
        """Start some nodes, or all, and wait until they serve."""
        started = []
        for node in nodes or range(self.nodes):
            self.servers[node] = self.launch(node)
            started.append(self.servers[node])
        for server in started:
            server.wait_notice("READY=1")

    def launch_snapd(self, node=0, arguments=(), launcher=(), pass_fds=(), environment=None):
        """Start mcomp-snapd for a node without waiting for anything."""
        snapd = Daemon("mcomp-snapd", ["--config", self.config, "--node", str(node), *arguments], self.path(f"snapd-{node}.err"),
                       self.path(f"notify-snapd-{node}-{len(self.past)}"), environment, launcher, pass_fds)
        self.past.append(snapd)
        return snapd

    def start_snapd(self, *nodes, arguments=()):
        """Start the snapshot processes of some nodes, or of all, and wait until they serve."""
        started = []
        for node in nodes or range(self.nodes):
            self.snapds[node] = self.launch_snapd(node, arguments)
            started.append(self.snapds[node])
        for snapd in started:
            snapd.wait_notice("READY=1")

    def kill_snapd(self, node=0, number=signal.SIGKILL):
        """Send a signal to a node's snapshot process and wait for its end. Returns the exit code."""
        self.snapds[node].kill(number)
        return self.snapds[node].wait()

    def kill(self, node=0, number=signal.SIGKILL):
        """Send a signal to a node's server and wait for its end. Returns the exit code."""
        self.servers[node].kill(number)
        return self.servers[node].wait()

    def restart(self, node=0):
        """Start a node whose server has ended."""
        self.start(node)

    def stop(self):
        """End all servers in order; fails unless each ends with 0."""
        for server in self.servers.values():
            if server.process.poll() is None:
                server.kill(signal.SIGTERM)
        for node, server in self.servers.items():
            code = server.wait()
            if code != 0 and not server.killed:
                raise AssertionError(f"mcompd of node {node} ended with {code} after SIGTERM:\n{server.log()}")

    def run(self, *arguments, node=0, launcher=(), name="mcompd"):
        """Run a daemon to its end, as for a start that must fail. Returns the finished process with its output as text."""
        return subprocess.run([*launcher, program(name), "--config", self.config, "--node", str(node), *arguments], text=True,
                              capture_output=True, timeout=READY_S, stdin=subprocess.DEVNULL, errors="replace", check=False)

    def mcomp(self, *arguments, stdin=b"", check=True):
        """Run the command line tool, patiently unless the arguments have a --timeout. Returns the finished process with its output as bytes; check: it must
        exit with 0."""
        patience = [] if "--timeout" in arguments else ["--timeout", PATIENCE]
        done = subprocess.run([program("mcomp"), "-c", self.config, *patience, *[str(a) for a in arguments]], input=stdin, capture_output=True,
                              timeout=2 * PATIENCE_S, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"mcomp {arguments} ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace')}")
        return done

    def _end_all(self):
        faults = []
        for server in self.past:
            if server.process.poll() is None:
                server.kill(signal.SIGTERM)
        for server in self.past:
            try:
                server.wait()
            except AssertionError as error:
                faults.append(str(error))
                server.dispose()
        for daemon in [*self.servers.values(), *self.snapds.values()]:
            faults += daemon.faults()
        return faults

    def _clean(self, failed):
        faults = []
        for server in self.past:
            server.dispose()
        if self.ports:
            faults = self._remove_segments()
        for port in [*self.ports, *self.snapshot_ports]:
            port.close()
        if failed or faults:
            self._show_logs()
        shutil.rmtree(self.directory, ignore_errors=True)
        return faults

    def _remove_segments(self):
        faults = []
        for name in sorted(self.names):
            self.write_config(name)
            for node in range(self.nodes):
                done = self.run("--reset", node=node)
                if done.returncode != 0:
                    faults.append(f"mcompd --reset ended with {done.returncode}: {done.stderr}")
            faults += [f"{SHARED_MEMORY}/{left} was left behind" for left in os.listdir(SHARED_MEMORY) if name in left]
        return faults

    def _show_logs(self):
        for name in sorted(os.listdir(self.directory)):
            if not name.endswith((".err", ".log", ".cfg")):
                continue
            with open(self.path(name), "rb") as file:
                lines = file.read().decode("utf-8", "replace").splitlines()
            print(f"---- {name} ({len(lines)} lines, the last of them)", *lines[-100:], sep="\n", file=sys.stderr)
