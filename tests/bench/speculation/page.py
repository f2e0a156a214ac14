"""One HTML page that needs nothing else: how latencies are spread, and the time lines of the best and worst turns.  Pure."""
import html
import json

from metrics import quantile
from report import page_of_text

WIDTH, HEIGHT, MARGIN = 640, 300, 46
COLOURS = ("#444444", "#b2552f", "#1f6f8b", "#5b8c3a", "#8a5aa8", "#c49a1a")
BARS = {"caller": "#9aa5b1", "silence": "#d9dee3", "pass": "#c9b037", "provider": "#7d8fd1", "tool": "#5b8c3a",
        "wasted": "#c0392b", "answer": "#1f6f8b"}
STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: rgb(32, 32, 32) }
pre { overflow-x: auto; background: #f6f6f4; padding: 1em; font-size: 12.5px; line-height: 1.35 }
figure { display: inline-block; margin: 0 1em 1em 0 } figcaption { font-weight: bold }
svg text { font: 11px sans-serif; fill: rgb(48, 48, 48) } .turn { margin: 1.2em 0 } .said { color: rgb(80, 80, 80) }
"""


def scale(value, top):
    return MARGIN + (WIDTH - MARGIN - 10) * min(value, top) / top


def curve(values, top, colour):
    """Share of the turns answered within a time."""
    ordered = sorted(values)
    points = [f"{scale(value, top):.1f},{HEIGHT - 30 - (HEIGHT - 50) * (i + 1) / len(ordered):.1f}"
              for i, value in enumerate(ordered) if value <= top]
    start = f"{MARGIN:.1f},{HEIGHT - 30:.1f}"
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{start} {" ".join(points)}"/>'


def axes(top):
    marks = []
    step = 0.5 if top <= 4 else 1
    for i in range(int(top / step) + 1):
        x = scale(i * step, top)
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{HEIGHT - 30}" stroke="#e4e4e4"/>'
                     f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{i * step:g}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = HEIGHT - 30 - (HEIGHT - 50) * share
        marks.append(f'<line x1="{MARGIN}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
                     f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    return "".join(marks)


def distribution(name, curves):
    """curves: [(run, latencies)]"""
    top = max((quantile(values, 0.98) or 1 for _, values in curves if values), default=1)
    top = max(1.0, round(top + 0.5))
    drawn = [(run, values, COLOURS[i % len(COLOURS)]) for i, (run, values) in enumerate(curves) if values]
    legend = "".join(f'<text x="{WIDTH - 14}" y="{HEIGHT - 44 - 15 * i}" text-anchor="end" style="fill:{colour}">'
                     f"{html.escape(run)}</text>" for i, (run, _, colour) in enumerate(drawn))
    lines = "".join(curve(values, top, colour) for _, values, colour in drawn)
    return (f"<figure><figcaption>{html.escape(name)}</figcaption>"
            f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{axes(top)}{lines}{legend}'
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 1}" text-anchor="middle">seconds to the answer</text></svg></figure>')


def bars_of(row):
    """The bars of a turn: [(lane, kind, from, to)], seconds from the end of the last word."""
    speech = -(row["speech"] or 0)
    bars = [("caller", "caller", speech, 0)]
    if row["committed"]:
        bars.append(("caller", "silence", 0, row["committed"]))
    for response in row["responses"]:
        end = response["first"] if not response["aside"] and response["first"] else response["to"]
        if response["from"] is not None and end is not None:
            bars.append(("passes" if response["aside"] else "provider", "pass" if response["aside"] else "provider",
                         response["from"], end))
    used = {(name, args) for name, args in map(tuple, row["final"])}
    for call in row["tools"]:
        kind = "tool" if (call["tool"], call["args"]) in used else "wasted"
        bars.append((call["tool"], kind, call["from"], call["from"] if call["to"] is None else call["to"]))
    if row["latency"] is not None:
        bars.append(("answer", "answer", row["latency"], row["latency"] + 0.4))
    return bars


def time_line(row, begin, end):
    lanes, bars = [], bars_of(row)
    for lane, *_ in bars:
        if lane not in lanes:
            lanes.append(lane)

    def place(at):
        return 150 + (WIDTH + 180) * (min(max(at, begin), end) - begin) / max(end - begin, 0.1)
    drawn = []
    for i, lane in enumerate(lanes):
        drawn.append(f'<text x="144" y="{16 * i + 12}" text-anchor="end">{html.escape(lane[:26])}</text>')
        for own, kind, start, stop in bars:
            if own == lane and stop >= begin:
                drawn.append(f'<rect x="{place(start):.1f}" y="{16 * i + 2}" width="{max(place(stop) - place(start), 1.5):.1f}"'
                             f' height="11" fill="{BARS[kind]}"><title>{html.escape(own)} {start:+.2f} to {stop:+.2f} s'
                             "</title></rect>")
    zero = place(0)
    drawn.append(f'<line x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{16 * len(lanes)}" stroke="#000" stroke-dasharray="2,2"/>')
    return f'<svg width="{WIDTH + 340}" height="{16 * len(lanes) + 2}">{"".join(drawn)}</svg>'


def turn_block(base, ours, names):
    ends = [row["latency"] + 0.6 for row in (base, ours)]
    begin = max(-(ours["speech"] or 0), -3.0)
    parts = [f'<div class="turn"><b>{html.escape(ours["dialogue"])}, turn {ours["turn"] + 1}</b> ({ours["kind"]}): '
             f'{base["latency"]:.2f} s &rarr; {ours["latency"]:.2f} s<br><span class="said">'
             f'{html.escape(ours["user"])}</span>']
    for name, row in zip(names, (base, ours)):
        parts.append(f"<div>{html.escape(name)}<br>{time_line(row, begin, max(ends))}</div>")
    return "".join(parts) + "</div>"


def page(found, curves, pairs, names):
    """found: the report; curves: {set: [(run, latencies)]}; pairs: [(row of base, row of ours)] of the calling turns."""
    ranked = sorted(pairs, key=lambda pair: pair[1]["latency"] - pair[0]["latency"])
    text = "\n".join(page_of_text(found))
    legend = " ".join(f'<span style="background:{colour};padding:0 .5em">&nbsp;</span> {kind}'
                      for kind, colour in BARS.items())
    best = "".join(turn_block(*pair, names) for pair in ranked[:10])
    worst = "".join(turn_block(*pair, names) for pair in reversed(ranked[-10:]))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(found["head"]["title"])}</title>'
            f"<style>{STYLE}</style><h1>{html.escape(found['head']['title'])}</h1>"
            f"<pre>{html.escape(text)}</pre><h2>How long callers wait</h2>"
            f'{"".join(distribution(name, rows) for name, rows in curves.items())}'
            f"<h2>The ten turns that gained most</h2><p>{legend}; the dashed line is the end of the last word.</p>{best}"
            f"<h2>The ten turns that gained least</h2>{worst}"
            f'<script type="application/json" id="summary">{json.dumps(found["summary"])}</script></html>\n')
