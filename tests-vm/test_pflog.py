"""Logged packets: pflog interfaces come and go, and bpf(4) shows on them what rules log. The lock that goes with its owner."""

import threading

from netbsd import check, traffic
from netbsd.traffic import ping, wait_until


def test_interfaces_come_and_go(firewall):
    firewall.sh("ifconfig pflog0 create && ifconfig pflog15 create up")
    check("UP,RUNNING" in firewall.sh("ifconfig pflog15").replace("=", ","), "it is up")
    firewall.fails("ifconfig pflog16 create")
    firewall.fails("ifconfig pflog0 create")
    firewall.sh("ifconfig pflog0 destroy && ifconfig pflog15 destroy")
    firewall.fails("ifconfig pflog0")
    firewall.check_console()


def test_bpf_shows_what_rules_log(firewall):
    firewall.rules("pass all no state\nblock in log on {lan} inet proto icmp all\n")
    firewall.sh("ifconfig pflog0 create up")
    try:
        firewall.sh("pfprobe pflog pflog0 2 >/tmp/shown 2>&1 &")
        wait_until(lambda: "reading" in firewall.sh("cat /tmp/shown"), "somebody reads")
        ping(firewall.network.lan, "198.51.100.2", "-c", "2", "-i", "0.2", "-W", "1")
        wanted = ["reading"] + [f"1 0 1 {firewall.lan} 1"] * 2
        wait_until(lambda: firewall.sh("cat /tmp/shown").splitlines() == wanted, "both are shown, as blocked by rule 1")
    finally:
        firewall.sh("ifconfig pflog0 destroy")
    firewall.check_console()


def test_an_interface_goes_while_it_is_read(firewall):
    firewall.rules("pass log all no state\n")
    firewall.sh("ifconfig pflog0 create up; pfprobe pflog pflog0 1000000 >/dev/null 2>&1 &")
    traffic = threading.Thread(target=ping, args=(firewall.network.lan, "198.51.100.2", "-f", "-c", "500"))
    traffic.start()
    while traffic.is_alive():
        firewall.sh("ifconfig pflog0 destroy; ifconfig pflog0 create up; pfprobe pflog pflog0 1000000 >/dev/null 2>&1 &")
    traffic.join()
    firewall.sh("ifconfig pflog0 destroy")
    firewall.check_console()


def test_readers_come_and_go_while_packets_are_logged(firewall):
    """When the last reader has gone there is nobody to show a packet to: who is about to show one has to notice in time."""
    firewall.rules("pass log all no state\n")
    firewall.sh("ifconfig pflog0 create up")
    try:
        with traffic.Datagrams(firewall.network.wan, 7) as echo, traffic.Flood(firewall.network.lan, "198.51.100.2", 7) as flood:
            sent = flood.sent
            firewall.sh("pfprobe readers pflog0 4000", timeout=600)
            check(flood.sent > sent and len(echo.peers) > 0, "packets went on meanwhile")
    finally:
        firewall.run("ifconfig pflog0 destroy")
    firewall.check_console()


def test_the_module_leaves_with_its_interfaces(fresh):
    for _ in range(3):
        fresh.load()
        fresh.sh("ifconfig pflog0 create up && ifconfig pflog1 create")
        fresh.unload()
        fresh.fails("ifconfig pflog0")
        fresh.fails("ifconfig pflog0 create")
    fresh.check_console()


def test_a_lock_goes_with_its_process(firewall):
    """Somebody else has the device open all the while, so that no last close helps."""
    firewall.sh("pfprobe hold 30 >/dev/null 2>&1 &")
    firewall.sh("pfprobe lock 3 >/tmp/lock 2>&1 &")
    wait_until(lambda: "locked" in firewall.sh("cat /tmp/lock") and firewall.is_locked(), "it is locked")
    wait_until(lambda: not firewall.is_locked(), "the process has ended, and the lock with it")
    firewall.check_console()
