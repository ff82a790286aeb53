"""/dev/pf: who may do what, and what a hostile caller can do, which is nothing."""

from netbsd import check, need, traffic
from netbsd.traffic import wait_until


def test_device_is_root_s(firewall):
    said = firewall.sh("ls -ln /dev/pf")
    check(said.startswith("crw-------") and said.split()[2] == "0", f"it is root's alone: {said}")
    check(firewall.sh("pfprobe open").split() == ["0", "0"], "root can open it")


def test_a_reader_can_change_nothing(firewall):
    firewall.rules("pass all\n")
    said = firewall.sh("pfprobe reader")
    check(said == "", f"each error is EACCES: {said}")
    check(firewall.is_enabled() and not firewall.is_locked(), "it is as it was")
    check("pass" in firewall.sh("pfctl -s rules"), "so are the rules")


def test_hostile_arguments(firewall):
    said = firewall.sh("pfprobe hostile", timeout=120)
    check(said == "", f"nothing of it is taken: {said}")
    firewall.check_console()
    firewall.run("pfs -u")
    check(firewall.sh("pfctl -s info") != "", "pf goes on")


def test_every_ioctl_by_netbsd_s_own_header(firewall):
    """tests-c/pfioctl.c, which knows nothing of ours."""
    need(firewall.has("/libexec/ld.elf_so"), "the root file system has no shared libraries")
    result = firewall.run("pfioctl -q")
    said = result.text
    check(result.status == 0 and "1.." in said, f"every check passes:\n{said}")
    check("SKIP" not in said, f"and none is skipped:\n{said}")


def test_lock_needs_a_writer(firewall):
    firewall.sh("pfs -l")
    check(firewall.is_locked(), "it is locked")
    firewall.sh("pfs -u")
    check(not firewall.is_locked(), "it is unlocked")


def test_a_file_is_the_device(firewall):
    said = firewall.sh("pfprobe file")
    check(said == "", f"it is what /dev/pf is: {said}")


def test_a_lock_goes_with_its_file(firewall):
    """While the process that took it lives on, and another has the device open."""
    firewall.sh("pfprobe hold 600 >/tmp/held & echo $! >/tmp/other; while ! [ -s /tmp/held ]; do :; done")
    firewall.sh("pfprobe closes 600 >/tmp/said & echo $! >/tmp/taker")
    wait_until(lambda: len(firewall.sh("cat /tmp/said").split()) == 2, "it has said all")
    said = firewall.sh("cat /tmp/said").split()
    check(said == ["1", "0"], f"it locked, and with the close it is unlocked: {said}")
    firewall.sh("kill -0 $(cat /tmp/taker) && kill -0 $(cat /tmp/other)")
    check(not firewall.is_locked(), "both are there, and it is unlocked")
    firewall.sh("kill $(cat /tmp/taker) $(cat /tmp/other); wait")


def test_a_dup_keeps_a_lock(firewall):
    said = firewall.sh("pfprobe dups").split()
    check(said == ["1", "1", "1", "0"], f"locked, still after the first close, renewed by the dup, and gone with it: {said}")


def test_a_child_inherits_lock_and_transaction(firewall):
    """It goes on with what it has of a process that has ended, and commits no rules."""
    firewall.rules("pass all\n")
    said = firewall.sh("pfprobe inherits").split()
    check(said == ["0", "1", "0", "1", "0"], f"begun, locked; committed, still locked, and then unlocked: {said}")
    check("pass" not in firewall.sh("pfctl -s rules"), "what it committed is there")
    check(not firewall.is_locked(), "and it is unlocked")


def test_an_open_that_fails_leaves_nothing(firewall):
    """For a moment it takes two descriptors. With one left it is EMFILE, and that one is left still."""
    said = firewall.sh("pfprobe full").split()
    check(said == ["24", "0", "1"], f"EMFILE, then it opens, and one is left: {said}")
    firewall.unload()
    firewall.load()


def test_securelevel_keeps_rules(fresh):
    """At securelevel 2 rules stay as they are; counters, the lock and states may still change, as ever."""
    fresh.load()
    fresh.rules("pass all\n")
    fresh.sh("sysctl -w kern.securelevel=2")
    fresh.write("/tmp/other.conf", "block all\n")
    fresh.fails("pfctl -q -f /tmp/other.conf")
    fresh.fails("pfctl -q -d")
    fresh.fails("pfctl -q -F states")
    check("pass" in fresh.sh("pfctl -s rules"), "the rules are as they were")
    fresh.sh("pfctl -q -F info")
    fresh.sh("pfs -W /tmp/states -b")
    fresh.sh("pfs -R /tmp/states")


def test_pfctl_of_netbsd(firewall):
    """NetBSD's own pfctl loads rules into our module and shows states of it."""
    need(firewall.has("/sbin/pfctl"), "the root file system has no /sbin/pfctl of NetBSD's")
    firewall.write("/tmp/own.conf", f"pass in on {firewall.lan} all keep state\npass out on {firewall.wan} all keep state\n")
    firewall.sh("/sbin/pfctl -e -f /tmp/own.conf")
    with traffic.Server(firewall.network.wan, 80):
        connection = traffic.connect(firewall.network.lan, "198.51.100.2", 80)
        said = firewall.sh("/sbin/pfctl -s states")
        check("198.51.100.2:80" in said and "ESTABLISHED" in said, f"it shows the connection: {said}")
        check("pass in on" in firewall.sh("/sbin/pfctl -s rules"), "and the rules")
        firewall.sh("/sbin/pfctl -F states")
        check("198.51.100.2:80" not in firewall.sh("/sbin/pfctl -s states"), "and removes states")
        connection.close()
    firewall.sh("/sbin/pfctl -d")


def test_pfs_of_netbsd(firewall):
    """NetBSD's own pfs dumps our states and puts them back."""
    need(firewall.has("/usr/sbin/pfs"), "the root file system has no /usr/sbin/pfs of NetBSD's")
    firewall.rules("pass all flags S/SA keep state\n")
    with traffic.Server(firewall.network.wan, 80):
        idle = traffic.Idle(firewall.network.lan, "198.51.100.2", 80, 5)
        firewall.sh("/usr/sbin/pfs -W /tmp/netbsd.states -b")
        firewall.rules("block drop all\n")
        firewall.sh("pfctl -q -F states")
        check(idle.alive(2) == 0, "without their states they stand still")
        firewall.sh("/usr/sbin/pfs -R /tmp/netbsd.states -b")
        check(idle.alive() == 5, "with their states they live")
        idle.close()
