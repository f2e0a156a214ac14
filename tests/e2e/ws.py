"""RFC 6455 over a blocking socket, both roles, plain and TLS; every step is taken by the test itself, so it knows
what has been sent and read.  Judges what it reads on its own: masks, reserved bits, the order of fragments."""
import base64
import hashlib
import json
import os
import re
import select
import socket
import ssl
import struct
import threading
import time

PATIENCE = 30.0  # seconds anything may take; generous, tests never wait for time to pass
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


class Refused(Exception):
    """The upgrade got another status than 101."""

    def __init__(self, status, head, body):
        super().__init__(f'{status}: {body}')
        self.status, self.head, self.body = status, head, body


class Closed(Exception):
    """The peer's close frame."""

    def __init__(self, code, reason):
        super().__init__(f'closed with {code} {reason}')
        self.code, self.reason = code, reason


class Lost(Exception):
    """The connection ended without a close frame."""


class TlsSocket(ssl.SSLSocket):
    """TLS that one thread may read while another writes.

    Python lets both into the one OpenSSL object at the same time, which OpenSSL forbids: what the one learns overwrites
    what the other is told, and a read then ends as if the peer had gone.  Here they take turns, and wait outside.
    """

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls, *args, **kwargs)
        self.turn = threading.Lock()
        return self

    def taking_turns(self, step):
        """step() without waiting, as often as it takes."""
        while True:
            with self.turn:
                patience = self.gettimeout()
                self.settimeout(0)
                try:
                    return step()
                except ssl.SSLWantReadError:
                    waits = ([self], [], [])
                except ssl.SSLWantWriteError:
                    waits = ([], [self], [])
                finally:
                    self.settimeout(patience)
            if not any(select.select(*waits, patience)):
                raise TimeoutError('timed out')

    def recv(self, buflen=1024, flags=0):
        return self.taking_turns(lambda: super(TlsSocket, self).recv(buflen, flags))

    def send(self, data, flags=0):
        return self.taking_turns(lambda: super(TlsSocket, self).send(data, flags))


def masked(payload, key):
    if key == b'\0\0\0\0':
        return bytes(payload)
    n = len(payload)
    spread = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, 'big') ^ int.from_bytes(spread, 'big')).to_bytes(n, 'big')


def header(opcode, length, *, fin=True, key=None):
    first = (0x80 if fin else 0) | opcode
    bit = 0 if key is None else 0x80
    if length < 126:
        head = struct.pack('!BB', first, bit | length)
    elif length < 1 << 16:
        head = struct.pack('!BBH', first, bit | 126, length)
    else:
        head = struct.pack('!BBQ', first, bit | 127, length)
    return head + (key or b'')


class Peer:
    """One connection after its handshake."""

    def __init__(self, sock, is_client, rest=b'', head=''):
        self.socket = sock
        self.is_client = is_client
        self.data = bytearray(rest)
        self.head = head
        self.answers_pings = True
        self.pongs = []
        self.sent_close = False
        self.events = []

    def end(self):
        self.socket.close()

    def reset(self):
        """Cut the connection as a crash or a broken network would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    # ---- out ----

    def frame(self, opcode, payload=b'', fin=True):
        key = os.urandom(4) if self.is_client else None
        body = masked(payload, key) if self.is_client else bytes(payload)
        return header(opcode, len(payload), fin=fin, key=key) + body

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, message, pieces=1):
        """One message; str is text, bytes are binary; in that many fragments."""
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        size = max(1, -(-len(payload) // pieces))
        parts = [payload[at:at + size] for at in range(0, len(payload), size)] or [b'']
        for i, part in enumerate(parts):
            self.raw(self.frame(opcode if i == 0 else 0, part, fin=i == len(parts) - 1))

    def event(self, event_type, **members):
        self.send(json.dumps({'type': event_type, **members}))

    def close(self, code=1000, reason=''):
        if not self.sent_close:
            self.sent_close = True
            self.raw(self.frame(CLOSE, struct.pack('!H', code) + reason.encode()))

    # ---- in ----

    def need(self, n):
        while len(self.data) < n:
            try:
                chunk = self.socket.recv(1 << 18)
            except ConnectionError as error:
                raise Lost(str(error)) from error
            if not chunk:
                raise Lost(f'ended with {len(self.data)} of {n} bytes')
            self.data += chunk

    def take_frame(self):
        self.need(2)
        first, second = self.data[0], self.data[1]
        assert first & 0x70 == 0, f'reserved bits in {first:#x}'
        assert bool(second & 0x80) != self.is_client, 'masks are for clients alone'
        n, at = second & 0x7f, 2
        if n == 126:
            self.need(4)
            n, at = struct.unpack_from('!H', self.data, 2)[0], 4
        elif n == 127:
            self.need(10)
            n, at = struct.unpack_from('!Q', self.data, 2)[0], 10
        key = None
        if second & 0x80:
            self.need(at + 4)
            key, at = bytes(self.data[at:at + 4]), at + 4
        self.need(at + n)
        payload = bytes(memoryview(self.data)[at:at + n])
        del self.data[:at + n]
        return first >> 7, first & 15, payload if key is None else masked(payload, key)

    def control(self, opcode, payload):
        if opcode == PING:
            if self.answers_pings:
                self.raw(self.frame(PONG, payload))
        elif opcode == PONG:
            self.pongs.append(payload)
        else:
            assert opcode == CLOSE, f'opcode {opcode}'
            code = struct.unpack('!H', payload[:2])[0] if payload else 1005
            try:
                self.close(code if code != 1005 else 1000)
            except OSError:
                pass  # it has closed its socket already
            raise Closed(code, payload[2:].decode())

    def take(self):
        """The next message: str or bytes."""
        kind, parts = None, []
        while True:
            fin, opcode, payload = self.take_frame()
            if opcode >= 8:
                assert fin, 'a fragmented control frame'
                self.control(opcode, payload)
                continue
            assert (opcode == 0) == (kind is not None), 'fragments out of order'
            kind = kind or opcode
            parts.append(payload)
            if fin:
                whole = b''.join(parts)
                return whole.decode() if kind == TEXT else whole

    def take_event(self, event_type=None):
        """The next message as an event, which must be of that type."""
        event = json.loads(self.take())
        self.events.append(event)
        assert event_type in (None, event['type']), f'{event} in place of {event_type}'
        return event

    def until(self, event_type):
        """Take events until one of that type comes."""
        while True:
            event = self.take_event()
            if event['type'] == event_type:
                return event

    def closing(self):
        """Take what comes until the peer closes: (its close code, its reason, the messages before)."""
        before = []
        try:
            while True:
                before.append(self.take())
        except Closed as closed:
            return closed.code, closed.reason, before

    def lost(self):
        """Take what comes until the connection ends; whether a close frame came first."""
        try:
            while True:
                self.take()
        except (Closed, Lost):
            return


def read_head(sock):
    data = b''
    while b'\r\n\r\n' not in data:
        chunk = sock.recv(65536)
        if not chunk:
            raise Lost('ended inside the handshake')
        data += chunk
    head, rest = data.split(b'\r\n\r\n', 1)
    return head.decode('latin-1'), rest


def header_of(head, name):
    found = re.search(rf'^{name}:[ \t]*(.*?)[ \t\r]*$', head, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else None


def trusting(certificate):
    """A TLS context that believes in this certificate alone."""
    context = ssl.create_default_context(cafile=certificate)
    context.sslsocket_class = TlsSocket
    return context


def connect(port, path, *, headers=(), tls=None, patience=PATIENCE, receive_buffer=None):
    """Open a client's connection; raises Refused."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(patience)
    sock.connect(('127.0.0.1', port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        sock = tls.wrap_socket(sock, server_hostname='localhost')
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f'GET {path} HTTP/1.1', f'Host: localhost:{port}', 'Upgrade: websocket', 'Connection: Upgrade',
             f'Sec-WebSocket-Key: {key}', 'Sec-WebSocket-Version: 13', *headers]
    sock.sendall(('\r\n'.join(lines) + '\r\n\r\n').encode())
    head, rest = read_head(sock)
    status = int(head.split()[1])
    if status != 101:
        want = int(header_of(head, 'Content-Length') or 0)
        while len(rest) < want:
            chunk = sock.recv(65536)
            if not chunk:
                break
            rest += chunk
        sock.close()
        raise Refused(status, head, rest.decode())
    expected = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    assert header_of(head, 'Sec-WebSocket-Accept') == expected, head
    return Peer(sock, True, rest, head)


class Server:
    """A listening socket whose connections are accepted one by one, by the test."""

    def __init__(self, certificate=None, key=None, *, receive_buffer=None, address='127.0.0.1'):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((address, 0))
        self.socket.listen(64)
        self.socket.settimeout(PATIENCE)
        self.port = self.socket.getsockname()[1]
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.sslsocket_class = TlsSocket
            self.tls.load_cert_chain(certificate, key)

    def end(self):
        self.socket.close()

    def accept_raw(self):
        """A connection and the head of its request, which is not answered yet."""
        sock, _ = self.socket.accept()
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            sock = self.tls.wrap_socket(sock, server_side=True)
        head, rest = read_head(sock)
        return sock, head, rest

    @staticmethod
    def upgrade(sock, head, rest=b''):
        key = header_of(head, 'Sec-WebSocket-Key')
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        sock.sendall(('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                      f'Sec-WebSocket-Accept: {accept}\r\n\r\n').encode())
        return Peer(sock, False, rest, head)

    def accept(self):
        return self.upgrade(*self.accept_raw())


def wait_until(condition, what, patience=PATIENCE):
    """Poll until condition() gives something true, and return that."""
    limit = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f'waited in vain for {what}'
        time.sleep(0.01)
