"""The dialogues a benchmark plays: files, kinds of turns, and the fixed sample of a quick run.  Pure but for reading."""
import glob
import hashlib
import json
import os

CONTROL = "hotpot"  # a set whose file name begins like that is a control, never averaged with the others
QUICK_TURNS = 150
QUICK_NO_CALLS = 30   # of these, turns without calls
# So that the sample ends in time: longest answer played in front of a turn, and longest turn.
QUICK_REPLY_WORDS = 25
QUICK_WORDS = 45
KINDS = ("single read", "parallel reads", "dependent reads", "single write", "chain with a write")
NO_CALLS = "no calls"


class BadData(Exception):
    """A file cannot be used; the text says which and why."""


def kind_of(turn):
    """What a turn asks of the tools."""
    calls = turn.get("calls") or []
    if not calls:
        return NO_CALLS
    writes = [call for call in calls if not call.get("read_only", False)]
    if len(calls) == 1:
        return "single write" if writes else "single read"
    if writes:
        return "chain with a write"
    return "dependent reads" if any(call.get("depends_on") for call in calls) else "parallel reads"


def can_be_undone(tool):
    """Whether a write declares a request that takes it back."""
    return not tool["read_only"] and (tool.get("inverse") or {}).get("kind") in ("exact", "compensate")


class Set:
    """One file."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path).split(".")[0]
        self.control = self.name.startswith(CONTROL)
        with open(path, "rb") as file:
            raw = file.read()
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self.dialogues = []
        for number, line in enumerate(raw.decode().splitlines(), 1):
            if line.strip():
                self.dialogues.append(self.parse(line, number))
        if not self.dialogues:
            raise BadData(f"{path}: no dialogue in it")

    def parse(self, line, number):
        try:
            dialogue = json.loads(line)
            if not isinstance(dialogue["id"], str) or not isinstance(dialogue["turns"], list):
                raise TypeError("id or turns have the wrong type")
            for turn in dialogue["turns"]:
                if not isinstance(turn["user"], str):
                    raise TypeError("a turn's user is no text")
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{self.path}:{number}: {error!r}") from error
        return dialogue


def load_sets(folder):
    """All *.jsonl files of a folder.  Of files that share dialogues (a sample beside its source) the larger one counts."""
    sets = [Set(path) for path in sorted(glob.glob(os.path.join(folder, "*.jsonl")))]
    if not sets:
        raise BadData(f"{folder}: no *.jsonl file in it")
    taken, kept = set(), []
    for one in sorted(sets, key=lambda item: -len(item.dialogues)):
        ids = [dialogue["id"] for dialogue in one.dialogues]
        if len(set(ids)) != len(ids):
            raise BadData(f"{one.path}: an id stands twice")
        if taken & set(ids):
            if not set(ids) <= taken:
                raise BadData(f"{one.path}: some of its dialogues stand in another file too")
            continue
        taken |= set(ids)
        kept.append(one)
    return sorted(kept, key=lambda item: item.name)


def own_set(folder):
    """The project's own dialogues, as one set."""
    sets = load_sets(folder)
    merged = sets[0]
    for other in sets[1:]:
        merged.dialogues += other.dialogues
    merged.sha256 = hashlib.sha256("".join(item.sha256 for item in sets).encode()).hexdigest()
    merged.name = "own"
    return merged


class Job:
    """A session to be played: a whole dialogue, or one of its turns alone."""

    def __init__(self, group, dialogue, alone=None):
        self.group = group  # Set
        self.dialogue = dialogue
        self.alone = alone

    @property
    def scene(self):
        """What names it to provider and tool server; draws are by the dialogue's id alone."""
        if self.alone is None:
            return self.dialogue["id"]
        return f"{self.dialogue['id']}@t{self.alone}:{self.alone}"


def order_key(job):
    return hashlib.sha256(f"quick:{job.dialogue['id']}:{job.alone}".encode()).hexdigest()


def is_quick(dialogue, index):
    if len(dialogue["turns"][index]["user"].split()) > QUICK_WORDS:
        return False
    return index == 0 or len((dialogue["turns"][index - 1].get("reply") or "").split()) <= QUICK_REPLY_WORDS


def quick_sample(sets, turns=QUICK_TURNS, no_calls=QUICK_NO_CALLS):
    """A fixed sample of turns: the same share of calling turns of every service set, the rest without calls."""
    service = [item for item in sets if not item.control] or sets
    calling = {item.name: [] for item in service}
    silent = []
    for item in service:
        for dialogue in item.dialogues:
            for index, turn in enumerate(dialogue["turns"]):
                if not is_quick(dialogue, index):
                    continue
                bucket = silent if kind_of(turn) == NO_CALLS else calling[item.name]
                bucket.append(Job(item, dialogue, index))
    silent = sorted(silent, key=order_key)[:no_calls]
    for jobs in calling.values():
        jobs.sort(key=order_key)
    chosen, depth = [], 0
    room = turns - len(silent)
    while len(chosen) < room and any(len(jobs) > depth for jobs in calling.values()):
        for item in service:
            if depth < len(calling[item.name]) and len(chosen) < room:
                chosen.append(calling[item.name][depth])
        depth += 1
    return chosen + silent


def words_of(dialogue):
    """How long a dialogue is, in words of both sides."""
    return sum(len(turn["user"].split()) + len((turn.get("reply") or "").split()) for turn in dialogue["turns"])


def whole(sets):
    """Every dialogue, sets mixed so that none has the machine for itself; long ones first, so that none is left over."""
    jobs = [Job(item, dialogue) for item in sets for dialogue in item.dialogues]
    return sorted(jobs, key=lambda job: (-words_of(job.dialogue), order_key(job)))
