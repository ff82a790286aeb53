"""What two Linux stacks say to each other through the guest."""

import hashlib
import itertools
import random
import select
import socket
import struct
import threading
import time

from . import Failed, check

PATIENCE = 30.0
CHUNK = 1 << 16
NOISE = random.Random(42).randbytes(CHUNK)


def wait_until(is_so, what, patience=PATIENCE):
    """Waits for something that another thread, or the guest, brings about."""
    deadline = time.monotonic() + patience
    while not is_so():
        check(time.monotonic() < deadline, f"{what}: not within {patience:.0f} s")
        time.sleep(0.01)


def chunk(index):
    """A piece of a stream. No two are the same, so none can be lost, doubled or swapped unseen."""
    return struct.pack("!Q", index) + NOISE[8:]


def sum_of_stream(length):
    digest = hashlib.sha256()
    for index in range(length // CHUNK):
        digest.update(chunk(index))
    return digest.hexdigest()


class Server:
    """Takes TCP connections on a port of one side. What a connection says first decides: `E` echo, `U` a stream comes, `D` a stream goes out."""

    def __init__(self, side, port, address=None, family=socket.AF_INET):
        self.listener = side.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address or ("::" if family == socket.AF_INET6 else "0.0.0.0"), port))
        self.listener.listen(256)
        self.peers = []
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def accept(self):
        while True:
            try:
                connection, peer = self.listener.accept()
            except OSError:
                return
            self.peers.append(peer[0])
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        try:
            what = connection.recv(1)
            if what == b"E":
                while data := connection.recv(CHUNK):
                    connection.sendall(data)
            elif what == b"U":
                digest = hashlib.sha256()
                while data := connection.recv(CHUNK):
                    digest.update(data)
                connection.sendall(digest.hexdigest().encode())
            elif what == b"D":
                (length, pace) = struct.unpack("!QQ", receive(connection, 16))
                # Without a length the stream goes on until they have no more to say.
                is_over = (lambda sent: sent >= length) if length else lambda _: select.select([connection], [], [], 0)[0]
                send_stream(connection, is_over, pace)
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def receive(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise OSError("the connection has ended")
        data += part
    return data


def send_stream(connection, is_over, pace=0, moved=None):
    """Sends a stream, `pace` bytes a second at most, until so many bytes are enough."""
    began = time.monotonic()
    for index in itertools.count():
        if is_over(index * CHUNK):
            return
        if pace and (ahead := began + index * CHUNK / pace - time.monotonic()) > 0:
            time.sleep(ahead)
        connection.sendall(chunk(index))
        if moved is not None:
            moved[0] += CHUNK


def connect(side, address, port, timeout=PATIENCE, family=None):
    """A TCP connection from one side, or OSError."""
    family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection = side.socket(family)
    connection.settimeout(timeout)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connects(side, address, port, timeout=5):
    """Whether a connection can be made: None, or the error."""
    try:
        connect(side, address, port, timeout).close()
        return None
    except OSError as error:
        return error


class Transfer:
    """A stream over a connection of its own, in a thread: `up` to the server, or `down` from it. It is `length` bytes long, or goes on
    until it is to finish."""

    def __init__(self, side, address, port, direction, length=0, pace=0):
        self.length, self.direction, self.moved = length, direction, [0]
        self.ends = False
        self.outcome, self.longest_stall = None, 0.0
        self.connection = connect(side, address, port)
        self.thread = threading.Thread(target=self.go, args=(pace,), daemon=True)
        self.thread.start()

    def go(self, pace):
        try:
            if self.direction == "up":
                self.connection.sendall(b"U")
                send_stream(self.connection, self.is_over, pace, self.moved)
                self.connection.shutdown(socket.SHUT_WR)
                theirs = b""
                while part := self.connection.recv(64):
                    theirs += part
                theirs = theirs.decode()
            else:
                self.connection.sendall(b"D" + struct.pack("!QQ", self.length, pace))
                digest, last = hashlib.sha256(), time.monotonic()
                while data := self.connection.recv(CHUNK):
                    now = time.monotonic()
                    self.longest_stall, last = max(self.longest_stall, now - last), now
                    digest.update(data)
                    self.moved[0] += len(data)
                theirs = digest.hexdigest()
            self.outcome = "complete" if theirs == sum_of_stream(self.length or self.moved[0]) else "wrong checksum"
        except OSError as error:
            self.outcome = f"failed: {error.strerror or error}"

    def is_over(self, sent):
        return sent >= self.length if self.length else self.ends

    def wait_for(self, bytes_moved, patience=PATIENCE):
        wait_until(lambda: self.moved[0] >= bytes_moved or self.outcome, f"{bytes_moved} bytes of a transfer", patience)

    def finish(self, patience=PATIENCE):
        """How it ended."""
        self.ends = True
        if not self.length and self.direction == "down":
            try:
                self.connection.shutdown(socket.SHUT_WR)
            except OSError:
                # It has ended by itself; the thread says how.
                pass
        self.thread.join(patience)
        return self.outcome or f"nothing in {patience:.0f} s, after {self.moved[0]} bytes"

    def complete(self, patience=120.0):
        outcome = self.finish(patience)
        check(outcome == "complete", f"the transfer {self.direction}: {outcome}")
        self.connection.close()

    def abandon(self):
        self.connection.close()


class Idle:
    """Connections on which nothing is said until somebody asks."""

    def __init__(self, side, address, port, count):
        self.connections = [connect(side, address, port) for _ in range(count)]
        for connection in self.connections:
            connection.sendall(b"E")
        check(self.alive() == count, "not all idle connections answer at the start")

    def alive(self, patience=4 * PATIENCE):
        """How many answer a question of their own. TCP asks again after as long a time as it has been silent."""
        waiting, answered = {}, 0
        for number, connection in enumerate(self.connections):
            question = f"{number} {time.monotonic()}".encode()
            try:
                connection.sendall(question)
                waiting[connection] = question
            except OSError:
                pass
        deadline = time.monotonic() + patience
        while waiting and (left := deadline - time.monotonic()) > 0:
            for connection in select.select(list(waiting), [], [], left)[0]:
                try:
                    said = connection.recv(4096)
                except OSError:
                    said = b""
                rest = waiting[connection].removeprefix(said) if said else None
                if rest:
                    waiting[connection] = rest
                else:
                    answered += waiting.pop(connection) is not None and rest == b""
        return answered

    def close(self):
        for connection in self.connections:
            connection.close()


class Datagrams:
    """Echoes UDP on a port of one side, in a thread."""

    def __init__(self, side, port, family=socket.AF_INET):
        self.socket = side.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        self.peers = []
        threading.Thread(target=self.echo, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes the thread that waits.
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()

    def echo(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(65535)
            except OSError:
                return
            if not data:
                return
            self.peers.append(peer[:2])
            try:
                self.socket.sendto(data, peer)
            except OSError:
                return


def ask_by_datagram(side, address, port, text=b"are you there?", timeout=3.0, attempts=3):
    """What comes back, None for silence, or the error that an ICMP message brought. The question is asked again, as UDP may lose it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with side.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout)
        for _ in range(attempts):
            try:
                asking.connect((address, port))
                asking.send(text)
                return asking.recv(65535)
            except TimeoutError:
                continue
            except OSError as error:
                return error
    return None


def ping(side, address, *options, timeout=20):
    """Whether one echo request is answered."""
    status, said = side.run("ping", "-n", "-c", "1", "-W", "5", *options, address, timeout=timeout)
    if status not in (0, 1):
        raise Failed(f"ping: {said.strip()}")
    return status == 0


class Flood:
    """Datagrams to a port of the other side, one after the other, until the block ends."""

    def __init__(self, side, address, port, size=100, pace=2000):
        self.socket = side.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.to, self.size, self.pace = (address, port), size, pace
        self.sent, self.stopped = 0, False
        self.thread = threading.Thread(target=self.go, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join()
        self.socket.close()

    def go(self):
        while not self.stopped:
            try:
                self.socket.sendto(bytes(self.size), self.to)
                self.sent += 1
            except OSError:
                pass
            time.sleep(1 / self.pace)


def spray(side, address, count):
    """One datagram to each of `count` ports. Gives how many could be sent."""
    sent = 0
    with side.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for number in range(count):
            try:
                one.sendto(b"", (address, 1 + number))
                sent += 1
            except OSError:
                pass
            if number % 100 == 99:
                # A queue of a virtual card holds some hundred packets.
                time.sleep(0.02)
    return sent
