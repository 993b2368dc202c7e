"""Read quantities with units from the command line: "500ms", "1.5kJ", "2GB", or a plain number in the usual unit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

_NUMBER = re.compile(
    r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|[+-]?inf(?:inity)?)\s*([a-z]*)\s*", re.I
)


if TYPE_CHECKING:
    _Type = click.ParamType[float]
else:  # before click 8.2 it took no parameter
    _Type = click.ParamType


class Quantity(_Type):
    """A number of `usual` units. units: what others are worth in that, by their names in any case."""

    def __init__(self, name: str, usual: str, units: dict[str, float], example: str) -> None:
        self.name = name
        self._usual = usual
        self._units = {unit.casefold(): worth for unit, worth in units.items()}
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the value in the usual unit; limits check whether it makes sense. Fails for what is none."""
        if isinstance(value, (int, float)):
            return float(value)
        text = str(value)
        found = _NUMBER.fullmatch(text) if len(text) <= 64 else None
        if found is None:
            self.fail(
                f"{text[:64]!r} is no number of {self._usual}; write for example {self._example}.", param, ctx
            )
        number, unit = found.groups()
        worth = 1.0 if not unit else self._units.get(unit.casefold())
        if worth is None:
            self.fail(
                f"{unit!r} is no unit of {self.name}; known are {', '.join(self._units)}.",
                param,
                ctx,
            )
        return float(number) * worth


SECONDS = Quantity(
    "time",
    "seconds",
    {"us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0},
    "5, 5s or 500ms",
)
JOULES = Quantity(
    "energy",
    "joules",
    {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6, "mWh": 3.6},
    "20, 20J or 1.5kJ",
)
MEGABYTES = Quantity(
    "memory",
    "megabytes",
    {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3, "KiB": 2**10 / 1e6, "MiB": 2**20 / 1e6, "GiB": 2**30 / 1e6},
    "500, 500MB or 2GB",
)
