"""The module comes and goes, and leaves nothing behind."""

import re

from netbsd import check, traffic
from netbsd.firewall import NAT_RULES

ROUNDS = 100
# Pools of ours, and those that packets and allocations of ours come from.
POOLS = re.compile(r"^(pf\S*)\s")


def our_pools(guest):
    return [line for line in guest.sh("vmstat -m").splitlines() if POOLS.match(line)]


def kernel_memory(guest):
    """Bytes in the kernel's memory pools, kmem(9)'s, that are in use."""
    used = 0
    for line in guest.sh("vmstat -mW").splitlines():
        words = line.split()
        # Name, size, requests, failed, released ...
        if len(words) > 5 and words[0].startswith("kmem-") and all(word.isdecimal() for word in words[1:5]):
            size, requests, _, released = map(int, words[1:5])
            used += size * (requests - released)
    return used


def test_load_and_unload(fresh):
    check(not fresh.is_loaded(), "it is not there at first")
    check(our_pools(fresh) == [], "and has no pools")
    fresh.load()
    check(fresh.is_loaded(), "modstat(8) shows it")
    check(len(our_pools(fresh)) > 0, "vmstat(1) shows its pools")
    check(not fresh.is_enabled(), "it is not enabled by being loaded")
    fresh.fails("modload /pf/pf.kmod")
    fresh.unload()
    check(our_pools(fresh) == [], "no pool of it is left")
    check(not fresh.is_loaded(), "it is gone")


def test_unload_is_refused_while_enabled(firewall):
    firewall.sh("pfctl -q -e")
    said = firewall.fails("modunload pf")
    check("busy" in said.lower(), f"the error is EBUSY: {said}")
    firewall.sh("pfctl -q -d")
    firewall.unload()
    firewall.load()


def test_unload_is_refused_while_open(firewall):
    firewall.sh("pfprobe hold 600 >/tmp/held & echo $! >/tmp/pid; while ! [ -s /tmp/held ]; do :; done")
    said = firewall.fails("modunload pf")
    check("busy" in said.lower(), f"the error is EBUSY: {said}")
    firewall.sh("kill $(cat /tmp/pid); wait; while ! modunload pf; do :; done")
    check(not firewall.is_loaded(), "once it is closed, the module goes")


def test_again_and_again_under_traffic(fresh):
    """Loaded, enabled with rules and states, and unloaded, while packets go on through the guest."""
    fresh.load()
    fresh.rules(NAT_RULES + "pass quick inet proto udp keep state\n")
    fresh.unload_script = (
        "i=0; while [ $i -lt {rounds} ]; do pfctl -q -e && pfctl -q -f /tmp/pf.conf || exit 1; "
        "pfctl -q -d && modunload pf && modload /pf/pf.kmod || exit 1; i=$((i + 1)); done"
    )
    fresh.sh("pfctl -q -d")
    with traffic.Datagrams(fresh.network.wan, 7) as echo, traffic.Flood(fresh.network.lan, "198.51.100.2", 7) as flood:
        # What is taken once for all is taken now.
        fresh.sh(fresh.unload_script.format(rounds=5), timeout=120)
        before = kernel_memory(fresh)
        sent = flood.sent
        fresh.sh(fresh.unload_script.format(rounds=ROUNDS), timeout=600)
        check(flood.sent > sent and len(echo.peers) > 0, "packets went on meanwhile")
    after = kernel_memory(fresh)
    fresh.unload()
    check(our_pools(fresh) == [], "no pool is left")
    grown = after - before
    check(grown < ROUNDS * 64, f"{ROUNDS} rounds left {grown} bytes behind")
