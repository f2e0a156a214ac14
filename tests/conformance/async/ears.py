"""Listening: one thread per connection takes what comes, so that a script can look at it when it gets there."""
import json
import os
import queue
import threading

import ws
from ws import Closed, Lost

PATIENCE = float(os.environ.get('SCENARIO_PATIENCE', ws.PATIENCE))  # less is for writing scripts

SYNC = 'async.sync'  # an event of our own: both sides forward what they do not know, in order
CLOSED = '(closed)'


class Failure(Exception):
    """What happened is not what the script says."""


def short(event):
    """One event on one line, for people."""
    event = {key: value for key, value in event.items() if key not in ('audio', 'delta')}
    text = json.dumps(event, ensure_ascii=False)
    return text if len(text) < 700 else text[:700] + ' …'


class Ear:
    """What comes from one peer, in order; taps see each event as it comes."""

    def __init__(self, peer, name, trace):
        self.peer, self.name, self.trace = peer, name, trace
        self.events = queue.Queue()
        self.pushed_back = []
        self.synced = {}
        self.taps = []
        self.thread = threading.Thread(target=self.listen, daemon=True)

    def start(self):
        self.thread.start()

    def listen(self):
        try:
            while True:
                self.hear(self.peer.take())
        except Closed as closed:
            self.put({'type': CLOSED, 'code': closed.code})
        except (Lost, OSError, ValueError):
            self.put({'type': CLOSED, 'code': 1006})

    def hear(self, text):
        event = json.loads(text)
        if event['type'] == SYNC:
            self.synced.setdefault(event['n'], threading.Event()).set()
            return
        for tap in self.taps:
            tap(event, text)
        self.put(event)

    def put(self, event):
        if not event['type'].endswith('.delta') and not event['type'].endswith('.append'):
            self.trace.append(f'{self.name} < {short(event)}')
        self.events.put(event)

    def next(self):
        """The next event; a Failure when none comes."""
        if self.pushed_back:
            return self.pushed_back.pop()
        try:
            return self.events.get(timeout=PATIENCE)
        except queue.Empty:
            raise Failure(f'nothing more reached the {self.name}') from None

    def push_back(self, event):
        self.pushed_back.append(event)

    def is_silent(self):
        return not self.pushed_back and self.events.empty()

    def wait_sync(self, n):
        if not self.synced.setdefault(n, threading.Event()).wait(PATIENCE):
            raise Failure(f'what was said never reached the {self.name}')


def matches(value, expected):
    if isinstance(expected, dict) and isinstance(value, dict):
        return all(key in value and matches(value[key], part) for key, part in expected.items())
    return value == expected


def member(event, path):
    """A member by dotted path; lists by number.  Absent: None."""
    for key in path.split('.'):
        if isinstance(event, list):
            event = event[int(key)] if int(key) < len(event) else None
        elif isinstance(event, dict):
            event = event.get(key)
        else:
            return None
    return event


def assign(event, path, value):
    """Set a member by dotted path."""
    *parents, last = path.split('.')
    for key in parents:
        event = event.setdefault(key, {})
    event[last] = value
