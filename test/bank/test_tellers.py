#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Transactions make no money and lose none, whoever is killed: the sum is exact in each snapshot and at the end. And the auditor who says so can say no."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
import tellers  # noqa: E402
from grid import program  # noqa: E402

SEED = int(os.environ.get("MCOMP_TEST_SEED") or "1")


class Tellers(unittest.TestCase):
    def spliced(self, campaign):
        """Two snapshots of different instants put together: the sum cannot be right, whichever node comes from the other."""
        grid, (first, last) = campaign.grid, campaign.kept[:2]
        wrong = []
        for node in range(grid.nodes):
            subprocess.run([program("bank"), "splice", str(grid.segment_size), str(grid.nodes), "accounts", "1", "1", "torn.mcsnap", first, last, "node",
                            str(node)], cwd=grid.directory, check=True)
            wrong += campaign.faults_of(campaign.audit_file(grid.path("torn.mcsnap")), 0, campaign.begun())
            os.unlink(grid.path("torn.mcsnap"))
        self.assertIn("the balances add up to", "; ".join(wrong))
        self.assertEqual(campaign.faults_of(campaign.audit_file(last), 0, campaign.begun()), [])
        self.assertIn("transfers were acknowledged", campaign.faults_of(campaign.audit_file(first), campaign.done(), campaign.begun())[0])

    def test_sum_is_exact_whoever_is_killed(self):
        campaign = tellers.run(clients=case.scale(64, 8), accounts=case.scale(1000, 200), rounds=case.scale(40, 6), seed=SEED, least_between=100,
                               after=self.spliced)
        self.assertGreater(campaign.client_kills, 0)
        self.assertGreater(campaign.server_kills, 0)


if __name__ == "__main__":
    case.main()
