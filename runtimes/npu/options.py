"""Say where and how a static bundle runs. Knows nothing of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetts.device import check_device
from edgetts.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class NpuOptions:
    """How a static bundle runs.

    device: auto is the provider that the bundle was exported for where it is there, else the CPU. provider: one of
    ONNX Runtime by name, instead of a device. provider_options: passed on to it, over those of the catalogue.
    library: of a plug-in provider that edgetts does not know. soc: the chip to compile for, where it is not the one
    that runs. place: layers on another device than the rest, e.g. "cpu:15-30"; cuts are the places to part at.
    fallback: let operators that the provider has not run on the CPU. threads: of the CPU, None is one per physical
    core. memory_bytes: limit of all branches' caches.
    """

    device: str = "auto"
    provider: str | None = None
    provider_options: Mapping[str, str] = field(default_factory=dict)
    library: Path | None = None
    soc: str | None = None
    place: str | None = None
    fallback: bool = False
    threads: int | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InvalidInput(f"threads is {self.threads}, but it must be between 1 and 1024.")
        if self.library is not None and self.provider is None:
            raise InvalidInput(
                "A provider's library needs the provider's name.", hint="Name the provider too."
            )
