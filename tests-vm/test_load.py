"""The module comes and goes, and leaves nothing behind."""

from netbsd import check, traffic
from netbsd.firewall import NAT_RULES

ROUNDS = 100


def pools(guest):
    """The kernel's pools, kmem(9)'s among them, and how many of their objects are in use, or in a CPU's cache."""
    return {name: int(out) for name, _, out in (line.rsplit(" ", 2) for line in guest.sh("pfprobe pools").splitlines())}


def our_pools(guest):
    return [name for name in pools(guest) if name.startswith("pf")]


def test_load_and_unload(fresh):
    check(not fresh.is_loaded(), "it is not there at first")
    check(our_pools(fresh) == [], "and has no pools")
    fresh.load()
    check(fresh.is_loaded(), "modstat(8) shows it")
    check(len(our_pools(fresh)) > 0, "it has pools")
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


def test_no_event_outlives_the_module(fresh):
    """Addresses and interfaces change all the while. Who tells the module of it waits for others inside, and the module for all of them."""
    changing = range(1, 7)
    for number in changing:
        fresh.sh(f"ifconfig lo{number} create up; pfprobe addresses lo{number} >/tmp/changing{number} 2>&1 & echo $! >>/tmp/pids")
    fresh.sh("(while ! [ -e /tmp/enough ]; do ifconfig lo7 create && ifconfig lo7 destroy; done; echo over >/tmp/over) >/dev/null 2>&1 &")
    fresh.sh(f"i=0; while [ $i -lt {ROUNDS // 4} ]; do modload /pf/pf.kmod && modunload pf || exit 1; i=$((i + 1)); done", timeout=1800)
    check("no address" not in fresh.sh("cat /tmp/changing*"), "addresses have come and gone to the end")
    fresh.sh("kill $(cat /tmp/pids); touch /tmp/enough; while ! [ -s /tmp/over ]; do :; done")
    fresh.check_console()
    check(our_pools(fresh) == [], "no pool is left")


def test_again_and_again_under_traffic(fresh):
    """Loaded, enabled with rules and states, and unloaded, while packets go on through the guest. No pool grows by it."""
    rounds = (
        "i=0; while [ $i -lt {} ]; do pfctl -q -e -f /tmp/pf.conf && pfctl -q -d && modunload pf && modload /pf/pf.kmod || exit 1; "
        "i=$((i + 1)); done"
    )
    fresh.load()
    fresh.rules(NAT_RULES + "pass quick inet proto udp keep state\n", enable=False)
    with traffic.Datagrams(fresh.network.wan, 7) as echo, traffic.Flood(fresh.network.lan, "198.51.100.2", 7) as flood:
        # Caches fill first.
        fresh.sh(rounds.format(ROUNDS // 4), timeout=1800)
        before, sent = pools(fresh), flood.sent
        fresh.sh(rounds.format(ROUNDS), timeout=1800)
        check(flood.sent > sent and len(echo.peers) > 0, "packets went on meanwhile")
    after = pools(fresh)
    grown = {name: after[name] - before[name] for name in before if name in after and after[name] - before[name] >= ROUNDS}
    # What a packet or a process is made of comes and goes with the traffic.
    grown = {name: by for name, by in grown.items() if name.startswith(("kmem-", "pf", "pserialize", "kcpuset"))}
    check(not grown, f"{ROUNDS} rounds left something behind: {grown}")
    fresh.unload()
    check(our_pools(fresh) == [], "no pool is left")
