"""Let this process open only the files named; knows no other limits.

Landlock does not govern what it calls metadata: modes, owners, times, attributes, and on old kernels the
truncation of a file by its path. The filter of system calls does.
"""

# ruff: noqa: PTH112 - importing pathlib takes longer than most programs run

from __future__ import annotations

import os
import struct

from edgetts.sandbox.child import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_LOG_SAME_EXEC_OFF = 1
_SCOPES = 0b11
"""Abstract Unix sockets, and signals."""
_TCP = 0b11

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REGULAR, _TRUNCATE = (
    1 << bit for bit in (1, 2, 3, 5, 8, 14)
)
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Every right that a version governs; what is governed and not granted is refused."""


def version() -> int:
    """Return the version of Landlock that the kernel has. Raises OSError where it has none."""
    return kernel.syscall(_CREATE_RULESET, None, 0, _VERSION)


def restrict(read: Iterable[str], listed: Iterable[str], devices: Iterable[str], work: str | None) -> None:
    """Confine this process for ever. Call with one thread; raises OSError.

    read: files and directories that may be read, with all they hold.
    listed: directories whose names may be listed, but whose files may not be read.
    devices: files that may be read and written.
    work: a directory in which files may be made, read, written and removed, but no directories, links,
        pipes or sockets; None where nothing may be written.
    What does not exist is left out. Nothing may be executed. Source: Linux,
    Documentation/userspace-api/landlock.rst.
    """
    abi = version()
    handled = _HANDLED[min(abi, 5)]
    # struct landlock_ruleset_attr grew from one word to three.
    words = [handled, *([_TCP] if abi >= 4 else []), *([_SCOPES] if abi >= 6 else [])]
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = kernel.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in read:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        for path in listed:
            _allow(ruleset, path, _READ_DIR)
        for path in devices:
            _allow(ruleset, path, _READ_FILE | _WRITE_FILE)
        if work is not None:
            rights = _READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_REGULAR | _REMOVE_FILE | _TRUNCATE
            _allow(ruleset, work, rights & handled)
        kernel.gain_no_privileges()
        # Otherwise each refusal is a line in the system's audit log.
        kernel.syscall(_RESTRICT_SELF, ruleset, _LOG_SAME_EXEC_OFF if abi >= 7 else 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(place):
            rights &= _READ_FILE | _WRITE_FILE
        kernel.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)
