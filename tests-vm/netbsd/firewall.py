"""pf in a guest: loading it, giving it rules, asking it things."""

import re

from . import check
from .machine import Machine
from .network import LAN4, LAN6, WAN4, WAN6, Network
from .traffic import wait_until

NICS = {"virtio-net-pci": "vioif", "e1000": "wm"}

# What most tests want: the inside may go out, translated; nobody may come in.
NAT_RULES = """\
nat on {wan} inet from 10.0.0.0/24 to any -> 198.51.100.1
block all
pass in on {lan} inet from 10.0.0.0/24 to any {tcp}keep state
pass out on {wan} inet from 198.51.100.1 to any {tcp}keep state
"""


class Firewall(Machine):
    """A guest that is the router between the two sides of a network."""

    def __init__(self, kit, network=None, nic="virtio-net-pci", **options):
        self.network = network
        self.kit = kit
        driver = NICS[nic]
        self.lan, self.wan = f"{driver}0", f"{driver}1"
        super().__init__(
            kit.kernel, kit.root, kit.payload, accel=kit.accel, taps=network.taps if network else (), nic=nic, log=kit.log, cpus=kit.cpus, **options
        )

    def start(self):
        super().start()
        self.set_up()

    def set_up(self):
        """Addresses, and forwarding. After each boot; nothing of it is on the disk."""
        if not self.network:
            return
        self.sh("sysctl -qw net.inet.ip.forwarding=1; sysctl -qw net.inet6.ip6.forwarding=1; sysctl -qw net.inet6.ip6.dad_count=0; ifconfig lo0 127.0.0.1")
        for name, four, six in ((self.lan, LAN4[0], LAN6[0]), (self.wan, WAN4[0], WAN6[0])):
            self.sh(f"ifconfig {name} inet {four}/24 && ifconfig {name} inet6 {six} prefixlen 64")
        # A card that has a link to negotiate takes some seconds over it.
        for name in (self.lan, self.wan):
            wait_until(lambda: "no carrier" not in self.sh(f"ifconfig {name}"), f"the link of {name}")  # pylint: disable=cell-var-from-loop

    def restart(self, up=True):
        """reboot(8), and what has to be set up again."""
        self.reboot()
        if up:
            self.set_up()

    # pf.

    def load(self):
        self.sh("modload /pf/pf.kmod")

    def unload(self):
        self.sh("modunload pf")

    def rules(self, text, enable=True, **more):
        """Loads rules. `{lan}` and `{wan}` are the interfaces."""
        text = text.format(lan=self.lan, wan=self.wan, **{"tcp": "", **more})
        self.write("/tmp/pf.conf", text)
        self.sh("pfctl -q " + ("-e " if enable and not self.is_enabled() else "") + "-f /tmp/pf.conf")

    def has(self, program):
        """Whether the root file system has a program."""
        return self.run(f"[ -x {program} ]").status == 0

    def is_loaded(self):
        return any(line.startswith("pf ") for line in self.run("modstat -n pf").text.splitlines())

    def is_enabled(self):
        return "Status: Enabled" in self.run("pfctl -s info").text

    def states(self):
        return self.sh("pfctl -s states").splitlines()

    def counter(self, name):
        """A counter of `pfctl -s info`."""
        said = self.sh("pfctl -v -s info")
        match = re.search(rf"^\s+{re.escape(name)}\s+(\d+)", said, re.MULTILINE)
        check(match, f"`pfctl -s info` has no counter {name}: {said}")
        return int(match[1])

    def is_locked(self):
        return self.run("pfprobe locked").status == 0

    def clear(self):
        """As if just loaded: no rules, no states, disabled. What another test left goes."""
        self.run("pfs -u")
        self.run("pfctl -q -d; pfctl -q -F all")
        self.check_console()


__all__ = ["Firewall", "NAT_RULES", "Network"]
