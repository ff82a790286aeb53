"""Interfaces that come and go while rules speak of them."""

import socket
import struct
import threading
import time

from netbsd import check, traffic

VLAN = 7
ROUNDS = 8


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Pings:
    """Echo requests to the guest's inner address on a VLAN that its card carries, one after the other until the block ends. Answers come back
    without a tag, as the route says."""

    def __init__(self, firewall):
        side = firewall.network.lan
        words = firewall.sh(f"ifconfig {firewall.lan}").split()
        guest = bytes.fromhex(words[words.index("address:") + 1].replace(":", ""))
        echo = struct.pack("!BBHHH", 8, 0, 0, id(self) & 0xFFFF, VLAN)
        echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        self.id = echo[4:8]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0, *map(socket.inet_aton, ("10.0.0.2", "10.0.0.1")))
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.frame = guest + bytes.fromhex("020000000007") + struct.pack("!HHH", 0x8100, VLAN, 0x0800) + ip + echo
        self.out = side.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.back = side.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        # So that it sees when the block ends.
        self.back.settimeout(0.1)
        side.within(lambda: self.out.bind(("tap0", 0)))
        self.sent = self.answers = 0
        self.stopped = False
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.ask, self.listen)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        self.out.close()
        self.back.close()

    def ask(self):
        while not self.stopped:
            try:
                self.out.send(self.frame)
                self.sent += 1
            except OSError:
                pass
            time.sleep(0.001)

    def listen(self):
        while not self.stopped:
            try:
                packet = self.back.recv(2048)
            except TimeoutError:
                continue
            self.answers += packet[20:21] == b"\0" and packet[24:28] == self.id


def blocked(firewall):
    """Packets that the second rule has blocked."""
    return int(firewall.sh("pfctl -vv -s rules").split("Packets:")[2].split()[0])


def test_a_new_interface_is_known_before_it_carries_anything(firewall):
    """The rule that names it is about its very first packet, though no address tells of it. Without such a rule packets pass."""
    make = f"ifconfig vlan7 create && ifconfig vlan7 vlan {VLAN} vlanif {firewall.lan} && ifconfig vlan7 up"
    try:
        with Pings(firewall) as pings:
            firewall.rules("pass all no state\n")
            firewall.sh(make)
            traffic.wait_until(lambda: pings.answers > 0, "packets pass that no rule blocks")
            firewall.sh("ifconfig vlan7 destroy")
            firewall.rules("pass all no state\nblock in on vlan7\n")
            # What was on its way is over when the guest has answered what was asked later.
            check(traffic.ping(firewall.network.lan, "10.0.0.1"), "the guest answers")
            before = pings.answers
            for _ in range(ROUNDS):
                count = blocked(firewall)
                firewall.sh(make)
                traffic.wait_until(lambda: blocked(firewall) > count, "the rule blocks")  # pylint: disable=cell-var-from-loop
                firewall.sh("ifconfig vlan7 destroy")
            check(traffic.ping(firewall.network.lan, "10.0.0.1"), "the guest answers")
            check(pings.answers == before, f"{pings.answers - before} packets have passed that the rule blocks")
    finally:
        firewall.run("ifconfig vlan7 destroy")
    firewall.check_console()
