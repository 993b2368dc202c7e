"""What a plan is chosen for: what a right answer is worth, beside a wrong one, a joule and a second."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edgetts.interval import Interval
from edgetts.profiles.device import PowerMode, PowerState

Goal = Literal["budget", "target", "pass"]
"""budget: the greatest expected utility within the limits. target: the cheapest that reaches a success.
pass: the lowest expected cost of one right answer."""

# A share of a right answer's worth, for one joule and one second, where no limit of the kind says what may be spent.
_SECOND = 1e-3
_JOULE: dict[PowerMode, float] = {"saver": 1e-3, "balanced": 1e-4, "performance": 0.0}


@dataclass(frozen=True, slots=True)
class Objective:
    """Worth: right +1, wrong -`risk`, no answer 0. per_joule, per_second: what they cost in that unit.

    target: the probability of being right that is asked for, for the goal "target". abstains: an answer that is not
    worth giving may be withheld, so that nothing is worth less than 0.
    Sources: "Cost-of-Pass: An Economic Framework for Evaluating Language Models"; "Selective answering" is from
    "On the Foundations of Noise-free Selective Classification".
    """

    goal: Goal = "budget"
    target: float | None = None
    risk: float = 0.0
    abstains: bool = False
    per_joule: float = 0.0
    per_second: float = 0.0

    def price(self, seconds: float, joules: float | None) -> float:
        """Return what spending that costs, as a share of a right answer's worth."""
        return self.per_second * seconds + self.per_joule * (joules or 0.0)

    def worth(self, success: float) -> float:
        """Return what an answer that is right so often is worth."""
        worth = success - self.risk * (1.0 - success)
        return max(worth, 0.0) if self.abstains else worth

    def utility(self, success: Interval | None, seconds: float, joules: float | None) -> float:
        """Return the expected worth less the price; minus infinity where nothing is known of the success."""
        if success is None:
            return -math.inf
        return self.worth(success.value) - self.price(seconds, joules)

    def reaches(self, success: Interval | None) -> bool:
        """Whether the target is expected to be reached."""
        return success is not None and self.target is not None and success.value >= self.target

    def key(
        self, samples: int, success: Interval | None, seconds: float, joules: float | None
    ) -> tuple[float, ...]:
        """Return what to compare plans by: of two, the greater is the better one.

        One that is no worse in success, seconds and joules, and better in one of them, is always greater.
        """
        right = -1.0 if success is None else success.value
        energy = seconds if joules is None else joules
        spent = (-energy, -seconds)
        if success is None:
            # Nothing is known of what more samples are worth: as many as the limits allow.
            return (-math.inf, float(samples), -seconds, -energy)
        if self.goal == "target":
            return (1.0, *spent, right) if self.reaches(success) else (0.0, right, *spent)
        if self.goal == "pass":
            return (-energy / right if right > 0 else -math.inf, right, -seconds, -energy)
        return (self.utility(success, seconds, joules), right, -seconds, -energy)

    @property
    def stated(self) -> str:
        """The objective, in words."""
        if self.goal == "target":
            return f"the cheapest that is right with probability {self.target:g}"
        if self.goal == "pass":
            return "the lowest expected cost of a right answer"
        terms = ["right +1", f"wrong {-self.risk:g}" if self.risk else "wrong 0"]
        if self.per_second:
            terms.append(f"a second {-self.per_second:g}")
        if self.per_joule:
            terms.append(f"a joule {-self.per_joule:g}")
        return f"the greatest expected worth ({', '.join(terms)})"


def priced(
    objective: Objective,
    mode: PowerMode,
    state: PowerState,
    *,
    seconds_limited: bool,
    joules_limited: bool,
) -> Objective:
    """Set prices by what the user asks for and what the device is in.

    A limit says that so much may be spent, so that within it only the worth counts. Joules from the mains are free,
    unless the device is to save them.
    """
    joule = _JOULE[mode]
    if state == "low":
        joule = max(joule, _JOULE["saver"])
    elif state in ("mains", "background") and mode != "saver":
        joule = 0.0
    second = 0.0 if mode == "performance" else _SECOND
    return replace(
        objective,
        per_joule=0.0 if joules_limited else joule,
        per_second=0.0 if seconds_limited else second,
    )
