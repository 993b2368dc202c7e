"""Prepare a child process for what may end it."""

from __future__ import annotations


def leave_no_core() -> None:
    """Have a crash of this process write no memory image; does nothing on Windows."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
