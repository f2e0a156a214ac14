"""Puts the records of one run together, turn by turn: the caller's time lines, the tool server's calls and effects, the
provider's log.  Pure.

Latencies come from the caller alone: last voiced frame sent to first audio (or text) of the substantive answer received.
Tool server and caller share the machine's monotonic clock.  The provider's log counts from its own start; it is moved so
that nothing arrives before it was sent.
"""
import collections
import json

from dialogues import can_be_undone, kind_of

COMMIT_SLACK = 0.02  # seconds the client may hear of a commit later than the gateway acted on it, where only it can be asked


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plain_numbers(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return value


class Schemas:
    """Arguments as they are compared: canonical, with the defaults of their tool's schema, which the gateway fills in."""

    def __init__(self, tools):
        self.defaults = {tool["name"]: {name: schema["default"]
                                        for name, schema in (tool["parameters"].get("properties") or {}).items()
                                        if isinstance(schema, dict) and "default" in schema} for tool in tools}

    def key(self, name, args):
        full = {**self.defaults.get(name, {}), **args} if isinstance(args, dict) else args
        return (name, canonical(plain_numbers(full)))


def instance_of(name):
    """What tells one session's records from another's: the scene's name without the turn it begins with."""
    dialogue, mark, instance = name.partition("@")
    return dialogue + mark + instance.partition(":")[0]


def session_of(record):
    """Of a request or effect at the tool server: the gateway sends the scene's name with every request."""
    return instance_of(record.get("session") or "")


class Log:
    """The provider's log, by session."""

    def __init__(self, lines):
        self.parameters = {}
        self.scene_of = {}
        self.responses = collections.defaultdict(list)
        self.commits = collections.defaultdict(dict)  # session: {turn: the moment its first words were committed}
        self.items = {}
        for line in lines:
            kind, session = line.get("kind"), line.get("session")
            if kind == "parameters":
                self.parameters = {key: value for key, value in line.items() if key not in ("t", "session", "kind")}
            elif kind == "session":
                self.scene_of[session] = instance_of(line["name"])
            elif kind == "response":
                self.responses[session].append(line)
            elif kind == "commit":
                for turn in line["turns"]:
                    self.commits[session].setdefault(turn, line["at"])
            elif kind == "conversation":
                self.items[session] = line["items"]

    def by_scene(self):
        return {scene: session for session, scene in self.scene_of.items()}


def load_log(path):
    with open(path, encoding="utf-8") as file:
        return Log(json.loads(line) for line in file if line.strip())


def clock_offset(log, timelines):
    """Seconds to add to the provider's times, so that what came quickest from there took the simulated network's time and
    no more; None: unknown.  A response may be shown late (withheld) or speak late (merged), but never early."""
    theirs = {line["id"]: line for lines in log.responses.values() for line in lines}
    gaps = [answer[what] - theirs[answer["id"]][what] for timeline in timelines for turn in timeline["turns"]
            for answer in turn["answers"] for what in ("created", "first")
            if answer["id"] in theirs and answer[what] and theirs[answer["id"]].get(what)]
    one_way = log.parameters.get("rtt_s", 0.0) / log.parameters.get("scale", 1.0) / 2
    return min(gaps) - one_way if gaps else None


def substantive(turn, script, real):
    """The answer a caller waited for: the first completed one that says the turn's reply.  From a real model any
    completed answer counts, for nobody knows its words."""
    reply = script.get("reply") or "Done."
    heard = [answer for answer in turn["answers"] if answer["status"] == "completed" and answer["first"]
             and answer["first"] >= (turn["ended"] or 0)]
    said = [answer for answer in heard if real or answer["text"].strip() == reply.strip()]
    return said[0] if said else None


class UserItems:
    """Which turn each user item of a conversation belongs to: speech that resumed makes several items of one turn."""

    def __init__(self, history, turns):
        self.history = history  # items that were put in before the first turn
        self.words = [len(turn["user"].split()) for turn in turns]
        self.seen, self.at, self.heard = 0, 0, 0

    def turn_of(self, item):
        """Index among the turns played; None: it belongs to none."""
        self.seen += 1
        if self.seen <= self.history or self.at >= len(self.words):
            return None
        index = self.at
        self.heard += len((item.get("text") or "").split()) or self.words[index]
        if self.heard >= self.words[index]:
            self.at, self.heard = self.at + 1, 0
        return index


def conversation_turns(items, history, turns):
    """The items a conversation holds behind the caller's words, by turn: {turn: [item]}."""
    found = {turn["turn"]: [] for turn in turns}
    users, at = UserItems(history, turns), None
    for item in items:
        if item.get("role") == "user":
            at = users.turn_of(item)
        elif at is not None:
            found[turns[at]["turn"]].append(item)
    return found


def calls_of(items, outputs, schemas):
    """The calls among some items: [(tool, arguments, output)]; outputs: {call_id: output} of the whole conversation.  One
    that was cut off is none."""
    return [(*schemas.key(item["name"], json.loads(item["arguments"] or "{}")), outputs.get(item["call_id"]))
            for item in items if item["kind"] == "function_call" and item.get("status") != "incomplete"]


def said_of(items):
    """What was said among some items: [[role, text]]."""
    return [[item["role"], item.get("text")] for item in items if item["kind"] == "message"]


class Windows:
    """Which turn a moment belongs to."""

    def __init__(self, turns):
        self.begins = [(turn["began"], turn["turn"]) for turn in turns if turn["began"]]

    def turn_at(self, moment):
        found = self.begins[0][1] if self.begins else None
        for began, index in self.begins:
            if moment >= began:
                found = index
        return found


def relative(value, zero):
    return None if value is None else round(value - zero, 4)


def tools_of(calls, windows, turns, writes, schemas):
    """Tool requests by turn: where the backend knows the call's place it counts, else the moment."""
    played = {turn["turn"] for turn in turns}
    found = collections.defaultdict(list)
    for call in calls:
        index = call.get("turn") if call.get("turn") in played else windows.turn_at(call["arrived"])
        found[index].append({"tool": call["tool"], "args": schemas.key(call["tool"], call["args"])[1],
                             "verdict": call["verdict"], "write": call["tool"] in writes, "arrived": call["arrived"],
                             "answered": call["answered"]})
    return found


def waste_of(requests, final, live):
    """Requests whose result nobody used and whose effect does not stand, and their seconds."""
    used = collections.Counter((name, args) for name, args, _ in final)
    kept = set(live)  # an effect that stands is no waste, whatever else it is
    wasted, seconds = 0, 0.0
    # Of equal requests the last one is the one that was used: a staler one was run again.
    for request in reversed(requests):
        key = (request["tool"], request["args"])
        if used[key] > 0:
            used[key] -= 1
        elif request["verdict"] != "undo" and not (request["write"] and key in kept):
            wasted += 1
            seconds += (request["answered"] or request["arrived"]) - request["arrived"]
    return wasted, seconds


def commit_of(turn, told, manual):
    """The moment before which a turn has no effect: told by the provider itself if it is a simulated one, else as the
    client saw it.  Where the client ends its turns itself, its last word is the commit."""
    if told is not None:
        return told
    seen = turn["ended"] if manual else turn.get("first_commit") or turn["committed"] or turn["ended"]
    return None if seen is None else seen - COMMIT_SLACK


def early_effects(requests, committed, live, undoable=()):
    """Writes that reached a tool before the turn was committed: (those that could not be taken back, those of tools declared
    with their inverse that were not)."""
    if committed is None:
        return 0, 0
    kept = collections.Counter(live)
    early = [request for request in requests if request["write"] and request["verdict"] not in ("repeat", "undo")
             and request["arrived"] < committed]
    return (sum(request["tool"] not in undoable for request in early),
            sum(request["tool"] in undoable and kept[(request["tool"], request["args"])] > 0 for request in early))


def false_ends(turn):
    """Answers that were heard while the caller still spoke, and commits he was told of: (heard, told)."""
    ended = turn["ended"]
    if not ended or not turn["began"]:
        return 0, 0
    heard = sum(1 for answer in turn["answers"] if answer["first"] and turn["began"] <= answer["first"] < ended)
    return heard, int(bool(turn.get("first_commit")) and turn["first_commit"] < ended)


def order_holds(effects, script, schemas):
    """Whether the writes of a turn stand behind those they must follow."""
    place = {key: index for index, key in enumerate(effects)}
    gold = [schemas.key(call["name"], call["args"]) for call in script.get("calls") or []]
    for index, call in enumerate(script.get("calls") or []):
        for before in call.get("order_after") or []:
            if gold[index] in place and gold[before] in place and place[gold[index]] < place[gold[before]]:
                return False
    return True


def responses_of(lines, index, zero, offset, last):
    rows = []
    for line in lines:
        if (line.get("turn") == index or (line.get("turn") is None and last)) and offset is not None:
            rows.append({"aside": bool(line.get("aside")), "status": line.get("status"),
                         "from": relative(line["created"] + offset, zero) if line.get("created") else None,
                         "first": relative(line["first"] + offset, zero) if line.get("first") else None,
                         "to": relative(line["done"] + offset, zero) if line.get("done") else None,
                         "tokens": line.get("tokens") or {}, "usd": line.get("usd") or 0.0,
                         "says": line.get("says")})
    return rows


class Manner:
    """How a run was played, as far as its records must be read differently."""

    def __init__(self, manual=False, real=False, reversible=False):
        self.manual = manual          # the client ended its turns itself
        self.real = real              # a real model: nobody knows its words
        self.reversible = reversible  # writes were declared with their inverse, where they have one


class Joined:
    """One session's part of all records."""

    def __init__(self, job, timeline, calls, live, log, offset, manner):
        session = log.by_scene().get(instance_of(job.scene))
        items = log.items.get(session, [])
        self.job, self.timeline, self.offset, self.manner = job, timeline, offset, manner
        self.turns = timeline["turns"]
        self.windows = Windows(self.turns)
        self.lines, self.commits = log.responses.get(session, []), log.commits.get(session, {})
        writes = {tool["name"] for tool in job.dialogue["tools"] if not tool["read_only"]}
        self.undoable = {tool["name"] for tool in job.dialogue["tools"] if manner.reversible and can_be_undone(tool)}
        self.schemas = Schemas(job.dialogue["tools"])
        self.requests = tools_of(calls, self.windows, self.turns, writes, self.schemas)
        self.live = collections.defaultdict(list)
        for effect in live:
            self.live[self.windows.turn_at(effect["at"])].append(self.schemas.key(effect["tool"], effect["args"]))
        self.items = conversation_turns(items, job.alone or 0, self.turns)
        self.outputs = {item["call_id"]: item.get("output") for item in items if item["kind"] == "function_call_output"}
        self.has_items = bool(items)

    def row(self, turn):
        index = turn["turn"]
        script = self.job.dialogue["turns"][index]
        zero = turn["ended"] or turn["began"]
        answer = substantive(turn, script, self.manner.real) if turn["ended"] else None
        requests, final = self.requests[index], calls_of(self.items[index], self.outputs, self.schemas)
        # What a real provider's conversation holds nobody sees: then waste is the gateway's to count.
        wasted, wasted_s = (0, 0.0) if self.manner.real else waste_of(requests, final, self.live[index])
        gold = collections.Counter(self.schemas.key(call["name"], call["args"]) for call in script.get("calls") or [])
        heard, told = false_ends(turn)
        committed = commit_of(turn, self.commits.get(index), self.manner.manual)
        early, undoable = early_effects(requests, committed, self.live[index], self.undoable)
        return {
            "set": self.job.group.name, "dialogue": self.job.dialogue["id"], "turn": index, "kind": kind_of(script),
            "alone": self.job.alone is not None, "repair": turn["repair"], "user": turn["user"],
            "speech": relative(turn["ended"], turn["began"]) if turn["ended"] else None,
            "latency": relative(answer["first"], turn["ended"]) if answer else None,
            "committed": relative(turn["committed"], zero), "commits": turn["commits"], "late": turn["late"],
            "answers": [{key: relative(answer[key], zero) if key in ("created", "first", "done") else answer[key]
                         for key in ("created", "first", "done", "status", "text")} for answer in turn["answers"]],
            "tools": [{**{key: request[key] for key in ("tool", "args", "verdict", "write")},
                       "from": relative(request["arrived"], zero), "to": relative(request["answered"], zero)}
                      for request in requests],
            "responses": responses_of(self.lines, index, zero, self.offset, turn is self.turns[-1]),
            "effects": self.live[index], "order_holds": order_holds(self.live[index], script, self.schemas),
            "final": [[name, args] for name, args, _ in final], "outputs": [output for _, _, output in final],
            "said": said_of(self.items[index]),
            "accurate": collections.Counter((name, args) for name, args, _ in final) == gold if self.has_items else None,
            "early_effects": early, "early_undoable": undoable,
            "stale_answers": sum(1 for _, _, output in final if output and '"stale":true' in output.replace(" ", "")),
            "false_ends": heard, "false_commits": told,
            "undone": sum(1 for request in requests if request["verdict"] == "undo"), "wasted": wasted, "wasted_s": round(wasted_s, 4)}


def rows_of(jobs, timelines, calls, effects, ahead, log, manner):
    """All turns of a run as rows, and what went wrong in words; timelines: by number of the job, None where it never was."""
    by_scene, live = collections.defaultdict(list), collections.defaultdict(list)
    for call in calls:
        by_scene[session_of(call)].append(call)
    for effect in effects["effects"]:
        live[session_of(effect)].append({**effect, "at": effect["time"] / 1e6 - ahead})
    offset = clock_offset(log, [timeline for timeline in timelines.values() if timeline])
    rows, problems = [], []
    for number, job in enumerate(jobs):
        timeline = timelines.get(number)
        if timeline is None:
            problems.append(f"{job.scene}: the session never began")
            continue
        scene = instance_of(job.scene)
        joined = Joined(job, timeline, by_scene[scene], live[scene], log, offset, manner)
        problems += [f"{job.scene}: {breach}" for breach in timeline["breaches"]]
        rows += [joined.row(turn) for turn in joined.turns if turn["began"]]
    return rows, problems
