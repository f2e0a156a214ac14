#!/usr/bin/env python3
"""Plays every call of the demo through the real gateway while it records, and replays what it has recorded.

Usage: test_replay.py --build BUILD --replay PROGRAM [CALL ...]
"""
import argparse
import concurrent.futures
import glob
import os
import stat
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(SOURCE, "tests", "demo"))
from record import load_lines  # noqa: E402  (its folder is known only now)
from world import DemoError, World, wait_idle  # noqa: E402

AT_ONCE = 5      # they hardly use the processor
SCALE = "2"      # so much faster than life are caller and provider; no check depends on it


class Settings:
    profile = "typical"
    seed = 1


class Recorded(World):
    """The demo's world with recording on."""

    CALLER_OPTIONS = ("--scale", SCALE)

    def start(self, name, command, announces):
        if name == "simprovider":
            command = [*command, "--scale", SCALE]
        return super().start(name, command, announces)

    def write_config(self, mode, provider, tools, gateway, admin):
        super().write_config(mode, provider, tools, gateway, admin)
        os.mkdir(self.path("calls"), mode=0o700)
        with open(self.path("backchannel.toml"), "a", encoding="utf-8") as file:
            file.write('\n[session]\nrecord = "calls"\n')


def judge(program, world, numbers):
    """What is wrong with the recording of the only call of this world; None: nothing."""
    found = glob.glob(world.path("calls/*.jsonl"))
    if len(found) != 1:
        return f"{len(found)} recordings of one call"
    if stat.S_IMODE(os.stat(found[0]).st_mode) != 0o600:
        return "others may read the recording"
    done = subprocess.run([program, world.path("backchannel.toml"), found[0]],
                          capture_output=True, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        return done.stdout + done.stderr
    lines = load_lines(found[0])
    runs = sum(line.get("out") == "run" for line in lines)
    if runs != numbers["backchannel_tool_calls_total"]:
        return f"{runs} runs recorded, {numbers['backchannel_tool_calls_total']:.0f} counted"
    if numbers["backchannel_recordings_cut_total"] or numbers["backchannel_recordings_failed_total"]:
        return "a recording was cut or failed"
    return None


def play(build, program, dialogue):
    """What is wrong with one call; None: nothing."""
    folder = os.path.join(build, "replay", dialogue["id"])
    try:
        with Recorded(build, SOURCE, folder, dialogue, Settings) as world:
            gateway, admin, _ = world.start_all("confirm")
            _, status, said = world.call(gateway)
            numbers = wait_idle(admin)
            ended = world.stop_gateway()
            if status != 0 or ended != 0:
                return f"the caller ended with {status}, the gateway with {ended}: {said}"
            return judge(program, world, numbers)
    except DemoError as error:
        return str(error)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--replay", required=True, help="the program that replays")
    parser.add_argument("calls", nargs="*", help="ids of dialogues; none: all")
    options = parser.parse_args(arguments)
    dialogues = [dialogue for name in sorted(glob.glob(os.path.join(SOURCE, "tests", "dialogues", "*.jsonl")))
                 for dialogue in load_lines(name) if not options.calls or dialogue["id"] in options.calls]
    failed = not dialogues
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(play, os.path.abspath(options.build), os.path.abspath(options.replay),
                            dialogue) for dialogue in dialogues]
        for dialogue, run in zip(dialogues, runs):
            wrong = run.result()
            if wrong:
                failed = True
                print(f"FAILED {dialogue['id']}: {wrong}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
