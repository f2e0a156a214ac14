"""From rows of turns to the figures of the benchmark.  Pure.

A run is a list of rows (collect.py).  Two runs are compared turn by turn: same seed, same dialogue, same turn, so the same
model, tools and caller.  A speed-up is the mean latency of the one divided by that of the other, per data set; sets are
averaged without weights; intervals come from a bootstrap over dialogues.
"""
import collections
import random
import statistics

from dialogues import KINDS, NO_CALLS

RESAMPLES = 1000
SHARE = 0.95
ENOUGH = 30  # turns a cell needs before it gets a verdict
LONG_SPEECH = 5.0  # seconds


def quantile(values, share):
    """The value below which that share lies; linear between neighbours."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def mean(values):
    values = list(values)
    return statistics.fmean(values) if values else None


def turn_key(row):
    return row["set"], row["dialogue"], row["turn"]


def pairs_of(base, ours):
    """[(row of base, row of ours)] of the turns both answered; base, ours: {seed: rows}.  Seeds only one has are left out."""
    found = []
    for seed in sorted(set(base) & set(ours)):
        known = {turn_key(row): row for row in base[seed] if row["latency"] is not None}
        found += [(known[turn_key(row)], row) for row in ours[seed]
                  if row["latency"] is not None and turn_key(row) in known]
    return found


def calling(pairs):
    return [pair for pair in pairs if pair[0]["kind"] != NO_CALLS]


# ---- ratios ----

def sums_of(pairs):
    """{set: {dialogue: [seconds of base, seconds of ours]}}"""
    sums = collections.defaultdict(lambda: collections.defaultdict(lambda: [0.0, 0.0]))
    for base, ours in pairs:
        cell = sums[base["set"]][base["dialogue"]]
        cell[0] += base["latency"]
        cell[1] += ours["latency"]
    return sums


def ratio_of(cells):
    """Base over ours of [base, ours] sums; None without any."""
    base, ours = sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)
    return base / ours if ours > 0 else None


def mean_ratio(sums):
    """Unweighted mean over the sets."""
    return mean(ratio for ratio in (ratio_of(cells.values()) for cells in sums.values()) if ratio is not None)


def interval(sums, resamples=RESAMPLES, share=SHARE):
    """Bootstrap interval of the unweighted mean: dialogues are drawn within their set; the same for the same sums."""
    draw = random.Random(1)
    lists = [list(cells.values()) for cells in sums.values() if cells]
    if not lists:
        return None, None
    found = []
    for _ in range(resamples):
        ratios = [ratio_of(draw.choices(cells, k=len(cells))) for cells in lists]
        found.append(mean(ratio for ratio in ratios if ratio is not None) or 0.0)
    found.sort()
    cut = int(len(found) * (1 - share) / 2)
    return found[cut], found[-1 - cut]


def speedup(pairs, resamples=RESAMPLES):
    """{"ratio", "low", "high", "n", "sets": {set: ratio}, "median": median of the paired ratios}"""
    sums = sums_of(pairs)
    low, high = interval(sums, resamples)
    ratios = [base["latency"] / ours["latency"] for base, ours in pairs if ours["latency"] > 0]
    return {"ratio": mean_ratio(sums), "low": low, "high": high, "n": len(pairs),
            "sets": {name: ratio_of(cells.values()) for name, cells in sorted(sums.items())},
            "median": statistics.median(ratios) if ratios else None}


def splits(pairs):
    """The cells every number is split into: {name: pairs}."""
    cells = {kind: [pair for pair in pairs if pair[0]["kind"] == kind] for kind in KINDS}
    long = [pair for pair in pairs if (pair[0]["speech"] or 0) > LONG_SPEECH]
    cells[f"speech over {LONG_SPEECH:.0f} s"] = long
    cells[f"speech under {LONG_SPEECH:.0f} s"] = [pair for pair in pairs if (pair[0]["speech"] or 0) <= LONG_SPEECH]
    cells["with repair"] = [pair for pair in pairs if pair[0]["repair"]]
    cells["without repair"] = [pair for pair in pairs if not pair[0]["repair"]]
    return cells


def pooled(pairs):
    """A ratio of a small cell: all its turns together, not per set."""
    return ratio_of([[base["latency"], ours["latency"]] for base, ours in pairs])


def guessed_in_speech(row):
    """Whether a tool call whose result was used had begun before the last word's end."""
    used = {(name, args) for name, args in map(tuple, row["final"])}
    return any(call["from"] is not None and call["from"] < 0 and (call["tool"], call["args"]) in used
               for call in row["tools"])


def mid_speech_share(pairs):
    """The share of all seconds gained that turns with a used call from before the last word gained."""
    gains = [(base["latency"] - ours["latency"], guessed_in_speech(ours)) for base, ours in pairs]
    whole = sum(gain for gain, _ in gains)
    return sum(gain for gain, early in gains if early) / whole if whole > 0 else None


def compare(base, ours, resamples=RESAMPLES):
    """Everything about the speed of one run against another; base, ours: {seed: rows}."""
    every = pairs_of(base, ours)
    found = calling(every)
    silent = [pair for pair in every if pair[0]["kind"] == NO_CALLS]
    slower = [(ours_["latency"] - base_["latency"]) * 1000 for base_, ours_ in silent]
    difference = [(ours_["latency"] - base_["latency"]) * 1000 for base_, ours_ in every]
    return {"calling": speedup(found, resamples), "task": speedup(every, resamples),
            "splits": {name: {"n": len(cell), "ratio": pooled(cell), "enough": len(cell) >= ENOUGH}
                       for name, cell in splits(found).items()},
            "mid_speech_share": mid_speech_share(found),
            "nocall": {"n": len(slower), "p50_ms": quantile(slower, 0.5), "p99_ms": quantile(slower, 0.99)},
            "difference_p50_ms": quantile(difference, 0.5), "difference_mean_ms": mean(difference),
            "saved_s": sum(base_["latency"] - ours_["latency"] for base_, ours_ in found)}


# ---- one run ----

def latencies(rows):
    values = [row["latency"] for row in rows if row["latency"] is not None]
    return {"n": len(values), "mean": mean(values), "p50": quantile(values, 0.5), "p95": quantile(values, 0.95),
            "under_1s": mean(value < 1.0 for value in values), "under_1.5s": mean(value < 1.5 for value in values)}


def same_state(base, ours):
    """Whether two turns left the same effects, in an order that keeps what must follow what."""
    return sorted(map(tuple, base["effects"])) == sorted(map(tuple, ours["effects"])) and ours["order_holds"]


def state_equality(base, ours):
    """Share of turns with the same committed effects, and the turns that differ; {seed: rows} both."""
    equal, differ = 0, []
    for seed in sorted(set(base) & set(ours)):
        known = {turn_key(row): row for row in base[seed]}
        for row in ours[seed]:
            other = known.get(turn_key(row))
            if other is not None and same_state(other, row):
                equal += 1
            elif other is not None:
                differ.append([seed, *turn_key(row)])
    total = equal + len(differ)
    return {"share": equal / total if total else None, "n": total, "differ": differ[:50]}


def accuracy(rows):
    def share(chosen):
        return mean(1.0 if row["accurate"] else 0.0 for row in chosen if row["accurate"] is not None)
    found = [row for row in rows if row["kind"] != NO_CALLS]
    return {"all": share(found), "repair": share([row for row in found if row["repair"]]),
            "no_repair": share([row for row in found if not row["repair"]])}


def cost(rows):
    """Tokens and money of all responses, per calling turn; aside: those of passes."""
    tokens, usd, passes, n = collections.Counter(), [0.0, 0.0], 0, 0
    for row in rows:
        if row["kind"] == NO_CALLS:
            continue
        n += 1
        for response in row["responses"]:
            tokens.update({key: value for key, value in response["tokens"].items() if value})
            usd[bool(response["aside"])] += response["usd"]
            passes += bool(response["aside"])
    if n == 0:
        return None
    return {"turns": n, "passes": passes / n, "usd": sum(usd) / n, "usd_passes": usd[1] / n,
            **{key: value / n for key, value in sorted(tokens.items())}}


def behaviour(rows):
    """Counts that must be small."""
    requests = sum(len(row["tools"]) for row in rows)
    wasted = sum(row["wasted"] for row in rows)
    return {"turns": len(rows), "unanswered": sum(row["latency"] is None for row in rows), "tool_calls": requests,
            "wasted": wasted, "waste": wasted / requests if requests else 0.0,
            "wasted_s": round(sum(row["wasted_s"] for row in rows), 3),
            "uncommitted_effects": sum(row["early_effects"] for row in rows),
            "stale_reads": sum(row["stale_answers"] for row in rows),
            "duplicates": sum(call["verdict"] == "duplicate" for row in rows for call in row["tools"]),
            "early_undoable": sum(row["early_undoable"] for row in rows), "undone": sum(row["undone"] for row in rows),
            "false_ends": sum(row["false_ends"] for row in rows),
            "false_commits": sum(row["false_commits"] for row in rows),
            "split_turns": sum(row["commits"] > 1 for row in rows),
            "cancelled": sum(response["status"] == "cancelled" for row in rows for response in row["responses"])}


def ends_of_turns(base, ours):
    """How turns ended in one run against another: {seed: rows} both.  A false end counts where the base had none in that
    turn, for a pause longer than the client's own silence ends the turn in every run."""
    pairs = []
    for seed in sorted(set(base) & set(ours)):
        known = {turn_key(row): row for row in base[seed]}
        pairs += [(known[turn_key(row)], row) for row in ours[seed] if turn_key(row) in known]
    return {"false_ends": sum(row["false_ends"] > 0 and not known["false_ends"] for known, row in pairs),
            "false_commits": sum(row["false_commits"] > 0 and not known["false_commits"] for known, row in pairs),
            "n": len(pairs)}


def base_of(result, which="B1"):
    """What a run is compared with by name: its own set's B1 (of N0, N0-base) or B0."""
    found = [base for base in result["vs"] if base.endswith(which)]
    return result["vs"][found[0]] if found else result["vs"].get("N0-base") if which == "B1" else None


def by_gateway(figures, counters):
    """Put in place of what only a simulated provider tells what the gateway counts; counters: its metrics of every seed."""
    def total(name):
        return sum(found.get(f"backchannel_spec_{name}_total", 0) for found in counters)
    calling_turns = sum(found["n"] for found in figures["latency"].values()) or 1
    figures["wasted"] = int(total("wasted"))
    figures["wasted_s"] = total("wasted_milliseconds") / 1000
    figures["waste"] = figures["wasted"] / figures["tool_calls"] if figures["tool_calls"] else 0.0
    usd = total("pass_cost_microcents") / 1e8 / calling_turns
    figures["cost"] = {"turns": calling_turns, "passes": total("passes") / calling_turns, "usd": usd, "usd_passes": usd}
    if "extra_cost" in figures:
        saved = max((pair["saved_s"] for name, pair in figures["vs"].items() if name.endswith("B1")), default=0.0)
        figures["extra_cost"] = {"usd": usd, "usd_per_saved_second": usd * calling_turns / saved if saved > 0 else None}


def flatten(run):
    return [row for rows in run.values() for row in rows]


def one_run(run):
    """Figures of a run by itself; run: {seed: rows}."""
    rows = flatten(run)
    by_set = collections.defaultdict(list)
    for row in rows:
        if row["kind"] != NO_CALLS:
            by_set[row["set"]].append(row)
    return {"seeds": sorted(run), "latency": {name: latencies(found) for name, found in sorted(by_set.items())},
            "latency_nocall": latencies([row for row in rows if row["kind"] == NO_CALLS]),
            "accuracy": accuracy(rows), "cost": cost(rows), **behaviour(rows)}


# ---- summary and verdicts ----

def extra_cost(base, ours, saved_s):
    """What a run costs beyond another, per calling turn and per second it saved in all of them."""
    if not base or not ours or not saved_s:
        return None
    extra = {key: ours.get(key, 0) - base.get(key, 0) for key in set(base) | set(ours) if key != "turns"}
    total = extra["usd"] * ours["turns"]
    return {**extra, "usd_per_saved_second": total / saved_s if saved_s > 0 else None}


def confirm_all_summary(results, ceiling):
    """The headline; results: {run: {"vs": {base: compare()}, "state": ..., **one_run()}}."""
    ours = results.get("confirm_all")
    if not ours:
        return None
    b1, b0 = ours["vs"].get("B1"), ours["vs"].get("B0")
    cell = (b0 or {"splits": {}})["splits"]
    figures = {"vs_b1": b1 and b1["calling"]["ratio"], "vs_b0": b0 and b0["calling"]["ratio"],
               "dependent_reads_vs_b0": enough(cell.get("dependent reads")),
               "single_writes_vs_b0": enough(cell.get("single write")),
               "state_equal": ours["state"] and ours["state"]["share"],
               "uncommitted_effects": ours["uncommitted_effects"], "stale_reads": ours["stale_reads"],
               "waste": ours["waste"], "nocall_p50_ms": b1 and b1["nocall"]["p50_ms"]}
    if b1 and ceiling:
        figures["ceiling_vs_b1"] = ceiling.get("vs_b1")
        figures["share_of_ceiling"] = share_of_saving(figures["vs_b1"], ceiling.get("vs_b1"))
    return figures


def eager_summary(results):
    """What the eager turn gains against B1 and against the same VAD for everybody, and what it costs."""
    ours, pauses = results.get("+ eager turn"), results.get("pauses eager turn")
    if not ours:
        return None
    b1, vad = ours["vs"].get("B1"), ours["vs"].get("B1-vad")
    ends = [result["ends"][base] for result, base in ((ours, "B1"), (pauses, "pauses B1"))
            if result and base in result["ends"]]
    falsely, told = [found["false_ends"] for found in ends], [found["false_commits"] for found in ends]
    return {"vs_b1": b1 and b1["calling"]["ratio"], "vs_b1_vad": vad and vad["calling"]["ratio"],
            "nocall_p50_ms": b1 and b1["nocall"]["p50_ms"], "nocall_vs_b1_vad_p50_ms": vad and vad["nocall"]["p50_ms"],
            "false_ends": sum(falsely) if falsely else None, "false_commits": sum(told) if told else None,
            "cancelled": (pauses or ours)["cancelled"], "split_turns": (pauses or ours)["split_turns"],
            "turns": (pauses or ours)["turns"]}


def enough(cell):
    """A small cell has a number, but it is nobody's verdict."""
    return cell["ratio"] if cell and cell["enough"] else None


def share_of_saving(ratio, best):
    """How much of the seconds that could be saved were: 1 - 1/ratio of 1 - 1/best."""
    if not ratio or not best or best <= 1:
        return None
    return (1 - 1 / ratio) / (1 - 1 / best)


def summary(results, ceiling=None):
    n0, n1 = results.get("N0"), results.get("N1")
    control = results.get("control-confirm_all")
    n1_ratio = n1 and n1["vs"].get("B1") and n1["vs"]["B1"]["calling"]["ratio"]
    return {"confirm_all": confirm_all_summary(results, ceiling),
            "n0_ms": n0["vs"]["N0-base"]["difference_p50_ms"] if n0 and n0["vs"].get("N0-base") else None,
            "n1_ratio": 1 / n1_ratio if n1_ratio else None, "eager_turn": eager_summary(results),
            "control": control and {
                "vs_b0": control["vs"].get("control-B0") and control["vs"]["control-B0"]["calling"]["ratio"],
                "vs_b1": control["vs"].get("control-B1") and control["vs"]["control-B1"]["calling"]["ratio"]}}


# What must hold: (name, where it stands, comparison, bound, whether it is about speed).
TARGETS = (
    ("confirm_all against B1", ("confirm_all", "vs_b1"), "least", 1.15, True),
    ("share of the ceiling's saving", ("confirm_all", "share_of_ceiling"), "least", 0.80, True),
    ("dependent reads against B0", ("confirm_all", "dependent_reads_vs_b0"), "least", 1.45, True),
    ("state as in B0", ("confirm_all", "state_equal"), "least", 1.0, False),
    ("uncommitted effects", ("confirm_all", "uncommitted_effects"), "most", 0, False),
    ("stale reads", ("confirm_all", "stale_reads"), "most", 0, False),
    ("waste", ("confirm_all", "waste"), "most", 0.15, True),
    ("turns without calls, p50 ms", ("confirm_all", "nocall_p50_ms"), "most", 5.0, True),
    ("N0 against its B1, ms", ("n0_ms",), "within", 5.0, True),
    ("N1 against B1", ("n1_ratio",), "most", 1.02, True),
    ("eager turn, false ends heard", ("eager_turn", "false_ends"), "most", 0, False),
    ("eager turn, false ends told", ("eager_turn", "false_commits"), "most", 0, False),
    ("control against B0", ("control", "vs_b0"), "least", 1.3, True),
    ("control against B1", ("control", "vs_b1"), "least", 1.15, True),
)


def look_up(tree, path):
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def holds(value, comparison, bound):
    if comparison == "least":
        return value >= bound
    return abs(value) <= bound if comparison == "within" else value <= bound


def verdicts(found, speed, real=False):
    """[{"target", "value", "bound", "ok"}] of what this run can judge; ok None: no number, so no verdict.  real: a real model
    said different things in the compared runs, so their states may differ."""
    rows = []
    for name, path, comparison, bound, is_speed in TARGETS:
        value = look_up(found, path)
        judged = value is not None and (speed or not is_speed) and not (real and path[-1] == "state_equal")
        rows.append({"target": name, "value": value, "bound": f"at {'least' if comparison == 'least' else 'most'} {bound}",
                     "ok": holds(value, comparison, bound) if judged else None})
    return rows


def red_flags(found, results):
    """What is a bug until explained."""
    flags = []
    for name, result in results.items():
        b1 = result["vs"].get("B1")
        ratio = b1 and b1["calling"]["ratio"]
        if ratio and ratio > 1.6 and name != "O":
            flags.append(f"{name} is {ratio:.2f} times as fast as B1 over all calling turns: more than 1.6 is wrong or tuned")
        if ratio and name == "strict" and ratio > 1.15:
            flags.append(f"strict is {ratio:.2f} times as fast as B1: more than 1.15 cannot come from a result cache")
    n0 = results.get("N0", {"vs": {}})["vs"].get("N0-base")
    if n0 and n0["calling"]["ratio"] and n0["calling"]["low"] > 1.01:
        flags.append(f"a gain of {n0['calling']['ratio']:.3f} with tool time 0 and a turn-based provider")
    confirm = found.get("confirm_all") or {}
    if confirm.get("uncommitted_effects"):
        flags.append(f"{confirm['uncommitted_effects']} effects before their commit")
    for name, result in results.items():
        if result["unanswered"] > 0:
            flags.append(f"{name}: {result['unanswered']} of {result['turns']} turns never got their answer")
        if result["duplicates"] > 0:
            flags.append(f"{name}: {result['duplicates']} effects happened twice")
    return flags
