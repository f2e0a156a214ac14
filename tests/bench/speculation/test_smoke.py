#!/usr/bin/env python3
"""The whole harness on the project's own dialogues, many times faster than real time: it proves that turns are played,
joined and compared, and judges no speed."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import ceiling
import dialogues
import rig
import runs
import speculation

BUILD = os.path.abspath(sys.argv.pop()) if len(sys.argv) > 1 else "build"
SCALE = 4.0


def settings_for(**changes):
    settings = speculation.parse_arguments(["--build", BUILD, "--scale", str(SCALE), "--sessions", "16", "--seeds", "1"])
    vars(settings).update(changes)
    settings.control = False
    return settings, speculation.complete(settings)


class Harness(unittest.TestCase):
    def play(self, jobs, options, settings, **changes):
        with tempfile.TemporaryDirectory() as folder:
            run = runs.Run("test", 1, settings, options, **changes)
            bench = speculation.Bench(settings, self.sets, folder)
            bench.jobs["service"] = jobs
            return bench.execute(run)

    def setUp(self):
        self.sets = [dialogues.own_set(os.path.join(speculation.SOURCE, "tests", "dialogues"))]

    def jobs(self, turns):
        found = {}
        for job in dialogues.quick_sample(self.sets, 150, 10):
            found.setdefault((dialogues.kind_of(job.dialogue["turns"][job.alone]), job.alone > 0), job)
        return list(found.values())[:turns]

    def test_turns_alone(self):
        settings, _ = settings_for(repair_rate=0.0)
        jobs = self.jobs(8)
        result = self.play(jobs, {"speculation": {"mode": "off"}}, settings)
        self.assertEqual(result.end["problems"], [])
        self.assertEqual(len(result.rows), len(jobs))
        for row in result.rows:
            self.assertIsNotNone(row["latency"], row)
            self.assertTrue(row["accurate"], row)
            self.assertEqual((row["wasted"], row["early_effects"], row["stale_answers"]), (0, 0, 0), row)
            self.assertTrue(row["responses"], row)

    def test_a_whole_dialogue_typed_and_one_without_a_vad(self):
        settings, _ = settings_for(repair_rate=0.0)
        jobs = dialogues.whole(self.sets)[-2:]
        for turns in ("text", "manual"):
            result = self.play(jobs, {"speculation": {"mode": "off"}}, settings, turns=turns)
            self.assertEqual(result.end["problems"], [], turns)
            self.assertTrue(all(row["latency"] is not None for row in result.rows), turns)

    def test_the_paper_knows_how_long_words_and_tools_take(self):
        settings, timing = settings_for(repair_rate=1.0)
        jobs = [dialogues.Job(job.group, job.dialogue, job.alone) for job in self.jobs(8)]
        result = self.play(jobs, {"speculation": {"mode": "off"}}, settings)
        world = ceiling.World(timing, settings)
        by_turn = {(row["dialogue"], row["turn"]): row for row in result.rows}
        checked = 0
        for job in jobs:
            row, turn = by_turn[(job.dialogue["id"], job.alone)], ceiling.Turn(world, job.dialogue, job.alone)
            # Never shorter than on paper, but for the frame that speech is cut into; how much longer is the machine's.
            self.assertGreater(row["speech"] * SCALE, turn.ends[-1] - 0.1, row["user"])
            self.assertEqual(row["user"].split(), turn.words)
            for call, seconds in zip(row["tools"], turn.tools):
                if len(turn.tools) == 1:
                    self.assertGreater((call["to"] - call["from"]) * SCALE, seconds - 0.01, call)
                    checked += 1
        self.assertGreater(checked, 0)

    def test_the_command_writes_its_results(self):
        with tempfile.TemporaryDirectory() as folder:
            build = os.path.join(folder, "build")
            os.makedirs(build)
            for name in ("daemon", "tests"):
                os.symlink(os.path.join(BUILD, name), os.path.join(build, name))
            command = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "speculation.py"), "--build",
                       build, "--scale", str(SCALE), "--limit", "6", "--quick", "--mode", "strict"]
            for extra in ([], ["--resume"]):
                done = subprocess.run(command + extra, capture_output=True, text=True, check=False)
                self.assertIn("SCALED", done.stdout, done.stderr)
                self.assertIn("simulated provider", done.stdout)
                self.assertNotIn("PROBLEM", done.stdout)
            self.assertIn("kept from an earlier run", done.stderr)
            with open(os.path.join(build, "bench", "speculation.json"), encoding="utf-8") as file:
                found = json.load(file)
            self.assertEqual(set(found["summary"]), {"confirm_all", "n0_ms", "n1_ratio", "eager_turn", "control"})
            self.assertEqual(found["results"]["strict"]["state"]["share"], 1.0)
            self.assertTrue(os.path.getsize(os.path.join(build, "bench", "speculation.html")) > 1000)

    def test_the_shipped_daemon_can_be_asked_what_it_has(self):
        daemon, modes = rig.daemon_options(BUILD)
        self.assertIn("strict", modes)
        self.assertIn("sequential", daemon["tools"])

    def test_every_means_is_one_the_daemon_has(self):
        settings, _ = settings_for()
        plan = runs.Plan(settings, *rig.daemon_options(BUILD))
        self.assertEqual(plan.missing, [])
        for pairs in {tuple(run.options["speculation"].items()) for run in (*plan.full(), *plan.grid())}:
            options = "".join(f"{key} = {rig.toml_value(value)}\n" for key, value in pairs)
            asked = rig.ask_daemon(os.path.join(BUILD, "daemon", "backchanneld"), "--check", "[speculation]\n" + options)
            self.assertEqual(asked.returncode, 0, (options, asked.stderr))


if __name__ == "__main__":
    unittest.main()
