"""A firewall that reboots in the middle of connections, and loses none. NetBSD's own pf loses a bulk transfer whose dump is 5 s
old, and most connections under `scrub reassemble tcp`.

Transfers in both directions, through nat, and one through rdr, and a hundred idle connections: dump, reboot, modload, rules,
restore. All of them live on; without the restore they do not.
"""

import time

from netbsd import check, traffic
from netbsd.firewall import Firewall, Network

IDLE = 100
# Bytes a second of a transfer, and what has to come through behind the reboot.
PACE, FURTHER = 1 << 20, 4 << 20
STATES = "/var/db/pf.states"

# What is kept of a connection beside its windows, and what is asked of the rules for that.
VARIATIONS = [
    ("keep state", "", "keep state"),
    ("modulate state", "", "modulate state"),
    ("reassemble tcp", "scrub all reassemble tcp\n", "keep state"),
]

RULES = """\
{scrub}nat on {wan} inet from 10.0.0.0/24 to any -> 198.51.100.1
rdr on {wan} inet proto tcp from any to 198.51.100.1 port 8080 -> 10.0.0.2 port 80
block all
pass in on {lan} inet proto tcp from 10.0.0.0/24 to any flags S/SA {keep}
pass out on {wan} inet proto tcp from 198.51.100.1 to any flags S/SA {keep}
pass in on {wan} inet proto tcp from any to 10.0.0.2 port 80 flags S/SA {keep}
pass out on {lan} inet proto tcp from any to 10.0.0.2 port 80 flags S/SA {keep}
"""


class Connections:
    """All that goes on through the firewall, with both servers."""

    def __init__(self, network):
        self.servers = [traffic.Server(network.wan, 80), traffic.Server(network.lan, 80)]
        self.idle = traffic.Idle(network.lan, "198.51.100.2", 80, IDLE)
        self.transfers = [
            traffic.Transfer(network.lan, "198.51.100.2", 80, "up", pace=PACE),
            traffic.Transfer(network.lan, "198.51.100.2", 80, "down", pace=PACE),
            traffic.Transfer(network.wan, "198.51.100.1", 8080, "down", pace=PACE),
        ]
        for transfer in self.transfers:
            transfer.wait_for(1 << 20)

    def go_on(self):
        """Behind the reboot: whatever is missing comes, then more, and then each ends as it should."""
        at = [transfer.moved[0] for transfer in self.transfers]
        for transfer, before in zip(self.transfers, at):
            transfer.wait_for(before + FURTHER, 120)
        for transfer in self.transfers:
            transfer.complete()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for transfer in self.transfers:
            transfer.abandon()
        self.idle.close()
        for server in self.servers:
            server.__exit__()


def boot_again(guest, scrub, keep, restore):
    """From a dump on the disk to a firewall with rules and, if they are to be restored, states: then the interfaces come up."""
    guest.restart(up=False)
    guest.load()
    guest.rules(RULES, scrub=scrub, keep=keep)
    said = guest.sh(f"pfs -v -R {STATES}") if restore else ""
    guest.set_up()
    return said


def live(fresh, variation, age):
    """A reboot with a dump that is `age` seconds old."""
    _, scrub, keep = variation
    fresh.load()
    fresh.rules(RULES, scrub=scrub, keep=keep)
    with Connections(fresh.network) as connections:
        if age:
            fresh.sh(f"pfs -W {STATES} -b")
            at = [transfer.moved[0] for transfer in connections.transfers]
            until = time.monotonic() + age
            traffic.wait_until(lambda: time.monotonic() > until, "the dump to grow old", age + 1)
            moved = [transfer.moved[0] - before for transfer, before in zip(connections.transfers, at)]
            check(all(moved), f"the transfers went on behind the dump: {moved}")
        else:
            fresh.sh(f"pfs -l && pfs -w {STATES} -b")
        outcomes = [transfer.outcome for transfer in connections.transfers]
        check(not any(outcomes), f"the transfers are under way: {outcomes}")
        down = time.monotonic()
        restored = boot_again(fresh, scrub, keep, restore=True)
        outage = time.monotonic() - down
        connections.go_on()
        answered = connections.idle.alive()
        check(answered == IDLE, f"{answered} of {IDLE} idle connections live: {restored}")
        stall = max(transfer.longest_stall for transfer in connections.transfers)
        print(
            f"          {variation[0]}, dump {age} s old: all {IDLE + len(connections.transfers)} connections live; "
            f"outage {outage:.1f} s, longest stall {stall:.1f} s",
            flush=True,
        )


def test_all_live(kit):
    for variation in VARIATIONS:
        with Network() as network, Firewall(kit, network) as guest:
            live(guest, variation, 0)


def test_all_live_from_an_old_dump(kit):
    for variation in VARIATIONS:
        with Network() as network, Firewall(kit, network) as guest:
            live(guest, variation, 5)


def test_without_restore_they_die(fresh):
    fresh.load()
    fresh.rules(RULES, scrub="", keep="keep state")
    with Connections(fresh.network) as connections:
        fresh.sh(f"pfs -l && pfs -w {STATES} -b")
        boot_again(fresh, "", "keep state", restore=False)
        moved = [transfer.moved[0] for transfer in connections.transfers if transfer.direction == "down"]
        check(connections.idle.alive(8) == 0, "no idle connection answers")
        # What was in a queue has been taken by now.
        moved = [transfer.moved[0] - before for transfer, before in
                 zip((t for t in connections.transfers if t.direction == "down"), moved)]
        check(max(moved) < FURTHER and all(t.outcome != "complete" for t in connections.transfers), f"no transfer goes on: {moved}")
        check(traffic.connects(fresh.network.lan, "198.51.100.2", 80) is None, "new connections are made")


def test_module_replaced(firewall):
    """A new module under old connections: lock, dump, unload, load, restore, with the interfaces down."""
    firewall.rules(RULES, scrub="", keep="keep state")
    with Connections(firewall.network) as connections:
        firewall.sh("pfs -l && pfs -w /tmp/states -b")
        firewall.sh(f"ifconfig {firewall.lan} down; ifconfig {firewall.wan} down")
        firewall.sh("pfctl -q -d && modunload pf && modload /pf/pf.kmod && pfctl -q -e -f /tmp/pf.conf && pfs -R /tmp/states")
        firewall.sh(f"ifconfig {firewall.lan} up; ifconfig {firewall.wan} up")
        connections.go_on()
        check(connections.idle.alive() == IDLE, "all idle connections live")
