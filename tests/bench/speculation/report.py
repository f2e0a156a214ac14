"""The results as text.  Pure."""
from dialogues import KINDS
from metrics import LONG_SPEECH, base_of


def number(value, form="{:.2f}", none="-"):
    return none if value is None else form.format(value)


def table(rows, header):
    """Columns as wide as they must be; the first one left, the others right."""
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(header))]
    return ["  ".join(str(text).ljust(width) if i == 0 else str(text).rjust(width)
                      for i, (text, width) in enumerate(zip(line, widths))).rstrip() for line in lines]


def ratio_text(found):
    if not found or found["ratio"] is None:
        return "-"
    return f"{found['ratio']:.2f} ({found['low']:.2f}-{found['high']:.2f})"


def ratio_table(results):
    """Every run against both baselines: ratios first."""
    names = sorted({name for result in results.values() for name in result["latency"]})
    rows = []
    for name, result in results.items():
        b1, b0 = base_of(result), base_of(result, "B0")
        per_set = [number(b1 and b1["calling"]["sets"].get(one)) for one in names]
        rows.append([name, ratio_text(b1 and b1["calling"]), ratio_text(b0 and b0["calling"]), *per_set,
                     number(b1 and b1["calling"]["median"]), number(b1 and b1["task"]["ratio"]),
                     number(b1 and b1["mid_speech_share"], "{:.0%}")])
    return table(rows, ["run", "against B1 (95 %)", "against B0 (95 %)", *names, "median pair", "per task", "in speech"])


def kind_table(results, base):
    """A run's ratio by kind of turn, pooled; brackets: too few turns for a verdict."""
    cells = [*KINDS, f"speech over {LONG_SPEECH:.0f} s", f"speech under {LONG_SPEECH:.0f} s", "with repair",
             "without repair"]
    rows = []
    for name, result in results.items():
        found = result["vs"].get(base)
        if found:
            splits = found["splits"]
            rows.append([name, *[cell_text(splits.get(cell)) for cell in cells]])
    return table(rows, [f"against {base}", *cells]) if rows else []


def cell_text(cell):
    if not cell or cell["ratio"] is None:
        return "-"
    text = f"{cell['ratio']:.2f}"
    return text if cell["enough"] else f"[{text}]"


def grid_table(points):
    """Every point of the grid: confirm_all against the baselines of that point, and what paper allows."""
    rows = []
    for name, point in points.items():
        cost, b1, state = point.get("extra_cost") or {}, point["b1"], point.get("state")
        rows.append([name, ratio_text(b1["calling"]), ratio_text(point.get("b0") and point["b0"]["calling"]),
                     number(point["ceiling"] and point["ceiling"]["vs_b1"]), number(b1["nocall"]["p50_ms"], "{:+.1f}"),
                     number(state and state["share"], "{:.2%}"), point["uncommitted_effects"], point["stale_reads"],
                     f"{point['waste']:.1%}",
                     number(cost.get("usd_per_saved_second") and cost["usd_per_saved_second"] * 100, "{:.2f}")])
    return table(rows, ["confirm_all at", "against B1 (95 %)", "against B0 (95 %)", "ceiling", "no-call p50 ms", "state = B0",
                        "early effects", "stale", "waste", "cents per saved s"])


def latency_table(results):
    rows = []
    for name, result in results.items():
        for one, found in result["latency"].items():
            rows.append([name, one, found["n"], number(found["mean"]), number(found["p50"]), number(found["p95"]),
                         number(found["under_1s"], "{:.0%}"), number(found["under_1.5s"], "{:.0%}")])
    return table(rows, ["run", "set", "turns", "mean s", "p50", "p95", "< 1 s", "< 1.5 s"])


def safety_table(results):
    rows = []
    for name, result in results.items():
        b1 = base_of(result)
        nocall = b1["nocall"] if b1 else {"p50_ms": None, "p99_ms": None}
        state = result.get("state")
        rows.append([name, number(state and state["share"], "{:.2%}"), number(result["accuracy"]["no_repair"], "{:.2%}"),
                     number(result["accuracy"]["repair"], "{:.2%}"), result["uncommitted_effects"],
                     result["stale_reads"], result["duplicates"], f"{result['waste']:.1%}",
                     number(result["wasted_s"], "{:.1f}"), number(nocall["p50_ms"], "{:+.1f}"),
                     number(nocall["p99_ms"], "{:+.1f}"), result["unanswered"], result["early_undoable"], result["undone"]])
    return table(rows, ["run", "state = B0", "right calls", "with repair", "early effects", "stale", "twice", "waste",
                        "wasted s", "no-call p50 ms", "p99", "unanswered", "early, undoable", "undone"])


def ends_table(results):
    """How turns ended, where a run may end them otherwise than its baseline."""
    rows = []
    for name, result in results.items():
        b1, vad = base_of(result), base_of(result, "B1-vad")
        ends = next((found for base, found in result["ends"].items() if base.endswith("B1")), None)
        if vad or name.endswith(("B1", "B1-vad")):
            rows.append([name, result["turns"], result["false_ends"], result["false_commits"],
                         *([ends["false_ends"], ends["false_commits"]] if ends else "--"),
                         result["split_turns"], result["cancelled"], number(b1 and b1["nocall"]["p50_ms"], "{:+.0f}"),
                         number(vad and vad["nocall"]["p50_ms"], "{:+.0f}"), ratio_text(b1 and b1["calling"]),
                         ratio_text(vad and vad["calling"])])
    return table(rows, ["ends of turns", "turns", "false ends heard", "told", "heard, not in B1", "told, not in B1", "split turns", "cancelled",
                        "no-call ms to B1", "to B1-vad", "calling to B1", "to B1-vad"]) if rows else []


def load_text(end):
    """What a run took of the machine."""
    cores = ", ".join(f"{name} {seconds / max(end['played_s'], 0.01):.0%}" for name, seconds in end["cpu"].items())
    return (f"{end['seconds']:.0f} s; of a core: {cores}; machine {end['busy']:.0%} busy, {end['others']:.0%} by others, "
            f"{end['steal']:.0%} stolen")


def cost_table(results):
    rows = []
    for name, result in results.items():
        cost = result["cost"]
        if not cost:
            continue
        extra = result.get("extra_cost") or {}
        rows.append([name, number(cost["passes"]), number(cost["usd"] * 100, "{:.3f}"),
                     number(extra.get("usd") and extra["usd"] * 100, "{:+.3f}"),
                     number(new_input(extra), "{:+.0f}"), number(cached_input(extra), "{:+.0f}"),
                     number(output_of(extra), "{:+.0f}"),
                     number(extra.get("usd_per_saved_second") and extra["usd_per_saved_second"] * 100, "{:.2f}"),
                     number(result.get("gateway_cpu_ms_per_turn"), "{:.1f}")])
    return table(rows, ["per calling turn", "passes", "US cents", "more than B1", "new input", "cached input", "output",
                        "cents per saved s", "gateway CPU ms/turn"])


def new_input(tokens):
    if not tokens:
        return None
    return (tokens.get("text_in", 0) + tokens.get("audio_in", 0) - tokens.get("cached_text", 0) -
            tokens.get("cached_audio", 0))


def cached_input(tokens):
    return tokens.get("cached_text", 0) + tokens.get("cached_audio", 0) if tokens else None


def output_of(tokens):
    return tokens.get("text_out", 0) + tokens.get("audio_out", 0) if tokens else None


def verdict_lines(verdicts):
    words = {True: "ok", False: "FAILED", None: "not judged"}
    rows = [[row["target"], number(row["value"], "{:.3f}"), row["bound"], words[row["ok"]]] for row in verdicts]
    return table(rows, ["target", "measured", "bound", "verdict"])


def noise_lines(noise):
    if not noise:
        return []
    return [f"Machine: others used {noise['others_mean']:.1%} of it on average and {noise['others_max']:.1%} at most, the "
            f"host took {noise['steal_mean']:.1%} ({noise['steal_max']:.1%}); the caller was busy for "
            f"{noise['caller']:.0%} of a core, the gateway for {noise['gateway']:.0%}.",
            f"Frames of speech left {noise['late_p50_ms']:+.1f} ms late at p50 and {noise['late_p99_ms']:+.1f} ms at p99."
            if noise.get("late_p50_ms") is not None else ""]


# ---- as Markdown, for the manual and the README ----

def markdown_table(header, rows):
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in (header, *rows)]
    return [lines[0], "| --- |" + " ---: |" * (len(header) - 1), *lines[1:]]


def markdown_runs(results):
    rows = []
    for name, result in results.items():
        b1, b0, extra, state = base_of(result), base_of(result, "B0"), result.get("extra_cost") or {}, result.get("state")
        if not b1:
            continue
        rows.append([name, ratio_text(b1["calling"]), ratio_text(b0 and b0["calling"]), number(b1["task"]["ratio"]),
                     number(b1["nocall"]["p50_ms"], "{:+.0f} ms"), number(state and state["share"], "{:.2%}"),
                     result["uncommitted_effects"], result["stale_reads"], f"{result['waste']:.1%}",
                     number(result["cost"] and result["cost"]["passes"]),
                     number(extra.get("usd") and extra["usd"] * 100, "{:+.2f}"),
                     number(extra.get("usd_per_saved_second") and extra["usd_per_saved_second"] * 100, "{:.1f}")])
    return markdown_table(["run", "against B1 (95 %)", "against B0 (95 %)", "per task", "turns without calls", "state as B0",
                           "early effects", "stale reads", "waste", "passes", "US cents more", "per second saved"], rows)


def markdown_kinds(found):
    ours, paper = found["results"].get("confirm_all"), found.get("ceiling")
    if not ours or not paper or not base_of(ours) or not base_of(ours, "B0"):
        return []
    b1, b0 = base_of(ours), base_of(ours, "B0")
    rows = [["all calling turns", paper["n"], ratio_text(b1["calling"]), number(paper["vs_b1"]), ratio_text(b0["calling"]),
             number(paper["vs_b0"])]]
    for kind, row in paper["kinds"].items():
        rows.append([kind, row["n"], cell_text(b1["splits"].get(kind)), number(row["vs_b1"]), cell_text(b0["splits"].get(kind)),
                     number(row["vs_b0"])])
    return markdown_table(["confirm_all", "turns", "against B1", "ceiling", "against B0", "ceiling"], rows) + [""]


def markdown(found):
    """The results as a page of their own."""
    words = {True: "holds", False: "**fails**", None: "not judged"}
    lines = [f"# {found['head']['title']}", "", *[f"- {note}" for note in found["head"]["notes"]], ""]
    lines += markdown_runs(found["results"]) + ["", *markdown_kinds(found)]
    if found["summary"].get("eager_turn"):
        eager = found["summary"]["eager_turn"]
        lines += markdown_table(
            ["eager turn", "against B1", "against B1-vad", "turns without calls", "false ends heard", "split turns",
             "cancelled responses"],
            [["", number(eager["vs_b1"]), number(eager["vs_b1_vad"]), number(eager["nocall_p50_ms"], "{:+.0f} ms"),
              number(eager["false_ends"], "{:d}"), f"{eager['split_turns']} of {eager['turns']}", eager["cancelled"]]]) + [""]
    lines += markdown_table(["target", "measured", "bound", "verdict"],
                            [[row["target"], number(row["value"], "{:.3f}"), row["bound"], words[row["ok"]]]
                             for row in found["verdicts"]])
    lines += ["", *[f"- {line}" for line in noise_lines(found["noise"]) if line]]
    return "\n".join(lines + [f"- Red flag: {flag}" for flag in found["red_flags"]]) + "\n"


# ---- as text ----

def page_of_text(found):
    """The whole report; found is what goes into the JSON."""
    results = found["results"]
    head = found["head"]
    lines = [head["title"], *head["notes"], ""]
    lines += ratio_table(results) + [""]
    for base in ("B1", "B0"):
        part = kind_table({name: result for name, result in results.items() if name not in ("B0", "B1")}, base)
        lines += part + [""] if part else []
    lines += found["ceiling_lines"] + [""]
    sooner = found.get("sooner_than_ceiling")
    if sooner:
        lines += [f"{len(sooner['found'])} of {sooner['turns']} turns of confirm_all were answered sooner than the ceiling allows.", ""]
    for part in (latency_table, safety_table, ends_table, cost_table):
        lines += part(results) + [""]
    lines += verdict_lines(found["verdicts"]) + [""]
    lines += [line for line in noise_lines(found["noise"]) if line]
    lines += [f"RED FLAG: {flag}" for flag in found["red_flags"]] or ["No red flag."]
    return lines
