"""How a kernel is started: by QEMU itself where it has an entry for that (PVH), else by GRUB from a CD image."""

import os
import shutil
import struct
import subprocess
import tempfile

from . import Failed, check

# XEN_ELFNOTE_PHYS32_ENTRY of a note by "Xen": where a PVH start enters the kernel.
NOTE_PHYS32_ENTRY = 18
PT_NOTE = 4


def has_pvh_entry(kernel):
    """Whether `qemu -kernel` can start it."""
    with open(kernel, "rb") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            raise Failed(f"{kernel} is not an amd64 kernel")
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        for index in range(count):
            file.seek(table + size * index)
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", file.read(size))
            if kind == PT_NOTE:
                file.seek(offset)
                if NOTE_PHYS32_ENTRY in xen_notes(file.read(length)):
                    return True
    return False


def xen_notes(data):
    """The types of the notes by Xen."""
    at, found = 0, set()
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        name = data[at + 12 : at + 12 + name_size]
        if name == b"Xen\0":
            found.add(kind)
        at += 12 + (name_size + 3 & ~3) + (size + 3 & ~3)
    return found


def grub_image(kernel, image):
    """A CD image whose GRUB starts the kernel in single-user mode, on the serial console."""
    check(shutil.which("grub-mkrescue"), "this kernel has no PVH entry, and grub-mkrescue is not here (grub-common, grub-pc-bin, xorriso, mtools)")
    with tempfile.TemporaryDirectory() as directory:
        os.makedirs(f"{directory}/boot/grub")
        shutil.copy(kernel, f"{directory}/netbsd")
        with open(f"{directory}/boot/grub/grub.cfg", "w", encoding="ascii") as file:
            file.write("knetbsd --single --serial=com0,115200 --root=ld0a /netbsd\nboot\n")
        done = subprocess.run(
            ["grub-mkrescue", "-o", image, directory, "--modules=bsd iso9660 biosdisk normal", "--locales=", "--themes=", "--fonts="],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    check(done.returncode == 0, f"grub-mkrescue: {done.stdout.strip()}")


def arguments(kernel, scratch, grub=False):
    """QEMU's arguments to boot the kernel in single-user mode, root on the first virtio disk; by GRUB if need be, or if so told."""
    if not grub and has_pvh_entry(kernel):
        return ["-kernel", kernel, "-append", "console=com root=ld0a -s"]
    image = os.path.join(scratch, "grub.iso")
    if not os.path.exists(image):
        grub_image(kernel, image)
    return ["-drive", f"file={image},media=cdrom,if=ide,readonly=on", "-boot", "d"]
