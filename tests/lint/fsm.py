#!/usr/bin/env python3
"""State machines as their tables tell them: sound, and drawn as tests/golden/*.dot.

fsm.py ROOT           check, and compare with the drawings
fsm.py ROOT --write   make the drawings anew, after a wanted change
"""

import re
import sys
from pathlib import Path

import source

ROW = re.compile(r"^(STATE|EVENT|EDGE)\(\s*([^)]*)\)", re.MULTILINE)
GOLDEN = "tests/golden"


class Machine:
    def __init__(self, path, text):
        self.path = path
        self.text = source.blank(text, strings=False)
        self.states, self.events, self.edges, self.lines = [], [], [], {}
        for match in ROW.finditer(self.text):
            words = [word.strip() for word in match.group(2).split(",")]
            line = source.line_of(self.text, match.start())
            if match.group(1) == "EDGE":
                self.edges.append(tuple(words[:3]))
                self.lines.setdefault(tuple(words[:3]), line)
            else:
                (self.states if match.group(1) == "STATE" else self.events).append(words[0])
                self.lines.setdefault(words[0], line)

    @property
    def name(self):
        """daemon/session/lane_fsm.def is the machine lane, daemon/tools/fsm.def that of its room."""
        path = Path(self.path)
        return path.name.removesuffix("fsm.def").rstrip("_") or path.parent.name

    def reached(self, start, backwards=False):
        known, pending = {start}, [start]
        while pending:
            at = pending.pop()
            for begin, _, end in self.edges:
                if backwards:
                    begin, end = end, begin
                if begin == at and end not in known:
                    known.add(end)
                    pending.append(end)
        return known

    def ends(self):
        return [state for state in self.states if all(end == state for begin, _, end in self.edges if begin == state)]

    def dot(self):
        lines = [f"// {self.path}", f"digraph {self.name} {{"]
        ends = self.ends()
        lines += [f"\t{state}{' [peripheries=2]' if state in ends else ''};" for state in self.states]
        lines += [f"\t{begin} -> {end} [label={on}];" for begin, on, end in self.edges]
        return "\n".join(lines) + "\n}\n"

    def judge(self):
        """(name or edge, what is wrong)"""
        pairs = set()
        for edge in self.edges:
            begin, on, end = edge
            for word, known in ((begin, self.states), (on, self.events), (end, self.states)):
                if word not in known:
                    yield edge, f"{word} is not declared"
            if (begin, on) in pairs:
                yield edge, f"a second edge from {begin} on {on}"
            pairs.add((begin, on))
        for event in self.events:
            if not any(on == event for _, on, _ in self.edges):
                yield event, f"event {event} leads nowhere"
        for declared in (self.states, self.events):
            for word in {word for word in declared if declared.count(word) > 1}:
                yield word, f"{word} is declared twice"
        yield from self.judge_paths()

    def judge_paths(self):
        """The first state is the beginning.  Without any end the machine goes round: then it must get back there."""
        if not self.states:
            yield None, "no states"
            return
        first, ends = self.states[0], self.ends()
        reached = self.reached(first)
        leaving = set().union(*(self.reached(end, backwards=True) for end in ends or [first]))
        for state in self.states:
            if state not in reached:
                yield state, f"state {state} is never reached"
            if state not in leaving:
                yield state, f"from state {state} no {'end' if ends else 'way back to ' + first} is reached"


def machines(root):
    for path in source.files(root, "fsm.def"):
        yield Machine(path, source.read(root, path))


def drawing(root, machine):
    return Path(root) / GOLDEN / f"{machine.name}.dot"


def findings(root):
    found, names = [], set()
    for machine in machines(root):
        for what, wrong in machine.judge():
            found.append(f"{machine.path}:{machine.lines.get(what, 1)}: {wrong}")
        golden = drawing(root, machine)
        if machine.name in names:
            found.append(f"{machine.path}:1: a second machine of the name {machine.name}")
        names.add(machine.name)
        if not golden.exists() or golden.read_text(encoding="utf-8") != machine.dot():
            found.append(f"{machine.path}:1: differs from {GOLDEN}/{golden.name}; if that is wanted: "
                         "tests/lint/fsm.py . --write")
    for path in source.files(root, ".dot"):
        if path.startswith(GOLDEN + "/") and Path(path).stem not in names:
            found.append(f"{path}:1: there is no such machine")
    return found


def write(root):
    for machine in machines(root):
        drawing(root, machine).parent.mkdir(parents=True, exist_ok=True)
        drawing(root, machine).write_text(machine.dot(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[2:] == ["--write"]:
        write(sys.argv[1])
        sys.exit(0)
    sys.exit(source.main(findings))
