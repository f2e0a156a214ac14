#!/usr/bin/env python3
"""The table of cases against the running daemon: drive.py BUILD SOURCE LEG

LEG is where the peer of the table stands: client (it calls the gateway, whose provider behaves) or upstream (it is the
provider the gateway has called for a client that behaves).  Of every case this wants:

  the messages arrive at the other end, as they are and in order; where nothing is wrong they are echoed there and
  arrive here again, so that what the gateway sends is judged too
  every ping is answered with its payload, in order
  the peer gets the close code it deserves: its own, or that of its fault, then the end of the stream, and nothing else
  the other end is told: a client's close is passed to the provider, without a code as 1000; a client that is lost or
  at fault is a provider's 1001; a provider's close with a code is passed to the client; one without, and a provider
  that is lost or at fault, is an error event and 1013
  a session that was there before goes on, and behind every fault a new one can be had

TAP to stdout, one line per case.
"""
import json
import os
import re
import shutil
import socket
import struct
import sys
import tempfile
import threading

sys.path.insert(1, os.path.join(sys.argv[2], 'tests', 'e2e'))
from gateway import Gateway  # noqa: E402  (the folder is known only now)
from ws import BINARY, CLOSE, PING, PONG, TEXT, Closed, Lost, Server, masked  # noqa: E402

MESSAGE_MAX = 16 << 20
PROTOCOL_FAULTS = (1002, 1007)
ALIVE = b'still here'
OPCODES = {'text': TEXT, 'binary': BINARY, 'cont': 0, 'close': CLOSE, 'ping': PING, 'pong': PONG}
ITEM = re.compile(r'(?:(\d+)\*)?(text|binary|cont|close|ping|pong|op(\d+))([^(]*)\(((?:[^\\)]|\\x..)*)\)')
WORD = re.compile(r'(chop|limit|fail)=(\d+)|(more)')
FLAG = re.compile(r'(-)|(!)|/([123]+)|%([0-9a-f]{8})|@([28])|\^(0x[0-9a-f]+|\d+)|~(\d+)')
PART = re.compile(r'\{~(\d+)\}|\{((?:[^\\*]|\\x..)*)\*(\d+)\}|\\x(..)|([^\\{])')
LETTERS = b'abcdefghijklmnopqrstuvw'


def payload_of(text, opcode):
    out = b''
    if opcode == CLOSE and text[:1].isdigit():
        code, _, text = text.partition(' ')
        out = struct.pack('!H', int(code))
    at = 0
    while at < len(text):
        part = PART.match(text, at)
        assert part, f'no payload: {text[at:]}'
        at = part.end()
        letters, repeated, times, byte, plain = part.groups()
        if letters:
            n = int(letters)
            out += (LETTERS * (n // len(LETTERS) + 1))[:n]
        elif times:
            out += payload_of(repeated, 0) * int(times)
        else:
            out += bytes([int(byte, 16)]) if byte else plain.encode()
    return out


def items_of(text):
    """Pairs: a word and its number; or how often and (opcode, flags, payload)."""
    at = 0
    while at < len(text):
        if text[at] == ' ':
            at += 1
            continue
        word = WORD.match(text, at)
        item = word or ITEM.match(text, at)
        assert item, f'no item: {text[at:]}'
        at = item.end()
        if word:
            yield word[1] or word[3], int(word[2] or 0)
        else:
            opcode = OPCODES[item[2]] if item[3] is None else int(item[3])
            yield int(item[1] or 1), (opcode, item[4], payload_of(item[5], opcode))


def frame_bytes(opcode, flags, payload, from_client):
    first, mask, key, width, length, cut = 0x80 | opcode, from_client, b'\x37\xfa\x21\x3d', 0, len(payload), None
    at = 0
    while at < len(flags):
        flag = FLAG.match(flags, at)
        assert flag, f'no flag: {flags}'
        at = flag.end()
        if flag[1]:
            first &= 0x7f
        elif flag[2]:
            mask = not mask
        elif flag[3]:
            for bit in flag[3]:
                first |= 0x80 >> int(bit)
        elif flag[4]:
            key = bytes.fromhex(flag[4])
        elif flag[5]:
            width = int(flag[5])
        elif flag[6]:
            length = int(flag[6], 0)
        else:
            cut = int(flag[7])
    if not width and length > 125:
        width = 8 if length > 65535 else 2
    second = {0: length, 2: 126, 8: 127}[width] | (0x80 if mask else 0)
    head = bytes([first, second]) + length.to_bytes(width, 'big') if width else bytes([first, second])
    return (head + (key + masked(payload, key) if mask else payload))[:cut]


class Case:
    """One line of the table, for a peer that is a client or not."""

    def __init__(self, line):
        self.name, _, rest = line.partition(': ')
        self.sent, arrow, self.comes = rest.partition(' =>')
        assert arrow, f'no case: {line}'

    def read(self, from_client):
        self.chop, self.limit, data = None, MESSAGE_MAX, []
        for times, item in items_of(self.sent):
            if times == 'chop':
                self.chop = item
            elif times == 'limit':
                self.limit = item
            else:
                data.append(frame_bytes(*item, from_client) * times)
        self.data = b''.join(data)
        self.messages, self.pings, self.end = [], [], None
        for times, item in items_of(self.comes):
            if times in ('fail', 'more'):
                self.end = (times, item, b'')
            elif item[0] == CLOSE:
                self.end = ('close', struct.unpack('!H', item[2][:2])[0] if item[2] else 1005, item[2][2:])
            elif item[0] == PING:
                self.pings += [item[2]] * times
            elif item[0] != PONG:
                self.messages += [(item[0], item[2])] * times
            if self.end:
                break

    def for_the_other_end(self, leg):
        """(close code, reason, whether an error event comes first)"""
        kind, code, reason = self.end or ('close', 1000, ALIVE)
        if leg == 'client':
            if kind != 'close':
                return 1001, '', False
            return 1000 if code == 1005 else code, reason.decode(), False
        if kind != 'close' or code == 1005:
            return 1013, 'upstream_lost', True
        return code, reason.decode(), False


class OtherEnd(threading.Thread):
    """The well-behaved end: takes what comes, echoes it if asked, until it is closed."""

    def __init__(self, peer, echoes):
        super().__init__(daemon=True)
        self.peer, self.echoes = peer, echoes
        self.messages, self.closed, self.failure = [], None, None
        self.start()

    def run(self):
        try:
            while True:
                message = self.peer.take()
                opcode = TEXT if isinstance(message, str) else BINARY
                self.messages.append((opcode, message.encode() if opcode == TEXT else message))
                if self.echoes:
                    self.peer.raw(self.peer.frame(*self.messages[-1]))
        except Closed as closed:
            self.closed = closed.code, closed.reason
        except (Lost, OSError, AssertionError, ValueError) as error:
            self.failure = repr(error)


def send(peer, case):
    """All of a case, in its pieces; whoever judges it early may have stopped reading."""
    data = case.data if case.end else case.data + peer.frame(PING, ALIVE)
    try:
        for at in range(0, len(data), case.chop or len(data) or 1):
            peer.socket.sendall(data[at:at + (case.chop or len(data))])
        if case.end and case.end[0] == 'more':
            peer.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def brief(frames):
    text = repr(frames)
    return text if len(text) < 400 else f'{len(frames)} of them: {text[:400]}...'


def same(got, want, what):
    if got != want:
        raise AssertionError(f'{what}: got {brief(got)}, want {brief(want)}')


class Daemon:
    """A gateway with a bystander's session that must outlive all cases."""

    def __init__(self, leg, limit):
        self.leg, self.limit = leg, limit
        self.folder = tempfile.mkdtemp(prefix='rfc6455-')
        self.server = Server()
        self.gateway = Gateway(self.folder, f'ws://127.0.0.1:{self.server.port}/v1/realtime')
        self.gateway.config['session']['message_max'] = f'{limit >> 10}KiB'
        self.gateway.start()
        self.bystanders = self.session()
        self.faults = 0

    def session(self):
        """Both ends of a session that is up: the gateway has seen the provider's answer."""
        client = self.gateway.connect()
        provider = self.server.accept()
        provider.send('welcome')
        same(client.take(), 'welcome', 'the first message')
        return client, provider

    def exchange(self, client, provider, text):
        client.send(text)
        same(provider.take(), text, 'of a normal session, up')
        provider.send(text)
        same(client.take(), text, 'of a normal session, down')

    def normal_session(self):
        client, provider = self.session()
        self.exchange(client, provider, 'a session like any other')
        client.close(1000, 'bye')
        same(provider.closing(), (1000, 'bye', []), 'end of a normal session')
        client.lost()
        client.end()
        provider.end()

    def run(self, case):
        client, provider = self.session()
        peer, other = (client, provider) if self.leg == 'client' else (provider, client)
        end = OtherEnd(other, echoes=case.end is None)
        sender = threading.Thread(target=send, args=(peer, case), daemon=True)
        sender.start()
        try:
            self.judge_peer(peer, case)
            end.join()
            self.judge_other_end(end, case)
        finally:
            peer.end()
            other.end()
            sender.join()
            end.join()
        self.exchange(*self.bystanders, f'behind {case.name}')
        if case.end and case.end[0] != 'close':
            self.faults += case.end[1] in PROTOCOL_FAULTS
            self.normal_session()

    def judge_peer(self, peer, case):
        """What the peer of the table gets back."""
        messages, pongs, closes = [], [], []
        wanted = [] if case.end else case.messages
        asked = case.pings if case.end else [*case.pings, ALIVE]
        said_bye = case.end is not None
        while True:
            try:
                fin, opcode, payload = peer.take_frame()
            except Lost:
                break
            assert fin, 'the gateway sends no fragments'
            assert not closes, f'opcode {opcode} behind the close'
            if opcode == CLOSE:
                closes.append(payload)
            elif opcode == PONG:
                pongs.append(payload)
            elif opcode != PING:
                messages.append((opcode, payload))
            if not said_bye and len(messages) >= len(wanted) and len(pongs) >= len(asked):
                said_bye = True
                peer.close(1000, ALIVE.decode())
        same(pongs, asked, 'pongs')
        same(messages, wanted, 'messages that came back')
        self.judge_close(closes, case)

    @staticmethod
    def judge_close(closes, case):
        kind, code, reason = case.end or ('close', 1000, ALIVE)
        if kind == 'more':
            same(closes, [], 'closes of a peer that left')
            return
        same(len(closes), 1, 'closes')
        if kind == 'close':
            same(closes[0], b'' if code == 1005 else struct.pack('!H', code) + reason, 'the answer to a close')
        else:
            same(struct.unpack('!H', closes[0][:2])[0], code, 'the close code')
            assert closes[0][2:].decode(), 'no word about why'

    def judge_other_end(self, end, case):
        code, reason, error = case.for_the_other_end(self.leg)
        messages = list(end.messages)
        assert end.closed, f'the other end was not closed: {end.failure}, {brief(messages)}'
        if error:
            event = json.loads(messages.pop()[1])
            same((event['type'], event['error']['code']), ('error', 'upstream_lost'), 'the event at the other end')
        same(messages, case.messages, 'messages at the other end')
        same(end.closed, (code, reason), 'the close at the other end')

    def end(self):
        try:
            self.gateway.wait_metric('sessions_open', 1)
            same(self.gateway.metric(f'{self.leg}_protocol_errors_total'), self.faults, 'faults counted')
            for peer in self.bystanders:
                peer.end()
            self.gateway.wait_metric('sessions_open', 0)
        finally:
            self.gateway.end()
            self.server.end()
            shutil.rmtree(self.folder, ignore_errors=True)


def report(number, name, act):
    try:
        act()
    except (AssertionError, Lost, Closed, OSError, ValueError) as error:
        print(f'not ok {number} - {name}')
        print('\n'.join(f'# {line}' for line in (str(error) or repr(error)).splitlines()), flush=True)
        return False
    print(f'ok {number} - {name}', flush=True)
    return True


def main():
    leg = sys.argv[3]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'cases.txt'), encoding='ascii') as file:
        cases = [Case(line.rstrip('\n')) for line in file if line.strip() and not line.startswith('#')]
    if len(sys.argv) > 4:
        cases = [case for case in cases if case.name.startswith(sys.argv[4])]
    daemons, good = {}, True

    def run(case):
        case.read(from_client=leg == 'client')
        if case.limit not in daemons:
            daemons[case.limit] = Daemon(leg, case.limit)
        daemons[case.limit].run(case)
        case.data = None  # some are long

    print(f'1..{len(cases) + 1}', flush=True)
    for number, case in enumerate(cases, 1):
        good = report(number, case.name, lambda case=case: run(case)) and good
    ends = [daemon.end for daemon in daemons.values()]
    return 0 if report(len(cases) + 1, 'the daemon ends well', lambda: [end() for end in ends]) and good else 1


if __name__ == '__main__':
    sys.exit(main())
