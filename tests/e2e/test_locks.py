#!/usr/bin/env python3
"""No lock on the path of a frame: workers relay messages of several sessions without a futex call.

Usage: test_locks.py BUILD SOURCE
"""
import collections
import os
import re
import signal
import subprocess
import unittest

from gateway import SANITIZE, Case, run

MESSAGES = 300
UP = '{"type":"input_audio_buffer.append","audio":"' + 'A' * 1280 + '"}'
DOWN = '{"type":"response.output_audio.delta","response_id":"r","delta":"' + 'B' * 1280 + '"}'
READ = {'name': 'look', 'description': 'Looks something up.', 'effect': 'read', 'disclosure': 'first_party',
        'parameters': {'type': 'object'}, 'request': {'method': 'GET', 'url': 'http://127.0.0.1:1/'}}


def threads(pid, name):
    """Ids of a process's threads whose name begins so."""
    found = []
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/comm', encoding='ascii') as file:
            if file.read().startswith(name):
                found.append(thread)
    return found


class Watch:
    """The system calls of some threads between begin and end, by name."""

    def __init__(self, folder, ids):
        self.log = os.path.join(folder, 'strace.log')
        self.process = subprocess.Popen(
            ['strace', '-o', self.log, '-e', 'trace=futex,sendto,write,writev,sendmsg', *[f'-p{id}' for id in ids]],
            stderr=subprocess.PIPE, text=True)
        for _ in ids:
            line = self.process.stderr.readline()
            assert 'attached' in line, line

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        with open(self.log, encoding='utf-8', errors='replace') as file:
            return collections.Counter(match[1] for match in re.finditer(r'^(?:\d+ +)?(\w+)\(', file.read(), re.M))


@unittest.skipIf(SANITIZE, 'the sanitizers take locks of their own')
class Locks(Case):
    def relay(self, sessions):
        """One message at a time each way, so that each is a turn of a worker's loop."""
        for _ in range(MESSAGES // len(sessions)):
            for client, provider in sessions:
                client.send(UP)
                provider.send(DOWN)
            for client, provider in sessions:
                provider.take()
                client.take()

    def test_no_futex_while_frames_pass(self):
        gateway = self.gateway(daemon={'workers': 2, 'log_level': 'info'}, speculation={'mode': 'strict'},
                               tool=[READ]).start()
        sessions = [self.session(gateway) for _ in range(4)]
        for _, provider in sessions:
            self.assertIn('session.update', provider.take())  # the gateway's own
        self.relay(sessions)  # memory arenas and caches are settled then
        workers = threads(gateway.process.pid, 'worker/')
        self.assertEqual(len(workers), 2)
        watch = Watch(self.folder, workers)
        self.relay(sessions)
        calls = watch.end()
        # The traffic was seen: without that the zero would prove nothing.
        self.assertGreaterEqual(sum(calls[name] for name in ('sendto', 'write', 'writev', 'sendmsg')), MESSAGES, calls)
        self.assertEqual(calls['futex'], 0, calls)


if __name__ == '__main__':
    run()
