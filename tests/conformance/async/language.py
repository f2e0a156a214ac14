"""The language of the scenarios: a title, headers, and one step per line.  README.md says what each step means."""
import json
import re

DECODER = json.JSONDecoder()
HEADER = re.compile(r'^(gateway|provider|client tools|session|unanswered):\s*(.*)$')
OPTION = re.compile(r'[\w.]+=')
NAME = re.compile(r'\{(\w+)\}')


class BadScript(Exception):
    """The script itself is wrong."""


class Line:
    """One step: who, what, and the rest taken apart."""

    def __init__(self, number, text):
        self.number, self.text = number, text
        self.words, self.options, self.parts, self.body = [], {}, [], None
        self.scan(text)
        if len(self.words) < 2:
            raise BadScript(f'line {number}: {text!r} is no step')
        self.actor, self.verb, *self.words = self.words

    def value(self, text, at):
        """A value at a position and where it ends: JSON, or a bare word."""
        if text[at] in '{["':
            return DECODER.raw_decode(text, at)
        end = re.compile(r'\s|$').search(text, at).start()
        word = text[at:end]
        try:
            return json.loads(word), end
        except ValueError:
            return word, end

    def scan(self, text):
        at = 0
        while at < len(text):
            if text[at].isspace():
                at += 1
            elif text[at] == '#':
                return
            elif text[at] == '~':
                part, at = DECODER.raw_decode(text, at + 1)
                self.parts.append(part)
            elif text[at] in '{["':
                self.body, at = DECODER.raw_decode(text, at)
            else:
                option = OPTION.match(text, at)
                if option:
                    value, at = self.value(text, option.end())
                    self.options[option[0][:-1]] = value
                else:
                    end = re.compile(r'\s|$').search(text, at).start()
                    self.words.append(text[at:end])
                    at = end

    def word(self, index, default=None):
        return self.words[index] if index < len(self.words) else default

    def after(self, keyword, default=None):
        """The word behind a keyword, as in "in r1"."""
        if keyword not in self.words:
            return default
        return self.words[self.words.index(keyword) + 1]

    def has(self, keyword):
        return keyword in self.words


class Script:
    """A file: title, headers, lines."""

    def __init__(self, path):
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
        if not lines or not lines[0].startswith('# '):
            raise BadScript(f'{path}: the first line is the title')
        self.path = path
        self.title = lines[0][2:]
        self.headers = {}
        self.lines = self.steps(list(enumerate(lines, 1)))

    def steps(self, numbered):
        out = []
        at = 0
        while at < len(numbered):
            number, text = numbered[at]
            at += 1
            header = HEADER.match(text)
            if header:
                self.headers[header[1]] = header[2]
            elif text.startswith('for '):
                block = []
                while at < len(numbered) and numbered[at][1].startswith('    '):
                    block.append(numbered[at])
                    at += 1
                out += self.repeated(number, text, block)
            elif text.strip() and not text.lstrip().startswith('#'):
                out.append(Line(number, text.strip()))
        return out

    @staticmethod
    def repeated(number, text, block):
        """for NAME in A..B: the block with {NAME} replaced, two digits each."""
        found = re.fullmatch(r'for (\w+) in (\d+)\.\.(\d+):', text)
        if not found:
            raise BadScript(f'line {number}: {text!r}')
        out = []
        for value in range(int(found[2]), int(found[3]) + 1):
            names = {found[1]: f'{value:02}'}
            for at, line in block:
                out.append(Line(at, NAME.sub(lambda match: names.get(match[1], match[0]), line.strip())))
        return out

    @property
    def gateway(self):
        return self.headers.get('gateway', 'plain')

    @property
    def provider(self):
        return self.headers.get('provider', 'scripted')

    @property
    def client_tools(self):
        return self.headers.get('client tools', '').split()

    @property
    def session(self):
        return json.loads(self.headers.get('session', '{}'))

    @property
    def unanswered(self):
        return self.headers.get('unanswered', '').split()
