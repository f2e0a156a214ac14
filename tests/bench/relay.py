#!/usr/bin/env python3
"""Measure what it costs to forward a message: the gateway beside other proxies, on this machine, at this hour.

README.md beside this file says how, and what the columns mean.
"""
import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time

import figures
import peers
from peers import BenchError

RATE = 20000  # messages per second of the open loop
QUICK = {"tls": ["none", "both"], "sessions": [1000], "bytes": [1300, 8192], "rates": [0],
         "peers": ["splice", "nginx", "haproxy", "backchanneld"], "seconds": 0.5, "warm": 0.1}
FULL = {"tls": ["none", "client", "both"], "sessions": [100, 1000, 5000], "bytes": [320, 1300, 8192, 65536],
        "rates": [0, RATE], "peers": ["splice", "nginx", "nginx-64k", "haproxy", "node", "backchanneld"],
        "seconds": 1.0, "warm": 0.2}
# 20,000 messages of 64 KB a second are more than most of these proxies can carry.
OPEN_LOOP_BYTES_MAX = 8192


def say(text):
    print(text, file=sys.stderr, flush=True)


class Machine:
    """Processor time of all cores in seconds, as /proc/stat has it."""

    def __init__(self):
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, idle, iowait, irq, softirq, steal = (value / tick for value in ticks)
        self.busy = user + nice + system + irq + softirq
        self.steal = steal
        self.total = self.busy + idle + iowait + steal


class Noise:
    """How much of the machine somebody else had while we measured."""

    def __init__(self):
        self.foreign = []  # shares of all cores, one per run
        self.steal = []

    @contextlib.contextmanager
    def watch(self, rig):
        before, own = Machine(), rig.cpu_seconds() + time.process_time()
        yield
        after = Machine()
        own = rig.cpu_seconds() + time.process_time() - own
        total = max(after.total - before.total, 0.01)
        self.foreign.append(max(0.0, after.busy - before.busy - own) / total)
        self.steal.append((after.steal - before.steal) / total)

    def report(self, cells):
        floors = [figures.spread([figures.cpu_us(run) for run in runs["splice"]])
                  for _, runs in cells if runs.get("splice")]
        swings = [(floor["max"] - floor["min"]) / floor["median"] for floor in floors]
        return {"floor_spread_median": statistics.median(swings) if swings else None,
                "floor_spread_max": max(swings, default=None),
                "steal_mean": statistics.fmean(self.steal), "steal_max": max(self.steal),
                "others_mean": statistics.fmean(self.foreign), "others_max": max(self.foreign)}


class Bench:
    """The run as a whole: what was measured, and what failed."""

    def __init__(self, options):
        self.options = options
        self.noise = Noise()
        self.cells = []  # (Cell, {peer: [run, ...]})
        self.setups = {}  # (tls, sessions, peer): ...
        self.syscalls = {}  # (str(cell), peer): {name: calls per message}
        self.loaded = {}
        self.workers = None  # (Cell, {"1 worker": [run, ...], "2 workers": ...})
        self.failures = []
        self.rigs = {}

    def fail(self, where, peer, error):
        say(f"{where}: {peer}: {error}")
        self.failures.append({"cell": str(where), "peer": peer, "error": str(error)})

    # ---- one TLS mode: all its sessions are open at once, so that its runs can be interleaved ----

    def open_rigs(self, tls, stack):
        ports = peers.Ports()
        for sessions in self.options.sessions:
            for peer in self.options.peers:
                where = f"{figures.TLS_NAMES[tls]}, {sessions} sessions"
                try:
                    rig = peers.Rig(self.options.build, peer, tls, sessions, ports, self.options.cores)
                except BenchError as error:
                    self.fail(where, peer, error)
                    continue
                stack.callback(rig.end)
                self.rigs[sessions, peer] = rig
                rss, pss = rig.per_session_kb(rig.idle)
                self.setups[tls, sessions, peer] = {"setup_cpu_us": rig.setup["proxy_cpu_ns"] / 1e3 / sessions,
                                                    "idle_rss_kb": rss, "idle_pss_kb": pss}
                say(f"{where}: {peer} is up")

    def drop(self, sessions, peer):
        self.rigs.pop((sessions, peer)).end()

    def measure(self, cell, peer, runs):
        rig = self.rigs.get((cell.sessions, peer))
        if rig is None:
            return
        try:
            with self.noise.watch(rig):
                run = rig.run(cell.size, cell.rate, self.options.warm, self.options.seconds)
            figures.cpu_us(run)
        except (BenchError, ValueError) as error:
            self.fail(cell, peer, error)
            self.drop(cell.sessions, peer)
            return
        runs[peer].append(run)
        # Later rounds would show what larger messages have left.
        if len(runs[peer]) == 1:
            run["loaded_rss_kb"] = rig.loaded_kb()[0]

    def trace(self, cell):
        for peer in self.options.peers:
            rig = self.rigs.get((cell.sessions, peer))
            if rig is None:
                continue
            try:
                self.syscalls[str(cell), peer] = rig.count_syscalls(cell.size, 0.3)
            except (BenchError, OSError) as error:
                self.fail(f"{cell}, traced", peer, error)
                self.drop(cell.sessions, peer)

    def run_mode(self, tls):
        options = self.options
        cells = [(figures.Cell(tls, sessions, size, rate), {peer: [] for peer in options.peers})
                 for size in options.bytes for sessions in options.sessions for rate in options.rates
                 if not rate or size <= OPEN_LOOP_BYTES_MAX]
        with contextlib.ExitStack() as stack:
            self.open_rigs(tls, stack)
            for turn in range(options.rounds):
                say(f"{figures.TLS_NAMES[tls]}: round {turn + 1} of {options.rounds}")
                # Nobody always runs first, or always after the same neighbour's mess.
                order = options.peers[turn % len(options.peers):] + options.peers[:turn % len(options.peers)]
                for cell, runs in cells:
                    for peer in order:
                        self.measure(cell, peer, runs)
            for cell, _ in cells:
                if options.syscalls and not cell.rate:
                    self.trace(cell)
            self.rigs = {}
        self.cells += cells

    def run_workers(self):
        """What a second worker costs."""
        cell = figures.Cell("none", 1000, 1300, 0)
        pair = ["1 worker", "2 workers"]
        runs = {peer: [] for peer in pair}
        ports = peers.Ports()
        with contextlib.ExitStack() as stack:
            for peer in pair:
                try:
                    rig = peers.Rig(self.options.build, peer, cell.tls, cell.sessions, ports, self.options.cores)
                except BenchError as error:
                    self.fail(cell, peer, error)
                    continue
                stack.callback(rig.end)
                self.rigs[cell.sessions, peer] = rig
            for turn in range(self.options.rounds):
                say(f"workers: round {turn + 1} of {self.options.rounds}")
                for peer in pair if turn % 2 == 0 else reversed(pair):
                    self.measure(cell, peer, runs)
            self.rigs = {}
        self.workers = (cell, runs)

    # ---- what came of it ----

    def summary(self):
        rows = [row for cell, runs in self.cells for row in figures.cell_rows(cell, runs)]
        rows += figures.scaling_rows(self.cells)
        if self.workers and all(self.workers[1].values()):
            cell, runs = self.workers
            rows.append(figures.workers_row(cell, runs["1 worker"], runs["2 workers"]))
        for (tls, sessions, peer), setup in self.setups.items():
            if peer == figures.US and tls in figures.IDLE_KB and sessions >= 1000:
                rows.append(figures.memory_row(tls, sessions, setup["idle_rss_kb"]))
        return rows

    def cell_json(self, cell, runs):
        found = {}
        for peer, rounds in runs.items():
            if rounds:
                found[peer] = {"cpu_us": figures.spread([figures.cpu_us(run) for run in rounds]),
                               "p50_us": figures.spread([run["latency_p50_us"] for run in rounds]),
                               "p99_us": figures.spread([run["latency_p99_us"] for run in rounds]),
                               "loaded_rss_kb": rounds[0].get("loaded_rss_kb"),
                               "syscalls": self.syscalls.get((str(cell), peer)), "rounds": rounds}
        return {"cell": str(cell), "tls": cell.tls, "sessions": cell.sessions, "bytes": cell.size, "rate": cell.rate,
                "peers": found}

    def write(self, rows, noise):
        path = os.path.join(self.options.build, "bench", "relay.json")
        setups = [{"tls": tls, "sessions": sessions, "peer": peer, **setup}
                  for (tls, sessions, peer), setup in self.setups.items()]
        report = {"summary": rows, "noise": noise, "failures": self.failures, "setups": setups,
                  "rounds": self.options.rounds, "seconds": self.options.seconds,
                  "cells": [self.cell_json(cell, runs) for cell, runs in self.cells],
                  "workers": self.cell_json(*self.workers) if self.workers else None}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
        return path

    def print_figures(self):
        rows = [figures.figure_row(cell, peer, rounds, self.syscalls.get((str(cell), peer)))
                for cell, runs in self.cells for peer, rounds in runs.items() if rounds]
        print(figures.table(rows, figures.FIGURE_HEADER) + "\n")
        rows = []
        for (tls, sessions, peer), setup in self.setups.items():
            loaded = [runs[peer][0]["loaded_rss_kb"] for cell, runs in self.cells
                      if (cell.tls, cell.sessions) == (tls, sessions) and runs[peer]]
            rows.append([f"{sessions}, {figures.TLS_NAMES[tls]}", peer, f"{setup['setup_cpu_us']:.0f}",
                         f"{setup['idle_rss_kb']:.1f}", f"{setup['idle_pss_kb']:.1f}", f"{max(loaded, default=0):.1f}"])
        print(figures.table(rows, figures.SETUP_HEADER) + "\n")


def print_noise(noise):
    spread = noise["floor_spread_median"]
    if spread is not None:
        print(f"noise: the floor's rounds differ by {spread:.0%} of their median in the middle cell, "
              f"{noise['floor_spread_max']:.0%} in the worst")
    print(f"noise: others used {noise['others_mean']:.0%} of the processors on average, {noise['others_max']:.0%} in the "
          f"worst run; the host took {noise['steal_mean']:.1%}, {noise['steal_max']:.1%}")


def conclude(bench):
    """Print everything; the exit status."""
    if not any(rounds for _, runs in bench.cells for rounds in runs.values()):
        print("nothing could be measured")
        return 1
    rows = bench.summary()
    noise = bench.noise.report(bench.cells)
    print("gateway / proxy: median of the rounds' ratios [least-greatest] (95 % interval of the median)")
    print("\n".join(figures.ratio_lines(rows)) + "\n")
    bench.print_figures()
    print_noise(noise)
    print(f"all figures: {os.path.relpath(bench.write(rows, noise))}")
    for failure in bench.failures:
        print(f"not measured: {failure['cell']}: {failure['peer']}: {failure['error']}")
    missed = [row for row in rows if not row["ok"]]
    judged = sum(row["target"] is not None for row in rows)
    ours = {figures.US, *peers.SPREAD}
    ours_failed = any(failure["peer"] in ours for failure in bench.failures)
    print(f"{judged - len(missed)} of {judged} targets held")
    return 1 if missed or ours_failed else 0


def words(text):
    return text.split(",")


def numbers(text):
    return [int(word) for word in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="build directory")
    parser.add_argument("--quick", action="store_true", help="the 1,000-session cells of 1.3 KB and 8 KB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="measured per run")
    parser.add_argument("--warm", type=float, help="seconds of load before that")
    parser.add_argument("--tls", type=words, help="none,client,both")
    parser.add_argument("--sessions", type=numbers)
    parser.add_argument("--bytes", type=numbers)
    parser.add_argument("--rates", type=numbers, help="messages per second; 0 is saturation")
    parser.add_argument("--peers", type=words, help=",".join(peers.PEERS))
    parser.add_argument("--no-workers", dest="workers", action="store_false", help="do not compare one worker with two")
    parser.add_argument("--no-syscalls", dest="syscalls", action="store_false", help="do not count system calls")
    options = parser.parse_args()
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.build = os.path.abspath(options.build)
    unknown = [peer for peer in options.peers if peer not in peers.PEERS]
    if unknown or options.rounds < 1:
        parser.error(f"unknown peers: {unknown}" if unknown else "at least one round")
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cores = sorted(os.sched_getaffinity(0))
    options.cores = (cores[0], cores[1 % len(cores)])
    if len(cores) < 2:
        say("only one core: generator and proxy share it, so latencies mean little")
    os.makedirs(os.path.join(options.build, "bench"), exist_ok=True)
    peers.raise_limits(2 * max(*options.sessions, 1000) + 1024)
    peers.make_certificate(os.path.join(options.build, "bench"))
    bench = Bench(options)
    for tls in options.tls:
        bench.run_mode(tls)
    if options.workers:
        bench.run_workers()
    return conclude(bench)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as problem:
        sys.exit(f"bench-relay: {problem}")
