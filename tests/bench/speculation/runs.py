"""Which runs a benchmark makes, and with what configuration of the daemon.  Pure.

Every run is the shipped daemon with another configuration; provider, tools and caller are the same programs with the same
draws.  What a daemon does not have yet is left out and named.
"""
import re

# What the daemon has on top of a mode: name, option in [speculation], its value on and off.  A test holds them against the
# shipped daemon; one it does not have is left out and named.
MEANS = (
    ("looks in mid-speech", "growth", "1s", "0s"),
    ("prefetch", "prefetch", True, False),
    ("predicted calls", "patterns", True, False),
    ("prepared writes", "prepare", True, False),
    ("race", "race", True, False),
    ("eager turn", "eager_turn", True, False),
)
# These change when a turn ends: part of their gain is plain endpointing, so they are never in confirm_all.
ENDPOINTING = ("eager turn",)
# Passes in mid-speech find nothing that a pass at a clause's end does not where a call is determined by its clause, and
# cost as much again: with the clause rule they are measured apart, and are in nothing else.  Where single words determine
# calls, they are as frequent as the shortest distance of two passes allows.
WORDS_ONLY = ("looks in mid-speech",)
EVERY_WORD = {"growth": "400ms", "passes_max": 20}
# Not an option but a way to declare tools; which writes have an inverse is for who offers them to say.
REVERSIBLE = "reversible writes"

BASES = {
    "B0": (), "B1": ("B0",), "N0-base": (), "N0": ("N0-base",), "+ eager turn": ("B0", "B1", "B1-vad", "confirm"),
    "everything": ("B0", "B1", "B1-vad"), "+ reversible writes": ("B0", "B1", "confirm"),
    "control-B0": (), "control-B1": ("control-B0",), "control-confirm_all": ("control-B0", "control-B1"),
    "pauses B1": (), "pauses B1-vad": ("pauses B1",), "pauses eager turn": ("pauses B1", "pauses B1-vad"),
}
PAUSE_RATE = 0.1  # share of turns with a pause of 150 to 900 ms, in the runs about ends of turns
B1_VAD_SILENCE = 0.15  # seconds
CONTROL = {"tools": "uniform", "rule": "word", "turns": "manual"}  # the paper's kind of task

GRID_PROFILES = ("gpt-realtime", "gpt-realtime-1.5", "gemini-3.1-flash-live")
GRID_TOOLS = ("fast", "typical", "slow")
GRID_RULES = ("clause", "word")


def told(option):
    return lambda value: {"provider": [f"--{option}", str(value)]}


def spoken(value):
    return {"options": {"input": "text"}, "provider": ["--asr-lag", str(value)]}


# One parameter at a time at the default point: name, values, what changes, whether the baselines change with it.
SWEEPS = (
    ("silence", (0.2, 0.8, 1.0), lambda value: {"silence": value}, True),
    ("tool time", (0, 0.3, 0.6, 1, 2), lambda value: {"tools": str(value)}, True),
    ("provider round trip ms", (10, 150), told("rtt"), True),
    ("share of turns with a repair", (0.1, 0.21), lambda value: {"repair_rate": value}, True),
    ("repairs the model applies", (0.588, 0.353), told("applies-repair"), True),
    ("eagerness", (0.108, 0.169, 0.416, 0.569), told("eagerness"), False),
    ("early calls wrong", (0, 0.1, 0.2, 0.5, 1), told("early-wrong"), False),
    ("premature guesses", (0, 0.42), told("premature"), False),
    ("pass disagrees", (0.02, 0.05, 0.1), told("pass-disagrees"), False),
    ("transcripts late by s", (0, 0.3, 0.8), spoken, False),
    ("hold_quiet", ("300ms", "1s"), lambda value: {"options": {"hold_quiet": value}}, False),
)


def bases_of(name):
    """What a run is compared with."""
    return BASES.get(name, ("B0", "B1"))


class Run:
    """One run: every job once."""

    def __init__(self, name, seed, defaults, options, **changes):
        self.name, self.seed = name, seed
        self.options = options  # of the daemon: {section: {key: value}}
        self.tools = changes.get("tools", defaults.tools)
        self.rule = changes.get("rule", defaults.rule)
        self.turns = changes.get("turns", defaults.turns)
        self.provider = list(changes.get("provider", ()))
        self.silence = changes.get("silence", defaults.silence)
        self.reversible = changes.get("reversible", False)
        self.pause_rate = changes.get("pause_rate", defaults.pause_rate)
        self.profile = changes.get("profile", defaults.profile)
        self.repair_rate = changes.get("repair_rate", defaults.repair_rate)
        self.bases = changes.get("bases", bases_of(name))
        self.sets = changes.get("sets", "service")  # or "control", or "sample": single turns of the service sets

    @property
    def label(self):
        return re.sub("[ ,:]+", "-", f"{self.name}-{self.seed}")

    def identity(self):
        """All that tells this run from another; what a kept result must agree with to be used again."""
        return {"name": self.name, "seed": self.seed, "options": self.options, "tools": self.tools, "rule": self.rule,
                "turns": self.turns, "provider": self.provider, "silence": self.silence,
                "reversible": self.reversible, "pause_rate": self.pause_rate, "profile": self.profile,
                "repair_rate": self.repair_rate, "sets": self.sets}


def means_of(daemon):
    """The means this daemon has, {name: (option, on, off)}, and the names of those it has not."""
    options = daemon.get("speculation", {})
    have = {name: (option, on, off) for name, option, on, off in MEANS if option in options}
    return have, [name for name, *_ in MEANS if name not in have]


def mode_options(mode, means, have):
    """[speculation] of a mode with these means on and all others the daemon has off, whatever its defaults are."""
    return {"speculation": {"mode": mode, **{option: on if name in means else off
                                             for name, (option, on, off) in have.items()}}}


class Plan:
    """The runs of one call of the benchmark."""

    def __init__(self, settings, daemon, modes):
        self.settings = settings
        self.have, self.missing = means_of(daemon)
        self.seeds = range(1, settings.seeds + 1)
        self.modes = modes
        self.sequential = "sequential" in daemon.get("tools", {})
        self.endpointing = [name for name in ENDPOINTING if name in self.have]
        self.best = "confirm" if "confirm" in modes else "strict"
        if self.best != "confirm":
            self.missing.append("mode confirm (strict stands in for it)")
        for mode in ("inject",):
            if mode not in modes:
                self.missing.append(f"mode {mode}")
        if not self.sequential:
            self.missing.append("option tools.sequential (no B0)")

    def spec(self, mode, means=()):
        return mode_options(mode, means, self.have)

    def all_means(self, rule):
        """What confirm_all switches on."""
        apart = ENDPOINTING if rule == "word" else ENDPOINTING + WORDS_ONLY
        return [name for name in self.have if name not in apart]

    def run(self, name, seed, options, **changes):
        return Run(name, seed, self.settings, options, **changes)

    def confirm_all(self, name="confirm_all", seed=1, **changes):
        rule = changes.get("rule", self.settings.rule)
        options = self.spec(self.best, self.all_means(rule))
        if rule == "word":
            options["speculation"].update(EVERY_WORD)
        return self.run(name, seed, options, **changes)

    def off(self, name, seed=1, **changes):
        return self.run(name, seed, {"speculation": {"mode": "off"}}, **changes)

    def b0(self, name="B0", **changes):
        return self.run(name, 1, {"speculation": {"mode": "off"}, "tools": {"sequential": True}}, **changes)

    def one(self, name, means=(), mode=None, **changes):
        """A run of the first seed with these means and no other."""
        return self.run(name, 1, self.spec(mode or self.best, means), **changes)

    def nulls(self):
        turn_based = ["--behaviour", "turn-based"]
        return [self.off("N0-base", tools="0", provider=turn_based),
                self.confirm_all("N0", tools="0", provider=turn_based),
                self.confirm_all("N1", provider=["--early-wrong", "1"])]

    def quick(self):
        base = [self.b0()] if self.sequential else []
        return base + [self.off("B1"), self.confirm_all(), *self.nulls()]

    def chosen(self, names):
        """The runs of these names, separated by commas, each with what it is compared with; none if there is no such name."""
        every = self.full()
        known = {run.name for run in every}
        wanted = [name.strip() for name in names.split(",")]
        if not set(wanted) <= known:
            return []
        wanted_and_bases = {name: None for one in wanted for name in (*bases_of(one), one)}
        if not any(name.startswith(("control", "pauses")) for name in wanted_and_bases):
            wanted_and_bases = {"B0": None, **wanted_and_bases}
        seeds = {run.seed for run in every if run.name in wanted}
        return [run for name in wanted_and_bases for run in every if run.name == name and run.seed in seeds]

    def control(self):
        if not self.settings.control:
            return []
        changes = {**CONTROL, "sets": "control"}
        base = [self.b0("control-B0", **changes)] if self.sequential else []
        return base + [self.off("control-B1", **changes), self.confirm_all("control-confirm_all", **changes)]

    def pauses(self):
        """Callers who pause within a turn: what an early end of turn costs, and whether it is ever heard."""
        if not self.endpointing:
            return []
        changes = {"sets": "sample", "pause_rate": PAUSE_RATE}
        return [self.off("pauses B1", **changes), self.off("pauses B1-vad", silence=B1_VAD_SILENCE, **changes),
                self.one("pauses eager turn", self.endpointing, **changes)]

    def full(self):
        runs = [self.b0()] if self.sequential else []
        for seed in self.seeds:
            runs += [self.off("B1", seed), self.confirm_all(seed=seed)]
        runs.append(self.off("B1-vad", silence=B1_VAD_SILENCE))
        runs += [self.one(mode, mode=mode) for mode in ("strict", "confirm", "inject") if mode in self.modes]
        runs += [self.one(f"+ {name}", [name]) for name in self.have]
        runs.append(self.one(f"+ {REVERSIBLE}", reversible=True))
        everything = [*self.all_means(self.settings.rule), *self.endpointing]
        runs.append(self.one("everything", everything, reversible=True))
        runs += self.nulls()
        runs.append(self.confirm_all("O", rule="word", provider=["--eagerness", "1", "--early-wrong", "0",
                                                                  "--premature", "0"]))
        return runs + self.pauses() + self.control()

    # ---- the grid ----

    def points(self):
        """[(name of the point, of its baselines, changes)]: the grid, then one parameter at a time."""
        found = [(f"{profile}, {tools}, {rule}", f"{profile}, {tools}", {"profile": profile, "tools": tools, "rule": rule})
                 for profile in GRID_PROFILES for tools in GRID_TOOLS for rule in GRID_RULES]
        for name, values, changes_of, both in SWEEPS:
            for value in values:
                point = f"{name} {value}"
                base = point if both else f"{self.settings.profile}, {self.settings.tools}"
                found.append((point, base, changes_of(value)))
        return found

    def grid(self):
        """B0 and B1 of every point that changes them, and confirm_all of every point."""
        runs, seen = [], set()
        for point, base, changes in self.points():
            changes = dict(changes)
            options = changes.pop("options", {})
            b0 = (f"{base}: B0",) if self.sequential else ()
            if base not in seen:
                seen.add(base)
                runs += [self.b0(name, bases=(), **changes) for name in b0]
                runs += [self.off(f"{base}: B1", seed, bases=b0, **changes) for seed in self.seeds]
            for seed in self.seeds:
                run = self.confirm_all(f"{point}: confirm_all", seed, bases=(*b0, f"{base}: B1"), **changes)
                run.options["speculation"].update(options)
                runs.append(run)
        return runs
