#!/usr/bin/env python3
"""The whole harness on the project's own dialogues, many times faster than real time: it proves that turns are played,
joined and compared, and judges no speed."""
import contextlib
import glob
import io
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
            with bench.lock:
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

    @staticmethod
    def command(folder, *more):
        """The command with a build folder of its own, and that folder."""
        build = os.path.join(folder, "build")
        os.makedirs(build)
        for name in ("daemon", "tests"):
            os.symlink(os.path.join(BUILD, name), os.path.join(build, name))
        return build, [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "speculation.py"), "--build",
                       build, "--scale", str(SCALE), "--limit", "6", "--quick", *more]

    def test_what_was_finished_before_a_stop_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            build, command = self.command(folder, "--mode", "strict,confirm,inject,O")
            kept = os.path.join(build, "bench", "speculation")
            going = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            # The first run that is done says so; then the others are under way.
            self.assertTrue(any(" of a core: " in line for line in going.stderr))
            going.terminate()
            self.assertIn("RESUME=1", going.communicate()[1])
            self.assertEqual(going.returncode, 130)
            finished = sorted(name.removesuffix(".jsonl") for name in os.listdir(kept) if name.endswith(".jsonl"))
            self.assertTrue(finished)
            done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
            again = sorted(line.partition(":")[0] for line in done.stderr.splitlines() if "kept from an earlier run" in line)
            self.assertEqual(again, finished, done.stderr)
            with open(os.path.join(build, "bench", "speculation.json"), encoding="utf-8") as file:
                self.assertEqual(set(json.load(file)["results"]), {"B0", "B1", "strict", "confirm", "inject", "O"})

    def test_another_provider(self):
        """The way that a real one is measured, with ours at the other end."""
        with tempfile.TemporaryDirectory() as folder:
            dialogue_files = sorted(glob.glob(os.path.join(speculation.SOURCE, "tests", "dialogues", "*.jsonl")))
            with subprocess.Popen([os.path.join(BUILD, "tests", "provider", "simprovider"), "--listen", "127.0.0.1:0",
                                   "--timing", os.path.join(speculation.SOURCE, "tests", "provider", "timing.json"), "--key",
                                   "sk-of-the-test", "--dialogues", *dialogue_files], stdout=subprocess.PIPE,
                                  text=True) as provider:
                self.addCleanup(provider.terminate)
                port = provider.stdout.readline().split()[-1]
                build, command = self.command(folder, "--provider", f"ws://127.0.0.1:{port}", "--key", "env:SIMULATED_KEY",
                                              "--model", "{dialogue}")
                done = subprocess.run(command, capture_output=True, text=True, check=False,
                                      env={**os.environ, "SIMULATED_KEY": "sk-of-the-test"})
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                provider.terminate()
            with open(os.path.join(build, "bench", "speculation.json"), encoding="utf-8") as file:
                found = json.load(file)
            self.assertEqual(set(found["results"]), {"B0", "B1", "confirm_all"})
            self.assertEqual([result["unanswered"] for result in found["results"].values()], [0, 0, 0])
            self.assertNotIn("sk-of-the-test", done.stdout + json.dumps(found))
            self.assertIsNone(found["ceiling"])

    def test_points_of_the_grid(self):
        with tempfile.TemporaryDirectory() as folder:
            settings, timing = settings_for(quick=True, limit=4)
            bench = speculation.Bench(settings, self.sets, folder)
            self.addCleanup(bench.lock.close)
            with self.assertRaisesRegex(dialogues.BadData, "another benchmark"):
                speculation.Bench(settings, self.sets, folder)
            plan = runs.Plan(settings, *rig.daemon_options(BUILD))
            chosen = [run for run in plan.grid() if run.name.startswith(("gpt-realtime-1.5, fast", "silence 0.8"))]
            self.assertEqual(len(chosen), 7)
            with contextlib.redirect_stdout(io.StringIO()) as told:
                speculation.measure_grid(bench, plan, chosen, timing)
            with open(os.path.join(folder, "speculation-grid.json"), encoding="utf-8") as file:
                points = json.load(file)["points"]
            self.assertEqual(set(points), {"gpt-realtime-1.5, fast, clause", "gpt-realtime-1.5, fast, word", "silence 0.8"})
            self.assertTrue(all(point["b1"]["task"]["n"] == 4 for point in points.values()))
            self.assertIn("silence 0.8", told.getvalue())

    def test_the_command_writes_its_results(self):
        with tempfile.TemporaryDirectory() as folder:
            build, command = self.command(folder, "--mode", "strict")
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
