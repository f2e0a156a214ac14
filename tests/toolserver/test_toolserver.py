#!/usr/bin/env python3
"""The tool server, seen from outside: what it answers, what it lists, how long it takes.

Usage: test_toolserver.py TOOLSERVER TIMING.json DIALOGUES.jsonl...
"""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

PROGRAM, TIMING, *DIALOGUES = sys.argv[1:]

# A dialogue with what the demo's calls do not have: an order between writes and reads, equal writes.
ORDERED = {
    "id": "ordered-1",
    "tools": [
        {"name": "add", "description": "x", "parameters": {"type": "object", "properties": {
            "item": {"type": "string"}, "count": {"type": "integer", "default": 1}}}, "read_only": False,
         "inverse": {"kind": "compensate", "name": "remove", "args": {"line": "$result.line"}}},
        {"name": "remove", "description": "x", "parameters": {"type": "object", "properties": {
            "line": {"type": "integer"}}}, "read_only": False, "inverse": None},
        {"name": "total", "description": "x", "parameters": {"type": "object", "properties": {}},
         "read_only": True, "inverse": None}],
    "turns": [{"user": "add tea and tell me the total", "words": 7, "reply": "Two.", "calls": [
        {"name": "add", "args": {"item": "tea"}, "result": {"line": 1}, "read_only": False,
         "arg_word": {"item": 2}, "basis": {"item": "user"}, "intent_word": 1, "depends_on": [],
         "order_after": [], "ready": 2, "ready_clause": 7},
        {"name": "total", "args": {}, "result": {"total": 2}, "read_only": True, "arg_word": {}, "basis": {},
         "intent_word": 7, "depends_on": [], "order_after": [0], "ready": 7, "ready_clause": 7}]}]}


# A later read that a turn run alone must find, and a tool whose inverse is itself.
LIGHTS = {
    "id": "lights-1",
    "tools": [
        {"name": "set_light", "description": "x", "parameters": {"type": "object", "properties": {
            "mode": {"type": "string"}}}, "read_only": False, "inverse": {"kind": "self_previous"}},
        {"name": "get_light", "description": "x", "parameters": {"type": "object", "properties": {}},
         "read_only": True, "inverse": None}],
    "turns": [
        {"user": text, "words": 4, "reply": "Yes.", "calls": [
            {"name": "set_light", "args": {"mode": mode}, "result": {"mode": mode}, "read_only": False, "ready": 4,
             "ready_clause": 4},
            {"name": "get_light", "args": {}, "result": {"is": mode}, "read_only": True, "order_after": [0],
             "ready": 4, "ready_clause": 4}]}
        for text, mode in (("make the lights low", "low"), ("make the lights high", "high"))]}
# The old values are what the caller wants in the end.
AGAIN = {**LIGHTS, "id": "lights-2", "turns": [*LIGHTS["turns"], LIGHTS["turns"][0]]}


class Server:
    """A running tool server."""

    def __init__(self, folder, *options):
        self.effects = os.path.join(folder, "effects.jsonl")
        extra = os.path.join(folder, "ordered.jsonl")
        with open(extra, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(dialogue) + "\n" for dialogue in (ORDERED, LIGHTS, AGAIN)))
        self.process = subprocess.Popen(
            [PROGRAM, "--listen", "0", "--timing", TIMING, "--effects", self.effects, "--profile", "0",
             *options, "--dialogues", *DIALOGUES, extra], stdout=subprocess.PIPE, text=True)
        word, port = self.process.stdout.readline().split()
        assert word == "listening", word
        self.base = f"http://127.0.0.1:{port}"

    def stop(self):
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(timeout=30)

    def request(self, path, body=None, **headers):
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.base + path, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def tool(self, dialogue, name, args, **headers):
        return self.request(f"/d/{dialogue}/tools/{name}", args, **headers)

    def effects_now(self):
        return self.request("/control/effects")[1]

    def calls(self):
        return self.request("/control/calls")[1]


class ToolServer(unittest.TestCase):
    options = ()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.server = Server(self.folder.name, *self.options)

    def tearDown(self):
        status = self.server.stop()
        self.folder.cleanup()
        self.assertEqual(status, 0)

    def wait_until(self, condition):
        limit = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.01)


class Reads(ToolServer):
    def test_recorded_result(self):
        status, body = self.server.tool("orders-1", "get_order", {"order_id": "85041"})
        self.assertEqual((status, body["shipment_id"]), (200, "SH-2207"))
        self.assertEqual(self.server.effects_now(), {"effects": [], "log": []})

    def test_other_arguments_are_not_found(self):
        self.assertEqual(self.server.tool("orders-1", "get_order", {"order_id": "85042"}),
                         (404, {"error": "not found"}))
        self.assertEqual(self.server.tool("orders-1", "nothing", {})[0], 404)
        self.assertEqual(self.server.tool("nobody-1", "get_order", {"order_id": "85041"})[0], 404)
        self.assertEqual(self.server.request("/elsewhere", {})[0], 404)

    def test_path_without_dialogue(self):
        self.assertEqual(self.server.request("/tools/get_order", {"order_id": "85041"})[0], 200)

    def test_order_of_members_and_number_form_do_not_matter(self):
        status, _ = self.server.request("/d/booking-1/tools/find_tables",
                                        b'{"people":4.0, "day":"friday","restaurant":"\\u004cuigi"}')
        self.assertEqual(status, 200)

    def test_body_that_is_no_json(self):
        self.assertEqual(self.server.request("/d/orders-1/tools/get_order", b"{")[0], 400)

    def test_stale_until_the_write_is_done(self):
        self.assertEqual(self.server.tool("ordered-1", "total", {}), (200, {"stale": True}))
        self.server.tool("ordered-1", "add", {"item": "tea"})
        self.assertEqual(self.server.tool("ordered-1", "total", {}), (200, {"total": 2}))

    def test_calls_are_listed_with_times(self):
        self.server.tool("orders-1", "get_order", {"order_id": "85041"}, X_Session="s1")
        call, = self.server.calls()
        self.assertEqual((call["tool"], call["turn"], call["call"], call["session"], call["verdict"]),
                         ("get_order", 0, 0, "s1", "recorded"))
        self.assertGreaterEqual(call["answered"], call["arrived"])


class Writes(ToolServer):
    address = {"customer_id": "5520", "street": "12 Park Lane", "city": "York"}

    def test_effect_is_listed_and_written_to_the_file(self):
        status, body = self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k1",
                                        X_Session="s1")
        self.assertEqual((status, body["saved"]), (200, True))
        effect, = self.server.effects_now()["effects"]
        self.assertEqual((effect["tool"], effect["args"], effect["key"], effect["session"]),
                         ("set_address", self.address, "k1", "s1"))
        with open(self.server.effects, encoding="utf-8") as lines:
            self.assertEqual([json.loads(line) for line in lines], [effect])

    def test_same_key_is_one_effect(self):
        first = self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k1")
        again = self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k1")
        self.assertEqual(first, again)
        self.assertEqual(len(self.server.effects_now()["log"]), 1)

    def test_key_of_another_call_is_refused(self):
        self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k1")
        other = {**self.address, "city": "Leeds"}
        self.assertEqual(self.server.tool("address-1", "set_address", other, Idempotency_Key="k1")[0], 422)
        self.assertEqual(len(self.server.effects_now()["log"]), 1)

    def test_second_effect_is_called_a_duplicate(self):
        self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k1")
        self.server.tool("address-1", "set_address", self.address, Idempotency_Key="k2")
        first, second = self.server.effects_now()["effects"]
        self.assertNotIn("duplicate", first)
        self.assertIs(second["duplicate"], True)

    def test_wrong_write_cannot_hide(self):
        status, _ = self.server.tool("address-1", "set_address", {**self.address, "city": "Leeds"})
        self.assertEqual(status, 404)
        self.assertIs(self.server.effects_now()["effects"][0]["not found"], True)

    def test_schema_defaults_make_no_difference(self):
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea", "count": 1})[1], {"line": 1})

    def test_inverse_removes_the_effect(self):
        self.server.tool("ordered-1", "add", {"item": "tea"})
        self.assertEqual(self.server.tool("ordered-1", "remove", {"line": 1}), (200, {"undone": True}))
        effects = self.server.effects_now()
        self.assertEqual((effects["effects"], len(effects["log"])), ([], 2))
        self.assertEqual(self.server.tool("ordered-1", "total", {}), (200, {"stale": True}))
        self.server.tool("ordered-1", "add", {"item": "tea"})
        self.assertNotIn("duplicate", self.server.effects_now()["effects"][0])

    def test_inverse_by_arguments(self):
        self.server.tool("booking-3", "cancel_visit", {"visit_id": "V-9"})
        self.server.tool("booking-3", "restore_visit", {"visit_id": "V-9"})
        self.assertEqual(self.server.effects_now()["effects"], [])

    def test_inverse_of_nothing(self):
        self.assertEqual(self.server.tool("ordered-1", "remove", {"line": 1})[0], 404)


class Inverses(ToolServer):
    def light(self, body, name="lights-1"):
        return self.server.tool(name, "set_light", body)

    def live(self):
        return [effect["args"] for effect in self.server.effects_now()["effects"]]

    def test_old_values_take_the_newest_effect_back(self):
        self.light({"mode": "low"})
        self.light({"mode": "wrong"})
        self.assertEqual(self.light({"mode": "low"}), (200, {"undone": True}))
        self.assertEqual(self.live(), [{"mode": "low"}])
        self.assertEqual([effect["kind"] for effect in self.server.effects_now()["log"]], ["effect", "effect", "undo"])

    def test_null_takes_the_first_effect_back(self):
        self.light({"mode": "low"})
        self.assertEqual(self.light(b"null"), (200, {"undone": True}))
        self.light({"mode": "low"})
        self.light({"mode": "high"})
        self.assertEqual(self.light(b"null"), (200, {"undone": True}))
        self.assertEqual(self.live(), [{"mode": "low"}])

    def test_nothing_to_take_back(self):
        self.assertEqual(self.light(b"null")[0], 404)

    def test_values_a_turn_really_wants_are_no_undo(self):
        for mode in ("low", "high", "low"):
            self.assertEqual(self.light({"mode": mode}, "lights-2"), (200, {"mode": mode}))
        self.assertEqual(self.live(), [{"mode": "low"}, {"mode": "high"}, {"mode": "low"}])


class PreviousValues(ToolServer):
    options = ("--previous",)

    def test_results_say_what_was_there(self):
        self.assertEqual(self.server.tool("lights-1", "set_light", {"mode": "low"})[1],
                         {"mode": "low", "_previous": None})
        self.assertEqual(self.server.tool("lights-1", "set_light", {"mode": "high"})[1],
                         {"mode": "high", "_previous": {"mode": "low"}})
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea"})[1], {"line": 1})


class Instances(ToolServer):
    def test_each_has_its_own_state(self):
        self.server.tool("ordered-1@a", "add", {"item": "tea"})
        self.assertEqual(self.server.tool("ordered-1@a", "total", {})[1], {"total": 2})
        self.assertEqual(self.server.tool("ordered-1@b", "total", {})[1], {"stale": True})
        self.server.tool("ordered-1@b", "add", {"item": "tea"})
        effects = self.server.effects_now()["effects"]
        self.assertEqual([(e["dialogue"], e["instance"], "duplicate" in e) for e in effects],
                         [("ordered-1", "ordered-1@a", False), ("ordered-1", "ordered-1@b", False)])

    def test_a_turn_alone(self):
        self.assertEqual(self.server.tool("lights-1@a:1", "get_light", {})[1], {"stale": True})
        self.server.tool("lights-1@a:1", "set_light", {"mode": "high"})
        self.assertEqual(self.server.tool("lights-1@a:1", "get_light", {})[1], {"is": "high"})
        self.assertEqual([call["turn"] for call in self.server.calls()], [1, 1, 1])

    def test_named_by_argument_or_header(self):
        body = {"item": "tea", "_sim": "ordered-1@a:0"}
        self.assertEqual(self.server.request("/tools/add", body), (200, {"line": 1}))
        self.assertEqual(self.server.request("/d/lights-1/tools/add", body)[0], 200)
        self.assertEqual(self.server.request("/tools/total", {}, X_Dialogue="ordered-1@a")[1], {"total": 2})
        effect = self.server.effects_now()["effects"][0]
        self.assertEqual((effect["instance"], effect["args"]), ("ordered-1@a", {"item": "tea"}))


class Status(ToolServer):
    def test_done(self):
        self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k1")
        for body in (None, {}):
            self.assertEqual(self.server.request("/status/k1", body), (200, {"state": "done", "result": {"line": 1}}))

    def test_not_done_is_a_promise(self):
        self.assertEqual(self.server.request("/status/k1"), (200, {"state": "not_done"}))
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k1")[0], 409)
        self.assertEqual(self.server.effects_now()["log"], [])
        self.assertEqual(self.server.request("/status/k1"), (200, {"state": "not_done"}))
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k2")[0], 200)


class Fails(ToolServer):
    options = ("--fail-rate", "1")

    def test_nothing_is_done(self):
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k1")[0], 503)
        self.assertEqual(self.server.effects_now()["log"], [])
        self.assertEqual(self.server.calls()[0]["verdict"], "failed")
        self.assertEqual(self.server.request("/status/k1")[1], {"state": "not_done"})


class Errors(ToolServer):
    options = ("--error-rate", "1")

    def test_it_is_done_all_the_same(self):
        self.assertEqual(self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k1")[0], 500)
        self.assertEqual(len(self.server.effects_now()["effects"]), 1)
        self.assertEqual(self.server.request("/status/k1")[1], {"state": "done", "result": {"line": 1}})
        self.assertEqual(self.server.calls()[0]["verdict"], "recorded")


class Losses(ToolServer):
    options = ("--lose-rate", "1")

    def test_the_answer_is_lost(self):
        for _ in range(2):
            with self.assertRaises((OSError, http.client.HTTPException)):
                self.server.tool("ordered-1", "add", {"item": "tea"}, Idempotency_Key="k1")
        self.assertEqual(len(self.server.effects_now()["log"]), 1)


class Hangs(ToolServer):
    options = ("--hang-rate", "1")

    def test_no_answer_until_the_release(self):
        failed = []

        def ask():
            try:
                self.server.tool("ordered-1", "add", {"item": "tea"})
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        self.wait_until(lambda: self.server.calls() and self.server.calls()[0]["answered"])
        self.assertEqual(failed, [])
        # Until it is let go: it may not have begun to hang when the first release comes.
        self.wait_until(lambda: self.server.request("/control/release", {}) and failed)
        thread.join(60)
        self.assertEqual(len(self.server.effects_now()["effects"]), 1)


class SomeFail(ToolServer):
    options = ("--fail-rate", "0.5", "--seed", "3")

    def test_drawn_by_attempt_not_by_order(self):
        def verdicts(instance):
            return [self.server.tool(instance, "total", {})[0] for _ in range(12)]

        first = verdicts("ordered-1@a")
        self.assertEqual(set(first), {200, 503})
        self.server.tool("ordered-1@b", "add", {"item": "tea"})
        self.assertEqual(verdicts("ordered-1@b"), first)


class Holds(ToolServer):
    options = ("--hold", "add")

    def start(self, *call):
        answers = []

        def ask():
            try:
                answers.append(self.server.tool(*call))
            except (OSError, http.client.HTTPException):
                pass  # the server stopped

        thread = threading.Thread(target=ask)
        thread.start()
        self.addCleanup(thread.join)
        return thread, answers

    def test_answer_waits_for_the_release(self):
        thread, answers = self.start("ordered-1", "add", {"item": "tea"})
        self.wait_until(self.server.calls)
        # The effect has happened, but nothing that follows may rely on it yet.
        self.assertEqual(len(self.server.effects_now()["effects"]), 1)
        self.assertEqual(self.server.tool("ordered-1", "total", {}), (200, {"stale": True}))
        self.assertIsNone(self.server.calls()[0]["answered"])
        self.server.request("/control/release", {"tool": "add"})
        thread.join(60)
        self.assertEqual(answers, [(200, {"line": 1})])
        self.assertEqual(self.server.tool("ordered-1", "total", {}), (200, {"total": 2}))

    def test_hold_and_release_all(self):
        self.assertEqual(self.server.request("/control/hold", {"tool": "total"})[0], 200)
        thread, answers = self.start("ordered-1", "total", {})
        self.wait_until(self.server.calls)
        self.server.request("/control/release", {})
        thread.join(60)
        self.assertEqual(answers, [(200, {"stale": True})])

    def test_stop_lets_go(self):
        thread, _ = self.start("ordered-1", "add", {"item": "tea"})
        self.wait_until(self.server.calls)
        self.server.process.terminate()
        thread.join(60)
        self.assertFalse(thread.is_alive())


class Times(unittest.TestCase):
    """Draws belong to the call's place, so the order of requests cannot change them."""

    def measure(self, order, *options):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(folder, *options)
            for name, args in order:
                server.tool("billing-1", name, args)
            calls = server.calls()
            server.stop()
        return {call["tool"]: call["answered"] - call["arrived"] for call in calls}

    def test_order_does_not_matter_and_scale_divides(self):
        order = [(name, {"account": "2093"}) for name in ("get_balance", "get_usage", "get_tariff")]
        options = ("--profile", "slow", "--seed", "7", "--scale", "20")
        forward = self.measure(order, *options)
        backward = self.measure(order[::-1], *options)
        slower = self.measure(order, *options[:-1], "5")
        self.assertEqual(len({round(seconds, 3) for seconds in forward.values()}), 3)
        # A sleep never ends early, and three draws of 1 s lie far enough apart to keep their order.
        ranks = [sorted(times, key=times.get) for times in (forward, backward, slower)]
        self.assertEqual(ranks[0], ranks[1])
        self.assertEqual(ranks[0], ranks[2])
        self.assertGreater(slower[ranks[0][-1]], forward[ranks[0][-1]])

    def test_profile_is_a_least_time(self):
        times = self.measure([("get_balance", {"account": "2093"})], "--profile", "0.2")
        self.assertGreaterEqual(times["get_balance"], 0.2)


class Options(unittest.TestCase):
    def test_nonsense_is_refused(self):
        for options in (["--listen", "x"], ["--profile", "quick"], ["--scale", "0"], ["word"], [],
                        ["--fail-rate", "0.6", "--lose-rate", "0.6"]):
            process = subprocess.run([PROGRAM, *options], capture_output=True, check=False)
            self.assertEqual(process.returncode, 2, options)
            self.assertIn(b"usage", process.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
