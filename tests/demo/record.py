"""Puts the records of one run together: caller's time line, tool server's calls, provider's log.

Caller and tool server write monotonic seconds of one machine.  The provider's log counts from its own start;
it is moved so that its commits fall on the caller's, which are one local socket later.
"""
import json

from timeline import Row


def load_lines(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


class Response:
    """One inference of the provider."""

    def __init__(self, begin, is_pass):
        self.begin = begin
        self.end = None
        self.is_pass = is_pass
        self.spoke = None  # first audio, of an answer
        self.calls = []


def responses_of(log):
    """All responses in the log, by the provider's own clock."""
    responses = {}
    for line in log:
        event = line.get("event", {})
        kind = event.get("type", "")
        if line["kind"] != "out" or not kind.startswith("response."):
            continue
        inner = event.get("response", {})
        if kind == "response.created":
            responses[inner["id"]] = Response(line["t"], inner.get("conversation_id") is None)
        elif kind == "response.output_audio.delta":
            response = responses.get(event["response_id"])
            if response and response.spoke is None:
                response.spoke = line["t"]
        elif kind == "response.done" and inner.get("id") in responses:
            response = responses[inner["id"]]
            response.end = line["t"]
            response.calls = [item["name"] for item in inner.get("output", [])
                              if item.get("type") == "function_call"]
    return list(responses.values())


def clock_offset(log, timeline):
    """Seconds to add to the provider's times."""
    theirs = [line["t"] for line in log if line["kind"] == "out" and
              line.get("event", {}).get("type") == "input_audio_buffer.committed"]
    ours = [turn["committed"] for turn in timeline["turns"] if turn["committed"]]
    return min((our - their for our, their in zip(ours, theirs)), default=0.0)


class Record:
    """One call as it went, in one of the two modes."""

    def __init__(self, timeline, calls, effects, log):
        self.timeline = timeline
        self.turns = timeline["turns"]
        self.calls = calls
        self.effects = effects
        self.items = next((line["items"] for line in log if line["kind"] == "conversation"), [])
        offset = clock_offset(log, timeline)
        self.responses = responses_of(log)
        for response in self.responses:
            response.begin += offset
            response.end = None if response.end is None else response.end + offset
            response.spoke = None if response.spoke is None else response.spoke + offset

    def window(self, index):
        """When a turn begins and when the next one does."""
        begin = self.turns[index]["began"]
        later = [turn["began"] for turn in self.turns[index + 1:] if turn["began"]]
        return begin, later[0] if later else float("inf")

    def rows(self, index):
        """The rows of a turn's chart, in seconds from the end of the caller's last word."""
        turn = self.turns[index]
        begin, until = self.window(index)
        zero = turn["ended"]
        rows = [Row("caller", [(begin - zero, 0, "#"), (0, (turn["committed"] or zero) - zero, ".")])]
        passes, decisions = [], []
        for response in self.responses:
            if begin <= response.begin < until:
                end = response.spoke or response.end or response.begin
                sign = "~" if response.is_pass else "-" if response.calls else "+"
                bars = passes if response.is_pass else decisions
                bars.append((response.begin - zero, end - zero, sign))
        if passes:
            rows.append(Row("passes", passes))
        rows.append(Row("provider", decisions))
        rows += self.tool_rows(begin, until, zero)
        if turn["first_audio"]:
            answer = (turn["latency"], turn["played"] - zero, ">")
            rows.append(Row("answer", [answer], (turn["latency"], f"{turn['latency']:.2f} s")))
        return rows

    def tool_rows(self, begin, until, zero):
        rows = {}
        for call in self.calls:
            if begin <= call["arrived"] < until:
                sign = "=" if call["verdict"] in ("recorded", "repeat") else "x"
                row = rows.setdefault(call["tool"], Row(call["tool"], []))
                row.bars.append((call["arrived"] - zero, (call["answered"] or call["arrived"]) - zero, sign))
        return list(rows.values())

    def span(self, index):
        """What of a turn is worth drawing: from shortly before anything but speech happens (and at least the
        last second and a half of speech) until the answer is well under way."""
        turn = self.turns[index]
        spoken = turn["began"] - turn["ended"]
        first = min((begin for row in self.rows(index)[1:] for begin, _, _ in row.bars), default=0)
        end = turn["latency"] or (turn["committed"] or turn["ended"]) - turn["ended"]
        return max(spoken, min(first - 0.5, -1.5)), end + 0.8

    def conversation(self):
        """What the provider's conversation held at the end, without ids."""
        return [(item["kind"], item.get("role"), item.get("name"), item.get("arguments"), item.get("output"),
                 item.get("text") if item.get("role") == "assistant" else None) for item in self.items]

    def latencies(self):
        """Of the turns in which a tool is needed."""
        return [turn["latency"] for turn in self.turns if turn["calls"] and turn["latency"] is not None]

    def committed(self):
        """The effects that stayed, as a comparable list."""
        return [(effect["tool"], json.dumps(effect["args"], sort_keys=True))
                for effect in self.effects["effects"]]

    def problems(self):
        """What no call may show, in words."""
        found = list(self.timeline["breaches"])
        for turn in self.turns:
            if turn["answer"].strip() != turn["reply"].strip():
                found.append(f"turn {turn['turn'] + 1}: the answer was {turn['answer']!r}, not {turn['reply']!r}")
        for effect in self.effects["log"]:
            for flaw in ("duplicate", "stale", "not found"):
                if effect.get(flaw):
                    found.append(f"effect {effect['tool']}: {flaw}")
        return found
