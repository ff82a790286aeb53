"""A kernel with DIAGNOSTIC, LOCKDEBUG and NET_MPSAFE, which says what is wrong with locks, levels and memory: it stays silent."""

import re

from netbsd import check, every, traffic
from netbsd.firewall import NAT_RULES, Firewall, Network

COMPLAINT = re.compile(r"assertion|LOCKDEBUG|lock error|panic|WARNING: (?:module|pool)|uvm_fault|pserialize|pfil", re.IGNORECASE)


def is_silent(guest, booted):
    guest.check_console()
    said = guest.console[booted:].decode("utf-8", "replace")
    check(not COMPLAINT.search(said), f"the kernel complains:\n{said}")


def test_silent_under_every_kind_of_rule(kit):
    debug = kit.with_debug_kernel()
    with Network() as network, Firewall(debug, network) as guest:
        booted = len(guest.console)
        guest.load()
        every.exercise(guest)
        guest.sh("pfctl -q -d; modunload pf")
        is_silent(guest, booted)


def test_silent_under_all_sorts(kit):
    debug = kit.with_debug_kernel()
    with Network() as network, Firewall(debug, network) as guest:
        booted = len(guest.console)
        for _ in range(3):
            guest.load()
            guest.rules(NAT_RULES + "block return in on {lan} inet proto tcp to port 81\nblock return in on {lan} inet6 all\n")
            with traffic.Server(network.wan, 80), traffic.Datagrams(network.wan, 53):
                idle = traffic.Idle(network.lan, "198.51.100.2", 80, 5)
                transfers = [traffic.Transfer(network.lan, "198.51.100.2", 80, way, 4 << 20) for way in ("up", "down")]
                check(traffic.connects(network.lan, "198.51.100.2", 81) is not None, "a reset comes back")
                traffic.connects(network.lan, "2001:db8::2", 80, timeout=2)
                traffic.ask_by_datagram(network.lan, "198.51.100.2", 53)
                traffic.ask_by_datagram(network.lan, "198.51.100.2", 9)
                traffic.ping(network.lan, "198.51.100.2", "-s", "3000")
                guest.sh("pfs -W /tmp/states -b; pfs -R /tmp/states; pfctl -q -f /tmp/pf.conf; pfctl -q -s info; pfctl -s states")
                guest.sh("ifconfig vlan7 create && ifconfig vlan7 destroy; pfprobe reader; pfprobe hostile; pfs -u", timeout=300)
                guest.rules(NAT_RULES)
                for transfer in transfers:
                    transfer.complete()
                guest.sh("pfctl -q -F states")
                idle.close()
            guest.sh("pfctl -q -d; modunload pf")
        is_silent(guest, booted)


def test_no_route_is_looked_up_where_that_may_sleep(kit):
    """TCP holds softnet_lock when it sends, here as in a kernel without NET_MPSAFE. The route back to who answers leads to lo0."""
    debug = kit.with_debug_kernel()
    with Network() as network, Firewall(debug, network) as guest:
        booted = len(guest.console)
        guest.load()
        guest.rules("pass all no state\nblock out quick inet proto tcp from urpf-failed to any\n")
        refused = traffic.connects(network.lan, "10.0.0.1", 81)
        check(isinstance(refused, ConnectionRefusedError), f"what is not known matches nothing: {refused!r}")
        guest.sh("pfctl -q -d; modunload pf")
        is_silent(guest, booted)
