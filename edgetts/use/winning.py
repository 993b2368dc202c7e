"""Which mode had more tokens a second, by the size of the question, and how surely. Knows uses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from edgetts.interval import Interval
from edgetts.use.learning import idle, middle
from edgetts.use.record import Mode, Use

LEVEL = 0.9
_PRIOR_SPREAD = 0.2
"""Standard deviation of the log of a rate among answers, as guessed."""
_PRIOR_ANSWERS = 4.0
"""How many answers that guess weighs, and half of that the guess that all modes are alike."""
_FAR = 3.0
"""Times the usual deviation: what is farther off counts as if it were there."""
_BETWEEN = 0.3
"""Standard deviation of the log of what one mode gains over another, as guessed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens a second of a mode on a runtime, on the idle device, from so many answers."""

    runtime: str
    mode: Mode
    tokens_per_second: Interval
    answers: int
    _log: tuple[float, float] = (0.0, 0.0)

    @property
    def log(self) -> tuple[float, float]:
        """Mean and variance of the log of the rate."""
        return self._log


@dataclass(frozen=True, slots=True)
class Comparison:
    """Modes that answered questions of up to `prompt` tokens with `width` samples side by side, the fastest first.

    surely: the probability that the first is faster than the second; 1 where there is but one.
    """

    prompt: int
    width: int
    paces: tuple[Pace, ...]
    surely: float

    @property
    def stated(self) -> str:
        """The comparison, in words."""
        paces = ", ".join(
            f"{pace.runtime} {pace.mode} {pace.tokens_per_second.value:.0f} tokens/s "
            f"({pace.tokens_per_second.low:.0f} to {pace.tokens_per_second.high:.0f}; {pace.answers})"
            for pace in self.paces
        )
        sure = f"; the first is faster with probability {self.surely:.2f}" if len(self.paces) > 1 else ""
        return f"prompts up to {self.prompt}, width {self.width}: {paces}{sure}"


def which_wins(uses: Sequence[Use]) -> tuple[Comparison, ...]:
    """Compare modes among uses of one model on one device, by prompt bucket and width.

    Rates are those of the idle device: a use whose passes took r times as long as passes of their widths do at other times
    counts as r times as fast, so that what ran beside it, or heat, does not decide between modes. Each mode's log
    rate has a normal posterior: a mean drawn towards that of all modes, a variance drawn towards a guess.
    """
    seen: dict[tuple[str, int], list[float]] = {}
    for use in uses:
        for width, ratio, _ in use.ratios:
            seen.setdefault((use.runtime, width), []).append(ratio)
    usual = {key: idle(ratios) for key, ratios in seen.items()}
    groups: dict[tuple[int, int], list[tuple[Use, float]]] = {}
    for use in uses:
        if use.tokens > 0 and use.seconds > 0 and use.ratios:
            load = middle([(w, ratio / usual[use.runtime, w], n) for w, ratio, n in use.ratios])
            groups.setdefault((use.prompt, use.width), []).append((use, use.tokens / use.seconds * load))
    return tuple(_compared(*key, groups[key]) for key in sorted(groups))


def gain_of(
    uses: Sequence[Use], prompt: int, mode: Mode = "speculative", runtime: str | None = None
) -> Interval | None:
    """Return how many times the plain rate a mode has for a sample alone; None where either was not used.

    prompt: the bucket; the nearest one in which both were used counts. runtime: None is any on which both were used.
    """
    found: list[tuple[float, Interval]] = []
    for group in which_wins(uses):
        if group.width != 1:
            continue
        known = {(pace.runtime, pace.mode): pace for pace in group.paces}
        for pace in group.paces:
            plain = known.get((pace.runtime, "plain"))
            if pace.mode == mode and plain is not None and runtime in (None, pace.runtime):
                distance = abs(math.log2(max(group.prompt, 1) / max(prompt, 1)))
                found.append((distance, _ratio(pace.log, plain.log)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _compared(prompt: int, width: int, uses: Sequence[tuple[Use, float]]) -> Comparison:
    """uses: with tokens a second of the idle device."""
    rates: dict[tuple[str, Mode], list[float]] = {}
    for use, rate in uses:
        rates.setdefault((use.runtime, use.mode), []).append(math.log(rate))
    tamed = {key: _tamed(logs) for key, logs in rates.items()}
    middle = statistics.fmean(statistics.fmean(logs) for logs in tamed.values())
    paces = [_pace(runtime, mode, logs, middle) for (runtime, mode), logs in tamed.items()]
    paces.sort(key=lambda pace: -pace.log[0])
    surely = 1.0
    if len(paces) > 1:
        (first, first_variance), (second, second_variance) = paces[0].log, paces[1].log
        surely = NormalDist().cdf((first - second) / math.sqrt(first_variance + second_variance))
    return Comparison(prompt, width, tuple(paces), surely)


def _pace(runtime: str, mode: Mode, logs: Sequence[float], middle: float) -> Pace:
    n = len(logs)
    mean = statistics.fmean(logs)
    squares = math.fsum((log - mean) ** 2 for log in logs)
    variance = (_PRIOR_ANSWERS * _PRIOR_SPREAD**2 + squares) / (_PRIOR_ANSWERS + n)
    # Precisions add up: of the answers, and of the guess that this mode is like the others.
    answers, guess = n / variance, 1 / _BETWEEN**2
    posterior = (answers * mean + guess * middle) / (answers + guess)
    log = (posterior, 1 / (answers + guess))
    return Pace(runtime, mode, _around(log), n, log)


def _ratio(one: tuple[float, float], other: tuple[float, float]) -> Interval:
    return _around((one[0] - other[0], one[1] + other[1]))


def _around(log: tuple[float, float]) -> Interval:
    off = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(log[1])
    return Interval(math.exp(log[0]), math.exp(log[0] - off), math.exp(log[0] + off), LEVEL)


def _tamed(logs: Sequence[float]) -> list[float]:
    """Bring what lies far off nearer, so that one answer beside a sleeping machine does not decide."""
    middle = statistics.median(logs)
    usual = 1.4826 * statistics.median(abs(log - middle) for log in logs)
    reach = _FAR * max(usual, 0.05)
    return [min(max(log, middle - reach), middle + reach) for log in logs]
