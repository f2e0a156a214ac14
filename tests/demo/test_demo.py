#!/usr/bin/env python3
"""What the demo makes of its inputs: the gateway's configuration, and rows of a chart from the records."""
import glob
import json
import os
import sys
import tomllib
import unittest

from record import Record, load_lines
from world import DemoError, json_template, set_option, tool_toml

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Configuration(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(SOURCE, "conf", "demo.toml"), encoding="utf-8") as file:
            self.text = file.read()

    def test_every_replaced_option_is_there(self):
        text = self.text
        for section, key, value in (("listen", "port", "1"), ("admin", "port", "2"),
                                    ("client_key", "sha256", '"x"'), ("upstream", "url", '"u"'),
                                    ("speculation", "mode", '"off"')):
            text = set_option(text, section, key, value)
        data = tomllib.loads(text)
        self.assertEqual((data["listen"][0]["port"], data["admin"]["port"]), (1, 2))
        self.assertEqual((data["client_key"][0]["sha256"], data["upstream"][0]["url"]), ("x", "u"))
        self.assertEqual(data["speculation"]["mode"], "off")
        self.assertEqual(data["listen"][0]["certificate"], "cert.pem")

    def test_an_option_of_another_section_is_not_taken(self):
        for section, key in (("daemon", "port"), ("nowhere", "port"), ("listen", "mode")):
            with self.assertRaises(DemoError):
                set_option(self.text, section, key, "1")

    def test_the_shipped_file_speculates(self):
        self.assertEqual(tomllib.loads(self.text)["speculation"]["mode"], "confirm")


class Tools(unittest.TestCase):
    def tools(self):
        for name in glob.glob(os.path.join(SOURCE, "tests", "dialogues", "*.jsonl")):
            for dialogue in load_lines(name):
                text = "\n".join(tool_toml(dialogue, tool, 4321) for tool in dialogue["tools"])
                yield from zip(dialogue["tools"], tomllib.loads(text)["tool"])

    def test_declarations_say_what_the_dialogues_say(self):
        for tool, declared in self.tools():
            self.assertEqual(json.loads(declared["parameters"]), tool["parameters"])
            self.assertEqual(declared["effect"] == "read", tool["read_only"])
            self.assertEqual("undo" in declared, tool["inverse"] is not None)
            self.assertTrue(declared["request"]["url"].endswith("/tools/" + tool["name"]))
            self.assertEqual(declared["request"]["body"], "{*}")

    def test_a_write_without_inverse_is_held(self):
        effects = {tool["name"]: declared["effect"] for tool, declared in self.tools()}
        self.assertEqual((effects["set_address"], effects["cancel_visit"], effects["get_order"]),
                         ("hold", "reversible", "read"))

    def test_undo_fills_in_bare_values(self):
        self.assertEqual(json_template({"id": "$result.booking_id", "n": "$args.n"}),
                         '{"id": {result.booking_id}, "n": {args.n}}')


def out(at, kind, **members):
    return {"t": at, "kind": "out", "event": {"type": kind, **members}}


class Records(unittest.TestCase):
    """The provider's clock runs 90 s behind the caller's in this record."""

    log = [
        out(11.0, "response.created", response={"id": "p1", "conversation_id": None}),
        out(11.4, "response.done", response={"id": "p1", "output": [{"type": "function_call", "name": "find"}]}),
        out(13.0, "input_audio_buffer.committed", item_id="u1"),
        out(13.0, "response.created", response={"id": "r1", "conversation_id": "c"}),
        out(13.5, "response.done", response={"id": "r1", "output": [{"type": "function_call", "name": "find"}]}),
        out(13.6, "response.created", response={"id": "r2", "conversation_id": "c"}),
        out(14.0, "response.output_audio.delta", response_id="r2"),
        out(14.1, "response.done", response={"id": "r2", "output": [{"type": "message"}]}),
        {"t": 20.0, "kind": "in", "event": {"type": "response.create"}},
    ]

    def setUp(self):
        turn = {"turn": 0, "user": "x", "reply": "Two.", "answer": "Two.", "calls": 1, "began": 100.0,
                "ended": 102.5, "committed": 103.0, "first_audio": 104.0, "played": 105.0, "latency": 1.5}
        self.timeline = {"turns": [turn], "breaches": []}
        self.calls = [{"tool": "find", "verdict": "recorded", "arrived": 101.4, "answered": 101.9},
                      {"tool": "find", "verdict": "not found", "arrived": 100.5, "answered": 100.7},
                      {"tool": "later", "verdict": "recorded", "arrived": 99.0, "answered": 99.5}]
        self.effects = {"effects": [], "log": []}

    def record(self):
        return Record(self.timeline, self.calls, self.effects, self.log)

    def test_rows(self):
        rows = {row.name: [(round(begin, 3), round(end, 3), sign) for begin, end, sign in row.bars]
                for row in self.record().rows(0)}
        self.assertEqual(rows, {
            "caller": [(-2.5, 0, "#"), (0, 0.5, ".")],
            "passes": [(-1.5, -1.1, "~")],
            "provider": [(0.5, 1, "-"), (1.1, 1.5, "+")],
            "find": [(-1.1, -0.6, "="), (-2, -1.8, "x")],
            "answer": [(1.5, 2.5, ">")]})

    def test_what_is_drawn(self):
        self.assertEqual(tuple(round(time, 3) for time in self.record().span(0)), (-2.5, 2.3))
        del self.calls[1]  # nothing happens before the pass, half a second is shown before it
        self.assertEqual(tuple(round(time, 3) for time in self.record().span(0)), (-2, 2.3))

    def test_conversations_compare_without_ids(self):
        items = [{"kind": "message", "id": "a", "role": "user", "text": "x"},
                 {"kind": "function_call", "id": "b", "name": "find", "arguments": "{}", "call_id": "c"}]
        other = [{**item, "id": "z", "call_id": "y"} for item in items]
        other[0]["text"] = ""  # how much of the caller was transcribed in time is no difference
        records = []
        for found in (items, other):
            self.log = [*Records.log, {"t": 30, "kind": "conversation", "items": found}]
            records.append(self.record().conversation())
        self.assertEqual(*records)
        self.assertEqual(len(records[0]), 2)

    def test_good_record_has_no_problem(self):
        self.assertEqual(self.record().problems(), [])
        self.assertEqual(self.record().latencies(), [1.5])

    def test_problems(self):
        self.timeline["turns"][0]["answer"] = "Three."
        self.timeline["breaches"] = ["error event: no"]
        self.effects["log"] = [{"tool": "book", "args": {}, "duplicate": True}]
        self.assertEqual(len(self.record().problems()), 3)

    def test_turn_without_answer(self):
        self.timeline["turns"][0].update(first_audio=None, latency=None, played=None, committed=None)
        self.log = []
        self.calls = []
        self.assertEqual([row.name for row in self.record().rows(0)], ["caller", "provider"])
        self.assertEqual(self.record().span(0), (-1.5, 0.8))
        self.assertEqual(self.record().latencies(), [])

    def test_effects_compare_by_tool_and_arguments(self):
        self.effects["effects"] = [{"tool": "book", "args": {"b": 1, "a": 2}, "key": "k", "time": 5}]
        self.assertEqual(self.record().committed(), [("book", '{"a": 2, "b": 1}')])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
