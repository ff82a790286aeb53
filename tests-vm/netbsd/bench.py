"""scripts/vm bench: how many instructions a forwarded packet costs the guest, and how deep the hooks go into the kernel's stack.

Instructions are counted by QEMU (count.c), not timed. The packets are those of one established TCP connection through both
hooks, a byte to and fro, so that each packet is forwarded by itself. What the guest does when nothing goes on, its clock above
all, is counted beforehand and taken off.
"""

import bisect
import collections
import os
import struct
import subprocess
import time

from . import Failed, check, every, traffic
from .firewall import Firewall, Network

ROUNDS = 3000
QUIET = 4.0
MARK = 1400


class Counter:
    """The plugin, and the two pipes to it."""

    def __init__(self, scratch):
        self.library = os.path.join(scratch, "count.so")
        source = os.path.join(os.path.dirname(__file__), "count.c")
        done = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", self.library, source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        check(done.returncode == 0, f"the plugin for QEMU: {done.stdout}")
        self.theirs_in, ours_out = os.pipe()
        ours_in, self.theirs_out = os.pipe()
        self.commands, self.answers = os.fdopen(ours_out, "w"), os.fdopen(ours_in)
        self.file = os.path.join(scratch, "counts")

    @property
    def pipes(self):
        return [self.theirs_in, self.theirs_out]

    @property
    def arguments(self):
        return ["-plugin", f"{self.library},from={self.theirs_in},to={self.theirs_out}"]

    def ask(self, command):
        self.commands.write(command + "\n")
        self.commands.flush()
        said = []
        while (line := self.answers.readline()) != "ok\n":
            if not line:
                raise Failed("QEMU's plugin has gone")
            said.append(line)
        return "".join(said)

    def counts(self):
        """Instructions by block, since the last `reset`."""
        self.ask(f"dump {self.file}")
        counts = collections.Counter()
        with open(self.file, encoding="ascii") as file:
            for line in file:
                address, count = line.split()
                counts[int(address, 16)] += int(count)
        return counts

    def close(self):
        for end in (self.commands, self.answers):
            end.close()
        for pipe in self.pipes:
            os.close(pipe)


class Symbols:
    """Functions by their addresses, from an ELF symbol table."""

    def __init__(self, data):
        check(data[:6] == b"\x7fELF\x02\x01", "the guest's symbols are not ELF")
        (table,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + size * i) for i in range(count)]
        self.all = []
        for header in headers:
            if header[1] == 2:
                symbols = data[header[4] : header[4] + header[5]]
                strings = data[headers[header[6]][4] :][: headers[header[6]][5]]
                for name, info, _, section, value, length in struct.iter_unpack("<IBBHQQ", symbols[: len(symbols) // 24 * 24]):
                    if section and value >> 47 and info & 15 in (0, 2):
                        self.all.append((value, strings[name : strings.index(b"\0", name)].decode(), length))
        self.all.sort()
        self.addresses = [symbol[0] for symbol in self.all]

    def at(self, address):
        index = bisect.bisect_right(self.addresses, address) - 1
        return self.all[index][1] if index >= 0 else "?"

    def place(self, address):
        """The function, and how far into it."""
        index = bisect.bisect_right(self.addresses, address) - 1
        return self.all[index][1], address - self.all[index][0]

    def text_around(self, address):
        """The text of the module that has this function: pages of functions with hardly a gap."""
        pages = sorted({at >> 12 for at in self.addresses if abs(at - address) < 1 << 20})
        first = last = pages.index(address >> 12)
        while first > 0 and pages[first - 1] >= pages[first] - 4:
            first -= 1
        while last + 1 < len(pages) and pages[last + 1] <= pages[last] + 4:
            last += 1
        return pages[first] << 12, (pages[last] + 1) << 12

    def find(self, name):
        return [address for address, symbol, _ in self.all if symbol == name]


class Bench(Firewall):
    """A guest with one emulated CPU, the plugin, and a disk to hand things out on."""

    def __init__(self, kit, network, counter, scratch):
        self.counter = counter
        self.disk = os.path.join(scratch, "out.img")
        with open(self.disk, "wb") as file:
            file.truncate(32 << 20)
        extra = ["-drive", f"file={self.disk},format=raw,if=none,id=out", "-device", "virtio-blk-pci,drive=out", *counter.arguments]
        super().__init__(kit, network, extra=extra, inherit=counter.pipes)
        # A plugin sees what QEMU itself executes, and nothing of what KVM does.
        self.cpus, self.accel = 1, "tcg"

    def symbols(self):
        """Of the kernel and its modules: ksyms(4)."""
        self.sh("dd if=/dev/ksyms of=/dev/rld2d bs=64k conv=sync 2>/dev/null; sync", timeout=120)
        with open(self.disk, "rb") as file:
            return Symbols(file.read())

    def ticks(self, counts):
        """How long that was, by the guest's clock: what its clock interrupt executed. A busy machine does not change it."""
        ticks = sum(count for address, count in counts.items() if self.clock[0] <= address < self.clock[1])
        check(ticks, "the guest's clock stands still")
        return ticks

    def start(self):
        super().start()
        symbols = self.symbols()
        self.clock = next((value, value + length) for value, name, length in symbols.all if name == "hardclock")

    def measure(self, port=80):
        """Instructions per forwarded packet, by block. What the guest executes when nothing goes on is taken off, tick by tick."""
        connection = traffic.connect(self.network.lan, "198.51.100.2", port)
        connection.sendall(b"E")
        converse(connection, 200)
        self.counter.ask("reset")
        time.sleep(QUIET)
        idle = self.counter.counts()
        before = self.forwarded()
        self.counter.ask("reset")
        converse(connection, ROUNDS)
        counts = self.counter.counts()
        share = self.ticks(counts) / self.ticks(idle)
        packets = self.forwarded() - before
        connection.close()
        check(packets >= 2 * ROUNDS, f"{ROUNDS} times to and fro should be {2 * ROUNDS} packets, and are {packets}")
        return {address: (count - idle.get(address, 0) * share) / packets for address, count in counts.items()}

    def forwarded(self):
        """Packets that Linux has seen come and go on the outside."""
        said = self.network.wan.run("cat", "/sys/class/net/tap0/statistics/rx_packets", "/sys/class/net/tap0/statistics/tx_packets")[1]
        return sum(map(int, said.split()))


def converse(connection, rounds):
    for _ in range(rounds):
        connection.sendall(b"x")
        check(connection.recv(1) == b"x", "the echo is wrong")


def with_ours(guest):
    guest.load()
    guest.rules("pass all keep state\n")
    return lambda: guest.sh("pfctl -q -d; pfctl -q -F all; modunload pf")


def with_netbsd_pf(guest):
    if not guest.has("/sbin/pfctl"):
        return "no /sbin/pfctl"
    if guest.run("modload pf").status != 0:
        return "no module pf of its own"
    guest.write("/tmp/pf.conf", "pass all keep state\n")
    guest.sh("/sbin/pfctl -q -e -f /tmp/pf.conf")
    return lambda: guest.sh("/sbin/pfctl -q -d; /sbin/pfctl -q -F all; modunload pf")


def with_npf(guest):
    if not guest.has("/sbin/npfctl"):
        return "no /sbin/npfctl"
    guest.run("modload npf")
    guest.write("/tmp/npf.conf", "group default {\n\tpass stateful final all\n}\n")
    if guest.run("/sbin/npfctl reload /tmp/npf.conf && /sbin/npfctl start").status != 0:
        return "npfctl cannot load rules"
    return lambda: guest.run("/sbin/npfctl stop; /sbin/npfctl flush; modunload npf")


def run(kit, scratch, profile):
    counter = Counter(scratch)
    try:
        with Network() as network, Bench(kit, network, counter, scratch) as guest, traffic.Server(network.wan, 80):
            say = lambda text: print(text, flush=True)  # noqa: E731
            say(f"NetBSD {kit.version}: instructions per forwarded packet of an established TCP connection, both hooks")
            bare = sum(guest.measure().values())
            say(f"  {'no filter':<24} {bare:8.0f}")
            blocks = None
            for label, start in (("NetBSD's own pf", with_netbsd_pf), ("NetBSD's own npf", with_npf), ("this pf", with_ours)):
                stop = start(guest)
                if isinstance(stop, str):
                    say(f"  {label:<24} did not run: {stop}")
                    continue
                blocks = guest.measure()
                symbols = guest.symbols()
                total = sum(blocks.values())
                say(f"  {label:<24} {total:8.0f}   {total - bare:+6.0f}")
                if profile:
                    show_profile(blocks, symbols, say)
                stop()
            say(f"  the mark: this pf adds at most {MARK}")
        measure_stack(kit, scratch, say)
    finally:
        counter.close()
    return bare


def show_profile(blocks, symbols, say):
    by_function = collections.Counter()
    for address, count in blocks.items():
        by_function[symbols.at(address)] += count
    for name, count in by_function.most_common(60):
        say(f"      {count:8.1f}  {name}")
    for hook in symbols.find("pfr_hook"):
        start, end = symbols.text_around(hook)
        say("      where in the module, by block:")
        inside = collections.Counter({address: count for address, count in blocks.items() if start <= address < end})
        say(f"      {sum(inside.values()):8.1f}  all")
        for address, count in inside.most_common(60):
            name, offset = symbols.place(address)
            say(f"      {count:8.1f}  {name}+{offset:#x}")


def measure_stack(kit, scratch, say):
    """The deepest that the hooks go, with all sorts of packets: nat, resets, ICMP errors, fragments, IPv6; and with every kind of rule:
    synproxy, route-to and dup-to, scrub and the fragments that it makes again, log with somebody who reads it."""
    counter = Counter(scratch)
    try:
        with Network() as network, Bench(kit, network, counter, scratch) as guest:
            guest.load()
            symbols = guest.symbols()
            hook = symbols.find("pfr_hook")
            check(len(hook) == 1, f"the guest's symbols have {len(hook)} functions pfr_hook")
            start, end = symbols.text_around(hook[0])
            counter.ask(f"stack {hook[0]:x} {start:x} {end:x}")
            guest.rules(
                "nat on {wan} inet from 10.0.0.0/24 to any -> 198.51.100.1\n"
                "rdr on {wan} inet proto tcp from any to 198.51.100.1 port 8080 -> 10.0.0.2 port 80\n"
                "pass all keep state\nblock return in proto {{ tcp udp }} to port 81\n"
            )
            with traffic.Server(network.wan, 80), traffic.Server(network.lan, 80), traffic.Datagrams(network.wan, 53):
                traffic.Transfer(network.lan, "198.51.100.2", 80, "up", 1 << 20).complete()
                traffic.Transfer(network.wan, "198.51.100.1", 8080, "down", 1 << 20).complete()
                for address in ("198.51.100.2", "2001:db8::2"):
                    traffic.connects(network.lan, address, 81)
                    traffic.ask_by_datagram(network.lan, address, 81, attempts=1)
                    traffic.ask_by_datagram(network.lan, address, 9, attempts=1)
                    traffic.ping(network.lan, address, "-s", "3000", "-W", "2")
                traffic.ask_by_datagram(network.lan, "198.51.100.2", 53)
            seen = show_depth(counter, say, 0, "nat, rdr, resets, ICMP errors, fragments, IPv6")
            guest.sh("pfctl -q -F states")
            every.exercise(guest)
            show_depth(counter, say, seen, "these and synproxy, route-to, dup-to, scrub, fragments made again, log with a reader")
    finally:
        counter.close()


def show_depth(counter, say, seen, of_what):
    """What the plugin has seen since it was told to watch, which is more than the calls that were seen before. Gives how many calls."""
    of_module, everything, calls = map(int, counter.ask("depth").split())
    check(calls > seen + 100, f"the hook was seen {calls} times, and {seen} times before that")
    say(f"  stack below the hook, in {calls} calls with {of_what}:")
    say(f"      {of_module} bytes by the module's own instructions, {everything} with what it calls, sending included, and interrupts")
    return calls
