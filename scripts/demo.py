"""What scripts/demo shows: a NAT firewall dies and comes back, and its connections live on if its states are restored.

Two network namespaces are joined by pf-router alone. A client inside sends a long stream to a server outside, at the pace of
a good line, and keeps twenty connections idle beside it. The client and the server are this same file, started in their
namespaces with the role as the only argument; they are told what to do on standard input, a word a line, and answer each
with one line of JSON.
"""

import argparse
import hashlib
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

# The network. 198.51.100.0/24 is a documentation network (RFC 5737): the server has no route to the inside.
CLIENT, INSIDE = "10.0.0.2", "10.0.0.1"
SERVER, OUTSIDE = "198.51.100.2", "198.51.100.1"
BULK_PORT, IDLE_PORT = 7001, 7002

IDLE_CONNECTIONS = 20
# The stream: how long it would take undisturbed, and its pace.
STREAM_SECONDS = 14
PACE = 20_000_000  # bytes a second
STREAM = STREAM_SECONDS * PACE
CHUNK = 200_000  # bytes: a hundredth of a second
# When states are stored, and how much older they are when the router dies.
STORE_AFTER = 2.0  # seconds
AGE = 5.0  # seconds
# How long dead connections are given to show a sign of life.
GIVE_UP = 10.0  # seconds
# How long anything else may take.
PATIENCE = 60.0  # seconds

RULES = f"""\
# A NAT firewall: connections begin inside, and come from its outer address.
inside = "10.0.0.0/24"
nat on wan0 inet from $inside to any -> {OUTSIDE}
block all
pass in on lan0 inet proto tcp from $inside to any flags S/SA keep state
pass out on wan0 inet proto tcp from {OUTSIDE} to any flags S/SA keep state
"""


class Failed(Exception):
    """Something was not as it should be."""


def check(is_so, what):
    if not is_so:
        raise Failed(what)


# The client and the server.


def chunk_of_stream(index, noise=random.Random(42).randbytes(CHUNK)):
    """No two chunks are the same, so that none can be lost, doubled or swapped unseen."""
    return struct.pack("!Q", index) + noise[8:]


def answer(**fields):
    print(json.dumps(fields), flush=True)


class Server:
    """Counts and sums up one stream, and echoes what comes over idle connections."""

    def __init__(self):
        self.received = 0
        self.longest_stall = 0.0
        self.seen = set()
        for port, serve in ((BULK_PORT, self.receive_stream), (IDLE_PORT, self.echo)):
            listener = socket.create_server((SERVER, port), backlog=64)
            threading.Thread(target=self.accept, args=(listener, serve), daemon=True).start()

    def accept(self, listener, serve):
        while True:
            connection, peer = listener.accept()
            self.seen.add(peer[0])
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def receive_stream(self, connection):
        digest = hashlib.sha256()
        last = time.monotonic()
        while data := connection.recv(1 << 20):
            now = time.monotonic()
            self.longest_stall = max(self.longest_stall, now - last)
            last = now
            digest.update(data)
            self.received += len(data)
        connection.sendall(digest.digest())
        connection.close()

    def echo(self, connection):
        while data := connection.recv(4096):
            connection.sendall(data)

    def run(self):
        answer(ready=True)
        for _ in sys.stdin:
            answer(received=self.received, longest_stall=self.longest_stall, seen=sorted(self.seen))


class Client:
    """Sends the stream, and asks over idle connections whether anybody is there."""

    def __init__(self):
        self.outcome = None
        self.stream = self.connect(BULK_PORT)
        self.idle = [self.connect(IDLE_PORT) for _ in range(IDLE_CONNECTIONS)]
        self.sender = threading.Thread(target=self.send_stream, daemon=True)

    @staticmethod
    def connect(port):
        connection = socket.create_connection((SERVER, port), timeout=PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def send_stream(self):
        digest = hashlib.sha256()
        begin = time.monotonic()
        try:
            for index in range(STREAM // CHUNK):
                ahead = begin + index * CHUNK / PACE - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
                data = chunk_of_stream(index)
                digest.update(data)
                self.stream.sendall(data)
            self.stream.shutdown(socket.SHUT_WR)
            theirs = b""
            while part := self.stream.recv(64):
                theirs += part
            self.outcome = "complete" if theirs == digest.digest() else "wrong checksum"
        except OSError as error:
            self.outcome = f"failed: {error.strerror or error}"

    def ask_idle(self, patience):
        """How many idle connections answer a question of their own within so many seconds."""
        waiting = {}
        for number, connection in enumerate(self.idle):
            question = f"connection {number}, are you there?".encode()
            connection.sendall(question)
            waiting[connection] = question
        answered = 0
        deadline = time.monotonic() + patience
        while waiting and (left := deadline - time.monotonic()) > 0:
            for connection in select.select(list(waiting), [], [], left)[0]:
                try:
                    said = connection.recv(4096)
                except OSError:
                    said = b""
                waiting[connection] = waiting[connection].removeprefix(said) if said else None
                if not waiting[connection]:
                    answered += waiting.pop(connection) == b""
        return answered

    def run(self):
        answer(ready=True)
        for line in sys.stdin:
            match line.split():
                case ["start"]:
                    self.sender.start()
                    answer(started=True)
                case ["idle", patience]:
                    answer(answered=self.ask_idle(float(patience)))
                case ["finish", patience]:
                    self.sender.join(float(patience))
                    answer(outcome=self.outcome or "nothing, not even an error")


# The demonstration.


class Process:
    """A program that is ended with the block that started it."""

    def __init__(self, scratch, label, command, **options):
        self.label = label
        self.pidfile = f"{scratch}/{label}.pid"
        self.program = subprocess.Popen(command, **options)
        with open(self.pidfile, "w", encoding="ascii") as file:
            file.write(f"{self.program.pid}\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.program.kill()
        self.program.wait()
        if os.path.exists(self.pidfile):
            os.remove(self.pidfile)


class Role(Process):
    """The client or the server, in its namespace."""

    def __init__(self, scratch, role, namespace):
        command = ["ip", "netns", "exec", namespace, sys.executable, os.path.abspath(__file__), role]
        super().__init__(scratch, role, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read(PATIENCE)

    def ask(self, question, patience=PATIENCE):
        self.program.stdin.write(question + "\n")
        self.program.stdin.flush()
        return self.read(patience)

    def read(self, patience):
        ready = select.select([self.program.stdout], [], [], patience)[0]
        line = self.program.stdout.readline() if ready else ""
        check(line, f"the {self.label} does not answer")
        return json.loads(line)


class Demo:
    def __init__(self, arguments):
        self.binaries = os.path.abspath(arguments.binaries)
        self.scratch = arguments.scratch
        self.client_netns = arguments.namespaces + "-client"
        self.server_netns = arguments.namespaces + "-server"
        self.socket = f"{self.scratch}/pf.sock"
        self.rules = f"{self.scratch}/pf.conf"
        self.states = f"{self.scratch}/states"
        self.log = f"{self.scratch}/router.log"
        with open(self.rules, "w", encoding="ascii") as file:
            file.write(RULES)
        self.begin = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", flush=True)

    @staticmethod
    def show(text):
        for line in text.splitlines():
            print(f"              {line}", flush=True)

    @staticmethod
    def command(*words):
        """What it prints, on either way out. It has to succeed."""
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        check(done.returncode == 0, f"`{' '.join(words)}` failed: {done.stdout.strip()}")
        return done.stdout

    def pfctl(self, *words):
        return self.command(f"{self.binaries}/pfctl", "-p", self.socket, *words)

    def make_network(self):
        """Two namespaces, each with a TUN device that outlives whoever has it open."""
        for netns, device, address in (
            (self.client_netns, "lan0", CLIENT),
            (self.server_netns, "wan0", SERVER),
        ):
            self.command("ip", "netns", "add", netns)
            for words in (
                f"tuntap add dev {device} mode tun",
                f"address add {address}/24 dev {device}",
                f"link set {device} up",
            ):
                self.command("ip", "-n", netns, *words.split())
        self.command("ip", "-n", self.client_netns, "route", "add", "default", "via", INSIDE)

    def remove_network(self):
        for netns in (self.client_netns, self.server_netns):
            subprocess.run(["ip", "netns", "del", netns], capture_output=True, check=False)

    def start_router(self):
        """A router that is up: its socket answers, and the rules are loaded."""
        command = [
            f"{self.binaries}/pf-router",
            f"--interface=lan0,netns={self.client_netns},address={INSIDE}/24",
            f"--interface=wan0,netns={self.server_netns},address={OUTSIDE}/24",
            f"--socket={self.socket}",
        ]
        with open(self.log, "a", encoding="utf-8") as log:
            router = Process(self.scratch, "router", command, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
                try:
                    probe.connect(self.socket)
                    break
                except OSError:
                    alive = router.program.poll() is None and time.monotonic() < deadline
                    check(alive, f"pf-router does not start: {self.router_log()}")
                    time.sleep(0.005)
        self.pfctl("-f", self.rules, "-e")
        return router

    def router_log(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8") as file:
            return file.read().strip()

    def show_states(self, when):
        states = self.pfctl("-s", "states").splitlines()
        self.say(f"{when}: {len(states)} states, among them")
        stream = [line for line in states if f":{BULK_PORT}" in line]
        self.show("\n".join(stream + [line for line in states if line not in stream][:2]))
        return len(states)

    def run(self, restore):
        """One life and death of the router. Gives what is to be said at the end."""
        self.make_network()
        try:
            with (
                Role(self.scratch, "server", self.server_netns) as server,
                self.start_router() as router,
                Role(self.scratch, "client", self.client_netns) as client,
            ):
                return self.watch(restore, server, router, client)
        finally:
            self.remove_network()

    def watch(self, restore, server, router, client):
        self.say("pf-router stands between the two; its rules are loaded with pfctl -f pf.conf -e:")
        self.show(self.pfctl("-s", "nat") + self.pfctl("-s", "rules"))
        answered = client.ask(f"idle {PATIENCE}")["answered"]
        check(answered == IDLE_CONNECTIONS, f"only {answered} of {IDLE_CONNECTIONS} connections answer at the start")
        client.ask("start")
        seen = server.ask("look")["seen"]
        check(seen == [OUTSIDE], f"the server sees its peers as {seen}, not as {OUTSIDE}")
        self.say(
            f"the client {CLIENT} has {IDLE_CONNECTIONS} idle connections to the server {SERVER}, and sends it "
            f"{STREAM // 1_000_000} MB; the server sees all of it come from {OUTSIDE}"
        )

        time.sleep(STORE_AFTER)
        before = self.show_states("before")
        check(before >= 2 * (IDLE_CONNECTIONS + 1), "each connection should have a state on either side")
        began = time.monotonic()
        self.pfctl("-S", self.states)
        took = time.monotonic() - began
        at_dump = server.ask("look")["received"]
        check(0 < at_dump < STREAM, "the transfer should be under way by now")
        size = os.path.getsize(self.states)
        self.say(f"lock, dump, unlock (pfctl -S): {took:.3f} s, {size} bytes; {at_dump // 1_000_000} MB have arrived")

        time.sleep(AGE)
        at_death = server.ask("look")
        check(at_death["received"] < STREAM, "the transfer should not be over yet")
        moved = (at_death["received"] - at_dump) // 1_000_000
        check(moved > 0, "the transfer should go on after the unlock")
        died = time.monotonic()
        router.kill()
        self.say(f"{AGE:.0f} s and {moved} MB later: the router is killed with SIGKILL")
        with self.start_router():
            if restore:
                restored = self.pfctl("-v", "-L", self.states)
            outage = time.monotonic() - died
            if restore:
                self.say(f"it is started anew, rules loaded, states restored (pfctl -L): {outage:.3f} s after its death")
                self.show(restored)
                return self.see_them_live(server, client, before, outage, at_death)
            self.say(f"it is started anew, rules loaded, states NOT restored: {outage:.3f} s after its death")
            return self.see_them_die(server, client)

    def see_them_live(self, server, client, before, outage, at_death):
        after = self.show_states("after")
        check(after >= before, f"there were {before} states, and now there are {after}")
        outcome = client.ask(f"finish {PATIENCE}", 2 * PATIENCE)["outcome"]
        check(outcome == "complete", f"the transfer: {outcome}")
        result = server.ask("look")
        check(result["received"] == STREAM, f"{result['received']} bytes arrived of {STREAM}")
        stall = result["longest_stall"]
        self.say(
            f"the transfer is complete: {STREAM // 1_000_000} MB, SHA-256 the same at both ends; "
            f"longest stall {stall:.2f} s (before the kill {at_death['longest_stall']:.2f} s)"
        )
        answered = client.ask(f"idle {PATIENCE}", 2 * PATIENCE)["answered"]
        self.say(f"{answered} of {IDLE_CONNECTIONS} idle connections answer")
        check(answered == IDLE_CONNECTIONS, "not all idle connections live")
        return (
            f"with its states restored, all {IDLE_CONNECTIONS + 1} connections outlived the router "
            f"(outage {outage:.2f} s, longest stall {stall:.2f} s)"
        )

    def see_them_die(self, server, client):
        # What was on its way in the last moment may still be in the server's queue.
        time.sleep(0.5)
        at = server.ask("look")["received"]
        answered = client.ask(f"idle {GIVE_UP}", 2 * PATIENCE)["answered"]
        arrived = server.ask("look")["received"] - at
        self.say(f"in {GIVE_UP:.0f} s, {arrived} bytes of the transfer arrive, and {answered} idle connections answer")
        check(arrived == 0, "the transfer goes on without its state")
        check(answered == 0, "idle connections answer without their states")
        # The firewall itself works: what begins now passes.
        probe = "import socket; socket.create_connection(('%s', %d), timeout=%d)" % (SERVER, IDLE_PORT, PATIENCE)
        self.command("ip", "netns", "exec", self.client_netns, sys.executable, "-c", probe)
        self.say("a new connection passes: it is the old ones that are dead")
        return f"without the restore, all {IDLE_CONNECTIONS + 1} connections were dead"


def main():
    if sys.argv[1:] == ["client"]:
        return Client().run()
    if sys.argv[1:] == ["server"]:
        return Server().run()
    parser = argparse.ArgumentParser(description="what scripts/demo shows; start it by that")
    for option in ("--binaries", "--scratch", "--namespaces"):
        parser.add_argument(option, required=True)
    demo = Demo(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print("\n== A NAT firewall is killed, and its states are restored")
        lived = demo.run(restore=True)
        print("\n== The same again, and its states are not restored")
        died = demo.run(restore=False)
    except Failed as failure:
        print(f"\nNOT shown: {failure}", flush=True)
        print(f"\nThe router's log:\n{demo.router_log()}", flush=True)
        return 1
    print(f"\nShown: {lived}; {died}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
