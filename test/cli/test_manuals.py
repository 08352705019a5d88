#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages: sound, and telling of the options that there are, no more and no fewer."""
import os
import re
import shutil
import subprocess
import unittest

from cli import TOP, environment, run
import case
from grid import program

FOLDER = os.path.join(TOP, "docs", "man")
PAGES = {"mcomp.1": ("--help",), "mcomp-status.1": ("status", "--help"), "mcomp-read.1": ("read", "--help"), "mcomp-write.1": ("write", "--help"),
         "mcomp-add.1": ("add", "--help"), "mcomp-cas.1": ("cas", "--help"), "mcomp-load.1": ("load", "--help"), "mcomp-save.1": ("save", "--help"),
         "mcomp-bench.1": ("bench", "--help"), "mcomp-txn.1": ("txn", "--help"), "mcomp-config.1": ("config", "check", "--help")}
GROUPS = {"mcomp-snapshot.1": ("snapshot", ("now", "status", "list", "show", "verify", "read", "diff", "restore"))}  # one page for several commands
OTHERS = ("mcompd.8", "mcomp-snapd.8", "mcomp.cfg.5", "libmcomp.3")


def page(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def options_in_page(name):
    """`.Fl -json` and, on one line with others, `Fl c , -config`."""
    found = set()
    for line in page(name).splitlines():
        if re.match(r"\.(It |Op )?Fl ", line) or " Fl " in line:
            found |= set(re.findall(r"(?<=[ ,])-([a-z][a-z-]+)", line))
    return found


def options_in_help(text):
    return set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M))


class Manuals(unittest.TestCase):
    def test_pages_tell_the_options_of_each_command(self):
        for name, arguments in PAGES.items():
            self.assertEqual(options_in_page(name), options_in_help(run(*arguments).stdout), name)

    def test_pages_of_groups_tell_the_options_of_all_their_commands(self):
        for name, (group, actions) in GROUPS.items():
            told = set().union(*(options_in_help(run(group, action, "--help").stdout) for action in actions))
            self.assertEqual(options_in_page(name), told, name)
            for action in actions:
                self.assertIn(f".Cm {group} {action}\n", page(name))
            self.assertEqual(set(re.findall(rf"^  {group} ([a-z]+)", run("help", group).stdout, re.M)), set(actions))

    def test_pages_of_the_daemons_tell_their_options(self):
        for name in ("mcompd", "mcomp-snapd"):
            done = subprocess.run([program(name), "--help"], capture_output=True, text=True, env=environment(), check=True)
            self.assertEqual(options_in_page(f"{name}.8"), options_in_help(done.stdout))

    def test_every_page_is_known_and_installed(self):
        with open(os.path.join(TOP, "docs", "CMakeLists.txt"), encoding="utf-8") as file:
            installed = set(re.findall(r"man/(\S+\.\d)\b", file.read()))
        self.assertEqual(installed, set(os.listdir(FOLDER)))
        self.assertEqual(installed, {*PAGES, *GROUPS, *OTHERS})

    def test_references_between_pages_lead_somewhere(self):
        system = {"cat.1", "systemd.1"}
        for name in (*PAGES, *GROUPS, *OTHERS):
            for title, section in re.findall(r"\bXr (\S+) (\d)", page(name)):
                self.assertIn(f"{title}.{section}", {*PAGES, *GROUPS, *OTHERS, *system}, name)

    def test_overview_names_every_command(self):
        for name in (*PAGES, *GROUPS):
            if name != "mcomp.1":
                self.assertIn(f".It Xr {name[:-2]} 1\n", page("mcomp.1"))

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_mandoc_finds_nothing_to_warn_of(self):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *[os.path.join(FOLDER, name) for name in sorted(os.listdir(FOLDER))]],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    case.main()
