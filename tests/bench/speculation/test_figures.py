#!/usr/bin/env python3
"""What the benchmark makes of records: pure functions, no process is started."""
import json
import os
import tempfile
import tomllib
import types
import unittest

import ceiling
import collect
import dialogues
import explain
import metrics
import page
import report
import rig
import runs
import speculation

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TIMING = os.path.join(SOURCE, "tests", "provider", "timing.json")

# [speculation] of a daemon with all means, as it prints its defaults.
FULL = {"growth": "0s", "prefetch": True, "patterns": True, "prepare": False, "race": False, "eager_turn": False}

TOOLS = [{"name": "find", "description": "Find.", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
          "read_only": True, "inverse": None},
         {"name": "book", "description": "Book.", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
          "read_only": False, "inverse": {"kind": "exact", "name": "cancel", "args": {"x": "$args.x"}}}]


def call(name, read_only=True, **more):
    return {"name": name, "args": {"x": "a"}, "result": {"ok": 1}, "read_only": read_only, "ready": 2, "ready_clause": 3,
            "depends_on": [], "order_after": [], **more}


def dialogue(identity="d", calls=()):
    return {"id": identity, "tools": TOOLS, "turns": [{"user": "hello", "words": 1, "reply": "Hi.", "calls": []},
                                                      {"user": "find me this", "words": 3, "reply": "Here.",
                                                       "calls": list(calls)}]}


def row(latency, **more):
    return {"set": "s", "dialogue": "d", "turn": 0, "kind": "single read", "repair": False, "speech": 2.0, "user": "hm",
            "latency": latency, "committed": 0.5, "commits": 1, "answers": [], "tools": [], "responses": [], "effects": [],
            "order_holds": True, "final": [], "false_ends": 0, "false_commits": 0, "undone": 0, "accurate": True, "early_effects": 0, "early_undoable": 0, "stale_answers": 0, "wasted": 0,
            "wasted_s": 0.0, "late": 0.0, **more}


class Dialogues(unittest.TestCase):
    def test_kinds(self):
        kinds = [([], dialogues.NO_CALLS), ([call("find")], "single read"), ([call("book", False)], "single write"),
                 ([call("find"), call("find")], "parallel reads"),
                 ([call("find"), call("find", depends_on=[0])], "dependent reads"),
                 ([call("find"), call("book", False)], "chain with a write")]
        for calls, kind in kinds:
            self.assertEqual(dialogues.kind_of({"user": "x", "calls": calls}), kind)

    def write(self, folder, name, items):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(item) + "\n" for item in items)

    def test_a_sample_beside_its_source_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder, "a.public.jsonl", [dialogue("1"), dialogue("2")])
            self.write(folder, "smoke.jsonl", [dialogue("2")])
            self.write(folder, "hotpot.x.jsonl", [dialogue("3")])
            self.assertEqual([(item.name, item.control) for item in dialogues.load_sets(folder)],
                             [("a", False), ("hotpot", True)])
            self.write(folder, "smoke.jsonl", [dialogue("2"), dialogue("9")])
            with self.assertRaises(dialogues.BadData):
                dialogues.load_sets(folder)

    def test_a_line_that_is_no_dialogue_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder, "a.jsonl", [dialogue("1"), {"id": 5}])
            with self.assertRaisesRegex(dialogues.BadData, r"a\.jsonl:2"):
                dialogues.load_sets(folder)

    def test_the_quick_sample_is_fixed_and_even(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in "ab":
                self.write(folder, name + ".jsonl", [dialogue(f"{name}{i}", [call("find")]) for i in range(40)])
            sets = dialogues.load_sets(folder)
            chosen = dialogues.quick_sample(sets, 30, 10)
            again = dialogues.quick_sample(dialogues.load_sets(folder), 30, 10)
            self.assertEqual([job.scene for job in chosen], [job.scene for job in again])
            named = [job.group.name for job in chosen if job.alone == 1]
            self.assertEqual((named.count("a"), named.count("b"), len(chosen)), (10, 10, 30))
            self.assertEqual(chosen[0].scene, f"{chosen[0].dialogue['id']}@t1:1")


class Configuration(unittest.TestCase):
    def test_tools_and_daemon_are_toml(self):
        job = dialogues.Job(None, dialogue(), 1)
        held = tomllib.loads(rig.tools_toml(job, 1234, False))["tool"]
        undone = tomllib.loads(rig.tools_toml(job, 1234, True))["tool"]
        self.assertEqual([tool["effect"] for tool in held], ["read", "hold"])
        self.assertEqual([tool["effect"] for tool in undone], ["read", "reversible"])
        self.assertEqual(undone[1]["undo"]["body"], '{"x": {args.x}}')
        self.assertEqual(held[0]["tags"], held[1]["tags"])
        self.assertTrue(held[0]["request"]["url"].endswith("/d/d@t1:1/tools/find"))
        text = rig.gateway_toml({"provider": 1, "admin": 2, "gateway": 3},
                                {"speculation": {"mode": "off", "prefetch": True}, "tools": {"sequential": True}})
        found = tomllib.loads(text)
        self.assertEqual((found["speculation"], found["tools"], found["listen"][0]["port"]),
                         ({"mode": "off", "prefetch": True}, {"sequential": True}, 3))

    def test_a_line_of_the_daemon_is_read_when_it_is_whole(self):
        with tempfile.TemporaryDirectory() as folder, rig.Rig("", "", folder, None, None) as one:
            line = rig.RELOADED + b"; new sessions use it\n"
            for part, seen in ((line[:7], 0), (line[7:], 1), (line + line[:9], 2), (line[9:], 3)):
                with open(one.path("backchanneld.err"), "ab") as file:
                    file.write(part)
                one.read_log(None)
                self.assertEqual(one.reloaded, seen)

    def test_a_faster_world_has_less_of_the_daemon_s_own_time(self):
        job = dialogues.Job(None, dialogue(), 1)
        found = tomllib.loads(rig.tools_toml(job, 1234, False, 4.0))["tool"][0]
        self.assertEqual((found["fresh_for"], found["waste_price"], found["timeout"]), ("7500ms", "12ms", "60s"))

    def plan(self, options, modes=("off", "strict", "confirm", "inject"), **settings):
        known = {"tools": "typical", "rule": "clause", "turns": "vad", "silence": None, "seeds": 3, "control": True,
                 "profile": "gpt-realtime", "repair_rate": 0.06, "pause_rate": 0.0}
        return runs.Plan(types.SimpleNamespace(**{**known, **settings}),
                         {"speculation": options, "tools": {"sequential": False}}, list(modes))

    def found(self, run):
        """What the daemon would read."""
        return tomllib.loads(rig.gateway_toml({"provider": 1, "admin": 2, "gateway": 3}, run.options))["speculation"]

    def test_each_means_is_on_in_its_run_and_off_in_the_others(self):
        plan = self.plan(FULL)
        runs_ = {run.name: run for run in plan.full()}
        self.assertEqual(plan.missing, [])
        for name, option, on, off in runs.MEANS:
            self.assertNotEqual(on, off)
            for other, *_ in runs.MEANS:
                self.assertEqual(self.found(runs_[f"+ {other}"])[option], on if other == name else off, (name, other))
            for mode in ("strict", "confirm", "inject", f"+ {runs.REVERSIBLE}"):
                self.assertEqual(self.found(runs_[mode])[option], off, (name, mode))
        self.assertTrue(runs_[f"+ {runs.REVERSIBLE}"].reversible)
        self.assertEqual([name for name, run in runs_.items() if run.reversible], [f"+ {runs.REVERSIBLE}", "everything"])

    def test_confirm_all_is_all_that_ends_no_turn_earlier(self):
        runs_ = {run.name: run for run in self.plan(FULL).full()}
        for name in ("confirm_all", "N0", "N1"):
            self.assertEqual(self.found(runs_[name]), {"mode": "confirm", "growth": "0s", "prefetch": True, "patterns": True,
                                                       "prepare": True, "race": True, "eager_turn": False}, name)
        for name in ("O", "control-confirm_all"):
            self.assertEqual((self.found(runs_[name])["growth"], runs_[name].rule), ("400ms", "word"))
        word = self.plan(FULL, rule="word").confirm_all()
        self.assertEqual(self.found(word)["growth"], "400ms")
        everything = self.found(runs_["everything"])
        self.assertEqual((everything["eager_turn"], everything["growth"]), (True, "0s"))

    def test_runs_are_compared_with_runs_there_are(self):
        plan = self.plan(FULL)
        for every in (plan.full(), plan.grid()):
            names = {run.name for run in every}
            self.assertEqual([run.name for run in every if not set(run.bases) <= names], [])
            labels = [run.label for run in every]
            self.assertEqual(len(labels), len(set(labels)))

    def test_a_grid_point_changes_what_it_is_named_after(self):
        found = {run.name: run for run in self.plan(FULL, seeds=1).grid()}
        one = found["gemini-3.1-flash-live, slow, word: confirm_all"]
        self.assertEqual((one.profile, one.tools, one.rule), ("gemini-3.1-flash-live", "slow", "word"))
        self.assertEqual(one.bases, ("gemini-3.1-flash-live, slow: B0", "gemini-3.1-flash-live, slow: B1"))
        self.assertEqual(found["silence 0.8: B1"].silence, 0.8)
        self.assertEqual(found["early calls wrong 0.5: confirm_all"].provider, ["--early-wrong", "0.5"])
        self.assertEqual(self.found(found["hold_quiet 1s: confirm_all"])["hold_quiet"], "1s")
        self.assertNotIn("hold_quiet 1s: B1", found)

    def test_runs_of_a_full_daemon(self):
        plan = self.plan(FULL)
        found = plan.full()
        names = [run.label for run in found]
        self.assertEqual(len(names), len(set(names)))
        for name in ("B0-1", "B1-3", "confirm_all-3", "B1-vad-1", "strict-1", "inject-1", "+-prefetch-1", "+-eager-turn-1",
                     "N0-base-1", "N1-1", "O-1", "control-B0-1", "control-confirm_all-1"):
            self.assertIn(name, names)
        best = next(run for run in found if run.name == "confirm_all")
        self.assertEqual(best.bases, ("B0", "B1"))
        control = next(run for run in found if run.name == "control-B1")
        self.assertEqual((control.tools, control.rule, control.turns, control.sets), ("uniform", "word", "manual", "control"))

    def test_what_the_daemon_lacks_is_named(self):
        plan = self.plan({}, ("off", "strict"))
        self.assertIn("prefetch", plan.missing)
        self.assertTrue(any("confirm" in name for name in plan.missing))
        self.assertEqual(plan.confirm_all().options, {"speculation": {"mode": "strict"}})
        self.assertEqual([run.name for run in plan.quick()], ["B0", "B1", "confirm_all", "N0-base", "N0", "N1"])

    def test_one_mode(self):
        self.assertEqual([run.name for run in self.plan({}).chosen("strict")], ["B0", "B1", "strict"])
        self.assertEqual([run.label for run in self.plan(FULL).chosen("confirm_all")],
                         ["B0-1", *(f"{name}-{seed}" for name in ("B1", "confirm_all") for seed in (1, 2, 3))])
        self.assertEqual([run.name for run in self.plan(FULL).chosen("pauses eager turn, N0")],
                         ["pauses B1", "pauses B1-vad", "pauses eager turn", "N0-base", "N0"])
        self.assertEqual(self.plan(FULL).chosen("strict,stricter"), [])


class Records(unittest.TestCase):
    """One session with one calling turn, joined from all ends."""

    def joined(self, **changes):
        item = dialogue("d", [call("find"), call("book", False, order_after=[])])
        job = dialogues.Job(types.SimpleNamespace(name="s"), item, 1)
        turn = {"turn": 1, "user": "find me this", "began": 100.0, "ended": 102.0, "committed": 102.5, "first_commit": 102.5,
                "commits": 1, "repair": False, "late": 0.001,
                "answers": [{"id": "r0", "created": 102.5, "first": 102.6, "done": 102.7, "status": "completed",
                             "text": "One moment."},
                            {"id": "r1", "created": 102.8, "first": 104.0, "done": 105.0, "status": "completed",
                             "text": "Here."}]}
        turn.update(changes.get("turn", {}))
        timeline = {"turns": [turn], "breaches": changes.get("breaches", [])}
        request = {"dialogue": "d", "session": "d@t1:1", "tool": "find", "args": {"x": "a"}, "verdict": "recorded", "turn": 1,
                   "arrived": 101.5, "answered": 102.0}
        calls = [request, {**request, "tool": "find", "args": {"x": "b"}, "verdict": "not found", "turn": None},
                 {**request, "tool": "book", "arrived": changes.get("booked", 103.0), "answered": 103.5}]
        effects = {"effects": [{"dialogue": "d", "session": "d@t1:1", "tool": "book", "args": {"x": "a"},
                                "time": 1e6 * (changes.get("booked", 103.0) + 50)}]}
        items = [{"kind": "message", "role": "user"}, {"kind": "message", "role": "assistant"},
                 {"kind": "message", "role": "user"},
                 {"kind": "function_call", "name": "find", "arguments": '{"x":"a"}', "call_id": "1"},
                 {"kind": "function_call_output", "call_id": "1", "output": changes.get("output", "{}")},
                 {"kind": "function_call", "name": "book", "arguments": '{"x": "a"}', "call_id": "2"}]
        commits = [{"kind": "commit", "session": 1, "at": at, "turns": [1]} for at in (changes.get("commit"), 900.0) if at]
        log = collect.Log([{"kind": "parameters", "session": 0, "t": 0, "sha256": "ab"},
                           {"kind": "session", "session": 1, "t": 0, "dialogue": "d", "name": "d@t1:1"},
                           *(commits if "commit" in changes else []),
                           {"kind": "response", "session": 1, "id": "r1", "turn": 1, "aside": False, "status": "completed",
                            "created": 2.7, "first": 3.9, "done": 5.0, "tokens": {"text_in": 10}, "usd": 0.01},
                           {"kind": "response", "session": 1, "id": "p1", "turn": 1, "aside": True, "status": "completed",
                            "created": 1.0, "first": None, "done": 1.4, "tokens": {"text_in": 8}, "usd": 0.002},
                           {"kind": "conversation", "session": 1, "items": items}])
        rows, problems = collect.rows_of([job], {0: timeline}, calls, effects, 50, log, collect.Manner())
        return rows[0], problems

    def test_latency_is_that_of_the_substantive_answer(self):
        found, problems = self.joined()
        self.assertEqual((found["latency"], problems), (2.0, []))
        self.assertIsNone(self.joined(turn={"answers": []})[0]["latency"])

    def test_what_was_called_and_what_was_wasted(self):
        found, _ = self.joined()
        self.assertEqual((found["wasted"], found["wasted_s"], found["accurate"]), (1, 0.5, True))
        self.assertEqual(found["effects"], [("book", '{"x":"a"}')])
        self.assertEqual([round(one["from"], 2) for one in found["responses"]], [0.8, -0.9])
        self.assertTrue(metrics.guessed_in_speech(found))

    def test_an_answer_into_the_speech_is_a_false_end(self):
        turn = {"began": 10.0, "ended": 12.0, "first_commit": 11.0,
                "answers": [{"first": 9.5}, {"first": 11.5}, {"first": None}, {"first": 13.0}]}
        self.assertEqual(collect.false_ends(turn), (1, 1))
        self.assertEqual(collect.false_ends({**turn, "first_commit": 12.5, "answers": [{"first": 13.0}]}), (0, 0))
        self.assertEqual(collect.false_ends({**turn, "ended": None}), (0, 0))

    def test_a_write_that_was_taken_back_is_waste(self):
        def request(tool, verdict="recorded", write=True):
            return {"tool": tool, "args": "{}", "verdict": verdict, "write": write, "arrived": 1.0, "answered": 1.5}
        requests = [request("book"), request("cancel", "undo")]
        self.assertEqual(collect.waste_of(requests, [], []), (1, 0.5))
        self.assertEqual(collect.waste_of(requests, [], [("book", "{}")]), (0, 0.0))
        self.assertEqual(collect.waste_of(requests, [("book", "{}", None)], []), (0, 0.0))

    def test_an_effect_before_the_commit_is_seen(self):
        self.assertEqual(self.joined()[0]["early_effects"], 0)
        self.assertEqual(self.joined(booked=102.3)[0]["early_effects"], 1)

    def test_the_provider_s_word_on_the_commit_leaves_no_slack(self):
        self.assertEqual(self.joined(booked=102.495)[0]["early_effects"], 0)
        self.assertEqual(self.joined(booked=102.495, commit=102.5)[0]["early_effects"], 1)
        self.assertEqual(self.joined(booked=102.4, commit=102.3)[0]["early_effects"], 0)

    def test_an_early_effect_that_can_be_taken_back_is_another_matter(self):
        request = {"tool": "book", "args": "{}", "write": True, "verdict": "recorded", "arrived": 1.0}
        for undoable, expected in (((), (1, 0)), ({"book"}, (0, 1))):
            self.assertEqual(collect.early_effects([request], 2.0, [("book", "{}")], undoable), expected)
        self.assertEqual(collect.early_effects([request], 2.0, [], {"book"}), (0, 0))
        self.assertEqual(collect.early_effects([request], 2.0, []), (1, 0))  # one that the caller had cancelled later

    def test_a_stale_answer_is_seen(self):
        self.assertEqual(self.joined(output='{"stale": true}')[0]["stale_answers"], 1)

    def test_a_split_turn_stays_one(self):
        turns = [{"turn": 0, "user": "one two three"}, {"turn": 1, "user": "four"}]

        def calls_of(name, number):
            return {"kind": "function_call", "name": name, "arguments": "{}", "call_id": str(number)}
        items = [{"kind": "message", "role": "user", "text": "one two"}, calls_of("a", 1),
                 {"kind": "message", "role": "user", "text": "three"}, calls_of("b", 2),
                 {"kind": "message", "role": "user", "text": "four"}, calls_of("c", 3)]
        items.insert(1, {**calls_of("cut", 4), "arguments": '{"x": "un', "status": "incomplete"})
        found = collect.conversation_turns(items, 0, turns)
        called = [[name for name, *_ in collect.calls_of(found[turn], {}, collect.Schemas([]))] for turn in (0, 1)]
        self.assertEqual(called, [["a", "b"], ["c"]])

    def test_breaches_are_problems(self):
        self.assertEqual(self.joined(breaches=["x"])[1], ["d@t1:1: x"])

    def test_the_critical_path_adds_up(self):
        found, _ = self.joined()
        path = explain.segments(found)
        self.assertAlmostEqual(sum(end - begin for begin, end, _ in path), found["latency"])
        self.assertIn("first audio", explain.lines_of("B1-1", found)[-1])


class Figures(unittest.TestCase):
    def test_a_ratio_is_one_of_means_and_sets_count_alike(self):
        base = {1: [row(2.0), row(4.0, turn=1), row(3.0, set="t")]}
        ours = {1: [row(1.0), row(2.0, turn=1), row(3.0, set="t")]}
        found = metrics.compare(base, ours, 50)
        self.assertEqual((found["calling"]["sets"], found["calling"]["ratio"]), ({"s": 2.0, "t": 1.0}, 1.5))
        self.assertEqual(found["calling"]["median"], 2.0)

    def test_only_pairs_count(self):
        found = metrics.compare({1: [row(2.0)], 2: [row(9.0)]}, {1: [row(1.0), row(1.0, turn=5)], 3: [row(1.0)]}, 10)
        self.assertEqual((found["calling"]["n"], found["calling"]["ratio"]), (1, 2.0))

    def test_turns_without_calls_stand_apart(self):
        silent = {"kind": dialogues.NO_CALLS}
        found = metrics.compare({1: [row(1.0, **silent), row(1.0, turn=1, **silent)]},
                                {1: [row(1.002, **silent), row(1.004, turn=1, **silent)]}, 10)
        self.assertAlmostEqual(found["nocall"]["p50_ms"], 3.0)
        self.assertIsNone(found["calling"]["ratio"])

    def test_the_interval_holds_the_ratio(self):
        base = {1: [row(2.0 + i % 3, dialogue=str(i)) for i in range(40)]}
        ours = {1: [row(1.0 + i % 2, dialogue=str(i)) for i in range(40)]}
        found = metrics.compare(base, ours)["calling"]
        self.assertLess(found["low"], found["ratio"])
        self.assertGreater(found["high"], found["ratio"])

    def test_state(self):
        one, two = ["book", "{}"], ["pay", "{}"]
        base = {1: [row(1.0, effects=[one, two])]}
        self.assertEqual(metrics.state_equality(base, {1: [row(1.0, effects=[one, two])]})["share"], 1.0)
        self.assertEqual(metrics.state_equality(base, {1: [row(1.0, effects=[one])]})["share"], 0.0)
        self.assertEqual(metrics.state_equality(base, {1: [row(1.0, effects=[two, one], order_holds=False)]})["share"], 0.0)

    def test_order_of_effects(self):
        script = {"calls": [call("book", False), call("pay", False, order_after=[0])]}
        schemas = collect.Schemas(TOOLS)
        keys = [schemas.key("book", {"x": "a"}), schemas.key("pay", {"x": "a"})]
        self.assertTrue(collect.order_holds(keys, script, schemas))
        self.assertFalse(collect.order_holds(keys[::-1], script, schemas))

    def test_a_default_that_is_left_out_makes_no_other_call(self):
        tool = {"name": "pay", "parameters": {"properties": {"x": {"type": "string"}, "n": {"default": 5}}}}
        schemas = collect.Schemas([tool])
        self.assertEqual(schemas.key("pay", {"x": "a"}), schemas.key("pay", {"n": 5.0, "x": "a"}))
        self.assertNotEqual(schemas.key("pay", {"x": "a"}), schemas.key("pay", {"x": "a", "n": 6}))

    def results(self, latency, **more):
        runs_ = {"B0": {1: [row(3.0)]}, "B1": {1: [row(2.5)]}, "confirm_all": {1: [row(latency, **more)]}}
        found = {}
        for name, run in runs_.items():
            found[name] = {**metrics.one_run(run), "vs": {}, "state": None, "ends": {}}
            if name == "confirm_all":
                found[name]["vs"] = {base: metrics.compare(runs_[base], run, 10) for base in ("B0", "B1")}
                found[name]["state"] = metrics.state_equality(runs_["B0"], run)
        return found

    def test_pairs_are_shown_of_a_seed_both_have(self):
        def kept(rows):
            return types.SimpleNamespace(rows=rows)
        played = {"B1": {2: kept([row(2.5)]), 3: kept([row(9.0)])}, "confirm_all": {2: kept([row(2.0)]), 5: kept([])}}
        pairs = speculation.pairs_shown(played, "B1", "confirm_all")
        self.assertEqual([(a["latency"], b["latency"]) for a, b in pairs], [(2.5, 2.0)])
        for base, name in (("B1", "strict"), ("B0", "confirm_all"), ("B1", None)):
            self.assertEqual(speculation.pairs_shown(played, base, name), [])
        self.assertEqual(speculation.pairs_shown({"B1": {1: kept([])}, "O": {2: kept([])}}, "B1", "O"), [])

    def test_outputs_are_written_whatever_seeds_there_are(self):
        results = self.results(2.0)
        found = {"summary": metrics.summary(results), "head": {"title": "T", "notes": []}, "results": results,
                 "ceiling_lines": [], "verdicts": [], "red_flags": [], "noise": None}
        with tempfile.TemporaryDirectory() as folder:
            for base in ({}, {"B1": {4: types.SimpleNamespace(rows=[row(2.5)])}}):
                played = {**base, "confirm_all": {2: types.SimpleNamespace(rows=[row(2.0)])}}
                speculation.write_outputs(types.SimpleNamespace(out=folder), found, played)
                self.assertTrue(os.path.exists(os.path.join(folder, "speculation.html")))

    def test_false_ends_count_where_the_baseline_had_none(self):
        base = {1: [row(2.0), row(2.0, turn=1, false_ends=1)]}
        ours = {1: [row(2.0, false_ends=1), row(2.0, turn=1, false_ends=2)]}
        self.assertEqual(metrics.ends_of_turns(base, ours)["false_ends"], 1)
        self.assertEqual(metrics.ends_of_turns(base, base)["false_ends"], 0)
        results = self.results(2.0)
        for name, run in (("+ eager turn", ours), ("pauses eager turn", base)):
            results[name] = {**metrics.one_run(run), "vs": {"B1": metrics.compare(base, run, 10)}, "state": None,
                             "ends": {"B1": metrics.ends_of_turns(base, run)}}
        found = metrics.summary(results)
        self.assertEqual(found["eager_turn"]["false_ends"], 1)
        judged = {item["target"]: item["ok"] for item in metrics.verdicts(found, False)}
        self.assertFalse(judged["eager turn, false ends heard"])

    def test_summary_and_verdicts(self):
        found = metrics.summary(self.results(2.0), {"vs_b1": 1.5})
        self.assertEqual(found["confirm_all"]["vs_b1"], 1.25)
        self.assertEqual(found["confirm_all"]["dependent_reads_vs_b0"], None)
        self.assertAlmostEqual(found["confirm_all"]["share_of_ceiling"], 0.6)
        verdicts = {item["target"]: item["ok"] for item in metrics.verdicts(found, True)}
        self.assertTrue(verdicts["confirm_all against B1"])
        self.assertFalse(verdicts["share of the ceiling's saving"])
        self.assertIsNone(verdicts["N1 against B1"])
        self.assertTrue(all(item["ok"] is not False for item in metrics.verdicts(found, False)))

    def test_safety_is_always_judged(self):
        found = metrics.summary(self.results(2.0, early_effects=1))
        verdicts = {item["target"]: item["ok"] for item in metrics.verdicts(found, False)}
        self.assertFalse(verdicts["uncommitted effects"])

    def test_red_flags(self):
        self.assertEqual(metrics.red_flags({}, self.results(2.0)), [])
        self.assertIn("1.6", metrics.red_flags({}, self.results(1.0))[0])
        self.assertIn("never got their answer", metrics.red_flags({}, self.results(None))[0])

    def test_text_and_page_can_be_made_of_it(self):
        results = self.results(2.0)
        summary = metrics.summary(results)
        found = {"summary": summary, "head": {"title": "T", "notes": []}, "results": results, "ceiling_lines": [],
                 "verdicts": metrics.verdicts(summary, True), "red_flags": [], "noise": None}
        self.assertIn("1.25", "\n".join(report.page_of_text(found)))
        found["ceiling"] = {"n": 1, "vs_b1": 1.3, "vs_b0": 1.4, "kinds": {"single read": {"n": 1, "vs_b1": 1.31, "vs_b0": 1.4}}}
        lines = report.markdown(found).splitlines()
        self.assertIn("| confirm_all | 1.25 (1.25-1.25) | 1.50 (1.50-1.50) |", "\n".join(lines))
        self.assertIn("| single read | 1 | [1.25] | 1.31 | [1.50] | 1.40 |", lines)
        tables = [line for line in lines if line.startswith("|")]
        self.assertTrue(all(line.endswith("|") for line in tables))
        pair = (row(2.5), row(2.0, tools=[{"tool": "find", "args": "{}", "from": -1.0, "to": None, "verdict": "recorded",
                                           "write": False}]))
        text = page.page(found, {"s": [("B1", [2.5]), ("confirm_all", [2.0])]}, [pair], ("B1", "confirm_all"))
        self.assertIn("2.50 s &rarr; 2.00 s", text)
        self.assertNotIn("http", text.replace("http-equiv", ""))


class Ceiling(unittest.TestCase):
    def setUp(self):
        with open(TIMING, encoding="utf-8") as file:
            timing = json.load(file)
        settings = types.SimpleNamespace(profile="gpt-realtime", turns="vad", silence=None, rule="clause", tools="typical",
                                         repair_rate=0.0)
        self.world = ceiling.World(timing, settings)

    def turn(self, calls):
        return ceiling.Turn(self.world, dialogue("d", calls), 1)

    def test_draws_belong_to_names(self):
        draw = ceiling.Draws(7).uniform("orders-1", 2, 1, "tool_time")
        self.assertTrue(0 < draw < 1)
        self.assertEqual(draw, ceiling.Draws(7).uniform("orders-1", 2, 1, "tool_time"))
        self.assertNotEqual(draw, ceiling.Draws(8).uniform("orders-1", 2, 1, "tool_time"))

    KINDS = ([call("find")], [call("book", False)], [call("find"), call("book", False, depends_on=[0])],
             [call("find"), call("find", depends_on=[0])], [call("book", False), call("find", order_after=[0])],
             [call("find"), call("find")])

    def test_each_ceiling_grants_more_than_the_one_below(self):
        for calls in self.KINDS:
            found = self.turn(calls).latencies()
            self.assertLessEqual(found["b1"], found["b0"])
            self.assertLessEqual(found["rule"], found["passes"])
            self.assertLessEqual(found["passes"], found["b1"])
            self.assertLessEqual(found["instant"], found["rule"])
            self.assertLessEqual(found["hindsight"], found["rule"])

    def test_parallel_calls_save_time_only_side_by_side(self):
        found = self.turn([call("find"), call("find")]).latencies()
        self.assertGreater(found["b0"], found["b1"])

    def test_nothing_that_follows_a_write_is_guessed(self):
        turn = self.turn([call("book", False), call("find", order_after=[0])])
        self.assertEqual(turn.guesses(), {})

    def fixed(self, calls, **draws):
        """A turn whose draws are known: passes 2 s, tools 1 s, the answer 1 s, arguments at once."""
        turn = self.turn(calls)
        turn.side, turn.final = 0.3, 1.0
        turn.passes, turn.tools, turn.says = ([value] * len(calls) for value in (2.0, 1.0, 0.0))
        for name, value in draws.items():
            setattr(turn, name, value)
        return turn

    def test_a_read_is_taken_over_when_it_is_named_and_there(self):
        rtt = self.world.rtt
        late = self.fixed([call("find")])  # its last word is the turn's last: the tool is what is waited for
        self.assertAlmostEqual(late.ruled(), 1.0 + rtt + 1.0)
        quick = self.fixed([call("find")], tools=[0.0])  # the provider's end of turn is
        self.assertAlmostEqual(quick.ruled(), 0.5 + rtt + 1.0)
        slow = self.fixed([call("find")], tools=[0.0], side=1.0, says=[0.25])  # the pass is: it also says the arguments
        self.assertAlmostEqual(slow.ruled(), 0.15 + 1.25 + rtt + 1.0)
        self.assertAlmostEqual(slow.ruled(instant=True), 0.5 + rtt + 1.0)

    def test_a_guess_by_a_pass_takes_the_time_of_the_pass_that_is_first(self):
        rtt = self.world.rtt
        late = self.fixed([call("find")])  # nothing is known before the last word
        late.sides = [0.0] * len(late.words) + [0.4]
        self.assertAlmostEqual(late.ruled(by_passes=True), 0.15 + 0.4 + 1.0 + rtt + 1.0)
        known = self.fixed([call("find")], ready=[-9.0])  # and here everything: the first pass finds it in time
        known.ends, known.sides = [-9.0, *(0.0 for _ in known.words)], [0.1] + [9.0] * len(known.words)
        self.assertAlmostEqual(known.ruled(by_passes=True), 0.5 + rtt + 1.0)

    def test_a_write_waits_for_the_quiet(self):
        rtt = self.world.rtt
        self.assertAlmostEqual(self.fixed([call("book", False)]).ruled(), ceiling.QUIET + 1.0 + 1.0)
        later = self.fixed([call("book", False)], side=1.0)
        self.assertAlmostEqual(later.ruled(), 0.15 + 1.0 + rtt + 1.0 + 1.0)

    def test_a_response_that_has_spoken_is_not_taken_over(self):
        turn = self.fixed([call("find")], side=9.0, passes=[0.1], tools=[0.05])
        self.assertAlmostEqual(turn.ruled(), 0.5 + 0.1 + 1.0)
        self.assertIsNone(turn.covering(1, turn.guesses()))

    def test_what_depends_waits_for_a_pass_over_the_result(self):
        rtt = self.world.rtt
        chain = [call("find"), call("find", depends_on=[0])]
        turn = self.fixed(chain, tools=[0.2, 0.1], side=0.4)
        # Taken over when the first level is ready; the second one's pass, asked with its result, ends just behind: it then
        # takes the place of the next response.
        self.assertAlmostEqual(turn.ruled(), 0.15 + 0.4 + rtt + 0.05 - rtt + rtt + 1.0, places=2)
        unknown = self.fixed([call("book", False), call("find", order_after=[0])], tools=[0.2, 0.1])
        # Nothing is known before the write is done; then a pass begins with the provider's response, and is quicker here.
        self.assertAlmostEqual(unknown.ruled(), ceiling.QUIET + 0.2 + rtt + 0.3 + 0.1 + rtt + 1.0)
        slow = self.fixed([call("book", False), call("find", order_after=[0])], tools=[0.2, 0.1], passes=[2.0, 0.2])
        self.assertAlmostEqual(slow.ruled(), ceiling.QUIET + 0.2 + 0.2 + 0.1 + 1.0)

    def test_a_guess_that_comes_too_late_keeps_nobody_waiting(self):
        turn = self.fixed([call("find")], passes=[0.1])
        turn.sides = [9.0] * (len(turn.words) + 1)
        self.assertAlmostEqual(turn.ruled(by_passes=True), 0.5 + 0.1 + 1.0 + 1.0)

    def test_a_turn_that_beats_the_paper_is_named(self):
        job = dialogues.Job(types.SimpleNamespace(name="s"), dialogue("d", [call("find")]))
        settings = types.SimpleNamespace(profile="gpt-realtime", turns="vad", silence=None, rule="clause", tools="typical",
                                         repair_rate=0.0)
        best = ceiling.Turn(self.world, job.dialogue, 1).ruled()
        b1 = ceiling.Turn(self.world, job.dialogue, 1).latencies()["b1"]
        with open(TIMING, encoding="utf-8") as file:
            timing = json.load(file)

        def beaten(latency, base):
            found = ceiling.beaten([job], timing, settings, [row(latency, turn=1)], [row(base, turn=1)])
            self.assertEqual(found["turns"], 1)
            return [turn[:2] for turn in found["found"]]
        self.assertEqual(beaten(best - 0.1, b1), [["d", 1]])
        self.assertEqual(beaten(best - 0.03, b1), [])
        self.assertEqual(beaten(best - 0.5, b1 - 0.5), [])  # its tool was quicker than on paper in both


if __name__ == "__main__":
    unittest.main()
