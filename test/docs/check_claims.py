#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the pages say of the code, as far as a program can tell:

* each message in the tables under "Troubleshooting" of docs/operations.md is one that the code can print, `…` standing for what varies;
* each NAME_IN_CAPITALS is defined somewhere in the code;
* the value that stands behind such a name in a table of limits, `| … | value | `NAME` … |`, is its value;
* each status of mcomp.proto stands in docs/protocol.md;
* the program in README.md is docs/examples/hello.c.

Prints one line for each that does not hold, and then exits with 1.

usage: check_claims.py [FOLDER]    the project's top folder, by default this one's
"""
import os
import re
import sys

TOP = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
CODE = (".c", ".h", ".py", ".proto", ".cmake", ".txt", ".json")
FRAGMENT_BYTES_MIN = 4
FOREIGN = re.compile(r"^(SIG[A-Z]+|E[A-Z]{3,}|SO_\w+|TCP_\w+|MSG_\w+|SPDX\w*|NOTIFY_SOCKET|LISTEN_\w+|CMAKE_\w+|UTF|README|HACKING|LICENSE|TSAN_\w+|ASAN_\w+)$")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def tree(folders, endings):
    for folder in folders:
        for base, inner, names in os.walk(os.path.join(TOP, folder)):
            inner[:] = [name for name in inner if name not in ("build", "__pycache__", ".git") and not name.startswith("build-")]
            yield from (os.path.relpath(os.path.join(base, name), TOP) for name in sorted(names) if name.endswith(endings))


def pages():
    top = [name for name in sorted(os.listdir(TOP)) if name.endswith(".md")]
    return top + list(tree(["docs"], (".md",)))


def strings_of(code):
    """All string literals, neighbours joined, conversions and escapes replaced by …"""
    code = re.sub(r"/\*.*?\*/", " ", code, flags=re.S)
    code = re.sub(r'"\s*PRI\w+\s*"|"\s*SCN\w+\s*"', "…", code)  # "…%" PRIu64 "…"
    code = re.sub(r'"\s*"', "", code)
    for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', code):
        literal = re.sub(r"%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j|t)?(?:…|[a-zA-Z])", "…", literal).replace("%%", "%")
        yield literal.replace('\\"', '"').replace("\\n", "\n")


def check_messages(page, text):
    known = "\n".join(string for path in tree(["src", "scripts"], (".c", ".h")) for string in strings_of(read(path)))
    for row in re.findall(r"^\| `(.+?)` \|", text.split("## Troubleshooting\n")[1], re.M):
        for fragment in (part.strip(" :;,") for part in row.split("…")):
            if len(fragment) >= FRAGMENT_BYTES_MIN and fragment not in known:
                yield f'{page}: no code prints "{fragment}", of the message "{row}"'


def definitions():
    """NAME -> the texts that define it as a macro; every other name in capitals of the code -> none."""
    found = {}
    for path in tree(["src", "include", "proto", "cmake", "test", "scripts"], CODE):
        text = read(path)
        for name in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", text):
            found.setdefault(name, [])
        for name, value in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S.*?)[ \t]*(?:/\*.*)?$", text, re.M):
            found.setdefault(name, []).append(value)
    return found


def number(expression, known):
    """A macro's value, when it is made of numbers and of other macros that are."""
    plain = re.sub(r"(?<=[0-9a-fA-F])[uUlL]+\b|\bU?INT64_C\b", "", expression)
    for name in re.findall(r"\b[A-Z][A-Z0-9_]+\b", plain):
        plain = plain.replace(name, str(number(known[name][0], known) if known.get(name) else name))
    return eval(plain) if re.fullmatch(r"[\d\sxa-fA-F()*+<-]+", plain) else None  # pylint: disable=eval-used


def check_names(page, text, known):
    for name in sorted(set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", text))):
        if name not in known and "STATUS_" + name not in known and "MCOMP_" + name not in known and not FOREIGN.match(name):
            yield f"{page}: {name} is in no code"
    scale = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    for value, unit, name in re.findall(r"\| ([\d,]+)(?: (KiB|MiB|GiB))? \| `([A-Z][A-Z0-9_]+)`", text):
        wanted = int(value.replace(",", "")) * scale[unit]
        if wanted not in [number(text, known) for text in known.get(name, [])]:
            yield f"{page}: {name} is {' or '.join(known.get(name, []))}, not {value} {unit}".rstrip()


def check_statuses(text):
    for name in re.findall(r"^\s+(STATUS_[A-Z_]+) = ", read("proto/mcomp.proto"), re.M):
        if f"`{name}`" not in text:
            yield f"docs/protocol.md: {name} is missing"


def check_program(text):
    program = read("docs/examples/hello.c")
    if f"```c\n{program}```" not in text:
        yield "README.md: no block of C is the same as docs/examples/hello.c"


def faults():
    known = definitions()
    for page in pages():
        yield from check_names(page, read(page), known)
    yield from check_messages("docs/operations.md", read("docs/operations.md"))
    yield from check_statuses(read("docs/protocol.md"))
    yield from check_program(read("README.md"))


def main():
    found = list(faults())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
