"""Rules, as Linux on either side meets them."""

import errno

from netbsd import check, every, traffic

WEB, OTHER = 80, 81


def test_pass_and_block(firewall):
    lan = firewall.network.lan
    firewall.rules("block drop all\npass in on {lan} inet proto tcp to port 80 keep state\npass out on {wan} inet proto tcp to port 80 keep state\n")
    with traffic.Server(firewall.network.wan, WEB), traffic.Server(firewall.network.wan, OTHER):
        check(traffic.connects(lan, "198.51.100.2", WEB) is None, "what the rules pass passes")
        error = traffic.connects(lan, "198.51.100.2", OTHER, timeout=2)
        check(isinstance(error, TimeoutError), f"what they block hears nothing: {error!r}")
    check(len(firewall.states()) == 2, "the connection has a state on either side")


def test_return_rst(firewall):
    firewall.rules("pass all keep state\nblock return-rst in on {lan} inet proto tcp to port 81\n")
    with traffic.Server(firewall.network.wan, OTHER):
        error = traffic.connects(firewall.network.lan, "198.51.100.2", OTHER)
    check(getattr(error, "errno", None) == errno.ECONNREFUSED, f"a reset comes back: {error!r}")


def test_return_icmp(firewall):
    firewall.rules("pass all keep state\nblock return-icmp in on {lan} inet proto udp to port 81\n")
    with traffic.Datagrams(firewall.network.wan, OTHER):
        answer = traffic.ask_by_datagram(firewall.network.lan, "198.51.100.2", OTHER)
    check(getattr(answer, "errno", None) == errno.ECONNREFUSED, f"port unreachable comes back: {answer!r}")


def test_udp_and_icmp_keep_state(firewall):
    firewall.rules("block drop all\npass in on {lan} inet all keep state\npass out on {wan} inet all keep state\n")
    with traffic.Datagrams(firewall.network.wan, 53):
        answer = traffic.ask_by_datagram(firewall.network.lan, "198.51.100.2", 53)
        check(answer == b"are you there?", f"an answer comes back by the state: {answer!r}")
    check(traffic.ping(firewall.network.lan, "198.51.100.2"), "so does an echo reply")
    check(not traffic.ping(firewall.network.wan, "10.0.0.2", "-W", "1"), "nobody gets in")


def test_counters_and_labels(firewall):
    firewall.rules('pass in on {lan} inet proto tcp to port 80 keep state label "web"\npass out on {wan} all keep state\n')
    with traffic.Server(firewall.network.wan, WEB):
        transfer = traffic.Transfer(firewall.network.lan, "198.51.100.2", WEB, "up", 1 << 20)
        transfer.complete()
    words = firewall.sh("pfctl -s labels").split()
    check(words[0] == "web" and int(words[3]) > 1 << 20, f"the rule has counted the bytes: {words}")


def test_rules_replaced_under_traffic(firewall):
    """States outlive the rules that made them, and no packet meets half a ruleset."""
    firewall.rules("block drop all\npass in on {lan} inet proto tcp all keep state\npass out on {wan} inet proto tcp all keep state\n")
    with traffic.Server(firewall.network.wan, WEB):
        transfer = traffic.Transfer(firewall.network.lan, "198.51.100.2", WEB, "down", 16 << 20)
        firewall.sh("i=0; while [ $i -lt 50 ]; do pfctl -q -f /tmp/pf.conf || exit 1; i=$((i + 1)); done", timeout=120)
        transfer.complete()


def test_without_rules_all_passes_and_with_pf_off_too(firewall):
    with traffic.Server(firewall.network.wan, WEB):
        check(traffic.connects(firewall.network.lan, "198.51.100.2", WEB) is None, "disabled, pf is not there")
        firewall.rules("")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", WEB) is None, "enabled without rules, it passes")
        firewall.rules("block drop all\n")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", WEB, timeout=2) is not None, "a rule counts at once")
        firewall.sh("pfctl -q -d")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", WEB) is None, "and no more when pf is disabled")


def test_every_kind_of_rule(firewall):
    every.exercise(firewall)
