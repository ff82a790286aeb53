"""What a guest is made of: a kernel, a root file system, and a payload with our module, our tools and the guest's scripts.

Where they come from, in this order:

    NETBSD_KERNEL, NETBSD_ROOT      a kernel, and an image or a directory, made by hand; both
    NETBSD_RELEASE                  a release in its official layout: a directory, an http(s) URL, or 10.1 or 11.0
    (nothing)                       the official 10.1 and 11.0

NETBSD_SYS is the sys/ of the kernel's own source tree, for a kernel that is no release. NETBSD_DEBUG_KERNEL is a second kernel
of the same version (with several releases, of one of them), with DIAGNOSTIC, LOCKDEBUG and NET_MPSAFE.
"""

import contextlib
import glob
import mmap
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

from . import Failed, accel, check, image, need
from .release import OFFICIAL, VERSIONS, Release, cache_directory

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
GUEST = os.path.join(ROOT, "tests-vm", "guest")
HOW_TO_GET_ONE = (
    "`scripts/vm image` fetches the official 10.1 and 11.0; NETBSD_RELEASE=DIRECTORY|URL is "
    "another place that has a release; NETBSD_KERNEL=FILE and NETBSD_ROOT=IMAGE|DIRECTORY are a kernel and a root of your own"
)


def say(text):
    print(text, file=sys.stderr, flush=True)


def version_of_kernel(kernel):
    """What the kernel says of itself: 10.1, 10.99.12."""
    with open(kernel, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = re.search(rb"NetBSD (\d+\.\d+(?:\.\d+)?)[ _A-Z0-9.]*\(", data)
        version = data[found.start(1) : found.end(1)].decode() if found else None
    check(version, f"{kernel} does not say which NetBSD it is")
    return version


def number_of_kernel(kernel):
    """Its __NetBSD_Version__, by the ELF note that a kernel has; None where it has none."""
    with open(kernel, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Lengths of name and number, the note's type, its name.
        found = re.search(re.escape(struct.pack("<III8s", 7, 4, 1, b"NetBSD")) + rb"(.{4})", data, re.DOTALL)
        return struct.unpack("<I", found[1])[0] if found else None


def number_of_version(version):
    """The __NetBSD_Version__ of a release, or of a kernel between releases: 10.1, 10.99.12."""
    major, minor, patch = (*map(int, version.split(".")), 0)[:3]
    return major * 100_000_000 + minor * 1_000_000 + patch * 100


def number_of_sources(sys_directory):
    """The __NetBSD_Version__ of a source tree."""
    path = os.path.join(sys_directory, "sys", "param.h")
    check(os.path.exists(path), f"{path} is not there: NETBSD_SYS is not the sys/ of a source tree")
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r"^#define\s+__NetBSD_Version__\s+(\d+)", file.read(), re.MULTILINE)
    check(found, f"{path} does not say which NetBSD it is")
    return int(found[1])


def loads(module, kernel):
    """Whether a kernel loads a module, by the __NetBSD_Version__ of each. Between releases it has to be the very same; on a branch
    it may differ in the last patch levels."""
    if kernel // 1_000_000 % 100 == 99:
        return module == kernel
    return abs(module - kernel) < 10_000


class Kit:
    """All that a guest needs, on this machine's disk."""

    def __init__(self, name, kernel, root, debug_kernel=None, version=None, options=None):
        self.name, self.kernel, self.root, self.debug_kernel = name, kernel, root, debug_kernel
        self.version = version or version_of_kernel(kernel)
        self.number = number_of_kernel(kernel) or number_of_version(self.version)
        self.payload = None
        self.log = options.log if options else None
        self.cpus = (options.cpus if options else 0) or min(2, os.cpu_count() or 1)
        self.accel = (options.accel if options else None) or accel.choose(kernel, say)
        self.has_fault_injection = False

    def with_debug_kernel(self):
        """The same with the debug kernel, if there is one that loads the same module."""
        need(self.debug_kernel, "NETBSD_DEBUG_KERNEL names no kernel with DIAGNOSTIC, LOCKDEBUG and NET_MPSAFE")
        version = version_of_kernel(self.debug_kernel)
        number = number_of_kernel(self.debug_kernel) or number_of_version(version)
        need(loads(self.number, number), f"NETBSD_DEBUG_KERNEL is NetBSD {version} ({number}), and this is {self.version} ({self.number})")
        other = object.__new__(Kit)
        other.__dict__.update(self.__dict__, kernel=self.debug_kernel)
        return other

    def make_payload(self, scratch, build=True):
        """Builds the module and the tools for the kernel, and packs them."""
        files = {name: os.path.join(GUEST, name) for name in os.listdir(GUEST) if name.endswith(".sh")}
        dist = os.path.join(ROOT, "dist", f"netbsd-{self.version}-amd64")
        if build:
            sources = sources_of_module(self.version, self.number)
            build_module(self.version, *sources)
            build_module(self.version, *sources, "--fault-injection", "--no-pfctl")
        for name, place in (("pf.kmod", "pf.kmod"), ("pfctl", "bin/pfctl"), ("pfctl", "bin/pfs")):
            path = os.path.join(dist, name)
            check(os.path.exists(path), f"{path} is not there: scripts/build-kmod makes it")
            files[place] = path
        fault = os.path.join(dist + "-fault-injection", "pf.kmod")
        if os.path.exists(fault):
            files["fault/pf.kmod"] = fault
            self.has_fault_injection = True
        files["bin/pfprobe"] = build_probe(self.version, scratch)
        files["bin/pfioctl"] = build_pfioctl(self.version, scratch)
        files["rc.d/pf_states"] = os.path.join(ROOT, "etc", "rc.d", "pf_states")
        self.payload = os.path.join(scratch, f"payload-{self.name}.img")
        image.payload(files, self.payload)


def sources_of_module(version, number):
    """scripts/build-kmod's options for a kernel, by what it calls itself and by its __NetBSD_Version__."""
    sys_directory = os.environ.get("NETBSD_SYS")
    if sys_directory:
        options, built = ("--sys", sys_directory), number_of_sources(sys_directory)
        what = f"NETBSD_SYS is of {built}"
    else:
        check(version in VERSIONS, f"the kernel is NetBSD {version}: to build the module for it, NETBSD_SYS has to be the sys/ of its source tree")
        options, built = ("--netbsd", version), number_of_version(version)
        what = f"the headers of {version} are of {built}: NETBSD_SYS has to be the sys/ of its own source tree"
    check(
        loads(built, number),
        f"the kernel, NetBSD {version} by its name, has the __NetBSD_Version__ {number}, and loads no module of another; {what}",
    )
    return options


def build_module(version, *options):
    """scripts/build-kmod, for a release or for a kernel of one's own."""
    done = subprocess.run([os.path.join(ROOT, "scripts", "build-kmod"), *options], stdout=subprocess.PIPE, text=True, check=False)
    check(done.returncode == 0, f"scripts/build-kmod {' '.join(options)} failed: {done.stdout.strip()}")
    made = done.stdout.splitlines()[-1]
    check(f"netbsd-{version}-amd64" in made, f"NETBSD_SYS is not of NetBSD {version}, which the kernel is: the module is in {made}")


def netbsd_headers(version):
    """Where the headers and the compiler of the release are that goes with a kernel's version, and which release that is."""
    release = "11.0" if version >= "10.99" else "10.1"
    done = subprocess.run([os.path.join(ROOT, "scripts", "netbsd-headers"), release], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip(), release


def compile_c(name, command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    check(done.returncode == 0, f"{name}: {done.stdout.strip()}")


def build_probe(version, scratch):
    """guest/pfprobe.c: a static program without a C library, so that it runs on any NetBSD."""
    zig, _ = netbsd_headers(version)
    include = os.path.join(zig, "lib", "libc", "include")
    program = os.path.join(scratch, "pfprobe")
    command = ["clang", "--target=x86_64-unknown-netbsd", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-stack-protector"]
    command += ["-fno-pic", "-nostdlib", "-nostdinc", "-isystem", f"{include}/x86_64-netbsd-none", "-isystem", f"{include}/generic-netbsd"]
    command += ["-static", "-fuse-ld=lld", "-Wl,-e,start", "-o", program, os.path.join(GUEST, "pfprobe.c")]
    compile_c("pfprobe", command)
    return program


def build_pfioctl(version, scratch):
    """tests-c/pfioctl.c, with the guest's own C library."""
    zig, release = netbsd_headers(version)
    program = os.path.join(scratch, "pfioctl")
    command = [os.path.join(zig, "zig"), "cc", "-target", f"x86_64-netbsd.{release}", "-std=gnu11", "-O1", "-o", program]
    compile_c("pfioctl", command + [os.path.join(ROOT, "tests-c", "pfioctl.c")])
    return program


def release_names():
    """The releases that are meant: a name, and where it is."""
    wanted = os.environ.get("NETBSD_RELEASE")
    versions = [wanted] if wanted in VERSIONS else [] if wanted else VERSIONS
    if versions:
        return [(version, OFFICIAL.format(version=version)) for version in versions]
    return [(None, wanted)]


def image_place(release):
    return os.path.join(cache_directory(), "image", f"{release.label}-{release.contents}.img")


def make_image(source, again=False):
    """The root image of a release, made if it is not there. Gives its place, and its kernel's."""
    release = Release(source)
    place = image_place(release)
    if again or not (os.path.exists(place) and os.path.exists(place + ".kernel")):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        began = time.monotonic()
        image.image_of_release(release, place, say)
        # What was made of the release before it was built again.
        for old in glob.glob(os.path.join(os.path.dirname(place), f"{glob.escape(release.label)}[.-]*")):
            if not old.startswith(place):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(old)
        say(f"{place}: made in {time.monotonic() - began:.0f} s")
    return place, place + ".kernel"


def by_hand():
    """NETBSD_KERNEL and NETBSD_ROOT, if they are given."""
    kernel, root = os.environ.get("NETBSD_KERNEL"), os.environ.get("NETBSD_ROOT")
    check(bool(kernel) == bool(root), "NETBSD_KERNEL and NETBSD_ROOT go together")
    for path in filter(None, (kernel, root)):
        check(os.path.exists(path), f"{path} is not there")
    return (kernel, root) if kernel else None


def is_at_hand():
    """Whether there is a NetBSD without fetching anything from far away, or else whether it can be fetched."""
    if by_hand():
        return True
    for _, source in release_names():
        if not source.startswith("http"):
            return os.path.isdir(source)
        release = Release(source)
        try:
            if os.path.exists(image_place(release)) or release.is_reachable():
                return True
        except Failed:
            pass
    return False


def kits(scratch, options):
    """A kit for each NetBSD that is meant."""
    own = by_hand()
    if own:
        kernel, root = own
        if os.path.isdir(root):
            say("making the root file system")
            made = os.path.join(scratch, "root.img")
            image.image_of_directory(root, made)
            root = made
        return [Kit("own", kernel, root, os.environ.get("NETBSD_DEBUG_KERNEL"), options=options)]
    found = []
    for _, source in release_names():
        root, kernel = make_image(source)
        found.append(Kit(os.path.basename(source), kernel, root, os.environ.get("NETBSD_DEBUG_KERNEL"), options=options))
    return found


def scratch_directory():
    """A directory for what a run makes, which goes with it."""
    return tempfile.TemporaryDirectory(prefix="pf-vm-")


def leftovers():
    """Namespaces of a process that is no more."""
    for path in glob.glob("/run/netns/pfvm-*"):
        name = os.path.basename(path)
        pid = name.split("-")[1]
        if not os.path.exists(f"/proc/{pid}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


__all__ = ["Kit", "HOW_TO_GET_ONE", "kits", "is_at_hand", "make_image", "scratch_directory"]
