"""What a guest is made of, without a NetBSD."""

import os
import struct
import tempfile
import types

from netbsd import Failed, NotRun, bench, check
from netbsd import kit as kits


def write_kernel(directory, version, number=None):
    """A file that has of a kernel what tells its version."""
    path = f"{directory}/netbsd-{version}-{number}"
    with open(path, "wb") as file:
        file.write(f"\0@(#)NetBSD {version} (GENERIC) #0: some day\n\0".encode())
        if number:
            file.write(struct.pack("<III8sI", 7, 4, 1, b"NetBSD", number))
    return path


def make_kit(kernel, debug_kernel=None):
    options = types.SimpleNamespace(log=None, cpus=1, accel="tcg")
    return kits.Kit("test", kernel, "root", debug_kernel, options=options)


def raises(kind, do, saying):
    try:
        do()
    except kind as error:
        check(saying in str(error), f"it should say {saying!r}, and says: {error}")
        return
    raise Failed(f"it should end, saying {saying!r}")


def test_kernel_says_its_version():
    with tempfile.TemporaryDirectory() as scratch:
        for version, number, short in (("10.1", 1001000000, "10.1"), ("11.0_RC1", 1099009900, "11.0"), ("10.99.12", 1099001200, "10.99.12")):
            kit = make_kit(write_kernel(scratch, version, number))
            check((kit.version, kit.number) == (short, number), f"{version} is taken for {kit.version}, {kit.number}")
        for version, number in (("10.1", 1001000000), ("10.99.12", 1099001200), ("11.0.1", 1100000100)):
            check(make_kit(write_kernel(scratch, version)).number == number, f"without a note {version} is {number}")


def test_debug_kernel_goes_with_its_release():
    with tempfile.TemporaryDirectory() as scratch:
        kernels = {version: write_kernel(scratch, version, number) for version, number in (("10.1", 1001000000), ("11.0", 1100000000))}
        debug = write_kernel(scratch, "11.0_STABLE", 1100000000)
        check(make_kit(kernels["11.0"], debug).with_debug_kernel().kernel == debug, "it is taken for its own release")
        raises(NotRun, make_kit(kernels["10.1"], debug).with_debug_kernel, "NETBSD_DEBUG_KERNEL is NetBSD 11.0 (1100000000), and this is 10.1")
        raises(NotRun, make_kit(kernels["10.1"]).with_debug_kernel, "names no kernel")


def test_module_is_built_for_the_kernel():
    """Otherwise it is said before anything is built, and not by a modload that fails."""
    saved = os.environ.pop("NETBSD_SYS", None)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            check(kits.sources_of_module("11.0", 1100000000) == ("--netbsd", "11.0"), "a release by its headers")
            check(kits.sources_of_module("11.0", 1100000100) == ("--netbsd", "11.0"), "a branch behind it loads the same module")
            raises(Failed, lambda: kits.sources_of_module("11.0", 1099009900), "1099009900, and loads no module of another")
            raises(Failed, lambda: kits.sources_of_module("10.99.12", 1099001200), "NETBSD_SYS has to be")
            os.mkdir(f"{scratch}/sys")
            with open(f"{scratch}/sys/param.h", "w", encoding="ascii") as file:
                file.write("#define\t__NetBSD_Version__\t1099001200\t/* NetBSD 10.99.12 */\n")
            os.environ["NETBSD_SYS"] = scratch
            check(kits.sources_of_module("10.99.12", 1099001200) == ("--sys", scratch), "any other by its sources")
            raises(Failed, lambda: kits.sources_of_module("10.99.13", 1099001300), "NETBSD_SYS is of 1099001200")
            os.environ["NETBSD_SYS"] = "/nowhere/at/all"
            raises(Failed, lambda: kits.sources_of_module("10.1", 1001000000), "NETBSD_SYS is not the sys/ of a source tree")
    finally:
        os.environ.pop("NETBSD_SYS", None)
        if saved is not None:
            os.environ["NETBSD_SYS"] = saved


def test_bench_emulates():
    """QEMU's plugins see nothing of what KVM executes."""
    kit = types.SimpleNamespace(kernel="kernel", root="root", payload="payload", accel="kvm", log=None, cpus=2)
    counter = types.SimpleNamespace(arguments=[], pipes=[])
    with tempfile.TemporaryDirectory() as scratch:
        guest = bench.Bench(kit, None, counter, scratch)
        guest.stop()
    check((guest.accel, guest.cpus) == ("tcg", 1), f"a bench needs one emulated CPU, and has {guest.cpus}, {guest.accel}")
