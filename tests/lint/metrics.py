#!/usr/bin/env python3
"""Every metric that is published is also counted somewhere in the daemon."""

import re
import sys

import source

TABLE = "daemon/base/metric.def"
ROW = re.compile(r"^METRIC\(\s*(\w+)", re.MULTILINE)


def findings(root):
    used = set()
    for path in source.files(root, ".c", ".h"):
        if path.startswith(("daemon/", "proto/")):
            used.update(re.findall(r"\bBC_M_(\w+)", source.blank(source.read(root, path))))
    table = source.blank(source.read(root, TABLE), strings=False)
    return [f"{TABLE}:{source.line_of(table, match.start())}: {match.group(1)} is published and never counted"
            for match in ROW.finditer(table) if match.group(1) not in used]


if __name__ == "__main__":
    sys.exit(source.main(findings))
