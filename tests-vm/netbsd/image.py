"""Root file systems and payloads: FFS images that makefs(8) makes, without NetBSD's tools and without being root.

An image is described by an mtree(5) specification, which gives owners, modes and device nodes whatever the files on this
machine have. The numbers of devices are NetBSD/amd64's.
"""

import gzip
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile

from . import Failed, check
from .release import KERNEL, SETS

# Sets that a root file system is made of; those in the second line are taken where the release has them.
BASE_SETS = ("base", "etc")
MORE_SETS = ("modules",)

# Name, type, major, minor, mode. A disk's minor number is its unit times 16 and the partition, of which `d` is all of it.
DEVICES = [
    ("console", "char", 0, 0, 0o600),
    ("constty", "char", 0, 1, 0o600),
    ("tty", "char", 1, 0, 0o666),
    ("mem", "char", 2, 0, 0o640),
    ("kmem", "char", 2, 1, 0o640),
    ("null", "char", 2, 2, 0o666),
    ("full", "char", 2, 11, 0o666),
    ("zero", "char", 2, 12, 0o666),
    ("klog", "char", 7, 0, 0o600),
    ("tty00", "char", 8, 0, 0o600),
    ("tty01", "char", 8, 1, 0o600),
    ("dty00", "char", 8, 524288, 0o600),
    ("dty01", "char", 8, 524289, 0o600),
    ("stdin", "char", 22, 0, 0o666),
    ("stdout", "char", 22, 1, 0o666),
    ("stderr", "char", 22, 2, 0o666),
    ("bpf", "char", 23, 0, 0o600),
    ("bpf0", "char", 23, 0, 0o600),
    ("random", "char", 46, 0, 0o644),
    ("urandom", "char", 46, 1, 0o644),
    ("ksyms", "char", 85, 0, 0o444),
    ("pf", "char", 161, 0, 0o600),
    ("drvctl", "char", 167, 0, 0o644),
    ("cpuctl", "char", 188, 0, 0o666),
    ("npf", "char", 198, 0, 0o600),
] + [
    (f"{raw}ld{unit}{partition}", kind, major, unit * 16 + number, 0o640)
    for unit in range(3)
    for number, partition in ((0, "a"), (3, "d"))
    for raw, kind, major in (("", "block", 19), ("r", "char", 69))
]

# Directories that have to be there to mount something on.
MOUNTPOINTS = ("tmp", "var", "var/db", "var/run", "proc", "kern", "mnt", "pf")


class Spec:
    """An mtree(5) specification in the making."""

    def __init__(self):
        self.lines = {}

    def add(self, name, kind, mode, uid=0, gid=0, **more):
        words = [f"type={kind}", f"mode={mode:04o}", f"uid={uid}", f"gid={gid}"]
        words += [f"{key}={value}" for key, value in more.items()]
        self.lines[name.strip("/")] = " ".join(words)

    def add_devices(self, have=()):
        self.lines.setdefault("dev", "type=dir mode=0755 uid=0 gid=0")
        for name, kind, major, minor, mode in DEVICES:
            if f"dev/{name}" not in have:
                self.add(f"dev/{name}", kind, mode, device=f"netbsd,{major},{minor}")

    def write(self, path):
        # Parents first.
        self.lines.setdefault(".", "type=dir mode=0755 uid=0 gid=0")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#mtree\n")
            for name in sorted(self.lines, key=lambda name: (name.count("/") if name != "." else -1, name)):
                file.write(f"{quote('.' if name == '.' else './' + name)} {self.lines[name]}\n")


def quote(name):
    """A name as mtree(5) has it: bytes that would end a word are octal."""
    return "".join(c if 32 < ord(c) < 127 and c not in '\\#*?["' else "".join(f"\\{b:03o}" for b in c.encode()) for c in name)


def make_image(directory, spec, image, free=64 << 20, inodes=2048):
    """An FFS image with the files of a directory and what the specification says of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".mtree") as listing:
        spec.write(listing.name)
        command = ["makefs", "-t", "ffs", "-B", "le", "-b", str(free), "-f", str(inodes), "-o", "version=1,bsize=16384,fsize=2048"]
        done = subprocess.run(
            command + ["-F", listing.name, image, directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    check(done.returncode == 0, f"makefs could not make {image}: {done.stdout.strip()}")


def spec_of_directory(directory):
    """What is there, as root's; modes as they are."""
    spec = Spec()
    for at, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(at, name)
            status = os.lstat(path)
            kind = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(stat.S_IFMT(status.st_mode))
            if kind == "link":
                spec.add(os.path.relpath(path, directory), kind, 0o777, link=quote(os.readlink(path)))
            elif kind:
                spec.add(os.path.relpath(path, directory), kind, stat.S_IMODE(status.st_mode))
    return spec


def unpack_set(archive, directory, spec):
    """Unpacks a set, and notes owners and modes. Nothing is written outside of the directory."""
    with tarfile.open(archive) as members:
        for member in members:
            name = os.path.normpath(member.name)
            check(not name.startswith(("/", "..")), f"{archive} has a file outside of its root: {member.name}")
            place = os.path.join(directory, name)
            if name == ".":
                continue
            parent = os.path.dirname(place)
            check(os.path.realpath(parent).startswith(os.path.realpath(directory)), f"{archive}: {name} goes through a link out")
            os.makedirs(parent, exist_ok=True)
            owner = {"uid": member.uid, "gid": member.gid}
            if member.isdir():
                os.makedirs(place, exist_ok=True)
                spec.add(name, "dir", member.mode & 0o7777, **owner)
                continue
            if os.path.lexists(place):
                os.remove(place)
            if member.isfile():
                with open(place, "wb") as file:
                    shutil.copyfileobj(members.extractfile(member), file)
                spec.add(name, "file", member.mode & 0o7777, **owner)
            elif member.issym():
                os.symlink(member.linkname, place)
                spec.add(name, "link", 0o777, link=quote(member.linkname), **owner)
            elif member.islnk():
                first = os.path.normpath(member.linkname)
                check(not first.startswith(("/", "..")), f"{archive}: {name} is a link out")
                os.link(os.path.join(directory, first), place)
                spec.lines[name] = spec.lines[first]


def kernel_of_release(release, image):
    """The release's GENERIC kernel, unpacked beside the image."""
    place = image + ".kernel"
    if release.has(KERNEL):
        with gzip.open(release.fetch(KERNEL)) as packed, open(place, "wb") as kernel:
            shutil.copyfileobj(packed, kernel)
        return place
    with tarfile.open(release.fetch(f"{SETS}/kern-GENERIC.tar.xz")) as members:
        for member in members:
            if os.path.normpath(member.name) == "netbsd" and member.isfile():
                with open(place, "wb") as kernel:
                    shutil.copyfileobj(members.extractfile(member), kernel)
                return place
    raise Failed("the release has no GENERIC kernel")


def image_of_release(release, image, say):
    """A root image from the sets of a release. Gives the kernel's place, too."""
    kernel = kernel_of_release(release, image)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(image), prefix="unpack.") as directory:
        spec = Spec()
        for name in BASE_SETS + MORE_SETS:
            path = f"{SETS}/{name}.tar.xz"
            if name in MORE_SETS and not release.has(path):
                continue
            say(f"unpacking {name}")
            unpack_set(release.fetch(path), directory, spec)
        for name in MOUNTPOINTS:
            if name not in spec.lines:
                spec.add(name, "dir", 0o755)
        spec.add_devices(spec.lines)
        say("making the root file system")
        make_image(directory, spec, image + ".part")
    os.replace(image + ".part", image)
    return kernel


def image_of_directory(directory, image):
    """A root image from a root file system in a directory; nodes in /dev are made where they are missing."""
    spec = spec_of_directory(directory)
    for name in MOUNTPOINTS:
        if name not in spec.lines:
            spec.add(name, "dir", 0o755)
    spec.add_devices(spec.lines)
    make_image(directory, spec, image)


def payload(files, image):
    """An image with files in it: a mapping of names to places on this machine, or to bytes. Executable where they are."""
    with tempfile.TemporaryDirectory() as directory:
        for name, source in files.items():
            place = os.path.join(directory, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if isinstance(source, bytes):
                with open(place, "wb") as file:
                    file.write(source)
            else:
                shutil.copy(source, place)
        make_image(directory, spec_of_directory(directory), image, free=32 << 20)
