# SPDX-License-Identifier: Apache-2.0
"""How an integration test file runs: `case.main()` at its end, exit 77 when everything in it was skipped."""
import os
import signal
import sys
import unittest

EXIT_SKIPPED = 77


def scale(full, least=1):
    """A number of rounds, made smaller by $MCOMP_TEST_SCALE (0 … 1) for slow builds."""
    return max(least, int(full * float(os.environ.get("MCOMP_TEST_SCALE") or "1")))


def _time_is_up(*_):
    raise TimeoutError("the time for this test file is up ($MCOMP_TEST_TIMEOUT)")


def main():
    # An exception in good time, so that servers and shared memory are cleaned up before ctest kills us.
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.alarm(int(os.environ.get("MCOMP_TEST_TIMEOUT") or "600"))
    result = unittest.main(module="__main__", exit=False, verbosity=2).result
    signal.alarm(0)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(EXIT_SKIPPED if result.testsRun == len(result.skipped) else 0)
