"""What a sandboxed program may use; knows nothing of how that is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edgetts.errors import InvalidInput

_LEAST_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a program may use before it is ended.

    seconds: wall clock, from the start of its process to its end.
    cpu_seconds: of all its threads together, rounded up to whole seconds.
    memory_bytes: address space, at least 64 MiB, of which Python itself takes about 20.
    output_bytes: on standard output and error together.
    file_bytes: the size of each file it writes, and watched every 50 ms, of all that its directory lists;
        0 forbids writing.
    files: how many its directory may list, watched likewise.
    threads: how many it may have, watched likewise. Other processes it may not start at all.
    value_bytes: the value it returns, in JSON.
    """

    seconds: float = 10.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20
    file_bytes: int = 16 << 20
    files: int = 100
    threads: int = 32
    value_bytes: int = 64 << 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
                raise InvalidInput(f"{field.name} is {value!r}, but it must be a number.")
            if field.name not in ("seconds", "cpu_seconds") and value != int(value):
                raise InvalidInput(f"{field.name} is {value!r}, but it must be a whole number.")
            if value < 0 or (value == 0 and field.name not in ("file_bytes", "files")):
                raise InvalidInput(f"{field.name} is {value!r}, but it must be more than 0.")
        if self.memory_bytes < _LEAST_MEMORY:
            raise InvalidInput(
                f"memory_bytes is {self.memory_bytes}, too little for Python itself.",
                hint=f"Give it at least {_LEAST_MEMORY}.",
            )
