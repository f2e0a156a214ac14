"""What is played: which dialogues and turns, and in which runs.  Pure.

Two plays.  "plain" is the dialogues as they are, read-backs that are refused and changes of mind among them; "repairs" is
every turn that has a self-corrected wording, alone and in that wording.
"""
import hashlib

from dialogues import Job, is_quick, kind_of, NO_CALLS, whole
from runs import ENDPOINTING, Run, mode_options

PLAIN, REPAIRS = "plain", "repairs"
DISAGREE = (0.02, 0.05, 0.1)
LAG = (0.0, 0.3, 0.8)

# Of a sample: turns at most, by what is special about them.
REFUSED, CHANGED, CALLING, SILENT, REPAIRED, WHOLE = 12, 6, 40, 6, 36, 4


def is_refused(turn):
    """The agent has read a write back, and the caller does not want it."""
    return (turn.get("confirming") or {}).get("outcome") == "rejected"


def order_of(job):
    return hashlib.sha256(f"equality:{job.dialogue['id']}:{job.alone}".encode()).hexdigest()


def turns_alone(sets, wanted):
    """Single turns, in an order that is always the same and belongs to no set."""
    jobs = [Job(item, dialogue, index) for item in sets for dialogue in item.dialogues
            for index, turn in enumerate(dialogue["turns"]) if turn["user"].split() and wanted(dialogue, index, turn)]
    return sorted(jobs, key=order_of)


def sample(sets):
    """{play: jobs}: a fixed sample that is over in minutes."""
    def quick(condition):
        return turns_alone(sets, lambda dialogue, index, turn: is_quick(dialogue, index) and condition(turn))
    chosen = quick(is_refused)[:REFUSED] + quick(lambda turn: turn.get("correction") and not is_refused(turn))[:CHANGED]
    taken = {job.scene for job in chosen}
    chosen += [job for job in quick(lambda turn: kind_of(turn) != NO_CALLS) if job.scene not in taken][:CALLING]
    chosen += [job for job in quick(lambda turn: kind_of(turn) == NO_CALLS) if job.scene not in taken][:SILENT]
    short = [job for job in whole(sets) if len(job.dialogue["turns"]) <= 3]
    return {PLAIN: chosen + sorted(short, key=order_of)[:WHOLE],
            REPAIRS: quick(lambda turn: turn.get("repair") is not None)[:REPAIRED]}


def everything(sets):
    """{play: jobs}: all dialogues whole, and every turn that can be repaired."""
    return {PLAIN: whole(sets), REPAIRS: turns_alone(sets, lambda dialogue, index, turn: turn.get("repair") is not None)}


class Entry:
    """One run, with what it promises; same: every turn is as without speculation."""

    def __init__(self, run, same):
        self.run, self.same = run, same

    @property
    def play(self):
        return self.run.sets

    @property
    def name(self):
        return self.run.name


class Plan:
    """The runs; have: the means the daemon has (runs.means_of()), all of which are on but those that end turns earlier."""

    def __init__(self, settings, have):
        self.settings, self.have = settings, have
        self.means = [name for name in have if name not in ENDPOINTING]

    def entry(self, play, name, mode, same=True, provider=(), **options):
        speculation = {"mode": "off"}
        if mode != "off":
            speculation = {**mode_options(mode, self.means, self.have)["speculation"], **options}
        run = Run(f"{play}, {name}", 1, self.settings, {"speculation": speculation}, provider=provider, sets=play, bases=(),
                  repair_rate=1.0 if play == REPAIRS else 0.0)
        return Entry(run, same)

    def sweep(self, mode, short):
        """Passes that disagree with the model, and transcripts that are late: the ends only, if it is to be short."""
        rates = [self.entry(PLAIN, f"{mode}, pass_disagrees {rate:g}", mode, mode == "strict", ["--pass-disagrees", f"{rate:g}"])
                 for rate in (DISAGREE[-1:] if short else DISAGREE)]
        lags = [self.entry(PLAIN, f"{mode}, transcripts, asr_lag {lag:g}", mode, mode == "strict", ["--asr-lag", f"{lag:g}"],
                           input="text") for lag in (LAG[-1:] if short else LAG)]
        return rates + lags

    def entries(self, short):
        """[Entry], each play's run without speculation first."""
        found = [self.entry(play, mode, mode) for play in (PLAIN, REPAIRS) for mode in ("off", "strict", "confirm")]
        return found + self.sweep("confirm", short) + self.sweep("strict", short)
