"""Limits that the kernel keeps for each process; knows nothing of what runs in it."""

from __future__ import annotations

import math
import resource
import sys

_DESCRIPTORS = 64
_STACK = 8 << 20


def restrict(cpu_seconds: float, memory_bytes: int, file_bytes: int) -> list[str]:
    """Limit this process for ever, and return what is limited. Raises OSError or ValueError.

    Over its CPU time, rounded up to seconds, it is sent SIGXCPU, and a second later SIGKILL. Memory is what
    is mapped. A file may not grow beyond its bytes.
    """
    cpu = math.ceil(cpu_seconds)
    _set(resource.RLIMIT_CPU, cpu, cpu + 1)
    _set(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    _set(resource.RLIMIT_NOFILE, _DESCRIPTORS, _DESCRIPTORS)
    _set(resource.RLIMIT_CORE, 0, 0)
    _set(resource.RLIMIT_STACK, _STACK, _STACK)
    if sys.platform != "linux":
        # Others take a limit on memory and do not keep it.
        return ["cpu", "file size"]
    _set(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    _set(resource.RLIMIT_MEMLOCK, 0, 0)
    _set(resource.RLIMIT_MSGQUEUE, 0, 0)
    return ["cpu", "file size", "memory"]


def _set(limit: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(limit)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(limit, (soft, hard))
