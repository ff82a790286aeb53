"""Whether KVM works here. On some hosts /dev/kvm opens and then runs a kernel far slower than TCG, or not at all: so it is
tried, with the kernel that is to be run, and the faster of the two is taken. The answer is kept until this host boots again.
"""

import os
import select
import subprocess
import tempfile
import time

from . import boot
from .release import cache_directory

# What is waited for: the kernel has found its devices, and looks for a root file system that it is not given.
PATIENCE = 30


def seconds_to_root(kernel, accel, patience):
    """How long the kernel takes to look for its root, or None where it does not get there."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-m", "256", "-accel", accel]
        command += ["-cpu", "host" if accel == "kvm" else "max", "-serial", "stdio", *boot.arguments(kernel, scratch)]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said = b""
        try:
            while (left := began + patience - time.monotonic()) > 0:
                if select.select([process.stdout], [], [], left)[0]:
                    data = os.read(process.stdout.fileno(), 65536)
                    if not data:
                        return None
                    said += data
                    if b"root device" in said or b"boot device" in said or b"root on " in said:
                        return time.monotonic() - began
            return None
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def choose(kernel, say):
    """`kvm` or `tcg`."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        memo = os.path.join(cache_directory(), f"accel-{file.read().strip()}")
    if os.path.exists(memo):
        with open(memo, encoding="ascii") as file:
            return file.read().strip()
    tcg = seconds_to_root(kernel, "tcg", PATIENCE)
    kvm = seconds_to_root(kernel, "kvm", tcg or PATIENCE)
    chosen = "kvm" if kvm is not None else "tcg"
    shown = {name: "never gets" if took is None else f"takes {took:.1f} s" for name, took in (("kvm", kvm), ("tcg", tcg))}
    say(f"KVM was tried: it {shown['kvm']} to the root file system, emulation {shown['tcg']}: {chosen} it is")
    with open(memo, "w", encoding="ascii") as file:
        file.write(chosen + "\n")
    return chosen
