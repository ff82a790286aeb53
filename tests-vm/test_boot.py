"""How NetBSD starts, and etc/rc.d/pf_states: states are saved at shutdown and restored at boot, in the order that loses nothing."""

from netbsd import check, need, traffic
from netbsd.firewall import NAT_RULES, Firewall

SCRIPT = "/etc/rc.d/pf_states"
DUMP = "/var/db/pf.states"
# As /etc/rc and /etc/rc.shutdown set it: ours are where README.md has them put, NetBSD's pfs is there too.
PATH = "PATH=/sbin:/bin:/usr/sbin:/usr/bin"
RUN = f"{PATH} {SCRIPT}"


def install(guest):
    install_script(guest)
    guest.sh("cp /pf/bin/pfctl /sbin/pfctl; cp /pf/bin/pfs /sbin/pfs; chmod 555 /sbin/pfctl /sbin/pfs")


def install_script(guest):
    need(guest.run("[ -f /etc/rc.subr ]").status == 0, "the root file system has no /etc/rc.subr")
    guest.sh(f"mkdir -p /etc/rc.d /var/db; cp /pf/rc.d/pf_states {SCRIPT}; chmod 555 {SCRIPT}; echo pf_states=YES >>/etc/rc.conf; : >>/etc/rc.conf.local")


def position(guest, options, names):
    """Where the scripts stand in rcorder(8)'s order."""
    # Its status says whether all is there that any of them requires, which is none of ours.
    order = guest.run(f"rcorder {options} /etc/rc.d/* 2>/dev/null").text.split()
    return [order.index(f"/etc/rc.d/{name}") for name in names]


def test_order(firewall):
    need(firewall.has("/sbin/rcorder"), "the root file system has no /sbin/rcorder")
    need(firewall.has("/etc/rc.d/pf_boot") and firewall.has("/etc/rc.d/network"), "the root file system has no /etc/rc.d of NetBSD's")
    install_script(firewall)
    rules, states, network, pf = position(firewall, "", ("pf_boot", "pf_states", "network", "pf"))
    check(rules < states < network < pf, "at boot: pf is enabled, states are restored, interfaces come up")
    # Shutdown goes from the end.
    down, states = position(firewall, "-k shutdown", ("downinterfaces", "pf_states"))
    check(down < states, "at shutdown: states are saved, interfaces go down")


def test_saved_and_restored(fresh):
    install(fresh)
    fresh.load()
    fresh.rules(NAT_RULES)
    fresh.sh("cp /tmp/pf.conf /etc/pf.conf")
    with traffic.Server(fresh.network.wan, 80):
        idle = traffic.Idle(fresh.network.lan, "198.51.100.2", 80, 10)
        said = fresh.sh(f"{RUN} stop")
        check("Saving pf states" in said and fresh.is_locked(), f"the table stays locked behind the dump: {said}")
        check(fresh.sh(f"ls -l {DUMP}").startswith("-rw-------"), "only root can read the dump")
        fresh.restart(up=False)
        fresh.load()
        fresh.sh("pfctl -q -e")
        said = fresh.sh(f"{RUN} start")
        check("Restoring pf states" in said and not fresh.is_locked(), f"it is restored and unlocked: {said}")
        fresh.set_up()
        check(idle.alive() == 10, "the connections live")
        # Once is enough: an old dump must not come back after the next boot.
        check(fresh.run(f"[ -e {DUMP} ]").status != 0, "the dump has done its duty")
        check(fresh.sh(f"{RUN} start") == "", "without a dump there is nothing to do")
        check(idle.alive() == 10, "and nothing changes")
        idle.close()


def test_broken_dump_does_not_keep_the_network_down(fresh):
    install(fresh)
    fresh.load()
    fresh.sh(f"pfctl -q -e; echo rubbish >{DUMP}")
    fresh.fails(f"{RUN} start", "not restored")
    check(not fresh.is_locked(), "the table is not left locked")
    check(fresh.run(f"[ -e {DUMP}.refused ]").status == 0, "what was refused can be looked at")
    check(traffic.ping(fresh.network.lan, "198.51.100.2"), "packets pass")


def refuses(guest, saying):
    """The script does nothing to anything, and says why."""
    before = guest.sh(f"cksum {DUMP}; ls -l {DUMP}*")
    for word, outcome in (("start", "not restored"), ("stop", "not saved"), ("save", "")):
        said = guest.fails(f"{RUN} {word}", saying)
        check(outcome in said, f"it says what has not been done: {said}")
        check(guest.sh(f"cksum {DUMP}; ls -l {DUMP}*") == before, f"{word} leaves the dump as it was")
        check(not guest.is_locked(), f"{word} leaves the table as it was")
    check("pass" not in guest.sh("pfctl -s rules"), "no rules are loaded for states that do not come")


def test_pfs_that_is_not_there_does_no_harm(fresh):
    """As one in a /usr that is not mounted yet."""
    install_script(fresh)
    fresh.load()
    fresh.sh(f"rm -f /sbin/pfs; echo 'pass all' >/etc/pf.conf; pfs -W {DUMP} -b; mkdir /tmp/usr")
    refuses(fresh, "no /sbin/pfs")
    fresh.sh("echo pfs_program=/tmp/usr/pfs >>/etc/rc.conf")
    refuses(fresh, "no /tmp/usr/pfs")
    fresh.sh("cp /pf/bin/pfs /tmp/usr/pfs")
    fresh.sh(f"{RUN} start")
    check(fresh.run(f"[ -e {DUMP}.restored ]").status == 0, "it is restored when it is there")


def test_pfs_of_netbsd_does_no_harm(fresh):
    """Restoring nothing, it would call that a success."""
    need(fresh.has("/usr/sbin/pfs"), "the root file system has no /usr/sbin/pfs of NetBSD's")
    install_script(fresh)
    fresh.load()
    fresh.sh(f"echo pfs_program=/usr/sbin/pfs >>/etc/rc.conf; echo 'pass all' >/etc/pf.conf; pfs -W {DUMP} -b")
    refuses(fresh, "/usr/sbin/pfs is not the pfs of this pf")


def test_grub_boots_it(kit):
    """As it does a kernel without a PVH entry, which QEMU cannot start; and once more, after a reboot."""
    with Firewall(kit, grub=True) as guest:
        check(kit.version in guest.sh("uname -r || sysctl -n kern.osrelease"), "the kernel is up")
        guest.restart(up=False)
        guest.load()
