"""What the lints share: the project's files, C without its comments, and how findings are told."""

import re
import sys
from pathlib import Path

# Made by builds and package managers; everything else below the root is the project's.
SKIPPED = re.compile(r"^(build.*|\.git|node_modules|__pycache__)$")


def files(root, *suffixes):
    """Paths below root, relative to it and sorted, that end in one of the suffixes; all without any."""
    found = []
    pending = [Path(root)]
    while pending:
        for entry in pending.pop().iterdir():
            if SKIPPED.match(entry.name) or entry.is_symlink():
                continue
            if entry.is_dir():
                pending.append(entry)
            elif not suffixes or entry.name.endswith(suffixes):
                found.append(entry.relative_to(root).as_posix())
    return sorted(found)


def read(root, path):
    """The text of a file; None for one that is not text."""
    data = (Path(root) / path).read_bytes()
    try:
        return None if b"\0" in data else data.decode("utf-8")
    except UnicodeDecodeError:
        return None


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(text, comments=True, strings=True):
    """C with its comments or strings turned into blanks; all else stays in its place."""

    def replace(match):
        token = match.group()
        return re.sub(r"[^\n]", " ", token) if (strings if token[0] in "\"'" else comments) else token

    return TOKEN.sub(replace, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


FUNCTION = re.compile(r"^(?![{}#\s/])[^;{}]*?\b(\w+)\([^;{}]*\)\s*\n\{", re.MULTILINE)


def functions(text):
    """(name, first line, last line) of each function of comment-free C, in Linux style: braces in column one."""
    for match in FUNCTION.finditer(text):
        end = text.find("\n}", match.end() - 1)
        yield match.group(1), line_of(text, match.start()), line_of(text, len(text) if end < 0 else end + 1)


def main(findings):
    """Run a lint over the root named on the command line, print its findings, and return the exit status."""
    found = findings(*sys.argv[1:])
    for line in found:
        print(line)
    return 1 if found else 0
