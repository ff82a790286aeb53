"""Translation, as Linux on either side meets it."""

import socket

from netbsd import check, traffic
from netbsd.firewall import NAT_RULES

RDR_RULES = """\
rdr on {wan} inet proto tcp from any to 198.51.100.1 port 8080 -> 10.0.0.2 port 80
block drop all
pass in on {wan} inet proto tcp from any to 10.0.0.2 port 80 keep state
pass out on {lan} inet proto tcp from any to 10.0.0.2 port 80 keep state
"""


def test_nat(firewall):
    firewall.rules(NAT_RULES)
    with traffic.Server(firewall.network.wan, 80) as server:
        traffic.Transfer(firewall.network.lan, "198.51.100.2", 80, "up", 4 << 20).complete()
        traffic.Transfer(firewall.network.lan, "198.51.100.2", 80, "down", 4 << 20).complete()
        check(set(server.peers) == {"198.51.100.1"}, f"the outside sees the firewall alone: {server.peers}")
    with traffic.Datagrams(firewall.network.wan, 53) as echo:
        check(traffic.ask_by_datagram(firewall.network.lan, "198.51.100.2", 53) is not None, "UDP comes back")
        check(echo.peers[0][0] == "198.51.100.1", "and is translated")
    check(traffic.ping(firewall.network.lan, "198.51.100.2"), "so is ICMP, by its identifier")


def test_nobody_comes_in(firewall):
    firewall.rules(NAT_RULES)
    with traffic.Server(firewall.network.lan, 80):
        check(traffic.connects(firewall.network.wan, "10.0.0.2", 80, timeout=2) is not None, "no rule lets the outside in")


def test_rdr(firewall):
    firewall.rules(RDR_RULES)
    with traffic.Server(firewall.network.lan, 80) as server:
        traffic.Transfer(firewall.network.wan, "198.51.100.1", 8080, "up", 2 << 20).complete()
        traffic.Transfer(firewall.network.wan, "198.51.100.1", 8080, "down", 2 << 20).complete()
        check(set(server.peers) == {"198.51.100.2"}, "the inside sees who it is")


def test_same_source_port_twice(firewall):
    """Two hosts inside use one port; outside, each has one of its own."""
    lan = firewall.network.lan
    lan.run("ip", "address", "add", "10.0.0.3/24", "dev", "tap0")
    firewall.rules(NAT_RULES)
    with traffic.Datagrams(firewall.network.wan, 53) as echo:
        asking = []
        for address in ("10.0.0.2", "10.0.0.3"):
            one = lan.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, 5000))
            one.settimeout(10)
            one.sendto(address.encode(), ("198.51.100.2", 53))
            asking.append((one, address))
        for one, address in asking:
            check(one.recv(100) == address.encode(), "each hears its own answer")
            one.close()
        check(len(set(echo.peers)) == 2, f"the outside sees two ports: {echo.peers}")
    lan.run("ip", "address", "del", "10.0.0.3/24", "dev", "tap0")


def test_icmp_error_comes_back_translated(firewall):
    """The outside's port unreachable finds the program inside that asked."""
    firewall.rules(NAT_RULES)
    answer = traffic.ask_by_datagram(firewall.network.lan, "198.51.100.2", 9)
    check(isinstance(answer, ConnectionRefusedError), f"the error comes through: {answer!r}")


def test_path_mtu(firewall):
    """A router behind the firewall says that a packet is too big; the sender hears it, and the transfer goes on."""
    wan = firewall.network.wan
    # With less than 1280 the card would lose its IPv6 addresses, and other tests with it.
    wan.run("ip", "link", "set", "tap0", "mtu", "1300")
    firewall.sh(f"ifconfig {firewall.wan} mtu 1300")
    try:
        firewall.rules(NAT_RULES)
        with traffic.Server(wan, 80):
            traffic.Transfer(firewall.network.lan, "198.51.100.2", 80, "up", 1 << 20).complete()
    finally:
        wan.run("ip", "link", "set", "tap0", "mtu", "1500")
        firewall.sh(f"ifconfig {firewall.wan} mtu 1500")
