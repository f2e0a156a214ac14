#!/usr/bin/env python3
"""Every header compiles alone: headers.py ROOT COMPILER..."""

import concurrent.futures
import os
import subprocess
import sys

import source

FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]


def compile_alone(root, compiler, path):
    """Twice, so that a missing include guard shows."""
    done = subprocess.run([*compiler, "-I", str(root), *FLAGS], input=f'#include "{path}"\n' * 2,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return [f"{path}:1: does not compile alone\n{done.stdout}"] if done.returncode else []


def findings(root, *compiler):
    paths = [path for path in source.files(root, ".h") if path.startswith(("daemon/", "proto/", "tests/"))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: compile_alone(root, compiler, path), paths)
        return [line for lines in results for line in lines]


if __name__ == "__main__":
    sys.exit(source.main(findings))
