#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every relative link of every page leads somewhere, its #heading included, and every path of this tree that a page mentions exists; so does every
page that code, scripts and mcomp.cfg mention. Prints one line for each that does not, and then exits with 1.

usage: check_links.py [FOLDER]    the project's top folder, by default this one's
"""
import os
import re
import sys

TOP = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SKIPPED = {".git", "build", "__pycache__", "corpus", "third_party"}
LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|(?:src|href|srcset)=\"([^\"]+)\"")
FOLDERS = "clients|cmake|docker|docs|include|proto|scripts|src|test"
PATH = re.compile(r"(?<![\w./@-])((?:" + FOLDERS + r")/[\w./@+-]*[\w])")
PAGE = re.compile(r"(?<![\w./-])(docs/[\w./-]+\.(?:md|svg))")
MENTIONS_PAGES = (".c", ".h", ".py", ".proto", ".cmake", ".txt", ".cfg", ".service", "Dockerfile", ".yaml", ".yml")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.S | re.M)


def files():
    for folder, folders, names in os.walk(TOP):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("build-"))
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), TOP)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def anchors(text):
    """The names that headings get: lower case, words joined by dashes, a number behind the second of one name."""
    found = set()
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*\s*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = 0
        while (name if count == 0 else f"{name}-{count}") in found:
            count += 1
        found.add(name if count == 0 else f"{name}-{count}")
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def check_links(page, text):
    prose = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)
    prose = re.sub(r"`[^`\n]*`", lambda match: " " * len(match.group(0)), prose)
    for match in LINK.finditer(prose):
        target = match.group(1) or match.group(2)
        if re.match(r"^[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        where = f"{page}:{line_of(prose, match.start())}"
        if not os.path.exists(os.path.join(TOP, full)):
            yield f"{where}: link to {target}: there is no {full}"
        elif anchor and full.endswith(".md") and anchor not in anchors(read(full)):
            yield f"{where}: link to {target}: {full} has no such heading"


def check_mentions(path, text, pattern):
    for match in pattern.finditer(text):
        if text[match.end():match.end() + 1] in ("*", "<", "…", "$", "{"):  # a pattern, no path
            continue
        if not os.path.exists(os.path.join(TOP, match.group(1))):
            yield f"{path}:{line_of(text, match.start())}: mentions {match.group(1)}, which does not exist"


def faults():
    for path in files():
        if path.endswith(".md"):
            text = read(path)
            yield from check_links(path, text)
            yield from check_mentions(path, text, PATH)
        elif path.endswith(MENTIONS_PAGES) or path.startswith("scripts/"):
            yield from check_mentions(path, read(path), PAGE)


def main():
    found = list(faults())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
