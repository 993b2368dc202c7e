"""When a token may leave: four rules from the literature, as pure functions of what is known at a cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from edgetts.decoding.session import Features
from edgetts.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Arrival:
    """One token that has come to a cut, and what is known of it there.

    cut: index of the cut, of `cuts` that have a head. position: of the token to be drawn, 0 being the
    sample's first. streams: its residual stream [hidden] at every cut so far, this one last.
    confidences: calibrated, of the first choice at every cut so far; empty where the criterion needs none.
    """

    cut: int
    cuts: int
    position: int
    streams: Sequence[Features]
    confidences: Sequence[float] = ()


class Criterion(Protocol):
    """Say, cut by cut, whether a token leaves. Keeps nothing from one call to the next."""

    @property
    def needs_confidence(self) -> bool:
        """Whether heads must be read at cuts where the token does not leave."""
        ...

    @property
    def monotone(self) -> bool:
        """Whether no token goes deeper than one before it, so that no layer is needed that one left out."""
        ...

    def leaves(self, arrival: Arrival) -> bool: ...


@dataclass(frozen=True, slots=True)
class Confidence:
    """Leave where the calibrated confidence is at least `threshold`; above 1, never.

    "Confident Adaptive Language Modeling" (Schuster et al., 2022), which thresholds the softmax and
    calibrates the threshold. "Jointly-Learned Exit and Inference for a Dynamic Neural Network" (JEI-DNN,
    2024) finds thresholded exits overconfident, each by its own measure: so each head calibrates itself.
    """

    threshold: float
    needs_confidence: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _need_at_least(0.0, self.threshold, "threshold")

    def leaves(self, arrival: Arrival) -> bool:
        return arrival.confidences[-1] >= self.threshold


@dataclass(frozen=True, slots=True)
class Saturation:
    """Leave where the stream's cosine with that at the cut before is at least `threshold`.

    "You Need Multiple Exiting" (MuE, Tang et al., 2023): layers that change nothing more are not worth
    running. Never at the first cut, which has none before it. The head is read only to draw.
    """

    threshold: float
    needs_confidence: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _need_at_least(-1.0, self.threshold, "threshold")

    def leaves(self, arrival: Arrival) -> bool:
        return len(arrival.streams) > 1 and cosine(*arrival.streams[-2:]) >= self.threshold


@dataclass(frozen=True, slots=True)
class QExit:
    """Leave at the first cut where 1 - prod(1 - confidence) over the cuts so far is at least `q`.

    "PALBERT: Teaching ALBERT to Ponder" (Balagansky and Gavrilov, 2022): its Q-exit compares q with the
    probability of having left by then; here confidences stand for its learned chances of leaving. Cuts
    that err do so together, so that q promises less agreement than an equal `Confidence`.
    """

    q: float
    needs_confidence: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _need_at_least(0.0, self.q, "q")

    def leaves(self, arrival: Arrival) -> bool:
        stayed = 1.0
        for confidence in arrival.confidences:
            stayed *= 1.0 - confidence
        return 1.0 - stayed >= self.q


@dataclass(frozen=True, slots=True)
class Schedule:
    """Leave ever earlier: `every` tokens take full depth, as many leave at the last cut, then the one before.

    From then on all leave at the first cut. The sample's first token, drawn from the prompt's pass, counts
    among those of full depth. "SkipDecode" (Del Corro et al., 2023): depth falls with the position, so that
    caches stay whole and the cost is known beforehand. There the lower layers are skipped; here the upper
    ones are, since that is what a cut can do.
    """

    every: int
    needs_confidence: ClassVar[bool] = False
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _need_at_least(1, self.every, "every")

    def leaves(self, arrival: Arrival) -> bool:
        return arrival.cut >= max(0, arrival.cuts - arrival.position // self.every)


CRITERIA = ("confidence", "saturation", "q-exit", "schedule")
"""Every criterion, by the name it is asked for with."""


def make_criterion(name: str, strictness: float) -> Criterion:
    """Make a criterion of CRITERIA: its threshold, or for schedule its tokens. Raises InvalidInput."""
    if name == "schedule":
        if strictness != int(strictness):
            raise InvalidInput(f"A schedule steps down every so many whole tokens, not every {strictness}.")
        return Schedule(int(strictness))
    made: dict[str, Callable[[float], Criterion]] = {
        "confidence": Confidence,
        "saturation": Saturation,
        "q-exit": QExit,
    }
    if name not in made:
        raise InvalidInput(
            f"There is no criterion {name!r} to leave early by.", hint=f"There are: {', '.join(CRITERIA)}."
        )
    return made[name](strictness)


def _need_at_least(least: float, value: float, name: str) -> None:
    # Written so that NaN is refused too.
    if not value >= least:
        raise InvalidInput(f"{name} is {value!r}, but it must be at least {least:g}.")


def cosine(one: Features, other: Features) -> float:
    """Return the cosine of two streams; 0 where one of them is zero."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
