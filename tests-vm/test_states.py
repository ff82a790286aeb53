"""States: the lock, the purge, dumps, limits, memory that runs out."""

import re
import time

from netbsd import check, need, traffic
from netbsd.firewall import NAT_RULES, Firewall, Network

PASS = "block drop all\npass in on {lan} inet all keep state\npass out on {wan} inet all keep state\n"


def test_lock(firewall):
    """While the table is locked, connections stand still and new ones get nothing; after it they go on."""
    firewall.rules(PASS)
    with traffic.Server(firewall.network.wan, 80):
        idle = traffic.Idle(firewall.network.lan, "198.51.100.2", 80, 3)
        firewall.sh("pfs -l")
        check(idle.alive(1.5) == 0, "connections stand still")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", 80, timeout=1.5) is not None, "no new one is let in")
        check(firewall.counter("state-locked") > 0, "what was dropped is counted as such")
        firewall.sh("pfs -u")
        check(idle.alive() == 3, "after it they go on")
        idle.close()


def test_purge(firewall):
    """States whose time is over go, within the interval, and none before."""
    firewall.rules("set timeout {{ icmp.first 3, icmp.error 3, interval 1 }}\n" + PASS)
    with traffic.Server(firewall.network.wan, 80):
        idle = traffic.Idle(firewall.network.lan, "198.51.100.2", 80, 2)
        check(traffic.ping(firewall.network.lan, "198.51.100.2"), "an echo request passes")
        check(any("icmp" in state for state in firewall.states()), "and leaves a state")
        traffic.wait_until(lambda: not any("icmp" in state for state in firewall.states()), "the state's end", 20)
        check(len(firewall.states()) == 4, "the connections' states stay")
        check(idle.alive() == 2, "and they live")
        idle.close()


def test_dump_and_restore(firewall):
    """Both formats; the connections live on in other rules with the same text."""
    for options in ("", "-b"):
        firewall.rules(NAT_RULES)
        with traffic.Server(firewall.network.wan, 80):
            idle = traffic.Idle(firewall.network.lan, "198.51.100.2", 80, 4)
            firewall.sh(f"pfs -W /tmp/states {options}")
            firewall.sh("pfctl -q -F all")
            firewall.rules("block drop all\n")
            check(idle.alive(1.5) == 0, "without their states they stand still")
            firewall.rules(NAT_RULES.replace("block all\n", "block drop out on {lan} proto esp\nblock all\n"))
            firewall.sh("pfs -R /tmp/states")
            check(idle.alive() == 4, "with their states they live")
            check(not firewall.is_locked(), "the lock is given back")
            idle.close()
        firewall.clear()


def test_failed_restore_leaves_no_lock(firewall):
    firewall.rules(NAT_RULES)
    firewall.sh("pfs -W /tmp/states -b; dd if=/tmp/states of=/tmp/cut bs=40 count=1 2>/dev/null; echo rubbish >/tmp/rubbish")
    for command in ("pfs -R /tmp/cut", "pfs -R /tmp/rubbish", "pfs -R /tmp/nowhere", "pfs -W /nowhere/states -b"):
        firewall.fails(command)
        check(not firewall.is_locked(), f"`{command}` gives the lock back")
    firewall.sh("pfctl -q -F states; pfs -W /tmp/none -b; pfs -R /tmp/none")
    check(not firewall.is_locked(), "an empty table is dumped and restored, too")


def test_low_limit(firewall):
    """Beyond the limit of states new connections get nothing; those that are there live; room that comes is used."""
    firewall.rules("set limit states 10\n" + PASS)
    with traffic.Server(firewall.network.wan, 80):
        idle = traffic.Idle(firewall.network.lan, "198.51.100.2", 80, 5)
        check(len(firewall.states()) == 10, "the table is full")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", 80, timeout=2) is not None, "no more fit")
        check(idle.alive() == 5, "those that are there live")
        firewall.sh("pfctl -q -F states")
        check(traffic.connects(firewall.network.lan, "198.51.100.2", 80) is None, "there is room again")
        idle.close()


def test_memory_that_runs_out(kit):
    """Allocations that fail, one after the other and all at once: packets are dropped, ioctls say ENOMEM, and it recovers."""
    need(kit.has_fault_injection, "the module was not built with --fault-injection")
    with Network() as network, Firewall(kit, network) as guest:
        guest.sh("modload /pf/fault/pf.kmod")
        guest.rules(NAT_RULES)
        with traffic.Server(network.wan, 80):
            idle = traffic.Idle(network.lan, "198.51.100.2", 80, 3)
            guest.sh("pfprobe fail 0 1000000000")
            check(traffic.connects(network.lan, "198.51.100.2", 80, timeout=2) is not None, "no state can be made")
            check(idle.alive() == 3, "known connections need no memory")
            guest.sh("pfprobe fail 0 0")
            check(guest.counter("memory") > 0, "what was dropped is counted as such")
            check(traffic.connects(network.lan, "198.51.100.2", 80) is None, "it recovers")
            # Memory runs out at the first allocation of a load, at the second, and so on, until there is enough. It stays
            # away until it is told to come back: one failure alone might be the purge thread's, which allocates every second.
            failures = skip = 0
            while skip < 100_000:
                guest.sh(f"pfprobe fail {skip} 1000000000")
                if guest.run("pfctl -q -f /tmp/pf.conf").status == 0:
                    break
                failures += 1
                skip += 1 + skip // 4
            guest.sh("pfprobe fail 0 0")
            check(failures > 3, f"loading rules can fail for want of memory: {failures} times")
            check(skip < 100_000, "and succeeds when there is enough")
            check("pass in on" in guest.sh("pfctl -s rules"), "the rules are there")
            check(idle.alive() == 3, "the connections live through all of it")
            idle.close()
        guest.sh("pfctl -q -d && modunload pf")
        check(not re.search(r"^pf", guest.sh("pfprobe pools"), re.MULTILINE), "nothing is left behind")


def test_module_for_use_has_no_fault_injection(firewall):
    """The ioctl that makes allocations fail is in no module but the tests' own."""
    firewall.fails("pfprobe fail 0 0", "DIOCXFAIL")


def test_many_states(firewall):
    """Ten thousand states are dumped, restored and removed, and the guest goes on."""
    firewall.rules("set limit states 50000\nset timeout {{ udp.first 600, udp.single 600 }}\npass in on {lan} inet all keep state\n")

    def sprayed():
        # A busy guest loses some: those are sent once more.
        traffic.spray(firewall.network.lan, "198.51.100.2", 10_000)
        return states_of(firewall) > 9_000

    traffic.wait_until(sprayed, "the states of as many datagrams", 120)
    before = states_of(firewall)
    began = time.monotonic()
    firewall.sh("pfs -W /tmp/many -b", timeout=120)
    dumped = time.monotonic() - began
    firewall.sh("pfctl -q -F states")
    firewall.sh("pfs -R /tmp/many", timeout=120)
    print(f"          {before} states dumped in {dumped:.1f} s, restored in {time.monotonic() - began - dumped:.1f} s", flush=True)
    check(states_of(firewall) >= before * 99 // 100, "they are there again")
    firewall.sh("pfctl -q -F states; rm /tmp/many")
    check(states_of(firewall) < 10, "and gone")


def states_of(guest):
    found = re.search(r"current entries\s+(\d+)", guest.sh("pfctl -s info"))
    check(found, "`pfctl -s info` says how many states there are")
    return int(found[1])
