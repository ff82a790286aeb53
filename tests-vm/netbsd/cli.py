"""The commands of scripts/vm."""

import argparse
import os
import sys
import termios
import time
import tty

from . import Failed
from .firewall import Firewall, Network
from .kit import HOW_TO_GET_ONE, is_at_hand, kits, leftovers, make_image, release_names, say, scratch_directory
from .machine import Machine
from .runner import Session, collect

TESTS = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def parser():
    top = argparse.ArgumentParser(prog="scripts/vm", description="pf's module on a real NetBSD kernel in QEMU.", epilog=f"Which NetBSD: {HOW_TO_GET_ONE}.")
    top.add_argument("--log", metavar="FILE", help="append what the guest's console says to a file")
    top.add_argument("--cpus", type=int, default=0, metavar="N", help="CPUs of the guest (2, or as many as this machine has)")
    top.add_argument("--accel", choices=("kvm", "tcg"), help="do not try which is faster")
    top.add_argument("--no-build", action="store_true", help="take the module as it lies in dist/")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    image = commands.add_parser("image", help="fetch a release and make a root file system of it")
    image.add_argument("--again", action="store_true", help="even if it is there")
    commands.add_parser("available", help="exit status 0 if there is a NetBSD, or one can be fetched")
    run = commands.add_parser("run", help="boot, run a script or a command, end; the exit status is its own")
    run.add_argument("--timeout", type=int, default=300, metavar="SECONDS", help="when to give up (300)")
    run.add_argument("script", nargs="?", help="a shell script, run in the guest")
    commands.add_parser("shell", help="boot, and give a shell on the console; ^] ends")
    test = commands.add_parser("test", help="run tests-vm/, or the tests whose names contain a PATTERN")
    test.add_argument("pattern", nargs="*", metavar="PATTERN")
    test.add_argument("--host", action="store_true", help="only those that take no NetBSD")
    test.add_argument("--list", action="store_true", help="say only which there are")
    bench = commands.add_parser("bench", help="count instructions per forwarded packet, and measure the kernel's stack")
    bench.add_argument("--profile", action="store_true", help="say where the instructions go, by function")
    return top


def main(arguments):
    command = None
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    options = parser().parse_args(arguments)
    leftovers()
    try:
        return COMMANDS[options.command](options, command)
    except Failed as error:
        say(f"scripts/vm: {error}")
        return 1


def image(options, _):
    for _, source in release_names():
        print(make_image(source, options.again)[0])
    return 0


def available(_options, _):
    if is_at_hand():
        return 0
    say(f"no NetBSD is at hand: {HOW_TO_GET_ONE}")
    return 1


def first_kit(scratch, options):
    kit = kits(scratch, options)[0]
    kit.make_payload(scratch, not options.no_build)
    return kit


def run(options, command):
    if bool(options.script) == bool(command):
        raise Failed("run takes a script, or -- and a command")
    with scratch_directory() as scratch:
        kit = first_kit(scratch, options)
        with Machine(kit.kernel, kit.root, kit.payload, accel=kit.accel, log=kit.log, cpus=kit.cpus) as guest:
            if options.script:
                with open(options.script, encoding="utf-8") as file:
                    guest.write("/tmp/script", file.read())
                line = "sh /tmp/script"
            else:
                line = " ".join(command)
            result = guest.run(line, options.timeout)
            sys.stdout.buffer.write(result.output)
            sys.stdout.flush()
            guest.check_console()
            return result.status


def shell(options, _):
    """The console, until ^] or the guest's end. The module and tools are in /pf."""
    with scratch_directory() as scratch:
        kit = first_kit(scratch, options)
        with Network() as network, Firewall(kit, network) as guest:
            say(
                f"NetBSD {kit.version} is up in {guest.boot_seconds:.1f} s, a router between the namespaces {network.lan.name} and "
                f"{network.wan.name}; the module and the tools are in /pf; ^] ends"
            )
            # A second shell, on the console, while the agent waits.
            guest.sh("sh -i </dev/console >/dev/console 2>&1 & :")
            converse(guest)
    return 0


def converse(guest):
    """Joins this terminal and the console."""
    import select  # pylint: disable=import-outside-toplevel

    saved = termios.tcgetattr(0) if sys.stdin.isatty() else None
    try:
        if saved:
            tty.setraw(0)
        while guest.process.poll() is None:
            ready = select.select([0, guest.serial], [], [])[0]
            if guest.serial in ready:
                data = guest.serial.recv(65536)
                os.write(1, data)
                if not data:
                    return
            if 0 in ready:
                data = os.read(0, 1024)
                if not data or b"\x1d" in data:
                    return
                guest.serial.sendall(data)
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def test(options, _):
    tests = collect(TESTS, options.pattern, options.host)
    if options.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not tests:
        raise Failed("no test has such a name")
    if options.host:
        failed, not_run = Session(None, lambda text: print(text, flush=True)).run(tests)
        print(f"without a NetBSD: {len(tests) - len(failed) - len(not_run)} passed, {len(failed)} failed", flush=True)
        return 1 if failed or not_run else 0
    failures = 0
    with scratch_directory() as scratch:
        for kit in kits(scratch, options):
            began = time.monotonic()
            kit.make_payload(scratch, not options.no_build)
            built = time.monotonic() - began
            print(f"NetBSD {kit.version} ({kit.kernel}), {kit.accel}, {kit.cpus} CPUs", flush=True)
            session = Session(kit, lambda text: print(text, flush=True))
            try:
                failed, not_run = session.run(tests)
            finally:
                session.close()
            boots = f"{len(session.boots)} boots of {sum(session.boots) / len(session.boots):.1f} s" if session.boots else "no boot"
            print(
                f"NetBSD {kit.version}: {len(tests) - len(failed) - len(not_run)} passed, {len(failed)} failed, {len(not_run)} did not run; "
                f"{time.monotonic() - began - built:.0f} s, {boots}; the build before that {built:.0f} s",
                flush=True,
            )
            failures += len(failed)
    return 1 if failures else 0


def bench(options, _):
    from . import bench as benchmark  # pylint: disable=import-outside-toplevel

    with scratch_directory() as scratch:
        kit = first_kit(scratch, options)
        benchmark.run(kit, scratch, options.profile)
    return 0


COMMANDS = {"image": image, "available": available, "run": run, "shell": shell, "test": test, "bench": bench}
