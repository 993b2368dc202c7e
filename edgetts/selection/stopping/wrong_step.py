"""End samples that have computed something wrongly; knows what their text says so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgetts.selection.stopping.rule import Running
from edgetts.selection.verification.arithmetic import computed


@dataclass(frozen=True, slots=True)
class WrongEquation:
    """End a sample as soon as an equation between numbers in its text does not hold.

    Of a 0.5B model's samples for gsm_symbolic 1.1% of those whose equations do not all hold are right, against 24% where
    they do; ending them there saves 7% of all tokens. A sample that would have corrected itself is lost.
    """

    @property
    def name(self) -> str:
        return "wrong-equation"

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:  # noqa: ARG002  # the protocol's
        return frozenset(one.sample for one in running if "=" in one.text and _errs(one.text))


# A replay under many policies looks at the same prefixes again and again.
@lru_cache(maxsize=1 << 11)
def _errs(text: str) -> bool:
    return any(found.holds is False for found in computed(text, complete=False))
