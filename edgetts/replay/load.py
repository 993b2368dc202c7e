"""What else keeps a device busy while it answers, as a factor on how long passes take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, cast

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.stopping.settings import read_settings

_LONGEST = 1e6
_SLOWEST = 1e3


class Load(Protocol):
    """How many times longer a pass takes that begins `at` seconds after the question came."""

    def factor(self, at: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Passes take `ratio` times what the profile says."""

    ratio: float = 1.0

    def __post_init__(self) -> None:
        _check("constant", 1.0, self.ratio)

    def factor(self, at: float) -> float:  # noqa: ARG002  # the protocol's
        return self.ratio


@dataclass(frozen=True, slots=True)
class OnOff:
    """A competitor that is away for `seconds`, and then there for as long, in turn: passes take `ratio` times as long."""

    seconds: float = 2.0
    ratio: float = 2.0

    def __post_init__(self) -> None:
        _check("on-off", self.seconds, self.ratio)

    def factor(self, at: float) -> float:
        return self.ratio if at % (2 * self.seconds) >= self.seconds else 1.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """A device that gets hot: after `seconds` passes take `ratio` times as long."""

    seconds: float = 5.0
    ratio: float = 2.0

    def __post_init__(self) -> None:
        _check("throttle", self.seconds, self.ratio)

    def factor(self, at: float) -> float:
        return self.ratio if at >= self.seconds else 1.0


LOADS: Mapping[str, type[Any]] = MappingProxyType(
    {"constant": Constant, "on-off": OnOff, "throttle": Throttle}
)


def make_load(spec: str) -> Load:
    """Make a load of text such as "constant", "on-off:3,ratio=2.5" or "throttle:5". Errors: InvalidInput."""
    name, colon, settings = spec.strip().partition(":")
    if name not in LOADS:
        raise InvalidInput(f"There is no load {name!r}.", hint=near_miss(name, LOADS))
    if colon and not settings.strip():
        raise InvalidInput(f"The load {name!r} has a colon and no settings.", hint=f"Write {name!r} alone.")
    kind = LOADS[name]
    return cast(Load, kind(**read_settings(name, kind, settings)))


def _check(name: str, seconds: float, ratio: float) -> None:
    if not 1e-3 <= seconds <= _LONGEST:
        raise InvalidInput(f"The load {name!r} changes after {seconds:g} s, but that must be 0.001 to 1e6 s.")
    if not 1 / _SLOWEST <= ratio <= _SLOWEST:
        raise InvalidInput(f"The load {name!r} has the ratio {ratio:g}, but it must be 0.001 to 1000.")
