"""From measurements to ratios and verdicts.  Pure."""
import random
import statistics

US = "backchanneld"
RESAMPLES = 2000
LATENCY_ALLOWANCE = 5.0  # us

TLS_NAMES = {"none": "plain", "client": "TLS client", "both": "TLS both"}
SIZE_NAMES = {320: "320 B", 1300: "1.3 KB", 8192: "8 KB", 65536: "64 KB"}
IDLE_KB = {"none": 12, "both": 48}


class Cell:
    """One field of the grid; rate 0 is saturation."""

    def __init__(self, tls, sessions, size, rate):
        self.tls, self.sessions, self.size, self.rate = tls, sessions, size, rate

    def __str__(self):
        load = f"{self.rate // 1000}k/s" if self.rate else "saturation"
        return f"{SIZE_NAMES.get(self.size, f'{self.size} B')}, {TLS_NAMES[self.tls]}, {self.sessions} sessions, {load}"


def cpu_us(run):
    """Processor time of the proxy per forwarded message."""
    messages = run["up"] + run["down"]
    if messages == 0:
        raise ValueError("no message came out while it was measured")
    return run["proxy_cpu_ns"] / 1e3 / messages


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def interval(values, share=0.95):
    """Bootstrap interval of the median; the same for the same values."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = int(len(medians) * (1 - share) / 2)
    return medians[cut], medians[-1 - cut]


def judge(ratios, target):
    """A row of the summary: it fails when the whole interval of the median lies above the target."""
    low, high = interval(ratios)
    return {"ratio": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "low": low, "high": high,
            "target": target, "ok": target is None or low <= target}


def cpu_target(cell, peer):
    """What the ratio of processor time per message may be; None: nothing is promised."""
    if cell.rate or cell.sessions != 1000:
        return None
    if cell.tls == "none" and cell.size in (1300, 8192):
        return {"splice": 1.45, "nginx": 0.75, "haproxy": 0.9}.get(peer)
    if cell.tls == "both" and cell.size in (1300, 8192):
        return {"splice": 1.45, "nginx": 1.0 if cell.size == 1300 else 0.9, "haproxy": 0.85}.get(peer)
    if cell.tls == "none" and cell.size == 65536:
        return {"nginx": 0.35}.get(peer)
    return None


def latency_target(cell, peer):
    return 1.0 if peer == "nginx" and cell.rate and cell.sessions == 1000 else None


def paired(ours, theirs, figure):
    """Ratios round by round: what disturbs the machine disturbs neighbours alike."""
    return [figure(a) / figure(b) for a, b in zip(ours, theirs)]


def cell_rows(cell, runs):
    """Rows of the summary for one cell; runs: peer to its rounds."""
    ours = runs.get(US)
    if not ours:
        return []
    rows = []
    for peer, theirs in runs.items():
        if peer == US or not theirs:
            continue
        rows.append({"cell": str(cell), "figure": "cpu per message", "peer": peer,
                     **judge(paired(ours, theirs, cpu_us), cpu_target(cell, peer))})
        if cell.rate:
            ratios = [a["latency_p50_us"] / (b["latency_p50_us"] + LATENCY_ALLOWANCE) for a, b in zip(ours, theirs)]
            rows.append({"cell": str(cell), "figure": f"p50 latency / (peer's + {LATENCY_ALLOWANCE:.0f} us)",
                         "peer": peer, **judge(ratios, latency_target(cell, peer))})
    return rows


def scaling_rows(cells):
    """How much dearer a message is with 5,000 sessions than with 1,000; cells: (cell, runs) pairs."""
    rows = []
    fewer = {(cell.tls, cell.size): runs.get(US) for cell, runs in cells if cell.sessions == 1000 and not cell.rate}
    for cell, runs in cells:
        base = fewer.get((cell.tls, cell.size))
        if cell.sessions == 5000 and not cell.rate and base and runs.get(US):
            rows.append({"cell": str(cell), "figure": "cpu per message", "peer": f"{US}, 1000 sessions",
                         **judge(paired(runs[US], base, cpu_us), 1.6)})
    return rows


def workers_row(cell, one, two):
    """What a message costs with two workers, beside what it costs with one; both: rounds, on the same cores."""
    return {"cell": f"{cell}, all cores", "figure": "cpu per message, 2 workers", "peer": f"{US}, 1 worker",
            **judge(paired(two, one, cpu_us), 1.15)}


def memory_row(tls, sessions, idle_kb):
    """Memory of an idle session against its limit."""
    limit = IDLE_KB.get(tls)
    row = {"cell": f"{TLS_NAMES[tls]}, {sessions} sessions, idle", "figure": "RSS per session / limit",
           "peer": f"{limit} KB"}
    return {**row, **judge([idle_kb / limit], 1.0)}


def ratio_lines(rows):
    """The summary as text, cell by cell."""
    lines = []
    for i, row in enumerate(rows):
        if i == 0 or rows[i - 1]["cell"] != row["cell"]:
            lines.append(row["cell"])
        verdict = "" if row["target"] is None else f"at most {row['target']:.2f}: {'ok' if row['ok'] else 'FAILED'}"
        lines.append(f"  {row['figure']:28} {row['peer']:26} {row['ratio']:6.2f} [{row['min']:.2f}-{row['max']:.2f}] "
                     f"({row['low']:.2f}-{row['high']:.2f})  {verdict}".rstrip())
    return lines


def table(rows, header):
    """Columns as wide as they must be."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)


def figure_row(cell, peer, runs, syscalls):
    """The absolute figures of one peer in one cell."""
    cpu = spread([cpu_us(run) for run in runs])
    rate = statistics.median((run["up"] + run["down"]) / run["seconds"] for run in runs)
    p50, p99 = (statistics.median(run[f"latency_{name}_us"] for run in runs) for name in ("p50", "p99"))
    busy = statistics.median(run["bench_cpu_ns"] / 1e9 / run["seconds"] for run in runs)
    return [str(cell), peer, f"{cpu['median']:.1f} [{cpu['min']:.1f}-{cpu['max']:.1f}]", f"{p50:.0f}", f"{p99:.0f}",
            f"{rate:.0f}", f"{busy:.0%}", "" if syscalls is None else f"{sum(syscalls.values()):.2f}"]


FIGURE_HEADER = ["cell", "proxy", "CPU us/msg", "p50 us", "p99 us", "msg/s", "generator", "syscalls/msg"]
SETUP_HEADER = ["sessions", "proxy", "set-up CPU us", "idle RSS KB", "idle PSS KB", "loaded RSS KB"]
