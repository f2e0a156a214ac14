"""The critical path of one turn, from the records of all ends.  Pure."""


def segments(row):
    """[(begin, end, what)] from the end of the last word to the answer: at each moment what everything waited for."""
    stones = [(0.0, "the last word ends")]
    if row["committed"]:
        stones.append((row["committed"], "silence, until the turn was taken as ended"))
    used = {(name, args) for name, args in map(tuple, row["final"])}
    for response in row["responses"]:
        name = "pass" if response["aside"] else "provider's response"
        said = response["first"] if response["first"] is not None else response["to"]
        if said is not None and response["from"] is not None:
            waited = "" if response["aside"] or response["status"] != "cancelled" else " (cancelled)"
            stones.append((said, f"{name} from {response['from']:+.2f} s{waited}"))
    for call in row["tools"]:
        if call["to"] is not None and (call["tool"], call["args"]) in used:
            stones.append((call["to"], f"{call['tool']} from {call['from']:+.2f} s"))
    if row["latency"] is not None:
        stones.append((row["latency"], "first audio of the answer is received"))
    within = [stone for stone in stones if 0 <= stone[0] <= (row["latency"] or 1e9)]
    stones = sorted(within, key=lambda stone: stone[0])
    return [(a[0], b[0], b[1]) for a, b in zip(stones, stones[1:])]


def lines_of(name, row):
    """One run's turn as text."""
    head = f"{name}: {row['dialogue']}, turn {row['turn']}, {row['kind']}" + (", with a repair" if row["repair"] else "")
    lines = [head, f"  \"{row['user']}\"",
             f"  speech {row['speech']:.2f} s, answer after {row['latency']:.2f} s" if row["latency"] is not None
             else "  no answer"]
    for response in row["responses"]:
        if response["from"] is not None and response["from"] < 0:
            says = f", says {response['says']}" if response.get("says") else ""
            lines.append(f"  {response['from']:+8.3f}            {'pass' if response['aside'] else 'response'} begins"
                         f"{says}")
    for call in row["tools"]:
        if call["from"] < 0:
            lines.append(f"  {call['from']:+8.3f} {'':10} {call['tool']} begins ({call['verdict']})")
    for begin, end, what in segments(row):
        lines.append(f"  {begin:+8.3f} {end - begin:7.3f} s  {what}")
    cancelled = [call for call in row["tools"] if call["to"] is None]
    lines += [f"  {call['tool']} begun at {call['from']:+.2f} s was never answered" for call in cancelled]
    return lines
