#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/proto-check, on copies of mcomp.proto with one change each."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import case  # noqa: E402

SCRIPT = os.path.join(TOP, "scripts", "proto-check")
ADD = "message FetchAdd {"
FREED = 'reserved 2;\n  reserved "delta";'
DELTA = "  uint64 delta = 2;    // two's complement for negative steps"


class ProtoCheck(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.path = os.path.join(self.folder, "mcomp.proto")
        for name in ("mcomp.proto", "mcomp.proto.lock"):
            shutil.copy(os.path.join(TOP, "proto", name), self.folder)

    def check(self, *arguments):
        done = subprocess.run([sys.executable, SCRIPT, *arguments, self.path], capture_output=True, text=True, check=False)
        if done.returncode == case.EXIT_SKIPPED:
            self.skipTest(done.stderr.strip())
        return done

    def replace(self, old, new):
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(old, text)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new, 1))

    def lock(self):
        with open(self.path + ".lock", encoding="utf-8") as file:
            return file.read()

    def assert_refused(self, *words):
        """Refused, by --update as well, which leaves the lock as it is."""
        before = self.lock()
        for arguments in ([], ["--update"]):
            done = self.check(*arguments)
            self.assertEqual(done.returncode, 1, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        self.assertEqual(self.lock(), before)

    def test_as_published_is_in_order(self):
        self.assertEqual(self.check().returncode, 0)

    def test_other_comments_and_order_are_in_order(self):
        self.replace(DELTA, "")
        self.replace(ADD, ADD + "\n  uint64 delta = 2;")
        self.assertEqual(self.check().returncode, 0)

    def test_removed_field_is_refused(self):
        self.replace(DELTA, "")
        self.assert_refused("gone or changed: mcomp.v1.FetchAdd.delta = 2 uint64")

    def test_renumbered_field_is_refused(self):
        self.replace("uint64 delta = 2;", "uint64 delta = 3;")
        self.assert_refused("FetchAdd.delta = 2")

    def test_other_type_is_refused(self):
        self.replace("uint64 delta = 2;", "sint64 delta = 2;")
        self.assert_refused("FetchAdd.delta = 2 uint64")

    def test_other_name_is_refused(self):
        self.replace("uint64 delta = 2;", "uint64 step = 2;")
        self.assert_refused("FetchAdd.delta")

    def test_repeated_in_place_of_single_is_refused(self):
        self.replace("bytes data = 1;  // exactly", "repeated bytes data = 1;  // exactly")
        self.assert_refused("ReadResult.data = 1 bytes")

    def test_field_moved_out_of_its_oneof_is_refused(self):
        self.replace("    Hello hello = 8;\n", "")
        self.replace("  oneof op {", "  Hello hello = 8;\n  oneof op {")
        self.assert_refused("Request.hello = 8 mcomp.v1.Hello in op")

    def test_renumbered_enum_value_is_refused(self):
        self.replace("STATUS_WRONG_NODE = 18;", "STATUS_WRONG_NODE = 19;")
        self.assert_refused("STATUS_WRONG_NODE = 18")

    def test_other_package_is_refused(self):
        self.replace("package mcomp.v1;", "package mcomp.v2;")
        self.assert_refused("package mcomp.v1")

    def test_field_whose_number_and_name_are_reserved_may_go(self):
        self.replace(DELTA, f"  {FREED}")
        self.assertEqual(self.check("--update").returncode, 0)
        self.assertIn("mcomp.v1.FetchAdd reserved 2\n", self.lock())
        self.assertEqual(self.check().returncode, 0)

    def test_reserved_number_alone_is_not_enough(self):
        self.replace(DELTA, "  reserved 2;")
        self.assert_refused("FetchAdd.delta")

    def test_reservation_is_kept_for_ever(self):
        self.replace(DELTA, f"  {FREED}")
        self.assertEqual(self.check("--update").returncode, 0)
        self.replace(f"  {FREED}", "")
        self.assert_refused("FetchAdd reserved 2")

    def test_new_field_needs_the_lock_to_be_brought_up_to_date(self):
        self.replace(ADD, ADD + "\n  uint64 modulus = 3;")
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("not in the lock: mcomp.v1.FetchAdd.modulus = 3 uint64", done.stderr)
        self.assertEqual(self.check("--update").returncode, 0)
        self.assertEqual(self.check().returncode, 0)

    def test_style_of_names_is_checked(self):
        self.replace(ADD, ADD + "\n  uint64 newModulus = 3;")
        self.assert_refused("newModulus: fields are named like_this")

    def test_enum_without_unspecified_zero_is_refused(self):
        self.replace(ADD, "enum Mode {\n  MODE_FAST = 0;\n}\n" + ADD)
        self.assert_refused("Mode: the value 0 is MODE_UNSPECIFIED")

    def test_what_protoc_refuses_is_refused(self):
        self.replace(ADD, "message FetchAdd [")
        self.assert_refused("protoc refuses")


if __name__ == "__main__":
    case.main()
