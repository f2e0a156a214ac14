#!/usr/bin/env python3
"""The harness works: messages go through a proxy, all come out, and what was used is seen.  No figure is judged.

Usage: test_smoke.py BUILD
"""
import os
import sys
import unittest

import peers

BUILD = os.path.abspath(sys.argv.pop(1))
SESSIONS = 10


class Smoke(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.makedirs(os.path.join(BUILD, "bench"), exist_ok=True)
        peers.make_certificate(os.path.join(BUILD, "bench"))
        cls.ports = peers.Ports()

    def rig(self, peer, tls):
        cores = sorted(os.sched_getaffinity(0))
        rig = peers.Rig(BUILD, peer, tls, SESSIONS, self.ports, (cores[0], cores[-1]))
        self.addCleanup(rig.end)
        self.assertEqual(rig.setup["sessions"], SESSIONS)
        self.assertGreater(rig.setup["proxy_cpu_ns"], 0)
        return rig

    def check(self, rig, size, rate, seconds):
        run = rig.run(size, rate, 0, seconds)
        self.assertGreater(run["up"], 0)
        self.assertGreater(run["down"], 0)
        self.assertEqual(run["arrived"], run["sent"])
        self.assertGreater(run["proxy_cpu_ns"], 0)
        self.assertGreater(run["latency_p50_us"], 0)
        self.assertGreaterEqual(run["latency_p99_us"], run["latency_p50_us"])
        return run

    def test_splice(self):
        for tls in ("none", "client", "both"):
            with self.subTest(tls=tls):
                rig = self.rig("splice", tls)
                for size in (320, 1300, 8192, 65536):
                    self.check(rig, size, 0, 0.2)

    def test_backchanneld(self):
        for tls in ("none", "both"):
            with self.subTest(tls=tls):
                rig = self.rig("backchanneld", tls)
                run = self.check(rig, 1300, 0, 1)
                # The greeting of each session, and the offer of the gateway's tool.
                self.assertEqual(run["control"], 2 * SESSIONS)
                self.check(rig, 65536, 0, 0.2)

    def test_open_loop(self):
        run = self.check(self.rig("backchanneld", "none"), 1300, 500, 1)
        self.assertGreaterEqual(run["late_p99_us"], run["late_p50_us"])

    def test_everything_ends(self):
        rig = peers.Rig(BUILD, "splice", "none", SESSIONS, self.ports, sorted(os.sched_getaffinity(0))[:1] * 2)
        pids = [*rig.pids, rig.generator.process.pid]
        rig.end()
        for pid in pids:
            self.assertFalse(os.path.exists(f"/proc/{pid}"))


if __name__ == "__main__":
    unittest.main()
