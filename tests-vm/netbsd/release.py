"""A NetBSD release in its official layout: a local directory or an http(s) URL, checked against its own SHA512 files.

What is fetched is kept under the user's cache directory. A download that was broken off goes on where it stopped. A file
is only ever used when its sum is the one that the release states.
"""

import hashlib
import os
import re
import sys
import time
import urllib.error
import urllib.request

from . import Failed

OFFICIAL = "https://cdn.NetBSD.org/pub/NetBSD/NetBSD-{version}"
VERSIONS = ("10.1", "11.0")
KERNEL = "amd64/binary/kernel/netbsd-GENERIC.gz"
SETS = "amd64/binary/sets"
CHUNK = 1 << 16
PATIENCE = 60


def cache_directory():
    """Where downloads and images are kept: $XDG_CACHE_HOME/pf-netbsd."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(base, "pf-netbsd")
    os.makedirs(path, exist_ok=True)
    return path


class Progress:
    """One line on a terminal, rewritten; elsewhere a line for each tenth."""

    def __init__(self, name, total):
        self.name, self.total = name, total
        self.shown = -1
        self.last = 0.0

    def show(self, done):
        tenth = 10 * done // self.total if self.total else 0
        now = time.monotonic()
        finished = self.total and done >= self.total
        if sys.stderr.isatty():
            if now - self.last < 0.2 and not finished:
                return
            end = "\n" if finished else ""
            print(f"\r{self.name}: {done >> 20} of {self.total >> 20} MiB", end=end, file=sys.stderr, flush=True)
        elif tenth != self.shown:
            print(f"{self.name}: {done >> 20} of {self.total >> 20} MiB", file=sys.stderr, flush=True)
        self.last, self.shown = now, tenth


def sum_of(path):
    digest = hashlib.sha512()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def parse_sums(text):
    """The lines `SHA512 (NAME) = HEX` of a release's SHA512 file."""
    return {name: hexadecimal.lower() for name, hexadecimal in re.findall(r"SHA512 \(([^)]+)\) = ([0-9a-fA-F]{128})", text)}


class Release:
    """One release. `source` is a directory, or a URL."""

    def __init__(self, source):
        self.source = source.rstrip("/")
        self.is_remote = re.match(r"https?://", self.source) is not None
        if not self.is_remote and not os.path.isdir(self.source):
            raise Failed(f"{self.source} is no directory, and no http or https URL")
        self.sums = {}

    @property
    def label(self):
        """A name for the release in file names: its last part, and which place it is of."""
        return f"{os.path.basename(self.source)}-{hashlib.sha256(self.source.encode()).hexdigest()[:8]}"

    def has(self, path):
        """Whether the release lists the file."""
        try:
            return os.path.basename(path) in self.sums_of(os.path.dirname(path))
        except Failed:
            return False

    def sums_of(self, directory):
        if directory not in self.sums:
            if self.is_remote:
                text = self.read_sums(directory)
            else:
                path = os.path.join(self.source, directory, "SHA512")
                try:
                    with open(path, encoding="ascii", errors="replace") as file:
                        text = file.read()
                except OSError as error:
                    raise Failed(f"not a release in the official layout: {path}: {error.strerror}") from error
            self.sums[directory] = parse_sums(text)
        return self.sums[directory]

    def read_sums(self, directory):
        """The text of a SHA512 file that is elsewhere; as it was the last time, where it cannot be had now."""
        place = os.path.join(cache_directory(), "release", self.label, directory, "SHA512")
        try:
            data = read(f"{self.source}/{directory}/SHA512")
        except Failed:
            if not os.path.exists(place):
                raise
            with open(place, "rb") as file:
                return file.read().decode("ascii", "replace")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(f"{place}.{os.getpid()}", "wb") as file:
            file.write(data)
        os.replace(f"{place}.{os.getpid()}", place)
        return data.decode("ascii", "replace")

    def is_reachable(self):
        """Whether it answers now."""
        try:
            read(f"{self.source}/{SETS}/SHA512")
            return True
        except Failed:
            return False

    @property
    def contents(self):
        """A name for what is in the release: another when it has been built again in the same place."""
        kernels = self.sums_of(os.path.dirname(KERNEL)) if self.has(KERNEL) else {}
        sums = sorted(self.sums_of(SETS).items()) + sorted(kernels.items())
        return hashlib.sha256(repr(sums).encode()).hexdigest()[:8]

    def fetch(self, path):
        """The file's place on this machine, its sum checked."""
        name = os.path.basename(path)
        wanted = self.sums_of(os.path.dirname(path)).get(name)
        if wanted is None:
            raise Failed(f"{self.source}/{os.path.dirname(path)}/SHA512 does not list {name}")
        if not self.is_remote:
            place = os.path.join(self.source, path)
            if not os.path.exists(place):
                raise Failed(f"{place} is not there")
            if sum_of(place) != wanted:
                raise Failed(f"{place} does not have the sum that the release states")
            return place
        place = os.path.join(cache_directory(), "release", self.label, path)
        # A file gets its name here only once its sum has been seen; it is checked again, as disks are not perfect.
        if os.path.exists(place) and sum_of(place) == wanted:
            return place
        os.makedirs(os.path.dirname(place), exist_ok=True)
        url, part = f"{self.source}/{path}", place + ".part"
        began_with = os.path.getsize(part) if os.path.exists(part) else 0
        download(url, part)
        if sum_of(part) != wanted and began_with:
            # What was there from an earlier attempt may have been of another file.
            os.remove(part)
            download(url, part)
        if sum_of(part) != wanted:
            os.remove(part)
            raise Failed(f"{url} does not have the sum that the release states")
        os.replace(part, place)
        return place


def open_url(url, start=0):
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        raise Failed(f"{url}: {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError) as error:
        raise Failed(f"{url}: {getattr(error, 'reason', error)}") from error


def read(url):
    with open_url(url) as answer:
        return answer.read()


def download(url, part, attempts=5):
    """Fetches a file into `part`, from where that ends. A connection that breaks is made again."""
    length = 0
    for attempt in range(attempts):
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if length and have >= length:
            return
        try:
            answer = open_url(url, have)
        except Failed as error:
            if isinstance(error.__cause__, urllib.error.HTTPError):
                if error.__cause__.code == 416 and have:
                    # There is nothing behind what we have: it is all there, or it is something else.
                    return
                raise
            if attempt + 1 == attempts:
                raise
            continue
        with answer:
            if have and answer.status != 206:
                have = 0
            length = have + int(answer.headers.get("Content-Length") or 0)
            progress = Progress(os.path.basename(url), length)
            try:
                with open(part, "ab" if have else "wb") as file:
                    while data := answer.read(CHUNK):
                        file.write(data)
                        have += len(data)
                        progress.show(have)
            except OSError:
                continue
        if have >= length:
            return
    raise Failed(f"{url}: the connection broke off {attempts} times")
