"""What the next message of a chat is asked with, and how `/budget` writes it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.quantities import JOULES, SECONDS
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.answering.asked import AskedNow
    from edgetts.budget import Budget
    from edgetts.types import SamplingParams

_TOKENS = re.compile(r"([0-9]+)\s*(?:t|tok|tokens?)", re.I)
_EXAMPLE = "Write for example /budget 5s, /budget 20J, /budget 200t, several of them, or /budget off."


@dataclass(frozen=True, slots=True)
class Settings:
    """The keywords of `Engine.stream` that a chat has. more: those that no command changes."""

    budget: Budget
    sampling: SamplingParams
    strategy: Any
    verifier: Any
    calibration: Any
    more: dict[str, Any]

    def asked(self) -> AskedNow:
        """Return them as keywords."""
        return {
            "budget": self.budget,
            "sampling": self.sampling,
            "strategy": self.strategy,
            "verifier": self.verifier,
            "calibration": self.calibration,
            **self.more,  # type: ignore[typeddict-item]  # of the options' readers
        }

    def limited(self, text: str) -> Settings:
        """Return them with the limits that `/budget` names, in place of all others but the number of samples."""
        limits: dict[str, Any] = {"seconds": None, "joules": None, "tokens": None}
        if text != "off":
            for part in text.replace(",", " ").split():
                name, value = _limit(part)
                if limits[name] is not None:
                    raise InvalidInput(f"{text!r} limits {name} twice.", hint=_EXAMPLE)
                limits[name] = value
        return replace(self, budget=replace(self.budget, **limits))

    def sampled(self, text: str) -> Settings:
        """Return them with the number of samples that `/samples` names."""
        if text != "off" and not re.fullmatch(r"[0-9]{1,9}", text):
            raise InvalidInput(
                f"{text[:80]!r} is no number of samples.",
                hint="Write for example /samples 5, or /samples off.",
            )
        return replace(self, budget=replace(self.budget, samples=None if text == "off" else int(text)))

    def choosing(self, text: str) -> Settings:
        """Return them with the strategy that `/strategy` names."""
        from edgetts.selection.strategies import make_strategy

        made = None if text == "off" else make_strategy(text, self.verifier, self.calibration)
        return replace(self, strategy=made)

    def told(self) -> str:
        """Say what is limited, and what samples are spent on."""
        limits = [
            f"{value:g} {unit}"
            for value, unit in (
                (self.budget.seconds, "s"),
                (self.budget.joules, "J"),
                (self.budget.tokens, "tokens"),
                (self.budget.samples, "samples"),
            )
            if value is not None
        ]
        strategy = "" if self.strategy is None else f", strategy {self.strategy.name}"
        return f"budget {', '.join(limits) or 'off'}{strategy}"


def _limit(part: str) -> tuple[str, float | int]:
    """Read one limit. Its unit says what is limited, so it has to have one."""
    if found := _TOKENS.fullmatch(part):
        if len(found[1]) > 15:
            raise InvalidInput(f"{part[:80]!r} is more tokens than there are.", hint=_EXAMPLE)
        return "tokens", int(found[1])
    if not part[-1].isdigit():
        for name, quantity in (("seconds", SECONDS), ("joules", JOULES)):
            with suppress(click.BadParameter):
                return name, quantity.convert(part, None, None)
    raise InvalidInput(f"{part[:80]!r} limits neither seconds, joules nor tokens.", hint=_EXAMPLE)
