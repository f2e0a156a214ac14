#!/usr/bin/env python3
"""No peer, however slow or hostile, costs anybody else anything: each is bounded, counted and told why, and while it is
held a session beside it, on the same thread, goes on.

Usage: test_stall.py BUILD SOURCE
"""
import os
import re
import resource
import signal
import socket
import ssl
import threading
import time
import unittest

from gateway import SANITIZE, Case, run
from ws import BINARY, CLOSE, PATIENCE, PING, TEXT, Lost, header, trusting, wait_until

MIB = 1 << 20
FRAMES = 20  # of the good session, each way, while a hostile peer is held
LONG = '5m'  # what must not be waited for


class Dribble:
    """TLS over a socket whose bytes the test carries itself: one at a time, if it likes."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname='localhost')

    def handshake(self, send):
        while True:
            try:
                self.tls.do_handshake()
                send(self.outgoing.read())
                return
            except ssl.SSLWantReadError:
                send(self.outgoing.read())
                data = self.sock.recv(65536)
                if not data:
                    raise Lost('ended inside the handshake') from None
                self.incoming.write(data)

    def seal(self, data):
        self.tls.write(data)
        return self.outgoing.read()


class StallCase(Case):
    """One worker, so whoever stalls shares its thread with the good session."""

    workers = 1

    def begin(self, **session):
        """A gateway with a session that goes on."""
        self.gw = self.gateway(session={'ping_interval': '1h', **session}, daemon={'workers': self.workers}).start()
        self.good = self.session(self.gw)
        self.talk()
        return self.gw

    def opened(self, gateway):
        """A session over which a frame has gone, so that both ends are through their handshakes."""
        client, provider = self.session(gateway)
        client.send('hello')
        self.assertEqual(provider.take(), 'hello')
        return client, provider

    def talk(self, frames=FRAMES):
        client, provider = self.good
        for n in range(frames):
            client.send(f'question {n}')
            self.assertEqual(provider.take(), f'question {n}')
            provider.send(f'answer {n}')
            self.assertEqual(client.take(), f'answer {n}')

    def raw(self):
        """A connection that has said nothing."""
        sock = socket.create_connection(('127.0.0.1', self.gw.port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(sock.close)
        return sock

    def request(self, key=None):
        return ('GET /v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n'
                f'Authorization: Bearer {key or self.gw.client_key}\r\n\r\n').encode()

    def one_by_one(self, sock, data):
        """Each byte is held until a frame of the good session has gone each way."""
        for at in range(len(data)):
            sock.sendall(data[at:at + 1])
            self.talk(1)

    def wait_end(self, sock):
        """Until the gateway has ended the connection."""
        try:
            while sock.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass

    def check_told(self, client, code, error):
        closed, _, messages = client.closing()
        self.assertEqual(closed, code)
        self.assertIn(f'"code":"{error}"', messages[-1])


class BytesOneByOne(StallCase):
    def test_request_of_a_client(self):
        """It costs nobody anything, so it is let in when it arrives in time."""
        self.begin(handshake_timeout=LONG)
        sock = self.raw()
        if self.tls:
            dribble = Dribble(sock, trusting(self.gw.path('cert.pem')))
            dribble.handshake(lambda data: self.one_by_one(sock, data))
            self.one_by_one(sock, dribble.seal(self.request()))
        else:
            self.one_by_one(sock, self.request())
        provider = self.server.accept()
        self.addCleanup(provider.end)
        self.assertIn('/v1/realtime', provider.head)

    def test_endless_request_of_a_client(self):
        gateway = self.begin(handshake_timeout='500ms')
        sock = self.raw()
        rest = self.request() + b'x' * 10000
        if self.tls:
            rest = b'\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03' + b'x' * 10000
        self.talk_until_cut(sock, rest[:-1] if self.tls else rest.replace(b'\r\n\r\n', b'\r\nX: '))
        gateway.wait_metric('handshake_timeouts_total', 1)
        self.talk()

    def talk_until_cut(self, sock, endless):
        try:
            for at in range(len(endless)):
                sock.sendall(endless[at:at + 1])
                self.talk(1)
        except (ConnectionError, ssl.SSLError):
            return
        self.fail('it was never cut')

    def test_answer_of_a_provider(self):
        gateway = self.begin()
        gateway.config['upstream'][0]['connect_timeout'] = '500ms'
        gateway.write_config()
        gateway.signal(1)
        wait_until(lambda: 'configuration read again' in gateway.log(), 'the new time-out')
        client = gateway.connect()
        self.addCleanup(client.end)
        sock, _, _ = self.server.accept_raw()
        self.addCleanup(sock.close)
        self.talk_until_cut(sock, b'HTTP/1.1 101 Switching Protocols\r\nX: ' + b'x' * 50000)
        self.check_told(client, 1013, 'upstream_timeout')
        gateway.wait_metric('upstream_connect_errors_total', 1)
        self.talk()

    def test_message(self):
        self.begin()
        ends = self.opened(self.gw)
        for sender, receiver in (ends, ends[::-1]):
            self.one_by_one(sender.socket, sender.frame(TEXT, b'slow, but well'))
            self.assertEqual(receiver.take(), 'slow, but well')

    def test_endless_message_of_a_client(self):
        """Bytes are no message: the session counts as idle."""
        gateway = self.begin(idle_timeout='1s')
        client, provider = self.opened(gateway)
        client.raw(header(BINARY, MIB, key=b'\0\0\0\0'))
        self.talk_until_closed(client)
        self.check_told(client, 1001, 'session_idle')
        self.assertEqual(provider.closing()[0], 1001)
        self.assertEqual(gateway.metric('limit_closes_total'), 1)

    def test_endless_message_of_a_provider(self):
        gateway = self.begin(idle_timeout='1s')
        client, provider = self.opened(gateway)
        provider.raw(header(BINARY, MIB))
        self.talk_until_closed(provider, client)
        self.check_told(client, 1001, 'session_idle')

    def talk_until_closed(self, sender, told=None):
        """A byte after each frame of the good session, until the gateway speaks."""
        ended = threading.Event()
        told = told or sender

        def watch():
            told.need(1)
            ended.set()

        thread = threading.Thread(target=watch)
        thread.start()
        while not ended.is_set():
            try:
                sender.raw(b'x')
            except (ConnectionError, ssl.SSLError):
                pass  # the provider's end goes first
            self.talk(1)
        thread.join()

    def test_reader(self):
        """A client that takes one byte at a time: the provider is stopped, nobody else is."""
        gateway = self.begin(backlog_high='64KiB', backlog_low='16KiB')
        client = gateway.connect(receive_buffer=4096)
        self.addCleanup(client.end)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        message = b'm' * 65536
        count = 200

        def flood():
            for _ in range(count):
                provider.send(message)

        thread = threading.Thread(target=flood)
        thread.start()
        wait_until(lambda: gateway.metric('upstream_reads_paused_total') >= 1, 'the provider to be stopped')
        for _ in range(200):
            client.data += client.socket.recv(1)
            self.talk(1)
        self.assertTrue(all(client.take() == message for _ in range(count)))
        thread.join()


class BytesOneByOneTls(BytesOneByOne):
    tls = True


class HalfClosed(StallCase):
    """shutdown(SHUT_WR) below TLS: nothing more will come, and nothing stays behind."""

    def half_close(self, sock):
        """The socket's own shutdown(); SSLSocket's would forget about TLS."""
        socket.socket.shutdown(sock, socket.SHUT_WR)

    def test_client_before_the_handshake(self):
        gateway = self.begin(handshake_timeout=LONG)
        for beginning in (b'', b'\x16\x03\x01' if self.tls else b'GET /v1/realtime HTTP/1.1\r\nHost: x\r\n'):
            sock = self.raw()
            sock.sendall(beginning)
            self.half_close(sock)
            self.talk()
            self.wait_end(sock)
        gateway.wait_metric('handshakes_open', 0)

    def test_client_behind_its_request(self):
        """While the provider is being reached."""
        gateway = self.begin()
        client = gateway.connect()
        self.addCleanup(client.end)
        sock, _, _ = self.server.accept_raw()
        self.addCleanup(sock.close)
        self.half_close(client.socket)
        self.talk()
        self.wait_end(client.socket)
        gateway.wait_metric('sessions_open', 1)

    def test_client(self):
        gateway = self.begin(close_timeout='1m')
        client, provider = self.opened(gateway)
        self.half_close(client.socket)
        self.talk()
        self.assertEqual(provider.closing()[0], 1001)
        gateway.wait_metric('sessions_open', 1)
        self.wait_end(client.socket)

    def test_provider_before_its_answer(self):
        gateway = self.begin()
        for beginning in (b'', b'HTTP/1.1 101 Switching Protocols\r\n'):
            client = gateway.connect()
            self.addCleanup(client.end)
            sock, _, _ = self.server.accept_raw()
            self.addCleanup(sock.close)
            sock.sendall(beginning)
            self.half_close(sock)
            self.talk()
            self.check_told(client, 1013, 'upstream_unavailable')
        self.assertEqual(gateway.metric('upstream_connect_errors_total'), 2)

    def test_provider(self):
        gateway = self.begin()
        client, provider = self.opened(gateway)
        self.half_close(provider.socket)
        self.talk()
        self.check_told(client, 1013, 'upstream_lost')
        gateway.wait_metric('upstream_lost_total', 1)
        self.wait_end(provider.socket)


class HalfClosedTls(HalfClosed):
    tls = True


class Unanswered(StallCase):
    """Peers that answer no close and no ping; what they get then is said in the close frame."""

    def test_close_to_a_client(self):
        gateway = self.begin(close_timeout='300ms')
        client, provider = self.opened(gateway)
        provider.close(4000, 'enough')
        self.assertEqual(client.take_frame()[:2], (1, CLOSE))
        self.talk()
        with self.assertRaises(Lost):
            client.take_frame()
        gateway.wait_metric('close_timeouts_total', 1)
        gateway.wait_metric('sessions_open', 1)

    def test_close_to_a_provider(self):
        gateway = self.begin(close_timeout='300ms')
        client, provider = self.opened(gateway)
        client.close(1000)
        self.assertEqual(provider.take_frame()[:2], (1, CLOSE))
        self.talk()
        with self.assertRaises(Lost):
            provider.take_frame()
        gateway.wait_metric('close_timeouts_total', 1)
        client.lost()

    def test_close_to_a_client_that_reads_nothing(self):
        """The close frame waits behind what it does not take; the connection is cut all the same."""
        gateway = self.begin(close_timeout='300ms', backlog_high='64KiB', backlog_low='16KiB')
        client = gateway.connect(receive_buffer=4096)
        self.addCleanup(client.end)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        self.flood(provider, 'upstream_reads_paused_total')
        provider.reset()
        self.talk()
        client.lost()
        gateway.wait_metric('sessions_open', 1)

    def flood(self, sender, paused):
        """Send until the gateway takes no more."""
        sender.socket.settimeout(0.05)
        data = sender.frame(BINARY, b'f' * 65536)
        while self.gw.metric(paused) == 0:
            try:
                while True:
                    sender.raw(data)
            except TimeoutError:
                pass
        sender.socket.settimeout(PATIENCE)

    def test_ping_to_a_client(self):
        gateway = self.silent()
        client, provider = self.opened(gateway)
        self.assertEqual(self.take_pings(client, provider), [(1001, '', [])])

    def test_ping_to_a_provider(self):
        gateway = self.silent()
        client, provider = self.opened(gateway)
        (code, _, messages), = self.take_pings(provider, client)
        self.assertEqual(code, 1013)
        self.assertIn('"code":"upstream_lost"', messages[-1])

    def silent(self):
        return self.begin(ping_interval='100ms', ping_timeout='1s')

    def take_pings(self, peer, other):
        """One ping, silence, the close; how the other end, which answers its pings, was closed."""
        closes, frames = [], []
        threads = [threading.Thread(target=lambda: closes.append(other.closing())),
                   threading.Thread(target=lambda: frames.extend(peer.take_frame() for _ in range(2)))]
        for thread in threads:
            thread.start()
        self.talk()
        while any(thread.is_alive() for thread in threads):
            self.talk(1)
        self.assertEqual(frames, [(1, PING, b''), (1, CLOSE, b'\x03\xf3ping not answered')])
        self.gw.wait_metric('ping_timeouts_total', 1)
        return closes

    def test_ping_to_a_client_that_reads_nothing(self):
        """The ping waits behind what is not taken, so the stall itself has an end."""
        gateway = self.begin(ping_interval='300ms', ping_timeout='1s', close_timeout='300ms',
                             backlog_high='64KiB', backlog_low='16KiB')
        client = gateway.connect(receive_buffer=4096)
        self.addCleanup(client.end)
        provider = self.server.accept()
        self.addCleanup(provider.end)
        sender = threading.Thread(target=self.send_until_closed, args=(provider,))
        sender.start()
        while gateway.metric('ping_timeouts_total') == 0:
            self.talk(1)
        sender.join()
        gateway.wait_metric('sessions_open', 1)
        gateway.wait_metric('close_timeouts_total', 2)  # the provider answered no close either
        self.talk()

    @staticmethod
    def send_until_closed(provider):
        try:
            while True:
                provider.raw(provider.frame(BINARY, b'f' * 65536))
        except OSError:
            return


class UnansweredTls(Unanswered):
    tls = True


class Messages(StallCase):
    def test_many_fragments(self):
        """10,000 of them, and as many empty ones, make one message."""
        self.begin()
        ends = self.opened(self.gw)
        for sender, receiver in (ends, ends[::-1]):
            for part in (b'fragment', b''):
                sender.raw(sender.frame(BINARY, b'', fin=False))
                for _ in range(20):
                    sender.raw(b''.join(sender.frame(0, part, fin=False) for _ in range(500)))
                    self.talk(2)
                sender.raw(sender.frame(0, b'.'))
                self.assertEqual(receiver.take(), part * 10000 + b'.')

    def test_longest_messages(self):
        """16 MiB, held half-way."""
        gateway = self.begin()
        ends = self.opened(gateway)
        message = os.urandom(MIB) * 16
        for sender, receiver in (ends, ends[::-1]):
            frame = sender.frame(BINARY, message)
            sender.raw(frame[:len(frame) // 2])
            self.talk()
            thread = threading.Thread(target=sender.raw, args=(frame[len(frame) // 2:],))
            thread.start()
            self.assertTrue(receiver.take() == message)
            thread.join()
        self.talk()

    def test_ping_flood(self):
        """Pongs that are not read are no more than what the kernel holds and one."""
        gateway = self.begin()
        ends = self.opened(gateway)
        pings = {end: b''.join(end.frame(PING, b'p' * 125) for _ in range(1000)) for end in ends}
        before = gateway.memory()
        for end in ends:
            for _ in range(200):  # 26 MB
                end.raw(pings[end])
                self.talk(1)
        if not SANITIZE:
            self.assertLess(gateway.memory() - before, 3 * MIB)
        self.assertGreater(gateway.metric('pongs_skipped_total'), 0)
        client, provider = ends
        client.send('now it reads')
        self.assertEqual(provider.take(), 'now it reads')
        self.assertGreater(len(provider.pongs), 0)
        provider.send('both do')
        self.assertEqual(client.take(), 'both do')
        self.assertGreater(len(client.pongs), 0)


class MessagesTls(Messages):
    tls = True


class Crowd(StallCase):
    """More connections than handshakes_max."""

    MAX = 8

    def test_silent_clients(self):
        """They time out, all at once, each counted."""
        gateway = self.begin(handshake_timeout='500ms')
        socks = [self.raw() for _ in range(100)]
        self.talk()
        for sock in socks:
            self.wait_end(sock)
        gateway.wait_metric('handshake_timeouts_total', 100)
        gateway.wait_metric('handshakes_open', 0)
        self.talk()

    def test_silent_clients_keep_nobody_out(self):
        """Those who have been silent longest make room although their time is not over."""
        gateway = self.begin(handshake_timeout=LONG, handshakes_max=self.MAX)
        most = self.workers * self.MAX
        socks = [self.raw() for _ in range(2 * most)]
        wait_until(lambda: gateway.metric('accepts_waited_total') > 0, 'a worker to be full')
        self.talk()
        self.assertLessEqual(gateway.metric('handshakes_open'), most)
        for _ in range(self.workers):
            self.opened(gateway)
        self.talk()
        self.assertLessEqual(gateway.metric('handshakes_open'), most)
        self.assertGreater(gateway.metric('handshake_timeouts_total'), 0)
        for sock in socks:
            sock.close()
        gateway.wait_metric('handshakes_open', 0)

    def test_flood_of_connects(self):
        """Everybody is answered in turn; who waits is in the kernel's queue, before TLS."""
        gateway = self.begin(handshakes_max=self.MAX)
        socks = [self.raw() for _ in range(100)]
        context = trusting(gateway.path('cert.pem')) if self.tls else None
        for n, sock in enumerate(socks):
            try:
                peer = context.wrap_socket(sock, server_hostname='localhost') if self.tls else sock
                peer.sendall(self.request(key='bk-wrong'))
                answer = peer.recv(65536)
            except (ConnectionError, ssl.SSLError):
                answer = b''  # it made room for the others, because this test is slow
            self.assertTrue(answer == b'' or answer.startswith(b'HTTP/1.1 401 '), answer)
            peer.close()
            self.talk(1)
            if n % 10 == 0:
                self.assertLessEqual(gateway.metric('handshakes_open'), self.workers * self.MAX)
        self.assertGreater(gateway.metric('client_keys_refused_total'), 0)
        self.assertGreater(gateway.metric('accepts_waited_total'), 0)
        gateway.wait_metric('handshakes_open', 0)
        self.opened(gateway)


class CrowdTls(Crowd):
    tls = True


class CrowdAtFourWorkers(Crowd):
    """Who hand their clients to each other."""

    workers = 4


class Exhausted(StallCase):
    """Descriptors and memory, taken from the running daemon and given back."""

    def limit(self, which, soft):
        pid = self.gw.process.pid
        before = resource.prlimit(pid, which)
        resource.prlimit(pid, which, (soft, before[1]))
        return lambda: resource.prlimit(pid, which, before)

    @staticmethod
    def accepted(port):
        """The ports of the clients whose connections to this port have been accepted and not closed yet."""
        with open('/proc/net/tcp', encoding='ascii') as file:
            rows = [line.split() for line in file][1:]
        # Local and remote address, state and inode: a listening socket, and one nobody has accepted or anybody has closed.
        return {int(row[2].split(':')[1], 16) for row in rows
                if int(row[1].split(':')[1], 16) == port and row[3] != '0A' and row[9] != '0'}

    def unused_descriptor(self):
        """Nothing below it comes free by itself: the answers of the admin listener are over, too."""
        wait_until(lambda: not self.accepted(self.gw.admin), 'the admin connections to end')
        used = {int(name) for name in os.listdir(f'/proc/{self.gw.process.pid}/fd')}
        return next(n for n in range(len(used) + 1) if n not in used)

    def halt(self):
        """Until SIGCONT no thread of the gateway runs."""
        tasks = f'/proc/{self.gw.process.pid}/task'
        self.gw.process.send_signal(signal.SIGSTOP)

        def is_stopped(task):
            with open(f'{tasks}/{task}/stat', encoding='ascii') as file:
                return file.read().rpartition(') ')[2][0] == 'T'
        wait_until(lambda: all(is_stopped(task) for task in os.listdir(tasks)), 'the gateway to stop')

    def lines(self):
        return self.gw.log().count('accept: ')

    def test_no_descriptor(self):
        """Clients wait, the loop does not spin, and one line tells it, also if one of them is let in meanwhile."""
        gateway = self.begin(handshake_timeout=LONG)
        unused = self.unused_descriptor()
        spare = socket.create_connection(('127.0.0.1', gateway.admin), PATIENCE)  # takes that one
        self.addCleanup(spare.close)
        wait_until(lambda: self.accepted(gateway.admin), 'the spare connection')
        self.halt()
        restore = self.limit(resource.RLIMIT_NOFILE, unused + 1)
        waiting = [self.raw() for _ in range(5)]  # all in the queue before the first is tried
        gateway.signal(signal.SIGCONT)
        began = time.monotonic()
        wait_until(self.lines, 'the failure to be noticed')
        self.assertEqual(self.accepted(gateway.port) & {sock.getsockname()[1] for sock in waiting}, set())
        spare.close()
        wait_until(lambda: self.accepted(gateway.port) & {sock.getsockname()[1] for sock in waiting},
                   'a client to be let in')
        while time.monotonic() - began < 0.5:  # time in which a loop that spins would try thousands of times
            self.talk()
        restore()
        taken = time.monotonic() - began
        for sock in waiting:
            sock.sendall(self.request(key='bk-wrong'))
            self.assertTrue(sock.recv(65536).startswith(b'HTTP/1.1 401 '))
        self.assertEqual(self.lines(), 1)
        tries = gateway.metric('accepts_failed_total')
        self.assertGreaterEqual(tries, 1)
        self.assertLessEqual(tries, taken * 10 + 3)
        restore = self.limit(resource.RLIMIT_NOFILE, self.unused_descriptor())
        self.raw()
        wait_until(lambda: self.lines() == 2, 'the next shortage to be told')
        restore()
        self.opened(gateway)
        self.talk()

    def test_descriptor_for_the_client_alone(self):
        gateway = self.begin()
        restore = self.limit(resource.RLIMIT_NOFILE, self.unused_descriptor() + 1)
        client = gateway.connect()
        self.addCleanup(client.end)
        self.check_told(client, 1013, 'upstream_unavailable')
        self.talk()
        restore()
        self.opened(gateway)
        self.talk()

    @unittest.skipIf(SANITIZE, 'needs more address space than any limit leaves')
    def test_no_memory_for_sessions(self):
        """Who comes then is told so, who is there goes on, and all is well when there is some again."""
        gateway = self.begin()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with open(f'/proc/{gateway.process.pid}/status', encoding='ascii') as file:
            size = int(re.search(r'VmData:\s+(\d+) kB', file.read())[1]) << 10
        restore = self.limit(resource.RLIMIT_DATA, size + MIB)
        crowd, providers, told, begun = [], [], [], b'HTTP/1.1 101 Switching Protocols'
        while len(told) - told.count(begun) < 50:
            sock = self.raw()
            sock.sendall(self.request())
            told.append(sock.recv(65536).partition(b'\r\n')[0])
            crowd.append(sock)
            if told[-1] == begun:
                providers.append(self.server.accept())
            self.talk(1)
            self.assertLess(len(crowd), 5000)
        self.assertEqual(set(told), {begun, b'HTTP/1.1 503 Service Unavailable'})
        self.talk()
        restore()
        self.assertGreaterEqual(gateway.metric('out_of_memory_total'), 50)
        self.assertEqual(gateway.log().count('memory has run out'), 1)
        for sock in crowd:
            sock.close()
        for provider in providers:
            provider.end()
        gateway.wait_metric('sessions_open', 1)
        self.opened(gateway)
        self.talk()

    @unittest.skipIf(SANITIZE, 'needs more address space than any limit leaves')
    def test_no_memory(self):
        """A message there is no memory for ends its session, not the daemon."""
        gateway = self.begin(message_max='256MiB')
        sessions = [self.opened(gateway) for _ in range(2)]
        with open(f'/proc/{gateway.process.pid}/status', encoding='ascii') as file:
            size = int(re.search(r'VmSize:\s+(\d+) kB', file.read())[1]) << 10
        restore = self.limit(resource.RLIMIT_AS, size + 32 * MIB)
        beginning = b'x' * 1000
        client, provider = sessions[0]
        client.raw(header(BINARY, 250 * MIB, key=b'\0\0\0\0') + beginning)
        self.assertEqual(client.closing(), (1013, 'out of memory', []))
        self.assertEqual(provider.closing()[0], 1001)
        self.talk()
        client, provider = sessions[1]
        provider.raw(header(BINARY, 250 * MIB) + beginning)
        self.assertEqual(provider.closing(), (1013, 'out of memory', []))
        self.check_told(client, 1013, 'upstream_lost')
        self.talk()
        self.assertEqual(gateway.metric('out_of_memory_total'), 2)
        restore()
        client, provider = self.opened(gateway)
        message = b'm' * (16 * MIB)
        thread = threading.Thread(target=client.send, args=(message,))
        thread.start()
        self.assertTrue(provider.take() == message)
        thread.join()


if __name__ == '__main__':
    run()
