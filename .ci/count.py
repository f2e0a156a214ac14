#!/usr/bin/env python3
"""Add up what the tests of a build directory reported and print the closing line "N passed, N failed".

count.py BUILD [STATUS]     STATUS: what meson test returned

Meson's two reports each lack something: the JUnit file has the cases of a TAP program but calls a program that was
killed passed; testlog.json has how each program ended but not its cases.
"""

import json
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

GOOD = ("OK", "EXPECTEDFAIL")


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def fail(self, name):
        self.failed += 1
        print(f"failed: {name}")

    def case(self, name, case):
        """One case of a TAP program."""
        if case.find("failure") is not None or case.find("error") is not None:
            self.fail(name)
        elif case.find("skipped") is not None:
            self.skipped += 1
        else:
            self.passed += 1

    def program(self, name, result, cases):
        before = self.failed
        for case in cases:
            self.case(f"{name}: {case.get('name')}", case)
        if result == "SKIP":
            self.skipped += not cases
        elif result in GOOD:
            self.passed += not cases
        elif self.failed == before:
            # No case failed, but the whole did: a crash, a time-out, too few cases, an exit status.
            self.fail(f"{name}: {result.lower()}")


def cases_of_programs(logs):
    """The cases of TAP programs; those of other programs are in a suite with the project's name alone."""
    suites = {}
    for suite in xml.parse(logs / "testlog.junit.xml").getroot().iter("testsuite"):
        _, dot, name = suite.get("name").partition(".")
        if dot:
            suites[name] = list(suite.iter("testcase"))
    return suites


def count_logs(logs, count):
    suites = cases_of_programs(logs)
    for line in (logs / "testlog.json").read_text(encoding="utf-8").splitlines():
        program = json.loads(line)
        count.program(program["name"], program["result"], suites.get(program["name"], []))


def main() -> int:
    status = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    count = Count()
    try:
        count_logs(Path(sys.argv[1]) / "meson-logs", count)
    except FileNotFoundError:
        count.fail("the tests did not run")
    if status != 0 and count.failed == 0:
        count.fail(f"meson test: exit status {status}")
    # A skipped test proves nothing: it is told, and it does not count as passed.
    if count.skipped:
        print(f"skipped: {count.skipped}")
    print(f"{count.passed} passed, {count.failed} failed")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
