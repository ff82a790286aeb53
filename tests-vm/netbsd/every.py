"""Every kind of rule at once, and the packets that meet them: what no test of one subject brings together."""

import errno

from . import check, traffic

RULES = """\
set limit {{ states 5000, frags 100 }}
set loginterface {lan}
table <flooders> persist
table <servers> {{ 198.51.100.2, 2001:db8::2 }}
scrub all fragment reassemble random-id no-df min-ttl 10 max-mss 1400 reassemble tcp
nat on {wan} inet from 10.0.0.0/24 to any -> ({wan})
rdr on {lan} inet proto tcp from any to 10.0.0.1 port 88 -> 198.51.100.2 port 80
block return log all
pass in log (all) on {lan} inet proto tcp to <servers> port 80 flags S/SA modulate state (source-track rule, max-src-nodes 10)
pass in on {lan} inet proto tcp to <servers> port 82 flags S/SA synproxy state
pass in on {lan} inet proto tcp to <servers> port 84 flags S/SA keep state (max-src-conn 2, overload <flooders> flush)
pass in on {lan} route-to ({wan} 198.51.100.2) inet proto udp to port 53 keep state tag QUESTION
pass in on {lan} dup-to ({wan} 198.51.100.2) inet proto udp to port 54 keep state
pass in on {lan} reply-to ({lan} 10.0.0.2) inet proto icmp keep state
pass in on {lan} inet proto tcp to port 83 user root keep state
pass in on {lan} inet6 proto {{ tcp udp }} keep state
pass out on {wan} keep state
pass out on {wan} inet proto tcp flags S/SA modulate state
pass out on {wan} inet proto udp tagged QUESTION keep state
pass inet6 proto icmp6 keep state
anchor "deep/*"
"""


def exercise(guest):
    """All of it, on a guest with the module loaded."""
    lan, wan = guest.network.lan, guest.network.wan
    server = "198.51.100.2"
    guest.rules(RULES)
    guest.sh("ifconfig pflog0 create && ifconfig pflog0 up; pfprobe pflog pflog0 1000000 >/dev/null 2>&1 &")
    try:
        with traffic.Server(wan, 80), traffic.Server(wan, 82), traffic.Server(wan, 84):
            for port in (80, 82):
                for way in ("up", "down"):
                    traffic.Transfer(lan, server, port, way, 1 << 20).complete()
            traffic.Transfer(lan, "10.0.0.1", 88, "down", 1 << 20).complete()
            for port, address in ((81, server), (83, "10.0.0.1")):
                refused = traffic.connects(lan, address, port)
                check(getattr(refused, "errno", None) == errno.ECONNREFUSED, f"a reset comes back from port {port}: {refused!r}")
            flood = [traffic.connect(lan, server, 84) for _ in range(2)]
            traffic.connects(lan, server, 84)
            traffic.wait_until(lambda: "10.0.0.2" in guest.sh("pfctl -t flooders -T show"), "who floods is in the table")
            for connection in flood:
                connection.close()
        with traffic.Datagrams(wan, 53) as echo:
            check(traffic.ask_by_datagram(lan, server, 53) is not None, "an answer comes back by route-to")
            check({peer[0] for peer in echo.peers} == {"198.51.100.1"}, f"what was routed has been translated: {echo.peers}")
            large = bytes(range(256)) * 20
            check(traffic.ask_by_datagram(lan, server, 53, large) == large, "fragments are put together, routed, and cut again")
        with traffic.Datagrams(wan, 54) as echo:
            check(traffic.ask_by_datagram(lan, server, 54) is not None, "an answer comes back")
            traffic.wait_until(lambda: len(echo.peers) > 1, "the packet and its copy")
        check(traffic.ping(lan, server), "an echo reply comes back by reply-to")
        with traffic.Server(wan, 80, family=10):
            for way in ("up", "down"):
                traffic.Transfer(lan, "2001:db8::2", 80, way, 1 << 20).complete()
        check(traffic.ping(lan, "2001:db8::2", "-6"), "both neighbours are known")
        check(traffic.ping(lan, "2001:db8::2", "-6", "-s", "4000"), "IPv6 goes on in fragments")
        guest.sh("pfctl -s all >/dev/null; pfctl -vv -s rules >/dev/null; pfs -W /tmp/every -b; pfs -R /tmp/every; pfctl -q -f /tmp/pf.conf")
    finally:
        guest.sh("ifconfig pflog0 destroy")
