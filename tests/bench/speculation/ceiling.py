#!/usr/bin/env python3
"""How fast a call could get: the same turns with the same draws, on paper, with guesses that cost no time and are never
wrong, under the commit rule of mode confirm.

Everything counts from the end of the caller's last word.  A response asked for at t says its first thing at t + its drawn
time; the network is inside that time, but a cancel costs one more round trip.

  baseline    commit; a pass per step, its calls side by side (B1) or one after the other (B0); then the answer
  guesses     a read starts when its words and operands are there; nothing that must follow a write starts before it
  verdict     a pass that starts at the pause (150 ms), or with the last result it needs, and takes its drawn time
  race        a pass that starts with the provider's own response to results, once that is known to have begun (a round trip)
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
from metrics import mean, turn_key

PAUSE = 0.15
QUIET = 0.7
CHARS_PER_TOKEN = 4
SLACK = 0.05  # seconds that rounding, frames of 20 ms and the clocks of two programs may come to


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
        self.sides = [world.draws.lognormal(name, index, heard, "side_pass", world.call_pass)
                      for heard in range(len(self.words) + 1)]  # passes that have heard so many words
        self.side = self.sides[-1]
        self.final = world.draws.lognormal(name, index, -1, "final_first_audio", world.final)
        self.levels = self.steps()

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

    def native_step(self, at, step, results, sequential=False):
        """When the outputs of a step are in that the provider names by itself, asked at a moment."""
        at += self.passes[step[0]]
        ends, busy = [], at
        for number in step:
            at += self.says[number]
            start = max(at, busy) if sequential else at
            busy = min(max(at, results.get(number, math.inf)), start + self.tools[number])
            ends.append(busy)
        return max(ends)

    def native(self, at, done=(), results=None, sequential=False):
        """When the answer begins if the provider goes on by itself at a moment; results: when guessed reads are there."""
        for step in self.steps(done):
            at = self.native_step(at, step, results or {}, sequential)
        return at + self.final

    def told_by_pass(self, number, after):
        """When the first of the passes that begin behind every word, and at the pause, has named a call, each asked when the
        results that the call needs are there."""
        moments = [end - self.ends[-1] for end in self.ends[:-1]] + [self.world.pause]
        return min(max([moment, *after]) + side + self.says[number] for moment, side in zip(moments, self.sides)
                   if moment >= self.ready[number])

    def guesses(self, by_passes=False):
        """When the results of guessed reads are there."""
        found = {}
        for number, call in enumerate(self.calls):
            needs = self.needs(number)
            if call.get("read_only") and all(need in found for need in needs):
                after = [found[need] for need in needs]
                start = self.told_by_pass(number, after) if by_passes else max([self.ready[number], *after])
                found[number] = start + self.tools[number]
        return found

    def named_by(self, level, results, instant):
        """When a pass over the whole turn has named a level of calls: it is asked at the pause, or when the last result that
        it needs is there, and takes the time that its provider takes.  None: it needs what no guess can know."""
        before = [number for step in self.levels[:level] for number in step]
        if any(number not in results for number in before):
            return None
        asked = max([self.world.pause, *(results[number] for number in before)])
        return asked if instant else asked + self.side + sum(self.says[number] for number in self.levels[level])

    def ready_level(self, level, results, named):
        """When a level may be put in: named, and its reads in hand.  None: never."""
        if level >= len(self.levels) or named[level] is None:
            return None
        return max([named[level], *(results[number] for number in self.levels[level] if number in results)])

    def share(self, level, now, results, named):
        """Levels that go in together at a moment: the last one is the first that starts an effect."""
        covered = 0
        while True:
            ready = self.ready_level(level + covered, results, named)
            if ready is None or ready > now:
                return covered
            covered += 1
            if any(number not in results for number in self.levels[level + covered - 1]):
                return covered

    def race(self, level, begun, named, results, instant):
        """Beside the response that would name a level, a pass is asked for the same; its reads start when it names them."""
        told = begun + self.world.rtt + (0 if instant else self.side + sum(self.says[number] for number in self.levels[level]))
        named[level] = told if named[level] is None else min(named[level], told)
        for number in self.levels[level]:
            if self.calls[number].get("read_only"):
                results[number] = min(results.get(number, math.inf), told + self.tools[number])

    def ruled(self, instant=False, by_passes=False):
        """The answer's begin under the commit rule, taken as it comes: at each response of the provider, what is ready before
        it shows an item takes its place, and otherwise it goes on by itself.  instant: the pass takes no time, too; by_passes:
        guesses come from passes, and take their time."""
        results = self.guesses(by_passes)
        named = [self.named_by(level, results, instant) for level in range(len(self.levels))]
        begun, level = self.world.commit, 0  # the provider's response under way, and what it would name
        while level < len(self.levels):
            step = self.levels[level]
            if level > 0:
                self.race(level, begun, named, results, instant)
            ready = self.ready_level(level, results, named)
            taken = None if ready is None else max(begun, ready)
            if taken is None or taken >= begun + self.passes[step[0]]:
                begun, level = self.native_step(begun, step, results), level + 1
                continue
            cancelled = taken + self.world.rtt
            covered = self.share(level, cancelled, results, named)
            writes = [number for step in self.levels[level:level + covered] for number in step if number not in results]
            quiet = max(cancelled, self.world.quiet) if writes else cancelled
            begun, level = max([quiet, *(quiet + self.tools[number] for number in writes)]), level + covered
        return begun + self.final

    def covering(self, count, results):
        """The answer's begin when exactly the first levels are put in, by a pass that ends as soon as it is named; None where
        that cannot be."""
        world, levels = self.world, self.levels[:count]
        covered = [number for step in levels for number in step]
        writes = [number for number in covered if number not in results]
        if any(number not in levels[-1] for number in writes):
            return None
        before = [results[number] for step in levels[:-1] for number in step]
        verdict = max([world.pause] + before) + self.side
        at = max([world.commit, verdict] + [results[number] for number in covered if number in results])
        if at >= world.commit + self.passes[0]:
            return None
        at += world.rtt
        if writes:
            at = max(max(at, world.quiet) + self.tools[number] for number in writes)
        return self.native(at, covered, results)

    def hindsight(self):
        """The answer's begin when each turn is taken over where that turns out best, or not at all."""
        results = self.guesses()
        chances = [self.native(self.world.commit, results=results), self.ruled()]
        chances += [self.covering(count, results) for count in range(1, len(self.levels) + 1)]
        return min(chance for chance in chances if chance is not None)

    def latencies(self):
        """{"b0", "b1", and each ceiling's}, in seconds from the last word's end."""
        commit = self.world.commit
        return {"b0": self.native(commit, sequential=True), "b1": self.native(commit), "rule": self.ruled(),
                "passes": self.ruled(by_passes=True), "instant": self.ruled(instant=True), "hindsight": self.hindsight()}


def ratios(cells):
    """{"vs_b0", "vs_b1", and the same within "passes", "instant" and "hindsight", "n"} of lists of latencies by set, sets
    without weights."""
    def against(way):
        return {f"vs_{base}": mean(sum(item[base] for item in cell) / sum(item[way] for item in cell)
                                   for cell in cells if cell) for base in ("b0", "b1")}
    return {**against("rule"), **{way: against(way) for way in ("passes", "instant", "hindsight")}, "n": sum(map(len, cells))}


def turns_of(jobs, world):
    """(job, index, Turn) of every calling turn that jobs play."""
    for job in jobs:
        for index, script in enumerate(job.dialogue["turns"]):
            if kind_of(script) != NO_CALLS and job.alone in (None, index):
                yield job, index, Turn(world, job.dialogue, index)


def compute(jobs, timing, settings, seed=1):
    """The ceiling of the turns that jobs play: over all calling turns, per kind, and the means behind it."""
    by_set, by_kind = collections.defaultdict(list), collections.defaultdict(list)
    for job, _, turn in turns_of(jobs, World(timing, settings, seed)):
        times = turn.latencies()
        by_set[job.group.name].append(times)
        by_kind[turn.kind].append(times)
    if not by_set:
        return None
    return {**ratios(list(by_set.values())),
            "kinds": {kind: ratios([by_kind[kind]]) for kind in KINDS if by_kind[kind]},
            "sets": {name: {**ratios([cell]), **{f"{way}_s": mean(item[way] for item in cell) for way in ("b0", "b1", "rule")}}
                     for name, cell in sorted(by_set.items())}}


def beaten(jobs, timing, settings, rows, base_rows):
    """Turns of a run that were answered sooner than the ceiling allows, and gained more on B1 as well: {"turns": how many
    were compared, "found": [[dialogue, turn, measured, paper]]}.  There is none but by a mistake in one of the two: a tool
    server that draws another time for a call than the paper does it alike in both runs."""
    measured = {turn_key(row): row["latency"] for row in rows if row["latency"] is not None}
    before = {turn_key(row): row["latency"] for row in base_rows if row["latency"] is not None}
    compared, found = 0, []
    for job, index, turn in turns_of(jobs, World(timing, settings)):
        key = (job.group.name, job.dialogue["id"], index)
        if key not in measured or key not in before:
            continue
        compared += 1
        times = turn.latencies()
        gained = before[key] - measured[key] - (times["b1"] - times["rule"])
        if measured[key] < times["rule"] - SLACK and gained > SLACK:
            found.append([job.dialogue["id"], index, measured[key], round(times["rule"], 4)])
    return {"turns": compared, "found": found}


def lines_of(found, measured=None):
    """The ceilings as text; measured: {kind: ratio against B1}, with "" for all, to stand beside them."""
    measured = measured or {}
    lines = [f"{'against B1, on paper':34} {'n':>6} {'ceiling':>9} {'(vs B0)':>8} {'by passes':>10} {'pass at once':>13} {'hindsight':>10} "
             f"{'measured':>9}"]
    for name, row in (("", found), *found["kinds"].items()):
        ratio = measured.get(name)
        lines.append(f"  {name or 'all calling turns':32} {row['n']:6} {row['vs_b1']:9.2f} {row['vs_b0']:8.2f} "
                     f"{row['passes']['vs_b1']:10.2f} {row['instant']['vs_b1']:13.2f} {row['hindsight']['vs_b1']:10.2f} "
                     f"{'-' if ratio is None else format(ratio, '.2f'):>9}")
    return lines + [f"  {name}: B0 {row['b0_s']:.2f} s, B1 {row['b1_s']:.2f} s, ceiling {row['rule_s']:.2f} s"
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
