"""Packets of unusual shape: fragments, large transfers, checksums that a network card is to compute."""

from netbsd import check, traffic
from netbsd.firewall import NAT_RULES, Firewall, Network

SIZE = 64 << 20
# What `pfprobe send` sends: pieces of 64 KiB.
SENT, COUNTED = 4 << 20, (bytes(range(256)) * 256)[4:]
REDIRECTED = "rdr on {wan} inet proto tcp from any to 198.51.100.1 port 7001 -> 198.51.100.1 port 7000\n"


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
        # Cards begin anew with that, and negotiate their links once more.
        traffic.wait_until(lambda: traffic.ping(network.lan, "198.51.100.2"), "both links", 60)
        guest.rules(REDIRECTED + NAT_RULES + "pass on {lan} inet proto tcp from any to any flags S/SA keep state\n"
                    "pass in on {wan} inet proto tcp from any to 198.51.100.1 port 7000 flags S/SA keep state\n")
        with traffic.Server(network.wan, 80):
            traffic.Transfer(network.lan, "198.51.100.2", 80, "up", 8 << 20).complete()
            traffic.Transfer(network.lan, "198.51.100.2", 80, "down", 8 << 20).complete()
        # What the guest sends itself leaves its checksums, and where it can its segments, to the card, and pf translates it.
        for side, address, port in ((network.lan, "10.0.0.1", 7000), (network.wan, "198.51.100.1", 7001)):
            guest.sh(f": >/tmp/sent; pfprobe send 7000 {SENT >> 16} >/tmp/sent 2>&1 &")
            traffic.wait_until(lambda: "listening" in guest.sh("cat /tmp/sent"), "the guest's server")  # pylint: disable=cell-var-from-loop
            connection = traffic.connect(side, address, port)
            connection.settimeout(60)
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # pylint: disable=cell-var-from-loop
            connection.close()
            check(received == b"".join(number.to_bytes(4, "big") + COUNTED for number in range(SENT >> 16)), f"all of it arrives by port {port}")
        with traffic.Datagrams(network.wan, 53):
            check(traffic.ping(network.lan, "10.0.0.1"), "the guest itself answers")
        refused = traffic.connects(network.lan, "10.0.0.1", 9)
        check(isinstance(refused, ConnectionRefusedError), f"its own resets arrive: {refused!r}")


def test_checksum_offload(kit):
    offload(kit, "ip4csum tcp4csum udp4csum")


def test_segmentation_offload(kit):
    offload(kit, "ip4csum tcp4csum udp4csum tso4")
