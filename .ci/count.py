#!/usr/bin/env python3
"""Add up what the tests of a build directory reported and print the closing line "N passed, N failed"."""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def main() -> int:
    reports = Path(sys.argv[1]) / "meson-logs" / "testlog.junit.xml"
    passed = failed = skipped = 0
    for case in xml.parse(reports).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            print(f"failed: {case.get('classname')} {case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    # A skipped test proves nothing: it is named, and it does not count as passed.
    if skipped:
        print(f"skipped: {skipped}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
