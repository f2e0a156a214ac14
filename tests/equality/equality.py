#!/usr/bin/env python3
"""Plays dialogues with and without speculation and proves that nothing is ever different.

README.md beside this file says what is promised.  The programs are those of the speculation benchmark: simulated provider,
tool server, the shipped daemon, one caller for all sessions.  Prints TAP, a table of counts before its end, and exits 0 only if
every promise was kept.
"""
import argparse
import concurrent.futures
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "bench", "speculation"))

import metrics  # noqa: E402
import plan  # noqa: E402
import speculation  # noqa: E402
import verdict  # noqa: E402
from dialogues import BadData, load_sets, own_set  # noqa: E402
from rig import RigError, daemon_options  # noqa: E402
from runs import means_of  # noqa: E402

OWN = os.path.join(speculation.SOURCE, "tests", "dialogues")
LATE = 0.02  # seconds the caller's frames may be late before the reader is told; nothing is judged by it
COLUMNS = ("run", "dialogues", "turns", "repairs", "refused", "calls", "effects", "passes", "early calls", "equal", "lost",
           "too early", "twice", "stale")


def settings_for(options):
    settings = speculation.parse_arguments(["--build", options.build, "--sessions", str(options.sessions), "--scale",
                                            str(options.scale), "--seeds", "1"])
    settings.resume, settings.keep, settings.control = options.resume, options.keep, False
    speculation.complete(settings)
    return settings


class Player:
    """Plays runs; keeps what was played for a later resumption."""

    def __init__(self, options):
        sets = sets_of(options)
        self.settings = settings_for(options)
        self.bench = speculation.Bench(self.settings, sets, os.path.join(options.build, "equality"))
        self.bench.jobs = (plan.sample if options.sample else plan.everything)(sets)
        fingerprint = {**self.bench.fingerprint(), "sample": options.sample}
        self.bench.store = speculation.Store(os.path.join(self.bench.out, "speculation"), fingerprint)
        self.refused = {(item.name, dialogue["id"], index) for item in sets for dialogue in item.dialogues
                        for index, turn in enumerate(dialogue["turns"]) if plan.is_refused(turn)}

    def play(self, entry):
        """(rows, problems)"""
        result = self.bench.result_of(entry.run)
        for row in result.rows:
            row["refused"] = (row["set"], row["dialogue"], row["turn"]) in self.refused
        return result.rows, result.end["problems"]

    def play_all(self, entries, at_once):
        """Yields what play() returns for each entry, in their order."""
        pool = concurrent.futures.ThreadPoolExecutor(at_once)
        try:
            yield from pool.map(self.play, entries)
        finally:
            # When a run has failed or we are told to stop, nothing is left running.
            pool.shutdown(wait=False, cancel_futures=True)
            self.bench.stop()
            pool.shutdown()


def cells_of(name, play, compared=None):
    cells = [name, play.dialogues, play.turns, play.repairs, play.refused, play.calls, play.effects, play.passes,
             play.early_calls]
    if compared is None:
        return cells + ["", "", "", "", ""]
    return cells + [f"{100 * compared.equal:.2f} %" if compared.equal is not None else "", compared.lost,
                    len(compared.early), len(compared.twice), len(compared.stale)]


def table_of(rows):
    """Lines of a table, columns as wide as their cells."""
    texts = [[str(cell) for cell in row] for row in [COLUMNS, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(row, widths))) for row in texts]


class Report:
    """TAP on standard output, one point a run."""

    def __init__(self, total):
        print(f"1..{total}", flush=True)
        self.number, self.failed, self.rows = 0, 0, []

    def point(self, name, cells, breaches, told):
        self.number += 1
        self.failed += bool(breaches)
        self.rows.append(cells)
        for breach in breaches[:verdict.SHOWN]:
            print(f"# {name}: {breach}")
        if len(breaches) > verdict.SHOWN:
            print(f"# {name}: and {len(breaches) - verdict.SHOWN} more")
        print(f"{'not ok' if breaches else 'ok'} {self.number} - {name}: {told}", flush=True)

    def end(self):
        for line in table_of(self.rows):
            print(f"# {line}")
        print(f"# {self.number - self.failed} passed, {self.failed} failed", flush=True)


def judge(report, entry, base, rows, problems):
    """One point of a run; base: rows of the run without speculation, None: this is it."""
    play = verdict.Play(rows)
    late = metrics.quantile([row["late"] for row in rows if row["late"] is not None], 0.99)
    if late is not None and late > LATE:
        print(f"# {entry.name}: one frame in a hundred was {1000 * late:.0f} ms late; fewer --sessions would be nearer to life")
    if base is None:
        breaches = problems + verdict.compare_itself(rows)
        report.point(entry.name, cells_of(entry.name, play), breaches, f"{play.turns} turns, {play.effects} effects")
        return
    compared = verdict.Comparison(base, rows)
    breaches = problems + compared.breaches(entry.same)
    told = f"{compared.play.turns} turns, {compared.lost} differ"
    for kind, places in sorted(compared.differ.items()):
        if not entry.same and places:
            print(f"# {entry.name}: other {kind} in {', '.join(places[:verdict.SHOWN])}"
                  + (" ..." if len(places) > verdict.SHOWN else ""))
    report.point(entry.name, cells_of(entry.name, compared.play, compared), breaches, told)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--data", action="append", default=[], help="folder with *.jsonl files; one that is not there is left out")
    parser.add_argument("--sample", action="store_true", help="a fixed sample of single turns and short dialogues")
    parser.add_argument("--resume", action="store_true", help="keep runs that were finished")
    parser.add_argument("--scale", type=float, default=2.0, help="the simulated world is so many times faster than a real one")
    parser.add_argument("--sessions", type=int, default=128, help="open at once")
    parser.add_argument("--at-once", type=int, default=2, help="runs; they share the sessions")
    parser.add_argument("--only", action="append", default=[], help="only runs whose name holds this, and what they need")
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration of every run")
    options = parser.parse_args(arguments)
    options.build = os.path.abspath(options.build)
    return options


def sets_of(options):
    sets = [own_set(OWN)]
    for folder in options.data:
        if os.path.isdir(folder):
            sets += load_sets(folder)
        else:
            print(f"# {folder} is not there: without it", flush=True)
    return sets


def prove(options):
    player = Player(options)
    have, _ = means_of(daemon_options(options.build)[0])
    wanted = [entry for entry in plan.Plan(player.settings, have).entries(options.sample)
              if not options.only or entry.name.endswith(", off") or any(word in entry.name for word in options.only)]
    report, base = Report(len(wanted)), {}
    for entry, (rows, problems) in zip(wanted, player.play_all(wanted, options.at_once)):
        judge(report, entry, base.get(entry.play), rows, problems)
        base.setdefault(entry.play, rows)
    report.end()
    return 1 if report.failed else 0


def stop(*_):
    raise KeyboardInterrupt


def main(arguments):
    signal.signal(signal.SIGTERM, stop)
    try:
        return prove(parse_arguments(arguments))
    except (BadData, RigError, OSError) as error:
        print(f"Bail out! {error}", flush=True)
        return 2
    except KeyboardInterrupt:
        print("Bail out! stopped; --resume goes on with the run that was under way", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
