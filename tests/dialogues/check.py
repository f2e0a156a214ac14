#!/usr/bin/env python3
"""Checks the dialogues of this folder: that every number in them follows from the words.

Usage: check.py FILE.jsonl...

What is checked is what the simulated provider and the tool server rely on: word counts, when a call is
determined, that arguments fit the declared schema, and that a value said to come from the turn, the
history or an earlier result really stands there.  The format itself: tests/world/dialogue-format.md.
"""
import json
import re
import sys

NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
           "sixteen seventeen eighteen nineteen").split()
CLAUSE_END = ".,?!;:"
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict,
         "array": list}


def bare(word):
    return word.strip(CLAUSE_END).lower()


def clause_end(words, ready):
    """The number of words up to the end of the clause in which the word number `ready` stands."""
    for count in range(max(ready, 1), len(words) + 1):
        if words[count - 1][-1] in CLAUSE_END:
            return count
    return len(words)


def spoken_forms(value):
    """The ways a value may be said: as it is written, digit by digit, as a number word."""
    text = str(value).lower()
    forms = [text.split()]
    if isinstance(value, int) and not isinstance(value, bool) and value < len(NUMBERS):
        forms.append([NUMBERS[value]])
    if text.isdigit():
        forms.append([NUMBERS[int(digit)] for digit in text])
    match = re.fullmatch(r"(\d+) (.*)", text)
    if match and int(match[1]) < len(NUMBERS):
        forms.append([NUMBERS[int(match[1])]] + match[2].split())
    return forms


def said_until(words, value):
    """After how many words the value has been said (its last mention), 0: never."""
    heard = [bare(word) for word in words]
    last = 0
    for form in spoken_forms(value):
        for start in range(len(heard) - len(form) + 1):
            if heard[start:start + len(form)] == form:
                last = max(last, start + len(form))
    return last


def leaves(value):
    """All scalar values within a JSON value."""
    if isinstance(value, dict):
        for member in value.values():
            yield from leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member)
    else:
        yield value


def schema_error(schema, value, path="arguments"):
    """What is wrong with a value under the part of JSON Schema that tools use here; None if it fits."""
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (kind in ("integer", "number") and
                                                        isinstance(value, bool))):
        return f"{path}: no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path}: not one of the enum"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{path}: does not match {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
        return f"{path}: out of range"
    if kind != "object":
        return None
    for name in schema.get("required", []):
        if name not in value:
            return f"{path}.{name}: missing"
    for name, member in value.items():
        if name not in schema["properties"]:
            return f"{path}.{name}: not declared"
        error = schema_error(schema["properties"][name], member, f"{path}.{name}")
        if error:
            return error
    return None


class Dialogue:
    """One dialogue under test; collects what is wrong with it."""

    def __init__(self, data):
        self.data = data
        self.errors = []
        self.tools = {tool["name"]: tool for tool in data["tools"]}
        self.texts = []   # words of what was said so far
        self.results = []  # leaves of all results and arguments so far

    def expect(self, condition, where, what):
        if not condition:
            self.errors.append(f"{self.data['id']}: {where}: {what}")

    def check(self):
        self.expect(re.fullmatch(r"[a-z]+-[0-9]+", self.data["id"]), "id", "want name-number")
        for tool in self.data["tools"]:
            self.check_tool(tool)
        for index, turn in enumerate(self.data["turns"]):
            self.check_turn(f"turn {index}", turn)
        return self.errors

    def check_tool(self, tool):
        where = f"tool {tool['name']}"
        schema = tool["parameters"]
        self.expect(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool["name"]), where, "name")
        self.expect(tool["description"], where, "no description")
        self.expect(schema["type"] == "object" and schema["additionalProperties"] is False, where,
                    "parameters must be a closed object schema")
        self.expect(set(schema["required"]) <= set(schema["properties"]), where, "required is not declared")
        inverse = tool["inverse"]
        if inverse is None:
            return
        self.expect(not tool["read_only"], where, "a read has no inverse")
        self.expect(inverse["name"] in self.tools, where, "inverse is no tool of the dialogue")
        target = self.tools.get(inverse["name"], {"parameters": {"properties": {}}})
        for name, reference in inverse["args"].items():
            self.expect(name in target["parameters"]["properties"], where, f"inverse argument {name}")
            source, _, member = reference.lstrip("$").partition(".")
            self.expect(source in ("args", "result") and member, where, f"inverse reference {reference}")

    def check_turn(self, where, turn):
        words = turn["user"].split()
        self.expect(turn["words"] == len(words), where, f"has {len(words)} words, not {turn['words']}")
        self.expect(turn["reply"], where, "no reply")
        for index, call in enumerate(turn["calls"]):
            self.check_call(f"{where}, call {index}", turn, index, words)
            self.expect(json.loads(json.dumps(call["result"])) is not None, where, "a call without result")
        if "repair" in turn:
            self.check_repair(f"{where}, repair", turn)
        if "confirming" in turn:
            self.check_confirming(f"{where}, confirming", turn)
        for call in turn["calls"]:
            self.results += [*leaves(call["result"]), *leaves(call["args"])]
        self.texts += [words, turn["reply"].split()]

    def check_call(self, where, turn, index, words):
        call = turn["calls"][index]
        tool = self.tools.get(call["name"])
        self.expect(tool, where, "no such tool")
        if not tool:
            return
        error = schema_error(tool["parameters"], call["args"])
        self.expect(error is None, where, error)
        self.expect(call["read_only"] == tool["read_only"], where, "read_only differs from the tool's")
        self.expect(set(call["arg_word"]) == set(call["args"]) == set(call["basis"]), where,
                    "arg_word and basis must name every argument")
        for name, value in call["args"].items():
            self.check_argument(f"{where}, {name}", turn, index, name, value)
        earlier = turn["calls"][:index]
        linked = call["depends_on"] + call["order_after"]
        self.expect(all(0 <= number < index for number in linked), where, "names a later call")
        self.expect(not any(earlier[number]["read_only"] for number in call["order_after"]), where,
                    "order_after names a read")
        least = max([call["intent_word"], *call["arg_word"].values(),
                     *(earlier[number]["ready"] for number in linked)])
        self.expect(call["intent_word"] >= 1, where, "the tool cannot be wanted before a word is said")
        self.expect(call["ready"] == least, where, f"ready is {least}, not {call['ready']}")
        self.expect(call["ready_clause"] == clause_end(words, call["ready"]), where,
                    f"ready_clause is {clause_end(words, call['ready'])}, not {call['ready_clause']}")

    def check_argument(self, where, turn, index, name, value):
        call = turn["calls"][index]
        basis = call["basis"][name]
        word = call["arg_word"][name]
        if basis == "user":
            wanted = word if isinstance(value, bool) else said_until(turn["user"].split(), value)
            self.expect(0 < word == wanted, where, f"said by word {wanted}, not {word}")
            return
        self.expect(word == 0, where, f"basis {basis} but arg_word {word}")
        if basis == "result":
            supplied = [leaf for number in call["depends_on"]
                        for leaf in leaves(turn["calls"][number]["result"])]
            self.expect(value in supplied, where, "not in the results it depends on")
        elif basis == "history":
            known = value in self.results or any(said_until(text, value) for text in self.texts)
            known = known or any(self.reads_as(text, value) for text in self.texts)
            self.expect(known, where, "nowhere in the history")
        else:
            self.expect(basis == "default", where, f"basis {basis}")

    @staticmethod
    def reads_as(text, value):
        """Whether a text holds the letters of a value in a row, e.g. "E nine one four" for "E-914"."""
        sound = "".join(bare(word) for word in text)
        letters = "".join(NUMBERS[int(sign)] if sign.isdigit() else sign for sign in str(value).lower()
                          if sign.isalnum())
        return letters in sound

    def check_repair(self, where, turn):
        repair = turn["repair"]
        words = repair["user"].split()
        call = turn["calls"][repair["call"]]
        self.expect(repair["n"] == len(words), where, f"has {len(words)} words, not {repair['n']}")
        self.expect(repair["term"] in repair["user"], where, "the term is not said")
        right = said_until(words, call["args"][repair["arg"]])
        wrong = said_until(words, repair["wrong_value"])
        self.expect(0 < wrong < right, where, "the wrong value must come first")
        self.expect(repair["wrong_args"] == {**call["args"], repair["arg"]: repair["wrong_value"]}, where,
                    "wrong_args")
        self.expect(schema_error(self.tools[call["name"]]["parameters"], repair["wrong_args"]) is None, where,
                    "wrong_args do not fit the schema")
        self.expect(repair["wrong_ready"] is None or wrong <= repair["wrong_ready"] < right, where,
                    "wrong_ready")
        self.expect(repair["ready"] >= right, where, "ready before the right value is said")
        self.expect(repair["ready_clause"] == clause_end(words, repair["ready"]), where, "ready_clause")

    def check_confirming(self, where, turn):
        confirming = turn["confirming"]
        same = any(call["name"] == confirming["name"] and call["args"] == confirming["args"]
                   for call in turn["calls"])
        self.expect(confirming["outcome"] in ("accepted", "rejected"), where, "outcome")
        self.expect(same == (confirming["outcome"] == "accepted"), where, "outcome and calls disagree")
        self.expect(not self.tools[confirming["name"]]["read_only"], where, "a read needs no confirmation")


def main(files):
    errors = []
    ids = set()
    refused = repaired = calls = 0
    for name in files:
        with open(name, encoding="utf-8") as lines:
            for line in lines:
                data = json.loads(line)
                if data["id"] in ids:
                    errors.append(f"{data['id']}: twice")
                ids.add(data["id"])
                errors += Dialogue(data).check()
                calls += sum(len(turn["calls"]) for turn in data["turns"])
                repaired += sum("repair" in turn for turn in data["turns"])
                refused += sum(turn.get("confirming", {}).get("outcome") == "rejected" for turn in data["turns"])
    if len(ids) < 6 or not repaired or not refused:
        errors.append("want six dialogues or more, with a self-correction and a refused read-back")
    for error in errors:
        print(error)
    print(f"{len(ids)} dialogues, {calls} calls, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
