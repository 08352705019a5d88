#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_links.py and check_claims.py find what they are there for, in small trees made for the purpose."""
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import case  # noqa: E402

NOTHING = "docs" + "/nothing.md"  # in two parts, since this page does not exist
HELLO = "int main(void) { return 0; }\n"
OPERATIONS = """## What goes wrong?

The limit is `PIECES_MAX`.

| pieces | 64 KiB | `PIECES_MAX` |

## Troubleshooting

| `cannot open … for reading` | … |
"""
MAIN = r"""
#define PIECES_MAX (64u << 10) /* docs/protocol.md says why */
printf("cannot open %" PRIu64 "%-*s"
    " for reading", 1, 2);
"""
SOUND = {
    "README.md": f"# Top\n\nSee [that](docs/operations.md#what-goes-wrong), [here](#top) and `docs/operations.md`.\n\n```c\n{HELLO}```\n",
    "docs/operations.md": OPERATIONS,
    "docs/protocol.md": "`STATUS_OK`\n",
    "docs/examples/hello.c": HELLO,
    "proto/mcomp.proto": "enum Status {\n  STATUS_OK = 1;\n}\n",
    "src/main.c": MAIN,
}


class Checks(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        for path, text in SOUND.items():
            self.write(path, text)

    def write(self, path, text):
        full = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def replace(self, path, old, new):
        self.assertIn(old, SOUND[path])
        self.write(path, SOUND[path].replace(old, new))

    def run_check(self, script):
        done = subprocess.run([sys.executable, os.path.join(HERE, script), self.folder], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (1 if done.stdout else 0, ""))
        return done.stdout

    def assert_found(self, script, *words):
        found = self.run_check(script)
        for word in words:
            self.assertIn(word, found)
        self.assertEqual(found.count("\n"), 1, found)

    def test_sound_trees_are_sound(self):
        self.assertEqual(self.run_check("check_links.py"), "")
        self.assertEqual(self.run_check("check_claims.py"), "")

    def test_link_to_nothing(self):
        self.replace("README.md", "(docs/operations.md#what-goes-wrong)", f"({NOTHING})")
        found = self.run_check("check_links.py")
        self.assertIn("README.md:3: link to " + NOTHING, found)

    def test_link_to_a_heading_that_is_not_there(self):
        self.replace("README.md", "#what-goes-wrong", "#what-goes-right")
        self.assert_found("check_links.py", "README.md:3", "no such heading")

    def test_link_within_the_page(self):
        self.replace("README.md", "(#top)", "(#bottom)")
        self.assert_found("check_links.py", "README.md:3", "no such heading")

    def test_mention_of_a_path_that_is_not_there(self):
        self.replace("README.md", "`docs/operations.md`", "`scripts/nothing`")
        self.assert_found("check_links.py", "README.md:3", "mentions scripts/nothing")

    def test_page_that_code_mentions(self):
        self.replace("src/main.c", "docs/protocol.md", NOTHING)
        self.assert_found("check_links.py", "src/main.c:2", "mentions " + NOTHING)

    def test_message_that_nothing_prints(self):
        self.replace("docs/operations.md", "for reading", "for writing")
        self.assert_found("check_claims.py", 'no code prints "for writing"')

    def test_name_that_is_in_no_code(self):
        self.replace("docs/operations.md", "is `PIECES_MAX`", "is `PIECES_LEAST`")
        self.assert_found("check_claims.py", "PIECES_LEAST is in no code")

    def test_value_that_is_not_the_code_s(self):
        self.replace("docs/operations.md", "64 KiB", "65 KiB")
        self.assert_found("check_claims.py", "PIECES_MAX is (64u << 10), not 65 KiB")

    def test_status_that_the_page_forgets(self):
        self.replace("proto/mcomp.proto", "STATUS_OK = 1;", "STATUS_OK = 1;\n  STATUS_LATE = 2;")
        self.assert_found("check_claims.py", "STATUS_LATE is missing")

    def test_program_that_is_another(self):
        self.replace("docs/examples/hello.c", "return 0", "return 1")
        self.assert_found("check_claims.py", "docs/examples/hello.c")


if __name__ == "__main__":
    case.main()
