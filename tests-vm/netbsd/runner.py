"""Runs the tests: functions test_... in tests-vm/test_*.py.

What a test takes as its argument says what it gets:

    firewall   a guest between two sides, shared with other tests, with the module loaded, no rules, no states, disabled
    fresh      a guest of its own, between two sides, without the module
    kit        what a guest is made of; the test starts its own
    nothing    no NetBSD takes part

A test that cannot be made here raises NotRun, and is counted as that: never as one that passed.
"""

import glob
import importlib.util
import inspect
import os
import time
import traceback

from . import Failed, NotRun
from .firewall import Firewall, Network


def collect(directory, patterns, host_only=False):
    """The tests, file by file, in the order in which they are written; of those without an argument alone, if so asked."""
    tests = []
    for path in sorted(glob.glob(os.path.join(directory, "test_*.py"))):
        label = os.path.basename(path)[len("test_") : -len(".py")]
        spec = importlib.util.spec_from_file_location(f"test_{label}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(function) and function.__module__ == spec.name:
                full = f"{label}::{name[len('test_'):]}"
                if host_only and inspect.signature(function).parameters:
                    continue
                if not patterns or any(pattern in full for pattern in patterns):
                    tests.append((full, function))
    return tests


class Session:
    """One run over one kit."""

    def __init__(self, kit, say):
        self.kit, self.say = kit, say
        self.shared = None
        self.network = None
        self.boots = []

    def close(self):
        if self.shared:
            self.shared.__exit__(None, None, None)
            self.network.__exit__(None, None, None)
            self.shared = self.network = None

    def firewall(self):
        if self.shared is None:
            self.network = Network()
            self.network.__enter__()
            try:
                self.shared = Firewall(self.kit, self.network).__enter__()
            except BaseException:
                self.network.__exit__(None, None, None)
                self.shared = None
                raise
            self.boots.append(self.shared.boot_seconds)
            self.shared.load()
        elif not self.shared.is_loaded():
            self.shared.load()
        self.shared.clear()
        return self.shared

    def call(self, function):
        wants = list(inspect.signature(function).parameters)
        if wants == ["firewall"]:
            guest = self.firewall()
            function(guest)
            guest.check_console()
        elif wants == ["fresh"]:
            with Network() as network, Firewall(self.kit, network) as guest:
                self.boots.append(guest.boot_seconds)
                function(guest)
                guest.check_console()
        elif wants == ["kit"]:
            function(self.kit)
        else:
            function()

    def run(self, tests):
        """Gives the names of those that failed and of those that did not run."""
        failed, not_run = [], []
        for name, function in tests:
            began = time.monotonic()
            try:
                self.call(function)
                self.say(f"ok      {time.monotonic() - began:6.1f} s  {name}")
            except NotRun as reason:
                not_run.append(name)
                self.say(f"did NOT run       {name}: {reason}")
            except Exception as error:  # pylint: disable=broad-except
                failed.append(name)
                self.say(f"FAILED  {time.monotonic() - began:6.1f} s  {name}")
                said = str(error) if isinstance(error, Failed) else traceback.format_exc()
                self.say("\n".join(f"        {line}" for line in said.splitlines()))
                if isinstance(error, Failed):
                    at = traceback.extract_tb(error.__traceback__)
                    self.say("\n".join(f"        at {frame.filename}:{frame.lineno}" for frame in at if "test_" in frame.filename))
                # What it left behind is not to be trusted.
                self.close()
        self.close()
        return failed, not_run
