"""Compares runs turn by turn and says which promise was broken.  Pure.

A run is a list of rows, one a turn, as the benchmark's collect.py makes them.  Two runs of one seed meet the same model,
tools and caller, so whatever differs between them the gateway has done.
"""
import collections

import metrics

SHOWN = 20  # turns of each kind that are named


class Play:
    """What a run played, counted."""

    def __init__(self, rows):
        self.turns = len(rows)
        self.dialogues = len({row["dialogue"] for row in rows})
        self.calls = sum(len(row["final"]) for row in rows)
        self.effects = sum(len(row["effects"]) for row in rows)
        self.repairs = sum(bool(row["repair"]) for row in rows)
        self.refused = sum(bool(row.get("refused")) for row in rows)
        self.passes = sum(bool(response["aside"]) for row in rows for response in row["responses"])
        self.early_calls = sum(call["from"] is not None and row["committed"] is not None
                               and call["from"] < row["committed"] for row in rows for call in row["tools"])


def calls_of(row):
    """The calls the provider's conversation holds for a turn, each with its result.  Calls side by side have no order."""
    return sorted((name, args, output or "") for (name, args), output in zip(row["final"], row["outputs"]))


def place_of(row):
    return f"{row['set']}/{row['dialogue']}:{row['turn']}" + (" (repair)" if row["repair"] else "")


def difference(base, ours):
    """How a turn differs from the same turn without speculation: "effects", "calls", "words", or None."""
    if not metrics.same_state(base, ours):
        return "effects"
    if calls_of(base) != calls_of(ours):
        return "calls"
    return "words" if base["said"] != ours["said"] else None


def beside(base, ours):
    """Calls that came on top of the right ones: all that the turn has of a tool without speculation were there already.  Then
    it was no model that asked for it, for a model that has what it wants asks for nothing."""
    wanted = collections.Counter(map(tuple, base["final"]))
    left = collections.Counter(name for name, _ in map(tuple, base["final"]))
    known, found = set(left), []
    for call in map(tuple, ours["final"]):
        if wanted[call] > 0:
            wanted[call] -= 1
            left[call[0]] -= 1
        elif call[0] in known and left[call[0]] == 0:
            found.append(call)
    return found


class Comparison:
    """One run against the one without speculation."""

    def __init__(self, base, ours):
        known = {metrics.turn_key(row): row for row in base}
        self.base, self.play = Play(base), Play(ours)
        played = {metrics.turn_key(row) for row in ours}
        self.missing = [place_of(row) for row in base if metrics.turn_key(row) not in played]
        self.differ = collections.defaultdict(list)
        for row in ours:
            other = known.get(metrics.turn_key(row))
            kind = difference(other, row) if other else "unknown"
            if kind:
                self.differ[kind].append(place_of(row))
        self.early = [place_of(row) for row in ours if row["early_effects"]]
        self.twice = [place_of(row) for row in ours for call in row["tools"] if call["verdict"] == "duplicate"]
        self.twice += [place_of(row) for row in ours if beside(known.get(metrics.turn_key(row), row), row)]
        self.stale = [place_of(row) for row in ours if row["stale_answers"]]
        answered = {key for key, row in known.items() if row["latency"] is not None}
        self.silent = [place_of(row) for row in ours if row["latency"] is None and metrics.turn_key(row) in answered]

    @property
    def lost(self):
        """Turns whose committed calls are others than without speculation."""
        return len(self.differ["effects"]) + len(self.differ["calls"]) + len(self.differ["words"])

    @property
    def equal(self):
        return 1.0 - self.lost / self.play.turns if self.play.turns else None

    def breaches(self, same):
        """Promises that were broken, in words; same: nothing may differ (passes are free of error)."""
        found = [f"effect before its commit: {place}" for place in self.early]
        found += [f"a call too many: {place}" for place in self.twice]
        found += [f"answer from a stale read: {place}" for place in self.stale]
        found += [f"not played: {place}" for place in self.missing]
        if same:
            found += [f"other {kind}: {place}" for kind, places in sorted(self.differ.items()) for place in places]
            found += [f"no answer: {place}" for place in self.silent]
        return found


def compare_itself(rows):
    """The breaches of the run without speculation: what it lacks the others cannot be compared with."""
    found = [f"effect before its commit: {place_of(row)}" for row in rows if row["early_effects"]]
    found += [f"effect twice: {place_of(row)}" for row in rows for call in row["tools"] if call["verdict"] == "duplicate"]
    return found + [f"answer from a stale read: {place_of(row)}" for row in rows if row["stale_answers"]]
