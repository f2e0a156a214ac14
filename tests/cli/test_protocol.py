#!/usr/bin/env python3
"""backchannel-protocol(7) describes every event of proto/extension.def, with an example of it, and no other.

Usage: test_protocol.py SOURCE
"""
import json
import os
import re
import sys
import unittest

SOURCE = sys.argv[1]
ROW = re.compile(r'^EXT_EVENT\(\w+, +"([^"]+)", +(\w+)\)', re.MULTILINE)
SECTION = re.compile(r'^## (\S+)\n\n```\n(.*?)```', re.MULTILINE | re.DOTALL)
HEADING = {'CLIENT': '# EVENTS OF THE CLIENT', 'GATEWAY': '# EVENTS OF THE GATEWAY'}


def read(name):
    with open(os.path.join(SOURCE, 'proto', name), encoding='utf-8') as file:
        return file.read()


class Manual(unittest.TestCase):
    def setUp(self):
        self.manual = read('backchannel-protocol.7.scd')
        self.rows = ROW.findall(read('extension.def'))
        self.assertGreater(len(self.rows), 5)

    def test_every_event_has_its_section_and_example(self):
        sections = SECTION.findall(self.manual)
        self.assertEqual([name for name, _ in sections], [name for name, _ in self.rows])
        for name, example in sections:
            self.assertEqual(json.loads(example)['type'], name)

    def test_sections_stand_under_their_sender(self):
        for name, sender in self.rows:
            before = self.manual[:self.manual.index(f'## {name}\n')]
            self.assertEqual(re.findall(r'^# EVENTS.*', before, re.MULTILINE)[-1], HEADING[sender])

    def test_every_code_of_an_error_is_told(self):
        with open(os.path.join(SOURCE, 'daemon', 'session', 'extension.c'), encoding='utf-8') as file:
            source = file.read()
        codes = set(re.findall(r'ext_fault \w+ = \{\s*"(\w+)"', source))
        codes |= set(re.findall(r'BC_E_\w+,\s*"(\w+)"', read('extension.c')))
        self.assertEqual(set(re.findall(r'^\*(\w+)\*\n\t', self.manual, re.MULTILINE)), codes)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
