#!/usr/bin/env python3
"""What clang-tidy finds in the daemon, as .clang-tidy asks it: tidy.py ROOT CLANG_TIDY BUILD [FLAG...]

The analyzer takes minutes: the test leaves it out (--checks=-clang-analyzer-*), make tidy does not.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
from pathlib import Path

import source

# The database of commands is made for the compiler of the build, which may be another; its warnings have been seen
# then, and clang's would come from inside the macros of uthash.h.
FLAGS = ["--extra-arg=-w",
         "--extra-arg=-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang"]
FINDING = re.compile(r"^(\S+?:\d+):\d+: (?:error|warning): (.*)$", re.MULTILINE)


def judge(root, command, build, path):
    done = subprocess.run([*command, path], cwd=root, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    found = {f"{os.path.relpath(os.path.join(build, place), root)}: {what.replace(',-warnings-as-errors', '')}"
             for place, what in FINDING.findall(done.stdout)}
    return found or ({f"{path}:1: {done.stdout}{done.stderr}"} if done.returncode else set())


def findings(root, clang_tidy, build, *flags):
    paths = [path for path in source.files(root, ".c") if path.startswith(("daemon/", "proto/"))]
    root, build = Path(root).resolve(), Path(build).resolve()
    command = [clang_tidy, "-p", build, "--quiet", *FLAGS, *flags]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: judge(root, command, build, path), paths)
        return sorted(set().union(*results))


if __name__ == "__main__":
    sys.exit(source.main(findings))
