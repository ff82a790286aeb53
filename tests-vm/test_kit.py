"""What a guest is made of, without a NetBSD."""

import tempfile
import types

from netbsd import bench, check


def test_bench_emulates():
    """QEMU's plugins see nothing of what KVM executes."""
    kit = types.SimpleNamespace(kernel="kernel", root="root", payload="payload", accel="kvm", log=None, cpus=2)
    counter = types.SimpleNamespace(arguments=[], pipes=[])
    with tempfile.TemporaryDirectory() as scratch:
        guest = bench.Bench(kit, None, counter, scratch)
        guest.stop()
    check((guest.accel, guest.cpus) == ("tcg", 1), f"a bench needs one emulated CPU, and has {guest.cpus}, {guest.accel}")
