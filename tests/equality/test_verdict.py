#!/usr/bin/env python3
"""Every kind of difference is planted once, and found."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench", "speculation"))

import plan  # noqa: E402
import verdict  # noqa: E402
from dialogues import own_set  # noqa: E402

FIND, BOOK, OTHER = ["find", '{"x":1}'], ["book", '{"x":1}'], ["book", '{"x":2}']


def row(**changes):
    return {"set": "s", "dialogue": "d", "turn": 0, "repair": False, "committed": 0.5, "latency": 1.0, "responses": [],
            "final": [FIND, BOOK], "outputs": ["{}", "{}"], "said": [["assistant", "Done."]], "effects": [BOOK],
            "order_holds": True, "early_effects": 0, "stale_answers": 0,
            "tools": [{"tool": "book", "args": '{"x":1}', "verdict": "recorded", "from": 0.7, "write": True}], **changes}


class Verdict(unittest.TestCase):
    def compare(self, **changes):
        return verdict.Comparison([row()], [row(**changes)])

    def test_equal_turns_keep_every_promise(self):
        found = self.compare()
        self.assertEqual((found.breaches(True), found.equal, found.lost), ([], 1.0, 0))
        # Calls side by side come in any order; how long a thing took is nobody's promise.
        self.assertEqual(self.compare(final=[BOOK, FIND], latency=0.5).breaches(True), [])

    def test_what_is_never_allowed(self):
        twice = [{"tool": "book", "args": '{"x":1}', "verdict": "duplicate", "from": 0.8, "write": True}]
        for changes, told in (({"early_effects": 1}, "before its commit"), ({"stale_answers": 1}, "stale"),
                              ({"tools": twice}, "too many")):
            self.assertTrue([line for line in self.compare(**changes).breaches(False) if told in line], changes)
        self.assertIn("not played", verdict.Comparison([row(), row(turn=1)], [row()]).breaches(False)[0])

    def test_what_is_not_allowed_where_passes_are_free_of_error(self):
        for changes, told in (({"effects": [OTHER]}, "other effects"), ({"order_holds": False}, "other effects"),
                              ({"outputs": ["{}", '{"late":1}']}, "other calls"), ({"final": [FIND, OTHER]}, "other calls"),
                              ({"said": [["assistant", "Hm."]]}, "other words"), ({"latency": None}, "no answer")):
            found = self.compare(**changes)
            self.assertIn(told, found.breaches(True)[0])
            self.assertEqual(found.breaches(False), [], changes)

    def test_a_verdict_beside_the_provider_s_own_call_is_one_too_many(self):
        base = row(final=[BOOK], outputs=["{}"])
        mistaken = row(final=[OTHER, BOOK], outputs=["{}", "{}"])  # the pass was wrong, and the model put it right
        beside = row(final=[BOOK, OTHER], outputs=["{}", "{}"])
        self.assertEqual(verdict.Comparison([base], [mistaken]).breaches(False), [])
        self.assertIn("too many", verdict.Comparison([base], [beside]).breaches(False)[0])

    def test_a_later_step_of_the_same_tool_may_be_mistaken_first(self):
        base = row(final=[BOOK, OTHER], outputs=["{}", "{}"])
        ours = row(final=[BOOK, ["book", '{"x":3}'], OTHER], outputs=["{}", "{}", "{}"])
        self.assertEqual(verdict.beside(base, ours), [])

    def test_calls_before_the_commit_are_counted(self):
        early = [{"tool": "find", "args": "{}", "verdict": "recorded", "from": 0.2, "write": False}]
        self.assertEqual(verdict.Play([row(tools=early), row()]).early_calls, 1)


class Sample(unittest.TestCase):
    def test_the_own_dialogues_give_every_kind(self):
        sets = [own_set(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dialogues"))]
        chosen = plan.sample(sets)
        turns = [job.dialogue["turns"][job.alone] for job in chosen[plan.PLAIN] if job.alone is not None]
        self.assertTrue(any(turn.get("calls") for turn in turns))
        self.assertTrue(chosen[plan.REPAIRS])
        self.assertTrue(any(job.alone is None for job in chosen[plan.PLAIN]))
        self.assertEqual([job.scene for job in chosen[plan.PLAIN]], [job.scene for job in plan.sample(sets)[plan.PLAIN]])
        whole = plan.everything(sets)
        self.assertGreaterEqual(len(whole[plan.REPAIRS]), len(chosen[plan.REPAIRS]))


if __name__ == "__main__":
    unittest.main()
