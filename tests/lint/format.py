#!/usr/bin/env python3
"""C is formatted as .clang-format says: format.py ROOT CLANG_FORMAT; make format does it."""

import os
import subprocess
import sys

import source


def findings(root, clang_format):
    paths = source.files(root, ".c", ".h")
    if not paths:
        return []
    # One process per core: it is the slowest lint.
    parts = [paths[i::os.cpu_count()] for i in range(os.cpu_count())]
    running = [subprocess.Popen([clang_format, "--dry-run", "-Werror", *part], cwd=root, stderr=subprocess.PIPE,
                                text=True) for part in parts if part]
    lines = [line for process in running for line in process.communicate()[1].splitlines()]
    wrong = sorted({line.split(":", 1)[0] for line in lines if ": error: " in line})
    if not wrong and any(process.returncode for process in running):
        return lines
    return [f"{path}:1: not formatted; make format does it" for path in wrong]


if __name__ == "__main__":
    sys.exit(source.main(findings))
