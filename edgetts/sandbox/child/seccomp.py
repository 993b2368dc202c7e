"""A filter that lets this process call of Linux what Python needs; knows nothing of files.

No process can be started, no network reached, no signal sent to another process, no mode, owner or time of a
file changed. What is unknown does not exist (ENOSYS), so that the C library falls back to what it knows.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from edgetts.sandbox.child import kernel
from edgetts.sandbox.child.syscalls import ALLOWED, NUMBERS, REFUSED

_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000

# Classic BPF: load a word, compare, mask, return.
_LOAD, _EQUAL, _GREATER_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
# Offsets into struct seccomp_data; arguments are 64 bits each, the low word first.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020080
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
"""Duplicate, flags, locks and the size of a pipe; not who is sent a signal (F_SETOWN, F_SETSIG)."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Is it a terminal, how wide, what waits, blocking, close on exec."""
_PR_SET_NAME = 15

_Instruction = tuple[int, int, int, int]


def restrict() -> None:
    """Install the filter for this process for ever. Call with one thread; raises OSError.

    Source of the interface: Linux, Documentation/userspace-api/seccomp_filter.rst.
    """
    machine = os.uname().machine
    if machine not in NUMBERS or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter is known for {machine}")
    kernel.gain_no_privileges()
    program = assemble(machine, os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many instructions, and where.
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    kernel.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)


def assemble(machine: str, process: int) -> list[_Instruction]:
    """Return the filter as instructions (code, jump if true, jump if false, operand)."""
    numbers = NUMBERS[machine]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        # x32's calls have the same architecture and a bit that makes them other numbers.
        program += [(_GREATER_EQUAL, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]
    for name, conditions in _conditions(process).items():
        checks: list[_Instruction] = []
        for condition in conditions:
            checks += condition
        # A condition that fails goes on to the refusal behind the permission.
        checks += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
        program += [(_EQUAL, 0, len(checks), numbers[name]), *_linked(checks)]
    for name in sorted(ALLOWED & numbers.keys()):
        program += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    for name in sorted(REFUSED & numbers.keys()):
        program += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    return [*program, (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]


_REFUSE = -1
"""Where a jump goes to the refusal; `_linked` puts the distance in."""


def _conditions(process: int) -> dict[str, list[list[_Instruction]]]:
    """Return, by call, the conditions that its arguments must all meet."""
    return {
        "clone": [
            [_load(0), (_AND, 0, 0, _CLONE_THREAD), (_EQUAL, 0, _REFUSE, _CLONE_THREAD)],
            [_load(0), (_AND, 0, 0, _CLONE_NEW), (_EQUAL, 0, _REFUSE, 0)],
        ],
        "kill": [[_load(0), (_EQUAL, 0, _REFUSE, process)]],
        "tgkill": [[_load(0), (_EQUAL, 0, _REFUSE, process)]],
        "tkill": [[_load(0), (_EQUAL, 0, _REFUSE, process)]],
        "fcntl": [_one_of(1, _FCNTL)],
        "ioctl": [_one_of(1, _IOCTL)],
        "prctl": [_one_of(0, (_PR_SET_NAME,))],
        # Reading limits, not setting them: no new ones are passed.
        "prlimit64": [
            [_load(2), (_EQUAL, 0, _REFUSE, 0)],
            [_load(2, high=True), (_EQUAL, 0, _REFUSE, 0)],
            # 0 means this process too, and jumps over the comparison with its number.
            [_load(0), (_EQUAL, 1, 0, 0), (_EQUAL, 0, _REFUSE, process)],
        ],
        # Of datagram sockets one can be sent to any address.
        "socketpair": [
            [_load(0), (_EQUAL, 0, _REFUSE, _AF_UNIX)],
            [_load(1), (_AND, 0, 0, _SOCK_TYPE), (_EQUAL, 0, _REFUSE, _SOCK_STREAM)],
        ],
    }


def _load(argument: int, high: bool = False) -> _Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + (4 if high else 0))


def _one_of(argument: int, values: tuple[int, ...]) -> list[_Instruction]:
    last = len(values) - 1
    tests: list[_Instruction] = []
    for place, value in enumerate(values):
        tests.append((_EQUAL, last - place, 0 if place < last else _REFUSE, value))
    return [_load(argument), *tests]


def _linked(checks: list[_Instruction]) -> list[_Instruction]:
    refusal = len(checks) - 1
    return [
        (code, yes, refusal - place - 1 if no == _REFUSE else no, operand)
        for place, (code, yes, no, operand) in enumerate(checks)
    ]
