"""System calls that Python has no function for, through ctypes."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
if hasattr(_libc, "syscall"):
    _libc.syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL = 9
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_uint32] | None) -> int:
    """Call the kernel; integers are passed as 64 bits, the rest as pointers. Raises OSError."""
    result = int(_libc.syscall(ctypes.c_long(number), *map(_passed, arguments)))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *arguments: int | bytes) -> None:
    """Change what the kernel does with this process. Raises OSError."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    if _libc.prctl(ctypes.c_int(option), *map(_passed, padded)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def gain_no_privileges() -> None:
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the one that started it ends, or its thread that did."""
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def be_private() -> None:
    """Write no core dump, not even to a pipe, and let no other process of this user look inside."""
    prctl(_PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Give up what root may do beyond other users; without effect for others."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    syscall(_CAPSET[os.uname().machine], header, (ctypes.c_uint32 * 6)())


def _passed(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value
