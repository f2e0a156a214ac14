#!/usr/bin/env python3
"""Every class of an end-to-end test that runs class by class is run."""

import ast
import re
import sys

import source

TABLE = "tests/e2e/meson.build"
ROW = re.compile(r"\['(\w+)', '(\w*)', \d+\]")


def test_classes(text):
    """Names of the classes that have tests of their own."""
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)
            and any(isinstance(part, ast.FunctionDef) and part.name.startswith("test_") for part in node.body)]


def findings(root):
    rows = ROW.findall(source.read(root, TABLE))
    found = []
    for name in sorted({name for name, class_ in rows if class_}):
        run = {class_ for other, class_ in rows if other == name}
        path = f"tests/e2e/test_{name}.py"
        found += [f"{path}: no row of {TABLE} runs {class_}"
                  for class_ in test_classes(source.read(root, path)) if class_ not in run and "" not in run]
    return found


if __name__ == "__main__":
    sys.exit(source.main(findings))
