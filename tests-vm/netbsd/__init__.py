"""A real NetBSD in QEMU, for tests and for whoever wants a shell in one."""


class Failed(Exception):
    """Something was not as it should be. The text is for a person."""


def check(is_so, what):
    """Fails with `what` unless `is_so`."""
    if not is_so:
        raise Failed(what)


class NotRun(Exception):
    """A test cannot be made here. The text says why."""


def need(is_there, what):
    """Ends a test as one that did not run, for want of `what`, unless it is there."""
    if not is_there:
        raise NotRun(what)
