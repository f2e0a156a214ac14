#!/usr/bin/env python3
"""One writer of each state: only a machine's mover assigns the field that holds its state."""

import re
import sys

import source

# File and function that move a machine, and the table of the machine's edges.
MOVERS = {
    "daemon/session/session.c": ("sess_move", "daemon/session/sess_fsm.def"),
    "daemon/session/lane.c": ("lane_move", "daemon/session/lane_fsm.def"),
    "daemon/session/takeover.c": ("take_move", "daemon/session/take_fsm.def"),
    "daemon/spec/guess.c": ("guess_move", "daemon/spec/guess_fsm.def"),
    "daemon/spec/plan.c": ("plan_move", "daemon/spec/plan_fsm.def"),
    "daemon/spec/reason.c": ("reason_move", "daemon/spec/reason_fsm.def"),
    "daemon/tools/breaker.c": ("breaker_move", "daemon/tools/breaker_fsm.def"),
    "daemon/tools/rollback.c": ("case_move", "daemon/tools/rollback_fsm.def"),
    "daemon/tools/run.c": ("tool_move", "daemon/tools/fsm.def"),
    "proto/agent/parser.c": ("parser_move", "proto/agent/parser_fsm.def"),
}

# States without a table of edges, and who may assign them.
PLAIN = {
    # An entry begins in one of two states, by its tool's effect.
    "daemon/journal/entry.c": {"jrn_entry_new", "jrn_entry_move"},
}
# Not machines but marks of where a thing is kept; each file writes only its own, under its lock or on its loop.
MARKS = {
    "daemon/net/resolver.c": "which queue a look-up is on",
    "daemon/net/conn.c": "how far a handshake is; every function there takes it one step",
}

ASSIGNMENT = re.compile(r"(?:->|\.)\s*(?:state|lane)\s*(?:=(?!=)|\|=|&=|\+=|-=|\+\+|--)|"
                        r"(?:\+\+|--)\s*[\w>.()-]+(?:->|\.)(?:state|lane)\b")


def enclosing(spans, line):
    return next((name for name, first, last in spans if first <= line <= last), None)


def writers(path):
    if path in MOVERS:
        return {MOVERS[path][0]}
    return PLAIN.get(path, set())


def judge(root, path, seen):
    text = source.blank(source.read(root, path))
    spans = list(source.functions(text))
    for match in ASSIGNMENT.finditer(text):
        line = source.line_of(text, match.start())
        name = enclosing(spans, line)
        seen.add((path, name))
        if path not in MARKS and name not in writers(path):
            allowed = " and ".join(sorted(writers(path))) or "a mover named in tests/lint/states.py"
            yield f"{path}:{line}: {name or 'this line'} assigns a state; only {allowed} may"


def findings(root):
    found = []
    seen = set()
    paths = [path for path in source.files(root, ".c", ".h") if path.startswith(("daemon/", "proto/"))]
    for path in paths:
        found += judge(root, path, seen)
    for path, (name, table) in MOVERS.items():
        if path in paths and (path, name) not in seen:
            found.append(f"{path}:1: {name} is said to move {table} and does not")
    for table in source.files(root, "fsm.def"):
        if table not in {entry[1] for entry in MOVERS.values()}:
            found.append(f"{table}:1: no mover is named for it in tests/lint/states.py")
    return found


if __name__ == "__main__":
    sys.exit(source.main(findings))
