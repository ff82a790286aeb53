"""A release is fetched whole and right, or not at all: from a directory and over HTTP, with a tiny release and no NetBSD."""

import gzip
import hashlib
import http.server
import io
import lzma
import os
import subprocess
import tarfile
import tempfile
import threading

from netbsd import Failed, check, image, kit, release


def file_of_set(files):
    """A set: an archive of files, and of directories where a name ends in a slash."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(text), 0o4555, 7, 9
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(text))
    return lzma.compress(packed.getvalue(), preset=0)


def make_release(directory):
    """The official layout, with hardly anything in it."""
    for at, files in {
        "amd64/binary/sets": {
            "base.tar.xz": file_of_set({"./bin/": b"", "./bin/sh": b"a shell", "./sbin/": b"", "./sbin/init": b"init" * 100_000}),
            "etc.tar.xz": file_of_set({"./etc/": b"", "./etc/rc.conf": b"rc_configured=NO"}),
        },
        "amd64/binary/kernel": {"netbsd-GENERIC.gz": b"\x1f\x8b not really"},
    }.items():
        os.makedirs(f"{directory}/{at}")
        with open(f"{directory}/{at}/SHA512", "w", encoding="ascii") as sums:
            for name, data in files.items():
                with open(f"{directory}/{at}/{name}", "wb") as file:
                    file.write(data)
                sums.write(f"SHA512 ({name}) = {hashlib.sha512(data).hexdigest()}\n")


def replace_kernel(directory, text):
    """The release built again, in the same place, with another kernel."""
    at = f"{directory}/amd64/binary/kernel"
    packed = gzip.compress(text, mtime=0)
    with open(f"{at}/netbsd-GENERIC.gz", "wb") as file:
        file.write(packed)
    with open(f"{at}/SHA512", "w", encoding="ascii") as sums:
        sums.write(f"SHA512 (netbsd-GENERIC.gz) = {hashlib.sha512(packed).hexdigest()}\n")


class Web:
    """A server on this machine that knows ranges, can break off and refuse, and keeps what it was asked."""

    def __init__(self, directory):
        web = self
        self.asked, self.break_after, self.knows_ranges, self.refuses = [], None, True, False

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append((self.path, self.headers.get("Range")))
                if web.refuses:
                    self.send_error(503)
                    return
                path = directory + self.path
                if not os.path.isfile(path):
                    self.send_error(404)
                    return
                with open(path, "rb") as file:
                    data = file.read()
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if web.knows_ranges else 0
                if start >= len(data) > 0:
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                cut, web.break_after = web.break_after, None
                self.wfile.write(data[start:][:cut])

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Place:
    """A release, a server before it, and a cache directory of its own."""

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.directory = f"{self.scratch.name}/release"
        make_release(self.directory)
        self.web = Web(self.directory)
        self.saved = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = f"{self.scratch.name}/cache"
        return self

    def __exit__(self, *_):
        self.web.close()
        if self.saved is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = self.saved
        self.scratch.cleanup()


BASE = "amd64/binary/sets/base.tar.xz"


def fails(do, saying):
    try:
        do()
    except Failed as error:
        check(saying in str(error), f"it should say {saying!r}, and says: {error}")
        return
    raise Failed(f"it should fail, saying {saying!r}")


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def test_directory_is_checked():
    with Place() as place:
        here = release.Release(place.directory)
        check(here.fetch(BASE) == f"{place.directory}/{BASE}", "a local file is used where it lies")
        with open(f"{place.directory}/{BASE}", "ab") as file:
            file.write(b"!")
        fails(lambda: here.fetch(BASE), "sum")
        fails(lambda: here.fetch("amd64/binary/sets/games.tar.xz"), "does not list")
        fails(lambda: release.Release(place.scratch.name).fetch(BASE), "not a release in the official layout")
        fails(lambda: release.Release("/nowhere/at/all"), "no directory")


def test_fetched_once():
    with Place() as place:
        there = release.Release(place.web.url)
        path = there.fetch(BASE)
        check(contents(path) == contents(f"{place.directory}/{BASE}"), "what came is what is there")
        asked = len(place.web.asked)
        check(there.fetch(BASE) == path and len(place.web.asked) == asked, "the second time comes from the cache")


def test_broken_connection_goes_on():
    with Place() as place:
        place.web.break_after = 1000
        there = release.Release(place.web.url)
        there.sums_of("amd64/binary/sets")
        place.web.break_after = 100
        path = there.fetch(BASE)
        check(contents(path) == contents(f"{place.directory}/{BASE}"), "what came in two pieces is whole")
        check(("/" + BASE, "bytes=100-") in place.web.asked, "the rest alone is asked for")


def test_part_of_an_earlier_run_goes_on():
    for knows_ranges in (True, False):
        with Place() as place:
            place.web.knows_ranges = knows_ranges
            there = release.Release(place.web.url)
            part = os.path.join(release.cache_directory(), "release", there.label, BASE + ".part")
            os.makedirs(os.path.dirname(part))
            with open(part, "wb") as file:
                file.write(contents(f"{place.directory}/{BASE}")[:64])
            check(contents(there.fetch(BASE)) == contents(f"{place.directory}/{BASE}"), "it is whole in the end")
            check(("/" + BASE, "bytes=64-") in place.web.asked, "it goes on where it stopped")


def test_part_of_another_file_is_dropped():
    with Place() as place:
        there = release.Release(place.web.url)
        for rubbish in (b"rubbish", b"rubbish" * 100_000):
            part = os.path.join(release.cache_directory(), "release", there.label, BASE + ".part")
            os.makedirs(os.path.dirname(part), exist_ok=True)
            with open(part, "wb") as file:
                file.write(rubbish)
            path = there.fetch(BASE)
            check(contents(path) == contents(f"{place.directory}/{BASE}"), "it is whole in the end")
            os.remove(path)


def test_wrong_sum_is_refused():
    with Place() as place:
        with open(f"{place.directory}/{BASE}", "ab") as file:
            file.write(b"!")
        there = release.Release(place.web.url)
        fails(lambda: there.fetch(BASE), "sum")
        kept = [name for _, _, names in os.walk(release.cache_directory()) for name in names if name != "SHA512"]
        check(not kept, f"nothing of it is kept: {kept}")


def test_release_built_again_is_another():
    with Place() as place:
        images = {}
        for source in (place.directory, place.web.url):
            for text in (b"the first kernel", b"the second kernel"):
                replace_kernel(place.directory, text)
                root, kernel = kit.make_image(source)
                check(contents(kernel) == text, f"{contents(kernel)} is not the kernel that the release has now")
                check(kit.make_image(source) == (root, kernel), "it is made once")
                images.setdefault(source, []).append(root)
        for first, second in images.values():
            check(not os.path.exists(first) and os.path.exists(second), "of what is no more no image is kept")
            check(not os.path.exists(first + ".kernel"), "and no kernel")


def test_image_does_without_the_network():
    with Place() as place:
        replace_kernel(place.directory, b"a kernel")
        made = kit.make_image(place.web.url)
        place.web.refuses = True
        check(kit.make_image(place.web.url) == made, "the image that was made is taken")
        fails(lambda: kit.make_image(place.web.url + "/other"), "503")


def test_missing_file_is_said():
    with Place() as place:
        os.remove(f"{place.directory}/{BASE}")
        fails(lambda: release.Release(place.web.url).fetch(BASE), "404")
        fails(lambda: release.Release(place.web.url + "/nowhere").fetch(BASE), "404")


def test_set_keeps_owners_and_stays_inside():
    with Place() as place:
        spec = image.Spec()
        root = f"{place.scratch.name}/root"
        os.mkdir(root)
        image.unpack_set(f"{place.directory}/{BASE}", root, spec)
        check(spec.lines["bin/sh"] == "type=file mode=4555 uid=7 gid=9", f"the owner is the set's: {spec.lines}")
        for name in ("../outside", "/outside", "bin/../../outside"):
            bad = f"{place.scratch.name}/bad.tar.xz"
            with open(bad, "wb") as file:
                file.write(file_of_set({name: b"x"}))
            fails(lambda: image.unpack_set(bad, root, spec), "outside")  # pylint: disable=cell-var-from-loop
        check(not os.path.exists(f"{place.scratch.name}/outside"), "nothing was written outside")


def test_image_has_device_nodes():
    with tempfile.TemporaryDirectory() as scratch:
        os.mkdir(f"{scratch}/root")
        with open(f"{scratch}/root/file with a space", "w", encoding="ascii") as file:
            file.write("x")
        image.image_of_directory(f"{scratch}/root", f"{scratch}/root.img")
        magic = contents(f"{scratch}/root.img")[8192 + 1372 : 8192 + 1376]
        check(magic == b"\x54\x19\x01\x00", "it is an FFS file system of version 1")
        listing = subprocess.run(["strings", f"{scratch}/root.img"], stdout=subprocess.PIPE, text=True, check=False).stdout
        check("console" in listing and "file with a space" in listing, "names are in it")
