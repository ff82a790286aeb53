"""IPv6: rules, states, errors, and neighbours."""

import errno

from netbsd import check, traffic

RULES = """\
block drop all
pass inet6 proto icmp6 all
pass in on {lan} inet6 proto {{ tcp udp }} from fd00:1::/64 to any keep state
pass out on {wan} inet6 proto {{ tcp udp }} from fd00:1::/64 to any keep state
"""


def test_pass_and_block(firewall):
    firewall.rules(RULES)
    with traffic.Server(firewall.network.wan, 80, family=10), traffic.Server(firewall.network.lan, 80, family=10):
        traffic.Transfer(firewall.network.lan, "2001:db8::2", 80, "up", 2 << 20).complete()
        traffic.Transfer(firewall.network.lan, "2001:db8::2", 80, "down", 2 << 20).complete()
        check(traffic.connects(firewall.network.wan, "fd00:1::2", 80, timeout=2) is not None, "nobody comes in")
    with traffic.Datagrams(firewall.network.wan, 53, family=10):
        check(traffic.ask_by_datagram(firewall.network.lan, "2001:db8::2", 53) == b"are you there?", "UDP comes back")
    check(traffic.ping(firewall.network.lan, "2001:db8::2", "-6"), "so does an echo reply")


def test_return(firewall):
    firewall.rules("pass all keep state\nblock return in on {lan} inet6 proto {{ tcp udp }} to port 81\n")
    with traffic.Server(firewall.network.wan, 81, family=10), traffic.Datagrams(firewall.network.wan, 81, family=10):
        error = traffic.connects(firewall.network.lan, "2001:db8::2", 81)
        check(getattr(error, "errno", None) == errno.ECONNREFUSED, f"a reset comes back: {error!r}")
        answer = traffic.ask_by_datagram(firewall.network.lan, "2001:db8::2", 81)
        check(getattr(answer, "errno", None) == errno.ECONNREFUSED, f"port unreachable comes back: {answer!r}")


def test_return_to_a_link_local_neighbour(firewall):
    """The answer to a neighbour that speaks from its link-local address has to leave by the interface that the question came in by."""
    firewall.rules("pass all\nblock return in on {lan} inet6 proto {{ tcp udp }} to port 81\n")
    guest = firewall.sh(f"ifconfig {firewall.lan}")
    address = next(word.split("%")[0] for word in guest.split() if word.startswith("fe80:"))
    scope = firewall.network.lan.within(lambda: __import__("socket").if_nametoindex("tap0"))
    with firewall.network.lan.socket(10) as asking:
        asking.settimeout(5)
        error = asking.connect_ex((address, 81, 0, scope))
    check(error == errno.ECONNREFUSED, f"a reset comes back: {errno.errorcode.get(error, error)}")


def test_neighbours_find_each_other_in_spite_of_urpf_failed(firewall):
    """Neighbours ask from link-local addresses, to which a route leads only together with an interface."""
    firewall.rules("pass all no state\nblock in quick inet6 from urpf-failed to any\n")
    lan = firewall.network.lan
    guest = firewall.sh(f"ifconfig {firewall.lan}")
    address = next(word.split("%")[0] for word in guest.split() if word.startswith("fe80:"))
    lan.run("ip", "-6", "neigh", "flush", "dev", "tap0")
    firewall.run("ndp -c")
    check(traffic.ping(lan, f"{address}%tap0", "-6"), "a neighbour that asks from its link-local address")
    check(traffic.ping(lan, "fd00:1::1", "-6"), "and one that asks from another")
    lan.run("ip", "address", "add", "2001:db8::77/128", "dev", "tap0", "nodad")
    try:
        check(not traffic.ping(lan, "fd00:1::1", "-6", "-W", "2", "-I", "2001:db8::77"), "who is at home on the other side is blocked")
    finally:
        lan.run("ip", "address", "del", "2001:db8::77/128", "dev", "tap0")


def test_errors_belong_to_their_state(firewall):
    """Without a rule for ICMPv6 errors, that of a known connection passes by its state."""
    firewall.rules("block drop all\npass inet6 proto icmp6 icmp6-type {{ neighbrsol neighbradv }}\n"
                   "pass in on {lan} inet6 proto udp all keep state\npass out on {wan} inet6 proto udp all keep state\n")
    answer = traffic.ask_by_datagram(firewall.network.lan, "2001:db8::2", 9)
    check(isinstance(answer, ConnectionRefusedError), f"the error comes through: {answer!r}")
