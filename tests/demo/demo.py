#!/usr/bin/env python3
"""Plays a caller's call through the real gateway twice, without and with speculation, and compares.

Provider, tools and caller are simulated, each a process of its own; the gateway is the real one, with TLS on
both sides, HTTP to the tools and its journal on disk.  Both runs meet the same draws, so what differs between
them is the gateway's doing.  Exits 0 only if everything held.
"""
import argparse
import concurrent.futures
import glob
import json
import math
import os
import subprocess
import sys
from statistics import fmean

from record import Record, load_lines
from timeline import WIDTH, draw, wrap
from world import DemoError, World, fetch, wait_idle

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT_CALL = "orders-1"
AT_ONCE = 3  # calls played at the same time; they hardly use the processor
MODES = (("plain", "off"), ("speculative", "confirm"))
LEGEND = """
  #  the caller speaks            .  silence, until the provider takes the turn as ended
  ~  pass: the gateway asks ahead what the caller may want
  -  the provider names a tool    +  the provider prepares its answer
  =  a tool runs                  x  a tool runs on a wrong guess, its result is dropped
  >  the answer is heard             All seconds count from the caller's last word.
"""


class Outcome:
    """What one run of one call left behind."""

    def __init__(self, record, numbers, listing, verdict, problems):
        self.record = record
        self.numbers = numbers
        self.listing = listing
        self.verdict = verdict
        self.problems = problems

    def number(self, name):
        return int(self.numbers.get(f"backchannel_{name}_total", 0))


def journal(build, command, folder):
    """Output and exit status of the offline journal reader."""
    found = glob.glob(os.path.join(build, "daemon", "**", "backchannel-journal"), recursive=True)
    if not found:
        raise DemoError("backchannel-journal is not built")
    done = subprocess.run([found[0], "--path", os.path.join(folder, "journal.db"), *command],
                          capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def play(build, dialogue, name, mode, settings):
    """One call in one mode, from the first process to the last."""
    folder = os.path.join(build, "demo", f"{dialogue['id']}-{name}")
    with World(build, SOURCE, folder, dialogue, settings) as world:
        gateway, admin, tools = world.start_all(mode)
        timeline, status, said = world.call(gateway)
        numbers = wait_idle(admin)
        ended = world.stop_gateway()
        calls = json.loads(fetch(tools, "/control/calls"))
        effects = json.loads(fetch(tools, "/control/effects"))
    record = Record(timeline, calls, effects, load_lines(os.path.join(folder, "provider.log")))
    problems = record.problems()
    if status != 0 and not problems:
        problems.append(f"the caller ended with {status}: {said.strip()}")
    if ended != 0:
        problems.append(f"backchanneld ended with {ended}, see {folder}")
    listing, _ = journal(build, ["list"], folder)
    left_open, _ = journal(build, ["list", "--open"], folder)
    verdict, verified = journal(build, ["verify"], folder)
    if verified != 0 or not verdict.rstrip().endswith("journal clean"):
        problems.append(f"the journal is not clean: {verdict.strip()}")
    if any(line.split()[:1] and line.split()[0].isdigit() for line in left_open.splitlines()):
        problems.append(f"the journal has open calls:\n{left_open}")
    return Outcome(record, numbers, listing, verdict, problems)


def play_both(build, dialogue, settings):
    """Both modes at the same time: the processes share nothing, and waiting is most of what they do."""
    with concurrent.futures.ThreadPoolExecutor(len(MODES)) as pool:
        runs = [pool.submit(play, build, dialogue, name, mode, settings) for name, mode in MODES]
        return [run.result() for run in runs]


def say(*lines):
    for line in lines:
        print(line)
    sys.stdout.flush()


def show_turn(index, plain, guessed):
    turn = plain.turns[index]
    say("", *wrap(f'turn {index + 1}: "{turn["user"]}"', indent=""))
    if not turn["calls"]:
        seconds = " and ".join(f"{record.turns[index]['latency']:.2f} s" for record in (plain, guessed)
                               if record.turns[index]["latency"] is not None)
        say(f"  needs no tool: answered after {seconds}")
        return
    begin, end = zip(plain.span(index), guessed.span(index))
    say(*draw([("plain", plain.rows(index)), ("speculative", guessed.rows(index))], min(begin), max(end)))
    say(*wrap(f'answer: "{guessed.turns[index]["answer"]}"'))


def show_call(dialogue, outcomes):
    plain, guessed = (outcome.record for outcome in outcomes)
    say("", "=" * WIDTH, f"call {dialogue['id']}")
    for index in range(len(plain.turns)):
        show_turn(index, plain, guessed)
    say("", "journal of the speculative run:", *outcomes[1].listing.splitlines(),
        *outcomes[1].verdict.splitlines())
    for (name, _), outcome in zip(MODES, outcomes):
        for problem in outcome.problems:
            say(f"PROBLEM ({name}): {problem}")
    for what in differences(plain, guessed):
        say(f"PROBLEM: {what}")


def differences(plain, guessed):
    """Speculation may change when things happen, never what."""
    if plain.committed() != guessed.committed():
        yield f"the effects differ: {plain.committed()} without, {guessed.committed()} with speculation"
    if plain.conversation() != guessed.conversation():
        yield "the provider's conversations differ"


def went_well(outcomes):
    plain, guessed = outcomes
    return not plain.problems and not guessed.problems and not any(differences(plain.record, guessed.record))


def choose(settings):
    """The dialogues to play, in the order of their files."""
    dialogues = [dialogue for name in sorted(glob.glob(os.path.join(SOURCE, "tests", "dialogues", "*.jsonl")))
                 for dialogue in load_lines(name)]
    if settings.all:
        return dialogues
    chosen = [dialogue for dialogue in dialogues if dialogue["id"] == settings.call]
    if not chosen:
        raise DemoError(f"no call {settings.call}; there are {', '.join(item['id'] for item in dialogues)}")
    return chosen


def summarize(played):
    """The closing lines; returns whether everything held."""
    plain = [seconds for outcomes in played for seconds in outcomes[0].record.latencies()]
    guessed = [seconds for outcomes in played for seconds in outcomes[1].record.latencies()]
    spec = [outcomes[1] for outcomes in played]
    hits = sum(outcome.number("spec_hits") + outcome.number("spec_joins") for outcome in spec)
    wasted = sum(outcome.number("spec_wasted") for outcome in spec)
    calls = sum(outcome.number("tool_calls") for outcome in spec)
    passes = sum(outcome.number("spec_passes") for outcome in spec)
    held = all(map(went_well, played))
    say("", "=" * WIDTH)
    if plain and len(plain) == len(guessed):
        saved = fmean(plain) - fmean(guessed)
        say(f"{len(plain)} turns with tools: the answer comes {abs(saved):.2f} s "
            f"{'earlier' if saved >= 0 else 'later'}, {fmean(plain) / fmean(guessed):.2f} times as fast; "
            f"{passes} passes.")
    elif plain or guessed:
        say("PROBLEM: not every turn was answered in both runs")
        held = False
    if any(turn["calls"] for outcomes in played for turn in outcomes[0].record.turns) and passes == 0:
        say("PROBLEM: speculation never ran")
        held = False
    say("Times come from the simulated provider and tools; they measure the gateway, not a model.")
    mean = [fmean(list_) if list_ else 0 for list_ in (plain, guessed)]
    say(f"demo: plain {mean[0]:.2f} s, speculative {mean[1]:.2f} s, {calls} tool calls, {hits} hits, "
        f"{wasted} wasted, journal {'clean' if held else 'not clean or a check failed, see PROBLEM above'}")
    return held


def seconds_of(dialogue):
    """About how long a call takes."""
    words = sum(turn["words"] + len(turn["reply"].split()) for turn in dialogue["turns"])
    return 0.35 * words + 2.5 * len(dialogue["turns"])


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--call", default=DEFAULT_CALL, help="id of the dialogue to play")
    parser.add_argument("--all", action="store_true", help="play every dialogue")
    parser.add_argument("--profile", default="typical",
                        help="how long tools take: fast, typical, slow, uniform, or a number of seconds")
    parser.add_argument("--seed", type=int, default=1, help="of all random draws")
    return parser.parse_args(arguments)


def main(arguments):
    settings = parse_arguments(arguments)
    build = os.path.abspath(settings.build)
    played = []
    say("A call through the real gateway, without and with speculation, both at the same moment.",
        f"Simulated: provider (gpt-realtime's timing), tools ({settings.profile}), caller (seed {settings.seed}).",
        LEGEND.rstrip())
    try:
        dialogues = choose(settings)
        names = dialogues[0]["id"] if len(dialogues) == 1 else f"{len(dialogues)} calls, {AT_ONCE} at a time,"
        seconds = max(map(seconds_of, dialogues)) * math.ceil(len(dialogues) / AT_ONCE)
        say("", f"playing {names} in real time, about {seconds:.0f} s ...")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            runs = [pool.submit(play_both, build, dialogue, settings) for dialogue in dialogues]
            for dialogue, run in zip(dialogues, runs):
                played.append(run.result())
                show_call(dialogue, played[-1])
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0 if summarize(played) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
