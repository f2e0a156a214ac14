#!/usr/bin/env python3
"""Ratios, intervals and verdicts of the bench."""
import os
import tempfile
import unittest

import figures
import peers


def run(cpu_us, p50=10.0, messages=1000):
    return {"up": messages // 2, "down": messages // 2, "seconds": 1.0, "proxy_cpu_ns": cpu_us * 1e3 * messages,
            "bench_cpu_ns": 5e8, "latency_p50_us": p50, "latency_p99_us": 2 * p50}


def rows_of(cell, ours, **others):
    return {(row["peer"], row["figure"].split()[0]): row
            for row in figures.cell_rows(cell, {**others, "backchanneld": ours})}


class Verdicts(unittest.TestCase):
    cell = figures.Cell("none", 1000, 1300, 0)

    def test_ratio_is_paired_by_round(self):
        # The second round was disturbed for both alike.
        row = rows_of(self.cell, [run(6), run(60), run(6)], nginx=[run(10), run(100), run(10)])["nginx", "cpu"]
        self.assertAlmostEqual(row["ratio"], 0.6)
        self.assertAlmostEqual(row["max"], 0.6)
        self.assertTrue(row["ok"])
        self.assertEqual(row["target"], 0.75)

    def test_fails_only_when_the_whole_interval_is_above(self):
        above = rows_of(self.cell, [run(8)] * 5, nginx=[run(10)] * 5)["nginx", "cpu"]
        self.assertFalse(above["ok"])
        across = rows_of(self.cell, [run(7), run(8), run(7), run(8), run(8)], nginx=[run(10)] * 5)["nginx", "cpu"]
        self.assertGreater(across["ratio"], 0.75)
        self.assertLess(across["low"], 0.75)
        self.assertTrue(across["ok"])

    def test_latency_may_be_a_little_above_the_peers(self):
        cell = figures.Cell("none", 1000, 1300, 20000)
        allowed = rows_of(cell, [run(9, 19.0)] * 5, nginx=[run(9, 15.0)] * 5)["nginx", "p50"]
        self.assertTrue(allowed["ok"])
        self.assertFalse(rows_of(cell, [run(9, 21.0)] * 5, nginx=[run(9, 15.0)] * 5)["nginx", "p50"]["ok"])

    def test_no_target_is_no_failure(self):
        row = rows_of(figures.Cell("client", 100, 320, 0), [run(50)] * 5, nginx=[run(10)] * 5)["nginx", "cpu"]
        self.assertIsNone(row["target"])
        self.assertTrue(row["ok"])

    def test_peer_that_was_lost_in_a_later_round(self):
        row = rows_of(self.cell, [run(6)] * 3, nginx=[run(10)])["nginx", "cpu"]
        self.assertAlmostEqual(row["ratio"], 0.6)

    def test_many_sessions(self):
        cells = [(figures.Cell("none", 1000, 1300, 0), {"backchanneld": [run(5)] * 3}),
                 (figures.Cell("none", 5000, 1300, 0), {"backchanneld": [run(9)] * 3})]
        row, = figures.scaling_rows(cells)
        self.assertAlmostEqual(row["ratio"], 1.8)
        self.assertFalse(row["ok"])

    def test_second_worker(self):
        cell = figures.Cell("none", 1000, 1300, 0)
        row = figures.workers_row(cell, [run(10)] * 3, [run(11)] * 3)
        self.assertAlmostEqual(row["ratio"], 1.1)
        self.assertTrue(row["ok"])
        self.assertFalse(figures.workers_row(cell, [run(10)] * 3, [run(12)] * 3)["ok"])

    def test_idle_memory(self):
        self.assertTrue(figures.memory_row("none", 1000, 11.9)["ok"])
        self.assertFalse(figures.memory_row("both", 1000, 48.1)["ok"])

    def test_interval_holds_the_median_and_repeats(self):
        values = [0.5, 0.6, 0.7, 0.9, 1.4]
        low, high = figures.interval(values)
        self.assertLessEqual(low, 0.7)
        self.assertGreaterEqual(high, 0.7)
        self.assertEqual((low, high), figures.interval(values))


class Trace(unittest.TestCase):
    def test_summary_of_strace(self):
        with tempfile.NamedTemporaryFile("w", suffix=".strace") as file:
            file.write("% time     seconds  usecs/call     calls    errors syscall\n"
                       "------ ----------- ----------- --------- --------- ----------------\n"
                       " 60.00    0.010000          10      1000           sendto\n"
                       " 39.00    0.009000           9      1010        10 recvfrom\n"
                       "100.00    0.019000           9      2010        10 total\n")
            file.flush()
            self.assertEqual(peers.read_strace(file.name, 1000), {"recvfrom": 1.01, "sendto": 1.0})
            self.assertTrue(os.path.exists(file.name))


if __name__ == "__main__":
    unittest.main()
