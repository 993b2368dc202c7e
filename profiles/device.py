"""What a device is and may spend: hardware figures, power, and default budgets. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgetts.profiles.figure import Figure

PowerMode = Literal["saver", "balanced", "performance"]
"""What the user asks for (--power)."""
PowerState = Literal["mains", "battery", "low", "throttled", "background"]
"""What the device is in; low: little is left in the battery."""


@dataclass(frozen=True, slots=True)
class PowerDraw:
    """Watts of the whole device. busy: with every core used by a model that computes."""

    idle_watts: Figure
    busy_watts: Figure

    def at(self, share: float) -> float:
        """Return the watts while `share` (0 to 1) of the processor's time is used."""
        idle, busy = self.idle_watts.value, self.busy_watts.value
        return idle + (busy - idle) * min(max(share, 0.0), 1.0)

    @property
    def provenance(self) -> str:
        """The lesser of the two figures' provenances."""
        order = ("measured", "learned", "vendor", "modelled", "default")
        return max(self.idle_watts.provenance, self.busy_watts.provenance, key=order.index)


@dataclass(frozen=True, slots=True)
class DefaultBudget:
    """What an answer may take where the user sets no limit; None is no limit of that kind.

    samples: at most; 1 is one sample, without a vote. max_tokens: of one sample.
    """

    seconds: float | None = None
    joules: float | None = None
    samples: int | None = 1
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Processor:
    """cores: physical ones. bandwidth: bytes read from memory in a second. operations: 8-bit multiply-adds a second.

    provider: of an NPU, ONNX Runtime's name of who compiles for it; empty where that is not known.
    """

    name: str
    cores: int
    bandwidth: Figure
    operations: Figure
    provider: str = ""


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device, by figures that each say where they come from.

    name: a word, such as "raspberry-pi-5". kind: "measured" for this machine, "modelled" for one described
    by published figures. budgets: by what the user asks for and what the device is in.
    """

    name: str
    title: str
    kind: Literal["measured", "modelled"]
    memory_bytes: Figure
    processor: Processor
    power: PowerDraw
    npu: Processor | None = None
    budgets: Mapping[PowerMode, Mapping[PowerState, DefaultBudget]] = field(default_factory=dict)
