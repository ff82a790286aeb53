"""Two network namespaces with a TAP device each, and the guest as the router between them.

A namespace, and with it the device, has a name made from this process's number, so nothing clashes. Sockets are made in a
namespace by a thread that goes there for a moment; they stay there, whoever uses them then.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading

from . import check

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

# The inside, with addresses that the outside need not know, and the outside. Each is (the guest's, ours).
LAN4, WAN4 = ("10.0.0.1", "10.0.0.2"), ("198.51.100.1", "198.51.100.2")
LAN6, WAN6 = ("fd00:1::1", "fd00:1::2"), ("2001:db8::1", "2001:db8::2")


def ip(*words):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    check(done.returncode == 0, f"`ip {' '.join(words)}` failed: {done.stdout.strip()}")
    return done.stdout


class Side:
    """One namespace and its device, `tap0`."""

    def __init__(self, name, label, four, six):
        self.name, self.label = f"{name}-{label}", label
        self.router4, self.address4 = four
        self.router6, self.address6 = six
        ip("netns", "add", self.name)
        self.taps = [self.within(self.open_tap)]
        ip("-n", self.name, "address", "add", f"{self.address4}/24", "dev", "tap0")
        ip("-n", self.name, "address", "add", f"{self.address6}/64", "dev", "tap0", "nodad")
        ip("-n", self.name, "link", "set", "tap0", "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "route", "add", "default", "via", self.router4)
        ip("-n", self.name, "-6", "route", "add", "default", "via", self.router6)

    @staticmethod
    def open_tap():
        """The device, with the header in which a checksum may be left open, as virtio has it."""
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        return tap

    def within(self, do):
        """What `do()` gives when it is done in the namespace."""
        outcome = {}

        def go():
            try:
                with open(f"/run/netns/{self.name}", encoding="ascii") as namespace:
                    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                outcome["value"] = do()
            except BaseException as error:  # pylint: disable=broad-except
                outcome["error"] = error

        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        return self.within(lambda: socket.socket(family, kind, protocol))

    def run(self, *command, timeout=60):
        """A program in the namespace: its status and what it says."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False
        )
        return done.returncode, done.stdout

    def close(self):
        for tap in self.taps:
            os.close(tap)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


class Network:
    """Both sides. Use it in a `with`."""

    count = 0

    def __enter__(self):
        Network.count += 1
        name = f"pfvm-{os.getpid()}-{Network.count}"
        self.lan = Side(name, "lan", LAN4, LAN6)
        try:
            self.wan = Side(name, "wan", WAN4, WAN6)
        except BaseException:
            self.lan.close()
            raise
        return self

    def __exit__(self, *_):
        self.lan.close()
        self.wan.close()

    @property
    def taps(self):
        return [self.lan.taps[0], self.wan.taps[0]]
