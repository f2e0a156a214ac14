#!/usr/bin/env python3
"""Functions that must not be called, and words that must not be written."""

import re
import sys

import source

# Functions, why not, and where they may be called all the same (paths that begin so), with the reason.
FUNCTIONS = [
    ("strcpy strcat sprintf vsprintf gets", "has no bound", ()),
    ("strtok gmtime localtime asctime ctime", "keeps state between calls", ()),
    ("atoi atol atoll atof", "cannot report an error", ()),
    ("alloca", "has no bound", ()),
    ("system popen", "runs a shell", ("tests/",)),
    ("getaddrinfo gethostbyname", "blocks",
     ("daemon/net/resolver.c",  # on a thread of its own
      "tests/")),
    ("fsync fdatasync sync_file_range flock lockf", "blocks",
     ("daemon/journal/",  # on the writer's thread, and while opening
      "tests/")),
    ("sleep usleep nanosleep clock_nanosleep", "blocks", ("tests/",)),  # simulated peers take their time
    ("clock_gettime gettimeofday time", "reads a clock of its own; take the loop's",
     ("daemon/loop/",  # the clock everybody else is given
      "tests/")),
]

# Words anywhere in a text file.  Comments and documents speak of the project alone.
WORDS = [
    (r"\b(TODO|FIXME|XXX)\b", "unfinished work is not kept in comments"),
    (r"(?<![\w./}>*-])/(home|root|work|farm|mnt|media|Users)/\w", "a path of somebody's machine"),
    (r"\b(registry\.npmjs|registry\.yarnpkg|npmmirror|pypi\.|files\.pythonhosted|static\.crates|deb\.debian)",
     "the host of a package registry; the package manager knows it"),
    (r"\b[Ii]ssues? #?\d|(?<![\w&])#\d+\b(?!\.)(?=[ ,.)]|$)", "the number of an issue; say what it was about"),
]
# They name what they forbid, or quote it from elsewhere.
WORDS_EXEMPT = ("tests/lint/banned.py", "tests/lint/test_lints.py", "LICENSE")


def calls(path, text):
    for names, why, allowed in FUNCTIONS:
        if path.startswith(allowed):
            continue
        pattern = r"(?<![\w.>])(" + "|".join(names.split()) + r")\s*\("
        for match in re.finditer(pattern, text):
            yield f"{path}:{source.line_of(text, match.start())}: {match.group(1)}() {why}"


def words(path, text):
    for pattern, why in WORDS:
        for match in re.finditer(pattern, text, re.MULTILINE):
            yield f"{path}:{source.line_of(text, match.start())}: \"{match.group()}\": {why}"


def findings(root):
    found = []
    for path in source.files(root):
        text = source.read(root, path)
        if text is None or path.startswith("tests/fuzz/corpus/"):
            continue
        if path.endswith((".c", ".h", ".def", ".cc")):
            found += calls(path, source.blank(text))
        if path not in WORDS_EXEMPT:
            found += words(path, text)
    return found


if __name__ == "__main__":
    sys.exit(source.main(findings))
