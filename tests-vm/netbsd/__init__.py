"""A real NetBSD in QEMU, for tests and for whoever wants a shell in one."""


class Failed(Exception):
    """Something was not as it should be. The text is for a person."""


def check(is_so, what):
    """Fails with `what` unless `is_so`."""
    if not is_so:
        raise Failed(what)
