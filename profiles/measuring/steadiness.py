"""Keep a device that changes its speed while it is measured from giving a curve that it never had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgetts.profiles.measuring.passes import STEADY, Curve, before_change, drift


@dataclass(frozen=True, slots=True)
class Settled:
    """A curve of one state of the device. spread: as a share; changes that would not end are in it.

    remark: what is odd about it, a sentence; else empty.
    """

    curve: Curve
    spread: float
    remark: str = ""


def settle(measure: Callable[[], Curve], notify: Callable[[str], None]) -> Settled:
    """Measure; where the device changes its speed meanwhile, say so and measure once more.

    What disturbed it for a while is then over. A device that stays slower is throttled: the curve is of before,
    where enough was timed then, and what it slows to is another figure (`sustained`). One that goes on
    changing is kept with a spread as wide as the change.
    """
    first = measure()
    change = drift(first)
    if change == 1.0 or not first.complete:
        return Settled(first, first.spread)
    notify(f"Passes took {_percent(change)} at the end of what they took at first, so they are timed again.")
    second = measure()
    before = before_change(first)
    if not second.complete or len(second.widths) < len(first.widths):  # cancelled, or no time
        curve = before if before.complete else first
        wide = max(curve.spread, abs(change - 1))
        return Settled(curve, wide, "The device changed its speed while it was measured.")
    if (again := drift(second)) != 1.0:
        curve = part if (part := before_change(second)).complete else second
        wide = max(curve.spread, abs(again - 1))
        return Settled(curve, wide, "The device went on changing its speed while it was measured.")
    slower = _slower(second, before)
    if slower <= 1 + max(second.spread, before.spread, STEADY):
        return Settled(second, second.spread)
    if before.complete:
        return Settled(
            before,
            before.spread,
            f"Under load passes soon took {_percent(slower)} of what they take at first.",
        )
    return Settled(second, second.spread, f"At the very first, passes took {_percent(1 / slower)} of this.")


def _slower(curve: Curve, other: Curve) -> float:
    ours, theirs = curve.seconds(), other.seconds()
    both = [width for width in ours if theirs.get(width, 0) > 0]
    ratios = sorted(ours[width] / theirs[width] for width in both)
    return ratios[len(ratios) // 2] if ratios else 1.0


def _percent(share: float) -> str:
    return f"{share:.0%}"
