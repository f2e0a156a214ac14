#!/usr/bin/env python3
"""English words are spelt right: spelling.py ROOT CODESPELL"""

import subprocess
import sys
import tempfile
from pathlib import Path

import source

IGNORED = "te"  # a header field


def prose(root, path):
    """What of a file is worth reading; None: nothing."""
    # Recorded bytes and cut-up frames are no prose, and a licence is as it is.
    if path == "LICENSE" or path.startswith(("tests/fuzz/corpus/", "tests/rfc6455/")):
        return None
    text = source.read(root, path)
    # The strings of tests are wrong on purpose.
    return source.blank(text, comments=False) if text and path.startswith("tests/") and path.endswith(".c") else text


def findings(root, codespell):
    with tempfile.TemporaryDirectory() as folder:
        for path in source.files(root):
            text = prose(root, path)
            if text is not None:
                copy = Path(folder) / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text, encoding="utf-8")
        done = subprocess.run([codespell, "--check-hidden", "--ignore-words-list", IGNORED, "."], cwd=folder,
                              stdout=subprocess.PIPE, text=True, check=False)
    return [line.removeprefix("./") for line in done.stdout.splitlines()]


if __name__ == "__main__":
    sys.exit(source.main(findings))
