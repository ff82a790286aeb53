"""One NetBSD in QEMU: boot, commands and their exit status, panics, hangs, deadlines.

The kernel is booted into single-user mode, as any root file system can be, and its shell on the console is told to start
`agent.sh` from the payload. The agent takes commands on the second serial port, so that what the kernel says on the console
never mixes with what commands say.
"""

import os
import re
import select
import socket
import subprocess
import tempfile
import time

from . import Failed, boot, check

BOOT_PATIENCE = 180
# What the console says when the kernel is no more.
PANIC = re.compile(rb"(?:^|\n)(?:\[[ 0-9.]*\] ?)?(panic: |fatal [a-z ]*(?:fault|trap)|kernel: .*(?:fault|trap)|Mutex error|"
                   rb"Reader / writer lock error|uvm_fault\(.*\n.*fatal|Stopped in pid |db\{\d+\}> )")
PROMPT = re.compile(rb"db\{\d+\}> ?$|db> ?$")
SINGLE_USER = re.compile(rb"Enter pathname of shell or RETURN for /bin/sh:? *")


class Panicked(Failed):
    """The kernel has ended."""


class Result:
    """How a command in the guest ended: its exit status and what it said, on stdout and stderr."""

    def __init__(self, status, output):
        self.status, self.output = status, output

    @property
    def text(self):
        return self.output.decode("utf-8", "replace")


class Machine:
    """A guest. Use it in a `with`: it is gone when the block ends, whatever happens."""

    def __init__(self, kernel, root, payload, accel="tcg", taps=(), nic="virtio-net-pci", cpus=2, memory=512, log=None, extra=(),
                 inherit=(), grub=False):
        self.kernel, self.root, self.payload, self.accel = kernel, root, payload, accel
        self.taps, self.nic, self.cpus, self.memory, self.extra = taps, nic, cpus, memory, extra
        self.inherit, self.grub = inherit, grub
        self.log = open(log, "ab") if log else None
        self.console = b""
        self.scratch = tempfile.TemporaryDirectory(prefix="pf-vm-")
        self.process = None
        self.number = 0
        self.ended = False
        self.boots = 0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # Beginning and end.

    def start(self):
        # The kernel's console, the agent's port and QEMU's own monitor, each a socket pair of which QEMU has one end.
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)))
        self.serial, self.port, self.monitor = ours
        accel = "kvm" if self.accel == "kvm" else "tcg,thread=multi"
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-accel", accel]
        command += ["-cpu", "host" if self.accel == "kvm" else "max", "-smp", str(self.cpus), "-m", str(self.memory)]
        for name, end in zip(("console", "agent", "monitor"), theirs):
            command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        command += ["-serial", "chardev:console", "-serial", "chardev:agent", "-mon", "chardev=monitor,mode=readline"]
        # The images are never written to: what the guest writes lives in a file that goes with QEMU.
        for number, image in enumerate((self.root, self.payload)):
            command += ["-drive", f"file={image},format=raw,if=none,snapshot=on,id=disk{number}"]
            command += ["-device", f"virtio-blk-pci,drive=disk{number}"]
        for number, tap in enumerate(self.taps):
            command += ["-netdev", f"tap,id=net{number},fd={tap}"]
            command += ["-device", f"{self.nic},netdev=net{number},mac=52:54:00:70:66:{number + 1:02x}"]
        command += ["-device", "virtio-rng-pci"]
        command += boot.arguments(self.kernel, self.scratch.name, self.grub) + list(self.extra)
        inherited = [end.fileno() for end in theirs] + list(self.taps) + list(self.inherit)
        # Snapshots go where there is room.
        environment = dict(os.environ, TMPDIR=self.scratch.name)
        self.process = subprocess.Popen(
            command, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
        for end in theirs:
            end.close()
        self.wait_for_agent()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            for end in (self.serial, self.port, self.monitor):
                end.close()
            self.process = None
        if self.log:
            self.log.close()
            self.log = None
        self.scratch.cleanup()

    def wait_for_agent(self):
        """From power on to a shell that takes commands."""
        began = time.monotonic()
        deadline = began + BOOT_PATIENCE
        self.boots += 1
        mark = len(self.console)
        self.read_console(lambda: SINGLE_USER.search(self.console, mark), deadline, "to get to single-user mode")
        self.drain_port()
        # init(8) may open the console anew behind its question, and what has been typed is lost: so it is said until it is heard.
        while not self.console.endswith(b"# "):
            self.serial.sendall(b"\n")
            said = time.monotonic()
            self.read_console(
                lambda: self.console.endswith(b"# ") or time.monotonic() > said + 1,  # pylint: disable=cell-var-from-loop
                deadline,
                "to give a shell",
            )
        self.serial.sendall(
            b"PATH=/sbin:/bin:/usr/sbin:/usr/bin:/rescue; export PATH; mount -t ffs -u -o rw /dev/ld0a /; [ -d /pf ] || mkdir /pf; "
            b"mount -t ffs -o rw /dev/ld1a /pf; cd /pf; "
            b"exec sh ./agent.sh\n"
        )
        said = self.read_port(lambda data: b"agent ready\n" in data, deadline, "to start the agent")
        check(said.endswith(b"agent ready\n"), "the agent says something else than that it is ready")
        self.boot_seconds = time.monotonic() - began

    # The console and the agent's port.

    def pump(self, timeout):
        """Takes what has come on the console; gives what has come on the port."""
        ready = select.select([self.serial, self.port, self.process.stdout], [], [], max(timeout, 0))[0]
        said = b""
        if self.process.stdout in ready:
            words = os.read(self.process.stdout.fileno(), 65536)
            if not words or self.process.poll() is not None:
                raise Failed(f"QEMU has ended: {words.decode('utf-8', 'replace').strip()}\n{self.tail()}")
            self.hear(words)
        if self.serial in ready:
            data = self.serial.recv(65536)
            check(data, "QEMU has closed the console")
            self.hear(data)
        if self.port in ready:
            said = self.port.recv(65536)
            check(said, "QEMU has closed the agent's port")
        return said

    def hear(self, data):
        searched_from = max(0, len(self.console) - 80)
        self.console += data.replace(b"\r", b"")
        if self.log:
            self.log.write(data)
            self.log.flush()
        if not self.ended and (panic := PANIC.search(self.console, searched_from)):
            self.ended = True
            self.post_mortem(panic.start(1))

    def read_console(self, is_there, deadline, what):
        while not is_there():
            if time.monotonic() > deadline:
                self.hang(what)
            self.pump(0.5)

    def drain_port(self):
        self.port.setblocking(False)
        try:
            while self.port.recv(65536):
                pass
        except BlockingIOError:
            pass
        finally:
            self.port.setblocking(True)

    def read_port(self, is_there, deadline, what):
        data = b""
        while not is_there(data):
            if time.monotonic() > deadline:
                self.hang(what)
            data += self.pump(0.5)
        return data

    # What a person would want to see of a kernel that is no more.

    def tail(self, lines=60):
        return "\n".join(self.console.decode("utf-8", "replace").splitlines()[-lines:])

    def collect(self, seconds, is_enough=lambda: False):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not is_enough():
            try:
                self.pump(0.2)
            except Failed:
                break

    def debugger(self):
        """Asks ddb(4), if it is there, for a backtrace."""
        at_prompt = lambda: PROMPT.search(self.console[-16:])  # noqa: E731
        self.collect(10, at_prompt)
        if not at_prompt():
            return
        for command in (b"bt", b"show registers"):
            self.serial.sendall(command + b"\r")
            mark = len(self.console)
            # A long answer is shown by the page.
            for _ in range(20):
                self.collect(5, lambda: PROMPT.search(self.console[mark + 4 :]) or self.console.endswith(b"--db_more--"))
                if not self.console.endswith(b"--db_more--"):
                    break
                self.serial.sendall(b" ")

    def post_mortem(self, at):
        self.debugger()
        # Whatever comes behind it may push it out of the tail.
        said = self.console[at:].decode("utf-8", "replace").splitlines()[:3]
        raise Panicked(f"the kernel has panicked: {' / '.join(said)}\n{self.tail()}")

    def hang(self, what):
        """The guest has not done in time what it should. Breaks into ddb and says where it is."""
        self.ended = True
        self.monitor.sendall(b"chardev-send-break console\n")
        self.debugger()
        raise Failed(f"NetBSD took too long {what}. What the console says:\n{self.tail()}")

    def check_console(self):
        """Takes what has been said meanwhile; a panic among it raises."""
        self.collect(0.0)
        while select.select([self.serial], [], [], 0)[0]:
            self.pump(0)

    # Commands.

    def run(self, command, timeout=60):
        """Runs a command line, or several, in a shell of its own. Commands are short: files are for the payload."""
        self.number += 1
        token = f"@@{os.getpid()}.{self.number}"
        line = command.replace("\\", "\\\\").replace("\n", "\\n")
        line = f"{token} {line}\n".encode()
        check(len(line) < 1000, "a command for the guest is too long for a terminal's queue")
        self.port.sendall(line)
        end = re.compile(rb"\n" + re.escape(token.encode()) + rb" (\d+)\n$")
        data = self.read_port(end.search, time.monotonic() + timeout, f"for `{command}`")
        match = end.search(data)
        return Result(int(match[1]), data[: match.start()])

    def sh(self, command, timeout=60):
        """What a command says, that has to succeed."""
        result = self.run(command, timeout)
        check(result.status == 0, f"`{command}` failed in the guest with status {result.status}: {result.text.strip()}")
        return result.text

    def fails(self, command, saying="", timeout=60):
        """What a command says, that has to fail."""
        result = self.run(command, timeout)
        check(result.status != 0, f"`{command}` should fail in the guest, and does not: {result.text.strip()}")
        check(saying in result.text, f"`{command}` should say {saying!r}, and says: {result.text.strip()}")
        return result.text

    def write(self, path, text):
        """Puts a small text file into the guest, in pieces that fit a terminal's queue."""
        self.sh(f": >{path}")
        for start in range(0, len(text), 400):
            piece = text[start : start + 400].replace("'", "'\\''")
            self.sh(f"printf %s '{piece}' >>{path}")

    def reboot(self):
        """reboot(8), without a word to anybody, until there is a shell again. The disks keep what was synced."""
        self.number += 1
        self.port.sendall(f"@@reboot{self.number} sync; reboot -q\n".encode())
        self.wait_for_agent()

    def gdb(self, path):
        """Lets QEMU listen for a debugger on a Unix socket."""
        self.monitor.sendall(f"gdbserver unix:{path},server=on,wait=off\n".encode())
