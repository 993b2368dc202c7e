"""What was measured of one model on one runtime of one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw

Scope = Literal["first-use", "quick", "full"]


@dataclass(frozen=True, slots=True)
class Made:
    """When and with what a profile was measured. versions: of edgetts, Python, the runtime.

    earlier: the days of parts that were measured at another time than the rest, by name. doubt: a sentence on why the
    figures may not be the device's own, such as other programs that ran meanwhile; empty for none.
    """

    date: str
    scope: Scope
    versions: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes of the loaded model, of a token of a branch, and of a branch beside its tokens."""

    model: int
    token: int
    branch: int


@dataclass(frozen=True, slots=True)
class Guessing:
    """What drafting with `drafter` does on the calibration text. seconds: of making one guess. right: share of
    guesses that were right where those before them were. gain: measured tokens a second over plain decoding's.
    """

    drafter: str
    seconds: float
    right: float
    gain: float


@dataclass(frozen=True, slots=True)
class Sustained:
    """How passes slow down under a load that lasts `seconds`: the last fifth's median over the first's."""

    seconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class SpeedProfile:
    """mark: the fingerprint of machine, model, runtime, its version and options, that all of this holds for.

    facts: what the fingerprint is of, in words, for people and for comparison. threads: seconds of a plain pass by how many
    threads run it. run_threads: threads that `times` was measured with, where measuring chose them because the
    user named none; 0 is the runtime's own choice. power: where a meter measured it while the model ran.
    """

    mark: str
    model: str
    runtime: str
    facts: Mapping[str, str]
    made: Made
    times: StepTimes
    memory: MemoryUse | None = None
    threads: tuple[tuple[int, float], ...] = ()
    guessing: tuple[Guessing, ...] = ()
    sustained: Sustained | None = None
    power: PowerDraw | None = None
    run_threads: int = 0
