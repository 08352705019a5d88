# SPDX-License-Identifier: Apache-2.0
"""A network of its own for a test: each node's snapshot process in a network namespace, all of them on one bridge, which can be taken apart.

    enter()                       once, at the start of the test's process; says why it cannot
    with NetworkGrid(nodes=3) as grid:
        grid.network.unplug(0)    what the others send to node 0, and node 0 to them, is lost; nobody is told
        grid.network.plug(0)

The test, its clients and the servers stand beside the bridge, with a line of their own to each namespace: they reach all nodes at any time. Needs root,
or a kernel that lets everybody make user namespaces, and `ip` of iproute2. All of it is gone when the test's process is.
"""
import ctypes
import os
import shutil
import subprocess

from grid import Grid

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
OTHER_MACHINE = "02:00:00:00:00:01"
TCP = 6  # its name is known only where /etc/protocols is, which a bare Debian lacks


def ip(*arguments, holder=None):
    """Run ip, in the namespace of a process if one is given."""
    prefix = ["nsenter", "-t", str(holder.pid), "-n"] if holder else []
    done = subprocess.run([*prefix, "ip", *[str(a) for a in arguments]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(str(a) for a in arguments)}: {done.stderr.strip()}")


def _unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))


def _become_root_of_a_user_namespace():
    user, group = os.getuid(), os.getgid()
    _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def enter():
    """Give this process, which must have one thread, a network of its own. Returns None, or why that cannot be."""
    if not shutil.which("ip") or not shutil.which("nsenter"):
        return "ip or nsenter is missing: scripts/install-deps test"
    try:
        if os.getuid() == 0:
            _unshare(CLONE_NEWNET)
        else:
            _become_root_of_a_user_namespace()
        ip("link", "set", "lo", "up")
        ip("link", "add", "probe0", "type", "veth", "peer", "name", "probe1")
        ip("link", "del", "probe0")
        ip("link", "add", "probe", "type", "bridge")
        ip("link", "del", "probe")
        rule = ("to", "10.71.0.1", "ipproto", TCP, "dport", 9, "lookup", 100)
        ip("rule", "add", *rule)
        ip("rule", "del", *rule)
    except OSError as error:
        return f"no network namespaces here: {error}"
    return None


class Network:
    """Node i's snapshot process has the address 10.71.0.(i+1)."""

    def __init__(self, nodes):
        self.holders = []
        self.devices = ["bridge"]
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "set", "bridge", "up")
        try:
            for node in range(nodes):
                self._add(node)
        except BaseException:
            self.close()
            raise

    def _add(self, node):
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.holders.append(holder)
        holder.stdout.readline()
        for device, peer in ((f"plug{node}", "grid"), (f"test{node}", "test")):
            ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", holder.pid)
            self.devices.append(device)
        ip("link", "add", "void", "type", "veth", "peer", "name", "end", holder=holder)
        for device, address in (("grid", f"{self.host(node)}/24"), ("test", f"10.72.{node}.1/24"), ("void", "10.73.0.1/24"), ("end", None), ("lo", None)):
            if address:
                ip("addr", "add", address, "dev", device, holder=holder)
            ip("link", "set", device, "up", holder=holder)
        ip("addr", "add", f"10.72.{node}.254/24", "dev", f"test{node}")
        ip("link", "set", f"test{node}", "up")
        ip("route", "add", self.host(node), "via", f"10.72.{node}.1")
        ip("link", "set", f"plug{node}", "up", "master", "bridge")

    def host(self, node):
        return f"10.71.0.{node + 1}"

    def launcher(self, node):
        """What stands before the command line of a program that is to run there."""
        return ["nsenter", "-t", str(self.holders[node].pid), "-n"]

    def unplug(self, node):
        ip("link", "set", f"plug{node}", "nomaster")

    def plug(self, node):
        ip("link", "set", f"plug{node}", "master", "bridge")

    def lose(self, sender, node, port):
        """From now on, what `sender` sends to that port of a node is lost; what it sends from its own port, it answers, is not."""
        holder = self.holders[sender]
        ip("route", "add", self.host(node), "dev", "void", "table", 100, holder=holder)
        ip("neigh", "add", self.host(node), "lladdr", OTHER_MACHINE, "dev", "void", holder=holder)
        ip("rule", "add", "to", self.host(node), "ipproto", TCP, "dport", port, "lookup", 100, holder=holder)

    def lose_nothing(self, sender, node, port):
        ip("rule", "del", "to", self.host(node), "ipproto", TCP, "dport", port, "lookup", 100, holder=self.holders[sender])
        ip("route", "flush", "table", 100, holder=self.holders[sender])

    def close(self):
        """Take it down, so that another may be made; the kernel itself takes its time to clear away namespaces."""
        for device in self.devices:
            ip("link", "del", device)
        for holder in self.holders:
            holder.kill()
            holder.communicate()


class NetworkGrid(Grid):
    """A grid whose snapshot processes are in a Network. Servers are where the test is."""

    def __enter__(self):
        self.network = Network(self.nodes)
        return super().__enter__()

    def _clean(self, failed):
        try:
            return super()._clean(failed)
        finally:
            self.network.close()

    def snapshot_host(self, node=0):
        return self.network.host(node)

    def launch_snapd(self, node=0, arguments=(), launcher=(), pass_fds=(), environment=None):
        return super().launch_snapd(node, arguments, [*self.network.launcher(node), *launcher], pass_fds, environment)
