"""Which runs a benchmark makes, and with what configuration of the daemon.  Pure.

Every run is the shipped daemon with another configuration; provider, tools and caller are the same programs with the same
draws.  What a daemon does not have yet is left out and named.
"""

# What the daemon has on top of a mode: name, option in [speculation], value that turns it on.  Whatever is not among the
# daemon's options is left out.  The first word that exists counts, so that an option may be renamed.
MEANS = (
    ("looks in mid-speech", ("growth",), True),
    ("prefetch", ("prefetch",), True),
    ("prepared writes", ("prepare", "prepared", "prepared_writes", "prepare_writes"), True),
    ("predicted calls", ("predict", "predict_calls", "prediction"), True),
    ("own end of turn", ("endpoint", "end_of_turn", "own_end", "endpointing"), True),
    ("eager turn", ("eager_turn", "eager"), True),
)
# These change when a turn ends: part of their gain is plain endpointing, so they are never in confirm_all.
ENDPOINTING = ("eager turn", "own end of turn")
REVERSIBLE = "reversible writes"

B1_VAD_SILENCE = 0.15  # seconds
CONTROL = {"tools": "uniform", "rule": "word", "turns": "manual"}  # the paper's kind of task


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
        self.sets = changes.get("sets", "service")  # or "control"

    @property
    def label(self):
        return f"{self.name}-{self.seed}".replace(" ", "-")

    def identity(self):
        """All that tells this run from another; what a kept result must agree with to be used again."""
        return {"name": self.name, "seed": self.seed, "options": self.options, "tools": self.tools, "rule": self.rule,
                "turns": self.turns, "provider": self.provider, "silence": self.silence,
                "reversible": self.reversible, "sets": self.sets}


def means_of(daemon):
    """The means this daemon has, {name: (option, value)}, and the names of those it has not."""
    have, missing = {}, []
    options = daemon.get("speculation", {})
    for name, words, value in MEANS:
        found = [word for word in words if word in options]
        if not found:
            missing.append(name)
            continue
        default = options[found[0]]
        if isinstance(default, str):  # a choice or a duration: "off" and "0s" are off
            value = {"off": "on", "0s": "1s"}.get(default, default)
        have[name] = (found[0], value)
    return have, missing


def mode_options(mode, means, have, switch_off=()):
    """[speculation] of a mode with these means on and all others the daemon has off."""
    pairs = {"mode": mode}
    for name, (option, value) in have.items():
        if name in means:
            pairs[option] = value
        elif name in switch_off:
            pairs[option] = off_value(value)
    return {"speculation": pairs}


def off_value(value):
    if isinstance(value, bool):
        return False
    return "0s" if isinstance(value, str) and value[:1].isdigit() else "off"


class Plan:
    """The runs of one call of the benchmark."""

    def __init__(self, settings, daemon, modes):
        self.settings = settings
        self.have, self.missing = means_of(daemon)
        self.modes = modes
        self.sequential = "sequential" in daemon.get("tools", {})
        self.all_means = [name for name in self.have if name not in ENDPOINTING]
        self.best = "confirm" if "confirm" in modes else "strict"
        if self.best != "confirm":
            self.missing.append("mode confirm (strict stands in for it)")
        for mode in ("inject",):
            if mode not in modes:
                self.missing.append(f"mode {mode}")
        if not self.sequential:
            self.missing.append("option tools.sequential (no B0)")

    def spec(self, mode, means=()):
        return mode_options(mode, means, self.have, switch_off=self.have)

    def run(self, name, seed, options, **changes):
        return Run(name, seed, self.settings, options, **changes)

    def confirm_all(self, name="confirm_all", seed=1, **changes):
        return self.run(name, seed, self.spec(self.best, self.all_means), **changes)

    def off(self, name, seed=1, **changes):
        return self.run(name, seed, {"speculation": {"mode": "off"}}, **changes)

    def b0(self, name="B0", **changes):
        return self.run(name, 1, {"speculation": {"mode": "off"}, "tools": {"sequential": True}}, **changes)

    def nulls(self):
        turn_based = ["--behaviour", "turn-based"]
        return [self.off("N0-base", tools="0", provider=turn_based),
                self.confirm_all("N0", tools="0", provider=turn_based),
                self.confirm_all("N1", provider=["--early-wrong", "1"])]

    def quick(self):
        base = [self.b0()] if self.sequential else []
        return base + [self.off("B1"), self.confirm_all(), *self.nulls()]

    def single(self, mode):
        """One run, and what it is compared with."""
        bases = {"N0": ["N0-base"]}.get(mode, ["B0", "B1"])
        if mode.startswith("control-"):
            bases = ["control-B0", "control-B1"]
        every = self.full()
        if mode not in [run.name for run in every]:
            return []
        seeds = {run.seed for run in every if run.name == mode}
        names = bases if mode in bases else [*bases, mode]
        return [run for name in names for run in every if run.name == name and run.seed in seeds]

    def control(self):
        if not self.settings.control:
            return []
        changes = {**CONTROL, "sets": "control"}
        base = [self.b0("control-B0", **changes)] if self.sequential else []
        return base + [self.off("control-B1", **changes), self.confirm_all("control-confirm_all", **changes)]

    def full(self):
        seeds = range(1, self.settings.seeds + 1)
        runs = [self.b0()] if self.sequential else []
        for seed in seeds:
            runs += [self.off("B1", seed), self.confirm_all(seed=seed)]
        runs.append(self.off("B1-vad", silence=B1_VAD_SILENCE))
        runs += [self.run(mode, 1, self.spec(mode)) for mode in ("strict", "confirm", "inject") if mode in self.modes]
        for name in self.have:
            runs.append(self.run(f"+ {name}", 1, self.spec(self.best, [name])))
        runs.append(self.run(f"+ {REVERSIBLE}", 1, self.spec(self.best), reversible=True))
        if [name for name in ENDPOINTING if name in self.have]:
            runs.append(self.run("everything", 1, self.spec(self.best, list(self.have))))
        runs += self.nulls()
        runs.append(self.confirm_all("O", rule="word", provider=["--eagerness", "1", "--early-wrong", "0",
                                                                  "--premature", "0"]))
        return runs + self.control()
