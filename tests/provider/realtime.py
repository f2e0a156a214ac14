"""A small Realtime client for tests: RFC 6455 over a plain socket, the word carrier, waiting for events."""
import base64
import json
import os
import socket
import struct
import subprocess
import time

PATIENCE = 20.0  # seconds any single event may take; tests never wait for time to pass


class Provider:
    """A running simprovider."""

    def __init__(self, binary, timing, *args, scale=20):
        command = [binary, '--listen', '127.0.0.1:0', '--timing', timing, '--scale', str(scale), '--rtt', '0', *args]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith('listening '), line
        self.port = int(line.split()[1])
        self.parameters = self.process.stdout.readline().split()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        assert code == 0, f'simprovider ended with {code}'


class Refused(Exception):
    """The upgrade got another status than 101."""


class Client:
    """One session."""

    def __init__(self, port, model='gpt-realtime', headers='', tls=None, path='/v1/realtime'):
        self.socket = socket.create_connection(('127.0.0.1', port), PATIENCE)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname='localhost')
        self.data = b''
        self.events = []  # every event that was taken from the wire
        self.close_code = None
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f'GET {path}?model={model} HTTP/1.1\r\nHost: 127.0.0.1\r\n'
                             'Upgrade: websocket\r\nConnection: Upgrade\r\n'
                             f'Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n').encode())
        while b'\r\n\r\n' not in self.data:
            self._more()
        self.head, self.data = self.data.split(b'\r\n\r\n', 1)
        if not self.head.startswith(b'HTTP/1.1 101'):
            self.socket.close()
            raise Refused(self.head.decode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _more(self):
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError('closed by the provider')
        self.data += chunk

    def _need(self, n):
        while len(self.data) < n:
            self._more()

    def _frame(self, opcode, payload):
        mask = os.urandom(4)
        n = len(payload)
        if n < 126:
            head = struct.pack('!BB', 0x80 | opcode, 0x80 | n)
        elif n < 65536:
            head = struct.pack('!BBH', 0x80 | opcode, 0xfe, n)
        else:
            head = struct.pack('!BBQ', 0x80 | opcode, 0xff, n)
        spread = mask * (n // 4 + 1)
        masked = (int.from_bytes(payload, 'big') ^ int.from_bytes(spread[:n], 'big')).to_bytes(n, 'big')
        self.socket.sendall(head + mask + masked)

    def _take_frame(self):
        self._need(2)
        n, at = self.data[1] & 0x7f, 2
        if n == 126:
            self._need(4)
            n, at = struct.unpack('!H', self.data[2:4])[0], 4
        elif n == 127:
            self._need(10)
            n, at = struct.unpack('!Q', self.data[2:10])[0], 10
        self._need(at + n)
        opcode, payload, self.data = self.data[0] & 15, self.data[at:at + n], self.data[at + n:]
        if opcode == 8:
            self.close_code = struct.unpack('!H', payload[:2])[0]
            raise ConnectionError(f'closed with {self.close_code}')
        return opcode, payload

    def send(self, event_type, **members):
        self._frame(1, json.dumps({'type': event_type, **members}).encode())

    def send_text(self, payload):
        """A text frame that need not be an event."""
        self._frame(1, payload)

    def ping(self):
        self._frame(9, b'still there')

    def pong(self):
        """Payload of the next frame, which must be a pong."""
        opcode, payload = self._take_frame()
        assert opcode == 10, (opcode, payload)
        return payload

    def next(self):
        """The next event."""
        event = json.loads(self._take_frame()[1])
        self.events.append(event)
        return event

    def until(self, event_type, **members):
        """Take events until one of that type (and with those members) comes."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            event = self.next()
            if event['type'] == event_type and all(event.get(k) == v for k, v in members.items()):
                return event
        raise AssertionError(f'no {event_type}; got {[e["type"] for e in self.events]}')

    def take(self, event_type):
        """The next event, which must be of that type."""
        event = self.next()
        assert event['type'] == event_type, f'{event["type"]} in place of {event_type}: {event}'
        return event

    def error(self):
        """The next event, which must be an error: its inner object."""
        return self.take('error')['error']

    def nothing_more(self):
        """Whatever was sent has been answered: an unknown item's error comes next, nothing before it."""
        self.send('conversation.item.retrieve', item_id='nobody')
        assert self.error()['code'] == 'item_retrieve_invalid_item_id'

    def update(self, **session):
        self.send('session.update', session={'type': 'realtime', **session})
        return self.until('session.updated')['session']

    def text(self, words):
        self.send('conversation.item.create', item={
            'type': 'message', 'role': 'user', 'content': [{'type': 'input_text', 'text': words}]})
        return self.until('conversation.item.done')['item']


def crc15(bits):
    crc = 0x2a5a
    for i in range(51, 14, -1):
        carry = (bits >> i & 1) ^ (crc >> 14 & 1)
        crc = (crc << 1) & 0x7fff
        if carry:
            crc ^= 0x4599
    return crc


def frame(turn, word, last, repair=False):
    """20 ms of PCM16 that say one word's index."""
    bits = 0xe8d5 << 36 | turn << 28 | word << 17 | int(last) << 16 | int(repair) << 15
    bits |= crc15(bits)
    samples = []
    for i in range(52):
        samples += [8000 if bits >> (51 - i) & 1 else -8000] * 9
    samples += [8000 if i % 2 == 0 else -8000 for i in range(468, 480)]
    return struct.pack('<480h', *samples)


SILENCE = bytes(960)


def speech(turn, first, last, repair=False):
    """Words first..last of a turn, 100 ms each."""
    return b''.join(frame(turn, word, i == 4, repair) for word in range(first, last + 1) for i in range(5))


def say(client, audio, chunk=960):
    for at in range(0, len(audio), chunk):
        client.send('input_audio_buffer.append', audio=base64.b64encode(audio[at:at + chunk]).decode())
