"""Packets of unusual shape: fragments, large transfers, checksums that a network card is to compute."""

from netbsd import check, traffic
from netbsd.firewall import NAT_RULES, Firewall, Network

SIZE = 64 << 20


def test_fragments_of_what_passes(firewall):
    firewall.rules("pass all\n")
    # Only one packet waits for a neighbour's address to be found, and fragments are several.
    check(traffic.ping(firewall.network.lan, "198.51.100.2"), "both neighbours are known")
    check(traffic.ping(firewall.network.lan, "198.51.100.2", "-s", "4000"), "a large echo request goes through in fragments, and so does its reply")
    with traffic.Datagrams(firewall.network.wan, 53):
        question = bytes(range(256)) * 20
        check(traffic.ask_by_datagram(firewall.network.lan, "198.51.100.2", 53, question) == question, "a large datagram, too")


def test_fragments_of_what_is_blocked(firewall):
    firewall.rules("block drop all\n")
    check(not traffic.ping(firewall.network.lan, "198.51.100.2", "-s", "4000", "-W", "1"), "no fragment slips through")


def test_large_transfers(firewall):
    firewall.rules(NAT_RULES)
    with traffic.Server(firewall.network.wan, 80):
        both = [traffic.Transfer(firewall.network.lan, "198.51.100.2", 80, way, SIZE) for way in ("up", "down")]
        for transfer in both:
            transfer.complete(300)


def offload(kit, options):
    """Transfers through, to and from a guest whose card computes checksums, and segments."""
    with Network() as network, Firewall(kit, network, nic="e1000") as guest:
        guest.load()
        guest.sh(f"ifconfig {guest.lan} {options} && ifconfig {guest.wan} {options}")
        guest.rules(NAT_RULES + "pass on {lan} inet proto tcp from any to any flags S/SA keep state\n")
        with traffic.Server(network.wan, 80):
            traffic.Transfer(network.lan, "198.51.100.2", 80, "up", 8 << 20).complete()
            traffic.Transfer(network.lan, "198.51.100.2", 80, "down", 8 << 20).complete()
        # What the guest sends itself leaves its checksum to the card, and pf translates it.
        with traffic.Datagrams(network.wan, 53):
            check(traffic.ping(network.lan, "10.0.0.1"), "the guest itself answers")
        refused = traffic.connects(network.lan, "10.0.0.1", 9)
        check(isinstance(refused, ConnectionRefusedError), f"its own resets arrive: {refused!r}")


def test_checksum_offload(kit):
    offload(kit, "ip4csum tcp4csum udp4csum")


def test_segmentation_offload(kit):
    offload(kit, "ip4csum tcp4csum udp4csum tso4")
