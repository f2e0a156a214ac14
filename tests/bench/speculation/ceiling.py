#!/usr/bin/env python3
"""How fast a call could get: the same turns with the same draws, on paper, with guesses that cost no time and are never
wrong, under the commit rule of mode confirm.

Everything counts from the end of the caller's last word.  A response asked for at t says its first thing at t + its drawn
time; the network is inside that time, but a cancel costs one more round trip.

  baseline    commit; a pass per step, its calls side by side (B1) or one after the other (B0); then the answer
  guesses     a read starts when its words and operands are there; nothing that must follow a write starts before it
  verdict     a pass that starts at the pause (150 ms), or with the last result it needs, and takes its drawn time
  take-over   commit passed, verdict there, its reads done, and the provider's own response has said nothing yet: it is
              cancelled (a round trip), what the verdict covers goes in, and the answer or the next step is asked for
  writes      those the verdict names start behind the take-over and not before 700 ms of quiet
  else        the provider's own response names the calls, and they take the guessed results

The best of all take-overs and of none counts for each turn.  Run by itself it prints its table for a folder of dialogues.
"""
import argparse
import collections
import hashlib
import json
import math
import os
import string
import sys

import dialogues
from dialogues import KINDS, NO_CALLS, kind_of
from metrics import mean

PAUSE = 0.15
QUIET = 0.7
CHARS_PER_TOKEN = 4


class Draws:
    """The draws of the simulated world (tests/world/draw.c): by name, not by order."""

    def __init__(self, seed):
        self.seed = seed

    def uniform(self, dialogue, turn, call, quantity, part=0):
        name = f"{self.seed}|{dialogue}|{turn}|{call}|{quantity}"
        digest = hashlib.sha256(name.encode()[:255]).digest()
        bits = int.from_bytes(digest[8 * part:8 * part + 8], "big")
        return ((bits >> 11) + 0.5) / 9007199254740992.0

    def lognormal(self, dialogue, turn, call, quantity, dist):
        median, sigma = dist
        if median <= 0:
            return 0.0
        one, two = (self.uniform(dialogue, turn, call, quantity, part) for part in (0, 1))
        return median * math.exp(sigma * math.sqrt(-2 * math.log(one)) * math.cos(2 * math.pi * two))


def letters_of(word):
    return sum(char.isalpha() if ord(char) < 128 else True for char in word)


class Speech:
    """How long words take (tests/world/speech.c)."""

    def __init__(self, timing):
        self.a, self.b = timing["word_duration"]["a"], timing["word_duration"]["b"]
        self.sigma = timing["word_duration"]["speaker_factor_lognormal_sigma"]

    def word(self, word):
        if not any(char in string.digits + "_@" for char in word):
            return self.a + self.b * letters_of(word)
        seconds, run = 0.0, 0
        for char in word.rstrip(".,?!;:"):
            if char.isalpha():
                run += 1
                continue
            seconds += (self.a + self.b * run if run else 0.0) + self.a + self.b * 3
            run = 0
        return seconds + (self.a + self.b * run if run else 0.0)


class World:
    """Timing of one profile, rule and kind of tools."""

    def __init__(self, timing, settings, seed=1):
        provider = timing["providers"][settings.profile]
        self.draws = Draws(seed)
        self.speech = Speech(timing)
        self.final = self.dist(provider["final_first_audio"])
        self.call_pass = self.dist(provider["call_pass"])
        self.tokens_per_s = provider["args_tokens_per_s"]
        self.rtt = timing["network_rtt"]["gateway_provider"]
        self.rtt_tool = timing["network_rtt"]["gateway_tool"]
        self.manual = settings.turns != "vad"
        self.commit = 0.0 if self.manual else settings.silence or timing["vad_silence"]["value"]
        self.pause = 0.0 if self.manual else PAUSE
        self.quiet = 0.0 if self.manual else QUIET
        self.clause = settings.rule == "clause"
        self.tools = settings.tools
        self.tool_dist = self.dist(timing["tools"][self.tools]) if self.tools in timing["tools"] else None
        self.repair_rate = settings.repair_rate

    @staticmethod
    def dist(entry):
        return entry["lognormal_median"], entry["sigma"]

    def tool(self, dialogue, turn, call):
        if self.tools == "uniform":
            return 0.5 + 0.5 * self.draws.uniform(dialogue, turn, call, "tool_time") + self.rtt_tool
        if self.tool_dist is None:
            return float(self.tools) + self.rtt_tool
        return self.draws.lognormal(dialogue, turn, call, "tool_time", self.tool_dist) + self.rtt_tool


class Turn:
    """One turn with its draws made."""

    def __init__(self, world, dialogue, index):
        script = dialogue["turns"][index]
        name = dialogue["id"]
        self.world = world
        self.calls = script.get("calls") or []
        self.kind = kind_of(script)
        repair = script.get("repair")
        if repair and world.draws.uniform(name, index, -1, "repair") >= world.repair_rate:
            repair = None
        self.words = (repair["user"] if repair else script["user"]).split()
        factor = world.draws.lognormal(name, 0, -1, "speaker", (1.0, world.speech.sigma))
        self.ends = [0.0]  # end of the i-th word from the turn's begin
        for word in self.words:
            self.ends.append(self.ends[-1] + factor * world.speech.word(word))
        self.ready = [self.ready_of(number, script, repair) for number in range(len(self.calls))]
        self.passes = [world.draws.lognormal(name, index, number, "call_pass", world.call_pass)
                       for number in range(len(self.calls))]
        self.tools = [world.tool(name, index, number) for number in range(len(self.calls))]
        self.says = [math.ceil(len(json.dumps(call["args"], separators=(",", ":"))) / CHARS_PER_TOKEN) /
                     world.tokens_per_s for call in self.calls]
        self.side = world.draws.lognormal(name, index, len(self.words), "side_pass", world.call_pass)
        self.final = world.draws.lognormal(name, index, -1, "final_first_audio", world.final)

    def ready_of(self, number, script, repair):
        """When the words of a call have been heard, in seconds before (negative) the last word's end."""
        rule = "ready_clause" if self.world.clause else "ready"
        words = self.calls[number][rule]
        if repair and repair["call"] == number:
            words = repair[rule]
        elif repair:
            plain, said = script["user"].split(), repair["user"].split()
            same = next((i for i, (a, b) in enumerate(zip(plain, said)) if a != b), min(len(plain), len(said)))
            words += len(said) - len(plain) if words > same else 0
        return self.ends[min(max(words, 0), len(self.words))] - self.ends[-1]

    def needs(self, number):
        call = self.calls[number]
        return list(call.get("depends_on") or []) + list(call.get("order_after") or [])

    def steps(self, done=()):
        """The calls in the steps a model names them in."""
        done, steps = set(done), []
        while len(done) < len(self.calls):
            step = [number for number in range(len(self.calls)) if number not in done
                    and all(need in done for need in self.needs(number))]
            if not step:
                return steps
            steps.append(step)
            done |= set(step)
        return steps

    def native(self, at, done=(), results=None, sequential=False):
        """When the answer begins if the provider goes on by itself at a moment; results: when guessed reads are there."""
        results = results or {}
        for step in self.steps(done):
            at += self.passes[step[0]]
            ends, busy = [], at
            for number in step:
                at += self.says[number]
                start = max(at, busy) if sequential else at
                end = max(at, results[number]) if number in results else start + self.tools[number]
                busy = end
                ends.append(end)
            at = max(ends)
        return at + self.final

    def guesses(self):
        """When the results of guessed reads are there."""
        found = {}
        for number, call in enumerate(self.calls):
            needs = self.needs(number)
            if call.get("read_only") and all(need in found for need in needs):
                found[number] = max([self.ready[number]] + [found[need] for need in needs]) + self.tools[number]
        return found

    def take_over(self, steps, results):
        """The answer's begin when the first steps are taken over; None where that cannot be."""
        world = self.world
        covered = [number for step in steps for number in step]
        writes = [number for number in covered if number not in results]
        if any(number not in steps[-1] for number in writes):
            return None
        before = [results[number] for step in steps[:-1] for number in step]
        verdict = max([world.pause] + before) + self.side
        at = max([world.commit, verdict] + [results[number] for number in covered if number in results])
        if at >= world.commit + self.passes[0]:
            return None
        at += world.rtt
        if writes:
            at = max(max(at, world.quiet) + self.tools[number] for number in writes)
        return self.native(at, covered, results)

    def latencies(self):
        """(B0, B1, ceiling)"""
        commit, results, steps = self.world.commit, self.guesses(), self.steps()
        plain = self.native(commit)
        chances = [self.native(commit, results=results)]
        chances += [self.take_over(steps[:n], results) for n in range(1, len(steps) + 1)]
        return self.native(commit, sequential=True), plain, min(chance for chance in chances if chance is not None)


def ratios(cells):
    """{"vs_b0", "vs_b1", "n"} of [(b0, b1, best)] lists by set, sets without weights."""
    def ratio(which):
        return mean(sum(item[which] for item in cell) / sum(item[2] for item in cell) for cell in cells if cell)
    return {"vs_b0": ratio(0), "vs_b1": ratio(1), "n": sum(map(len, cells))}


def compute(jobs, timing, settings, seed=1):
    """The ceiling of the turns that jobs play: over all calling turns, per kind, and the means behind it."""
    world = World(timing, settings, seed)
    by_set, by_kind = collections.defaultdict(list), collections.defaultdict(list)
    for job in jobs:
        for index, script in enumerate(job.dialogue["turns"]):
            if kind_of(script) == NO_CALLS or job.alone not in (None, index):
                continue
            times = Turn(world, job.dialogue, index).latencies()
            by_set[job.group.name].append(times)
            by_kind[kind_of(script)].append(times)
    if not by_set:
        return None
    return {**ratios(list(by_set.values())),
            "kinds": {kind: ratios([by_kind[kind]]) for kind in KINDS if by_kind[kind]},
            "sets": {name: {**ratios([cell]), "b0_s": mean(item[0] for item in cell),
                            "b1_s": mean(item[1] for item in cell), "best_s": mean(item[2] for item in cell)}
                     for name, cell in sorted(by_set.items())}}


def lines_of(found):
    """The ceiling as text."""
    lines = [f"{'ceiling of confirm, on paper':36} {'n':>6} {'against B1':>11} {'against B0':>11}"]
    rows = [("all calling turns", found), *found["kinds"].items()]
    lines += [f"  {name:34} {row['n']:6} {row['vs_b1']:11.2f} {row['vs_b0']:11.2f}" for name, row in rows]
    return lines + [f"  {name}: B0 {row['b0_s']:.2f} s, B1 {row['b1_s']:.2f} s, best {row['best_s']:.2f} s"
                    for name, row in found["sets"].items()]


def main(arguments):
    parser = argparse.ArgumentParser(description="The ceiling of mode confirm, on paper.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--timing", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..",
                                                         "provider", "timing.json"))
    parser.add_argument("--profile", default="gpt-realtime")
    parser.add_argument("--tools", default="typical")
    parser.add_argument("--rule", default="clause", choices=("clause", "word"))
    parser.add_argument("--turns", default="vad", choices=("vad", "manual"))
    parser.add_argument("--control", action="store_true", help="the control sets, and only these")
    settings = parser.parse_args(arguments)
    settings.silence, settings.repair_rate = None, 0.06
    with open(settings.timing, encoding="utf-8") as file:
        timing = json.load(file)
    sets = [item for item in dialogues.load_sets(settings.data) if item.control == settings.control]
    for line in lines_of(compute(dialogues.whole(sets), timing, settings)):
        print(line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
