#!/usr/bin/env python3
"""Functions stay small and simple, files too: complexity.py ROOT PMCCABE"""

import subprocess
import sys
from pathlib import Path

import source

COMPLEXITY_MAX = 15  # ways through a function, a switch counted once
FUNCTION_MAX = 70  # lines
FILE_MAX = 600  # lines
TEST_FILE_MAX = 1000  # cases are long lists

# Function or file: why it is better as it is.  One that is within the limits may not stand here.
WAIVED = {}


def functions(root, pmccabe):
    paths = [path for path in source.files(root, ".c") if path.startswith(("daemon/", "proto/"))]
    if not paths:
        return
    done = subprocess.run([pmccabe, *paths], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        complexity, _, _, _, length, place = line.split("\t", 5)
        where, _, name = place.partition(": ")
        path, _, first = where.rstrip(")").partition("(")
        yield path, int(first), name, int(complexity), int(length)


def findings(root, pmccabe):
    found, waived = [], set()
    for path, line, name, complexity, length in functions(root, pmccabe):
        if complexity > COMPLEXITY_MAX or length > FUNCTION_MAX:
            waived.add(name)
            if name not in WAIVED:
                found.append(f"{path}:{line}: {name} has complexity {complexity} (at most {COMPLEXITY_MAX}) and "
                             f"{length} lines (at most {FUNCTION_MAX})")
    for path in source.files(root, ".c", ".h", ".cc"):
        lines = (Path(root) / path).read_bytes().count(b"\n")
        limit = TEST_FILE_MAX if path.startswith("tests/") else FILE_MAX
        if lines > limit:
            waived.add(path)
            if path not in WAIVED:
                found.append(f"{path}:{lines}: at most {limit} lines")
    return found + [f"tests/lint/complexity.py:1: {name} needs no waiver" for name in WAIVED if name not in waived]


if __name__ == "__main__":
    sys.exit(source.main(findings))
