#!/usr/bin/env python3
"""Measures how much sooner a caller hears the answer, at what cost, and whether anything is ever different.

README.md beside this file says how.  Everything runs on this machine: a simulated provider with published timing, the
tool server, the shipped daemon and one caller that plays all sessions.  Prints the results, writes speculation.json,
.md and .html, and exits 0 only if every target that the run judges held.
"""
import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import urllib.parse

import ceiling
import collect
import explain
import metrics
import page
import report
from dialogues import BadData, NO_CALLS, load_sets, own_set, quick_sample, whole
from rig import Rig, RigError, daemon_options
from runs import Plan

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SERVICE_SETS = {"bfcl", "sgd", "tau", "tm4"}  # what the targets were set for
AT_ONCE = 4  # runs at the same time: a run begins when the one before it has no session left to open
PAUSE_TURNS, PAUSE_NO_CALLS = 600, 200  # single turns that are played with callers who pause


def say(text):
    sys.stderr.write(text + "\n")  # in one piece: runs side by side speak, too
    sys.stderr.flush()


def file_hash(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Machine:
    """Processor time of all cores in seconds, as /proc/stat has it."""

    def __init__(self):
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        user, nice, system, idle, iowait, irq, softirq, steal = (value / os.sysconf("SC_CLK_TCK") for value in ticks)
        self.busy, self.steal = user + nice + system + irq + softirq, steal
        self.total = self.busy + idle + iowait + steal


class Result:
    """What a run left: its rows, and figures about the run as a whole."""

    def __init__(self, run, rows, end):
        self.run, self.rows, self.end = run, rows, end


class Store:
    """Results of runs as JSON lines, one file each; a file counts when its last line says so."""

    def __init__(self, folder, fingerprint):
        self.folder, self.fingerprint = folder, fingerprint
        os.makedirs(folder, exist_ok=True)

    def path(self, run):
        return os.path.join(self.folder, run.label + ".jsonl")

    def head(self, run):
        return json.loads(json.dumps({"run": run.identity(), "of": self.fingerprint}))

    def load(self, run):
        """The kept result of exactly this run, or None."""
        try:
            with open(self.path(run), encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
        except (OSError, ValueError):
            return None
        if len(lines) < 2 or lines[0] != self.head(run) or "end" not in lines[-1]:
            return None
        return Result(run, lines[1:-1], lines[-1]["end"])

    def save(self, result):
        with open(self.path(result.run) + ".new", "w", encoding="utf-8") as file:
            for line in (self.head(result.run), *result.rows, {"end": result.end}):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        os.replace(self.path(result.run) + ".new", self.path(result.run))


class Bench:
    def __init__(self, settings, sets, out=None):
        self.settings = settings
        self.sets = sets
        self.service = [item for item in sets if not item.control]
        self.control = [item for item in sets if item.control]
        self.jobs = {"service": self.sample(self.service), "control": self.sample(self.control)}
        self.jobs["sample"] = self.jobs["service"] if settings.quick else self.limited(
            quick_sample(self.service, PAUSE_TURNS, PAUSE_NO_CALLS) if self.service else [])
        self.out = out or os.path.join(settings.build, "bench")
        self.store = Store(os.path.join(self.out, "speculation"), self.fingerprint())
        self.lock = self.alone()
        self.problems = []
        self.rigs = []
        self.stopped = False
        self.slots = threading.BoundedSemaphore(settings.sessions)
        self.opening = threading.Lock()  # held by the run that opens sessions
        self.cpu_of_ended = 0.0

    def alone(self):
        """An open file that is locked: two benchmarks would write into one another's folders."""
        file = open(os.path.join(self.out, "speculation", "lock"), "w", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise BadData(f"another benchmark writes to {self.out}; give one of them a build folder of its own") from error
        return file

    def sample(self, sets):
        if not sets:
            return []
        return self.limited(quick_sample(sets) if self.settings.quick else whole(sets))

    def limited(self, jobs):
        if self.settings.limit:
            jobs = random.Random(1).sample(jobs, min(self.settings.limit, len(jobs)))
        return jobs

    def fingerprint(self):
        settings = self.settings
        program = {name: file_hash(os.path.join(settings.build, *path)) for name, path in
                   (("daemon", ("daemon", "backchanneld")), ("provider", ("tests", "provider", "simprovider")),
                    ("tools", ("tests", "toolserver", "toolserver")), ("caller", ("tests", "caller", "caller")))}
        return {"data": {item.name: item.sha256 for item in self.sets}, "timing": settings.timing_sha256,
                "sessions": settings.sessions, "scale": settings.scale, "quick": settings.quick, "limit": settings.limit,
                "resume_rate": settings.resume_rate, "provider": settings.provider,
                "model": settings.model, "programs": program}

    # ---- playing ----

    def execute(self, run):
        jobs = self.jobs[run.sets]
        folder = os.path.join(self.out, "speculation", run.label)
        shutil.rmtree(folder, ignore_errors=True)
        with self.turn_to_open() as all_opened, Rig(self.settings.build, SOURCE, folder, run, self.settings) as rig, \
                self.listed(rig):
            if self.stopped:
                raise RigError("another run has failed, or it was stopped")
            machine, own, started = Machine(), self.own_cpu(), time.monotonic()
            rig.start_all(jobs)
            timelines = rig.play(jobs, self.slots, all_opened, self.progress(run))
            after, own = Machine(), self.own_cpu() - own
            numbers = rig.metrics()
            calls = rig.tool_calls()
            effects, ahead = rig.effects()
            ended = rig.stop_gateway()
            rig.stop_provider()
        log = collect.load_log(rig.path("provider.log")) if self.settings.provider is None else collect.Log([])
        manner = collect.Manner(run.turns != "vad", self.settings.provider is not None, run.reversible)
        rows, problems = collect.rows_of(jobs, timelines, calls, effects, ahead, log, manner)
        if ended != 0:
            problems.append(f"backchanneld ended with {ended}, see {folder}")
        total = max(after.total - machine.total, 0.01)
        end = {"seconds": round(time.monotonic() - started, 2), "cpu": rig.cpu, "played_s": rig.seconds,
               "metrics": numbers, "problems": problems, "parameters": log.parameters,
               "busy": (after.busy - machine.busy) / total,
               "others": max(0.0, after.busy - machine.busy - own) / total,
               "steal": (after.steal - machine.steal) / total}
        result = Result(run, rows, end)
        self.store.save(result)
        if not self.settings.keep and not problems:
            shutil.rmtree(folder, ignore_errors=True)
        return result

    @contextlib.contextmanager
    def turn_to_open(self):
        """One run opens sessions at a time; yields what ends its turn, which a failure does too."""
        self.opening.acquire()
        held = [True]

        def done():
            if held:
                held.clear()
                self.opening.release()
        try:
            yield done
        finally:
            done()

    def own_cpu(self):
        """Processor seconds that this process and all runs have used so far."""
        return sum(os.times()[:2]) + self.cpu_of_ended + sum(rig.cpu_now() for rig in list(self.rigs))

    @contextlib.contextmanager
    def listed(self, rig):
        self.rigs.append(rig)
        try:
            yield
        finally:
            self.cpu_of_ended += sum(rig.cpu.values())
            self.rigs.remove(rig)

    def progress(self, run):
        last = [time.monotonic()]

        def tell(done, total):
            if time.monotonic() - last[0] > 30:
                last[0] = time.monotonic()
                say(f"{run.label}: {done} of {total} sessions")
        return tell

    def stop(self):
        """End all runs, those too that still wait for their turn."""
        self.stopped = True
        for rig in list(self.rigs):
            rig.abort()

    def result_of(self, run):
        if self.settings.resume:
            kept = self.store.load(run)
            if kept:
                say(f"{run.label}: kept from an earlier run")
                return kept
        say(f"{run.label}: {len(self.jobs[run.sets])} sessions")
        result = self.execute(run)
        say(f"{run.label}: {report.load_text(result.end)}, {len(result.end['problems'])} problems")
        return result

    def play_all(self, runs, slim=lambda result: result):
        """{name: {seed: Result}}; slim: what is kept in memory of a result."""
        found = {}
        pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        try:
            started = {pool.submit(self.result_of, run): run for run in runs}
            for future in concurrent.futures.as_completed(started):
                run, result = started[future], future.result()  # raises what went wrong, at once
                found.setdefault(run.name, {})[run.seed] = slim(result)
                self.problems += [f"{run.label}: {problem}" for problem in result.end["problems"]]
        finally:
            # When a run has failed or we are told to stop, nothing is left running.
            pool.shutdown(wait=False, cancel_futures=True)
            self.stop()
            pool.shutdown()
        return {run.name: dict(sorted(found[run.name].items())) for run in runs}

    # ---- judging ----

    def judge(self, played):
        results = {}
        rows = {name: {seed: result.rows for seed, result in seeds.items()} for name, seeds in played.items()}
        for name, seeds in played.items():
            figures = metrics.one_run(rows[name])
            bases = next(iter(seeds.values())).run.bases
            figures["vs"] = {base: metrics.compare(rows[base], rows[name]) for base in bases if base in rows}
            figures["ends"] = {base: metrics.ends_of_turns(rows[base], rows[name]) for base in bases if base in rows}
            state_base = next((base for base in bases if base.endswith("B0")), None)
            figures["state"] = metrics.state_equality(rows[state_base], rows[name]) if state_base in rows else None
            base = next((base for base in bases if base.endswith("B1") and base in rows), None)
            if base:
                figures["extra_cost"] = metrics.extra_cost(
                    metrics.cost(metrics.flatten(rows[base])), figures["cost"], figures["vs"][base]["saved_s"])
            if self.settings.provider is not None:
                metrics.by_gateway(figures, [result.end["metrics"] for result in seeds.values()])
            cpu = sum(result.end["cpu"].get("backchanneld", 0.0) for result in seeds.values())
            figures["gateway_cpu_ms_per_turn"] = 1000 * cpu / max(figures["turns"], 1)
            figures["seconds"] = sum(result.end["seconds"] for result in seeds.values())
            results[name] = figures
        return results

    def ceilings(self, timing):
        """(of the service sets, of the control), None where there is none."""
        if self.settings.provider is not None:
            return None, None
        service = ceiling.compute(self.jobs["service"], timing, self.settings) if self.jobs["service"] else None
        control = None
        if self.jobs["control"]:
            changed = argparse.Namespace(**{**vars(self.settings), "tools": "uniform", "rule": "word", "turns": "manual"})
            control = ceiling.compute(self.jobs["control"], timing, changed)
        return service, control

    def beaten(self, played, timing):
        """What contradicts the ceiling, of the first seed; None where there is nothing to compare."""
        if self.settings.provider is not None or not {"B1", "confirm_all"} <= set(played):
            return None
        ours, base = (played[name].get(1) for name in ("confirm_all", "B1"))
        if not ours or not base:
            return None
        return ceiling.beaten(self.jobs["service"], timing, self.settings, ours.rows, base.rows)

    def noise_of(self, played):
        ends = [result.end for seeds in played.values() for result in seeds.values()]
        late = [row["late"] * 1000 for seeds in played.values() for result in seeds.values() for row in result.rows
                if row.get("late") is not None]
        seconds = sum(end["played_s"] for end in ends)
        return {"others_mean": metrics.mean(end["others"] for end in ends), "others_max": max(end["others"] for end in ends),
                "steal_mean": metrics.mean(end["steal"] for end in ends), "steal_max": max(end["steal"] for end in ends),
                "caller": sum(end["cpu"].get("caller", 0) for end in ends) / seconds,
                "gateway": sum(end["cpu"].get("backchanneld", 0) for end in ends) / seconds,
                "late_p50_ms": metrics.quantile(late, 0.5), "late_p99_ms": metrics.quantile(late, 0.99)}

    def judges_speed(self):
        """Speed is judged where the targets were set: the default point, the four sets whole, in real time."""
        settings = self.settings
        return (settings.scale == 1 and not settings.quick and not settings.limit and settings.provider is None
                and settings.profile == "gpt-realtime" and settings.tools == "typical" and settings.rule == "clause"
                and SERVICE_SETS <= {item.name for item in self.service})

    def head(self, plan):
        settings = self.settings
        where = "own dialogues of the project (tests/dialogues): no DATA was given" if settings.data is None else settings.data
        peer = f"simulated provider ({settings.profile}'s published timing)" if settings.provider is None else settings.provider
        notes = [f"{peer}, tools {settings.tools}, readiness by {settings.rule}, seeds 1 to {settings.seeds}, "
                 f"up to {settings.sessions} sessions at once.",
                 f"Data: {where}; {', '.join(f'{item.name} {len(item.dialogues)}' for item in self.sets)} dialogues.",
                 f"timing.json sha256 {settings.timing_sha256}"]
        if settings.quick:
            notes.append(f"A quick look: {len(self.jobs['service'])} single turns. No verdict on speed.")
        if settings.scale != 1:
            notes.append(f"SCALED: the simulated world ran {settings.scale:g} times as fast as a real one. These are no "
                         "measurements.")
        if settings.provider is not None:
            notes.append("A provider that was not simulated: typed turns; waste, passes and their cost are the gateway's own "
                         "counts; two runs may differ in what the model says, so equality of state is not judged.")
        if plan.missing:
            notes.append("Not in this daemon, so not measured: " + ", ".join(plan.missing) + ".")
        notes += ["All runs are the shipped daemon with different configuration. Latency: last word's last frame sent to "
                  "first audio of the answer received, both at the caller."]
        return {"title": f"Speculation, measured with a {peer}", "notes": notes}


def curves_of(played):
    names = ("B0", "B1", "strict", "confirm", "inject", "confirm_all")
    shown = [name for name in (*names, *(f"control-{name}" for name in names)) if name in played]
    curves = {}
    for name in shown:
        by_set = {}
        for row in next(iter(played[name].values())).rows:
            if row["kind"] != NO_CALLS and row["latency"] is not None:
                by_set.setdefault(row["set"], []).append(row["latency"])
        for one, values in by_set.items():
            curves.setdefault(one, []).append((name, values))
    return curves


def best_of(played):
    """The run that is shown turn by turn."""
    names = ("confirm_all", "confirm", "strict", "inject", "B1")
    return next((name for name in (*names, "control-confirm_all", "control-B1") if name in played), None)


def pairs_shown(played, base, name):
    """The calling turns of two runs, of the first seed that both have."""
    seeds = sorted(set(played.get(base, ())) & set(played.get(name, ())))[:1]
    return metrics.calling(metrics.pairs_of({seed: played[base][seed].rows for seed in seeds},
                                            {seed: played[name][seed].rows for seed in seeds}))


def write_outputs(bench, found, played):
    with open(os.path.join(bench.out, "speculation.json"), "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    name = best_of(played)
    base = "control-B1" if name and name.startswith("control") else "B1"
    pairs = pairs_shown(played, base, name)
    with open(os.path.join(bench.out, "speculation.html"), "w", encoding="utf-8") as file:
        file.write(page.page(found, curves_of(played), pairs, (base, name)))
    with open(os.path.join(bench.out, "speculation.md"), "w", encoding="utf-8") as file:
        file.write(report.markdown(found))


def explain_turn(bench, runs, text):
    """Print what a turn waited for, in every run that is kept."""
    dialogue, _, turn = text.rpartition(":")
    shown = 0
    for run in runs:
        kept = bench.store.load(run)
        for row in kept.rows if kept else []:
            if row["dialogue"] == dialogue and str(row["turn"]) == turn:
                print("\n".join(explain.lines_of(run.label, row)) + "\n")
                shown += 1
    if not shown:
        raise RigError(f"no kept run of these settings has the turn {text}; expected DIALOGUE:TURN of a run just made")


def ceiling_lines(found, results, name, base):
    """What paper allows, beside what a run reached against its baseline."""
    if not found:
        return []
    pair = results.get(name, {"vs": {}})["vs"].get(base)
    measured = {"": pair["calling"]["ratio"], **{kind: cell["ratio"] for kind, cell in pair["splits"].items()}} if pair else {}
    return ["", f"{name}:", *ceiling.lines_of(found, measured)]


def measure(bench, plan, runs, timing):
    played = bench.play_all(runs)
    results = bench.judge(played)
    service, control = bench.ceilings(timing)
    summary = metrics.summary(results, service)
    lines = ceiling_lines(service, results, "confirm_all", "B1") + ceiling_lines(
        control, results, "control-confirm_all", "control-B1")
    found = {"summary": summary, "head": bench.head(plan), "results": results, "ceiling": service,
             "ceiling_control": control, "ceiling_lines": lines, "sooner_than_ceiling": bench.beaten(played, timing), "verdicts": metrics.verdicts(summary, bench.judges_speed(), bench.settings.provider is not None),
             "red_flags": metrics.red_flags(summary, results), "noise": bench.noise_of(played),
             "problems": bench.problems[:200], "settings": bench.fingerprint()}
    write_outputs(bench, found, played)
    print("\n".join(report.page_of_text(found)))
    return finish(bench, [row["target"] for row in found["verdicts"] if row["ok"] is False])


def grid_point(bench, plan_runs, name, timing):
    """The figures of one point of the grid; runs are read from where they are kept."""
    ours = [run for run in plan_runs if run.name == name]
    rows = {run.seed: bench.store.load(run).rows for run in ours}
    figures = metrics.one_run(rows)
    for base in ours[0].bases:
        kept = {run.seed: bench.store.load(run).rows for run in plan_runs if run.name == base}
        figures["b1" if base.endswith("B1") else "b0"] = found = metrics.compare(kept, rows)
        if base.endswith("B0"):
            figures["state"] = metrics.state_equality(kept, rows)
        else:
            figures["extra_cost"] = metrics.extra_cost(metrics.cost(metrics.flatten(kept)), figures["cost"], found["saved_s"])
    settings = argparse.Namespace(**{**vars(bench.settings), **{key: getattr(ours[0], key) for key in (
        "profile", "tools", "rule", "silence", "repair_rate")}})
    figures["ceiling"] = ceiling.compute(bench.jobs["service"], timing, settings)
    return figures


def measure_grid(bench, plan, runs, timing):
    """Play and show all points; each run is kept and read again for its points, for together they are large."""
    bench.play_all(runs, slim=lambda result: None)
    points = {name.removesuffix(": confirm_all"): grid_point(bench, runs, name, timing)
              for name in dict.fromkeys(run.name for run in runs) if name.endswith(": confirm_all")}
    lines = report.grid_table(points)
    head = bench.head(plan)
    with open(os.path.join(bench.out, "speculation-grid.json"), "w", encoding="utf-8") as file:
        json.dump({"head": head, "points": points, "problems": bench.problems[:200], "settings": bench.fingerprint()}, file,
                  indent=1)
    print("\n".join([head["title"], *head["notes"], "", *lines]))
    return finish(bench, [f"{name}: {what} {point[key]}" for name, point in points.items()
                          for key, what in (("uncommitted_effects", "effects before their commit"), ("stale_reads", "stale reads"))
                          if point[key]])


def finish(bench, failed):
    for problem in bench.problems[:20]:
        print(f"PROBLEM: {problem}")
    if len(bench.problems) > 20:
        print(f"... and {len(bench.problems) - 20} more, see the JSON")
    if failed:
        print(f"bench-speculation: FAILED: {', '.join(failed)}")
    return 1 if failed or bench.problems else 0


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--data", help="folder with *.jsonl files; without it the project's own dialogues")
    parser.add_argument("--timing", default=os.path.join(SOURCE, "tests", "provider", "timing.json"))
    parser.add_argument("--profile", default="gpt-realtime")
    parser.add_argument("--tools", default="typical", help="fast, typical, slow, uniform, or seconds")
    parser.add_argument("--rule", default="clause", choices=("clause", "word"))
    parser.add_argument("--mode", help="only the runs of these names, separated by commas, and what they are compared with")
    parser.add_argument("--seeds", type=int, help="of B1 and confirm_all; 5, of a grid 1")
    parser.add_argument("--grid", action="store_true", help="providers, tools and rules, and one parameter at a time")
    parser.add_argument("--sessions", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="a fixed sample of single turns")
    parser.add_argument("--resume", action="store_true", help="keep results of runs that were finished")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--turns", default="vad", choices=("vad", "manual", "text"), help="who ends a turn")
    parser.add_argument("--silence", type=float, help="seconds of the provider's VAD instead of its default")
    parser.add_argument("--repair-rate", type=float, help="share of turns with a self-repair; default timing.json's")
    parser.add_argument("--pause-rate", type=float, default=0.0)
    parser.add_argument("--resume-rate", type=float, default=0.0)
    parser.add_argument("--provider", help="a real provider, wss://…: needs --key; turns are typed")
    parser.add_argument("--key", help="where its key is: env:NAME, file:PATH")
    parser.add_argument("--model", help="the real provider's model; {dialogue} in it becomes the dialogue's id")
    parser.add_argument("--limit", type=int, help="only so many sessions")
    parser.add_argument("--keep", action="store_true", help="keep logs and configuration of every run")
    parser.add_argument("--explain", metavar="DIALOGUE:TURN", help="what a turn of a kept run waited for; plays nothing")
    return parser.parse_args(arguments)


def complete(settings):
    settings.build = os.path.abspath(settings.build)
    settings.seeds = settings.seeds or (1 if settings.grid else 5)
    settings.timing = os.path.abspath(settings.timing)
    settings.timing_sha256 = file_hash(settings.timing)
    with open(settings.timing, encoding="utf-8") as file:
        timing = json.load(file)
    if settings.profile not in timing["providers"]:
        raise BadData(f"no profile {settings.profile} in {settings.timing}")
    if settings.repair_rate is None:
        settings.repair_rate = timing["model_behaviour"]["repair_rate_per_turn"]["default"]
    if settings.provider is not None:
        if not settings.key:
            raise BadData("a real provider needs --key env:NAME or file:PATH")
        parts = urllib.parse.urlsplit(settings.provider)
        if parts.scheme not in ("ws", "wss") or not parts.netloc:
            raise BadData(f"{settings.provider} is no ws:// or wss:// address")
        settings.provider = parts._replace(path=parts.path.rstrip("/") or "/v1/realtime").geturl()
        settings.turns, settings.quick, settings.scale = "text", True, 1.0
        settings.model = settings.model or settings.profile
    return timing


def choose_runs(settings, plan):
    if settings.grid:
        return plan.grid()
    if settings.mode:
        return plan.chosen(settings.mode)
    if settings.provider is not None:
        return [run for run in plan.quick() if not run.name.startswith("N")]
    return plan.quick() if settings.quick else plan.full()


def stop(*_):
    raise KeyboardInterrupt


def main(arguments):
    settings = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        timing = complete(settings)
        if settings.data is None:
            print("No DATA=dir was given: the project's own dialogues are played.")
            sets = [own_set(os.path.join(SOURCE, "tests", "dialogues"))]
        else:
            sets = load_sets(settings.data)
        settings.control = any(item.control for item in sets) and not settings.quick and settings.provider is None
        bench = Bench(settings, sets)
        plan = Plan(settings, *daemon_options(settings.build))
        runs = [run for run in choose_runs(settings, plan) if bench.jobs[run.sets]]
        if settings.explain:
            explain_turn(bench, runs, settings.explain)
            return 0
        if not runs:
            raise BadData(f"nothing to run: no mode or means {settings.mode}, or no dialogue for it")
        return (measure_grid if settings.grid else measure)(bench, plan, runs, timing)
    except (BadData, RigError, OSError) as error:
        print(f"bench-speculation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench-speculation: stopped; RESUME=1 goes on with the run that was under way", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
