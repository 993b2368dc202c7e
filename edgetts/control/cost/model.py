"""Predict what passes and whole plans cost: a measured curve, corrected by what is observed while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgetts.control.cost.drift import Drift
from edgetts.control.cost.lengths import KnownLengths, Lengths
from edgetts.control.cost.work import LEVEL, Prediction, Work
from edgetts.interval import Interval
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CACHE_SLACK = 320
"""Rows of the cache grow ahead of need by this many tokens."""
# Of laws of lengths that do not say: the share of the variation that samples of one question have in common.
_SHARED = 0.25
# Of watts that nobody measured here, the deviation of their logarithm.
_MODELLED_WATTS = 0.2


class CostModel:
    """Seconds, joules and memory of prefills, passes and plans. Load, heat and long contexts show as a ratio to the curve.

    drift: what was observed, kept from answer to answer by whoever keeps the runtime; None begins afresh. power: of the
    device; share: of its processor that a pass keeps busy (threads by cores).
    """

    def __init__(
        self,
        times: StepTimes,
        drift: Drift | None = None,
        *,
        power: PowerDraw | None = None,
        share: float = 1.0,
    ) -> None:
        self._times = times
        self._drift = drift or Drift(times.spread)
        self._trail = None if drift is not None else self._drift.begin()
        self._power = power
        self._share = share
        self.observer: Callable[[int, float, float | None], None] | None = None
        """Told of every pass, as `observe` is."""

    @property
    def provenance(self) -> str:
        return self._times.provenance

    @property
    def measured(self) -> bool:
        """Whether the curve is this device's own."""
        return self._times.source in ("measured", "learned")

    @property
    def timed(self) -> bool:
        """Whether the curve says anything of how long passes take."""
        return self._times.source != "emulated"

    @property
    def drift(self) -> Drift:
        return self._drift

    @property
    def ratio(self) -> float:
        """How many times longer passes take now than the curve says."""
        return self._drift.level

    @property
    def watts(self) -> float | None:
        """What the device draws while a pass runs; None where no power is known."""
        return None if self._power is None else self._power.at(self._share) * self._drift.asides.watts[0]

    def observe_joules(self, joules: float, seconds: float) -> None:
        """Take in what a meter said of an answer, which corrects the watts that are predicted."""
        if self._power is not None and joules > 0 and seconds > 0:
            self._drift.asides.observe_watts(joules / seconds / self._power.at(self._share))

    def observe(self, width: int, seconds: float, past: float | None = None) -> None:
        """Take in the time of a pass. past: tokens that each branch held, where that is known."""
        if self._trail is None:
            self._trail = self._drift.begin()
        self._drift.observe(width, seconds, self._times.at(width, past), self._trail)
        if self.observer is not None:
            self.observer(width, seconds, past)

    def observe_prefill(self, tokens: int, seconds: float) -> None:
        """Take in how long reading a prompt took."""
        curve = self._times.prefill(tokens)
        if curve > 0:
            self._drift.asides.observe_prefill(tokens, seconds / curve)

    def prefill(self, tokens: int) -> float:
        """Predict reading a prompt."""
        return self._times.prefill(tokens) * self._drift.asides.prefill(tokens)[0]

    def step(self, width: int, past: float | None = None) -> float:
        """Predict a pass: as likely too long as too short."""
        return self._times.at(width, past) * self._drift.shape(width) * self._drift.level

    def step_bound(self, width: int, past: float | None = None) -> float:
        """Predict a pass so that it takes longer with a small probability only (`drift.PASS_MISS`)."""
        return self._times.at(width, past) * self._drift.shape(width) * self._drift.pass_bound

    def passes_bound(self, width: int, passes: int, past: float | None = None) -> float:
        """Predict passes in a row so that they seldom take longer together (`drift.SUM_MISS`)."""
        curve = self._times.at(width, past) * self._drift.shape(width)
        return passes * curve * self._drift.sum_bound(passes)

    def predict(self, work: Work) -> Prediction:
        """Predict what a plan costs, over scenarios of lengths, of when a rule stops, and of the device."""
        import numpy as np

        from edgetts.control.cost.schedule import (
            SCENARIOS,
            deviates,
            first_to_last,
            ranks,
            seconds_of,
            stopping,
        )

        samples = max(1, work.samples)
        width = max(1, min(work.width, samples))
        law = work.lengths
        if isinstance(law, KnownLengths) and len(law.seen) >= samples:
            known = np.array(law.seen[:samples], dtype=float)
            lengths = np.broadcast_to(known[:, 0], (SCENARIOS, samples))
            cut = (lengths >= work.cap) | (known[:, 1] == 0)
        else:
            shared = law.shared if isinstance(law, Lengths) else _SHARED
            order = ranks(samples, round(100 * shared))
            lengths = np.asarray(law.quantiles(SCENARIOS), dtype=float)[order]
            cut = lengths >= work.cap
        tokens = np.minimum(np.round(lengths), work.cap)
        # The first token comes with the prompt; what ends a sample by itself is a token too, that nobody sees.
        passes = np.maximum(tokens - cut, 0.0)
        drawn = stopping(samples, work.rounds, work.expected)
        begins, ends, begun = first_to_last(passes, width, work.rounds, drawn)
        ran = ends - begins
        emitted = np.where(ran >= passes, tokens, np.minimum(ran + 1, tokens)) * begun
        alone = 1.0 if width > 1 else max(work.gain, 1e-3)
        table = self._table(width, max(work.gain, 1e-3))
        seconds = seconds_of(begins, ends, table)
        # Tokens of a branch make passes longer, whoever runs beside it.
        beyond = work.prompt - self._times.past
        growth = (ran * beyond + ran * ran / 2).sum(axis=1) * self._times.growth / alone
        least = 0.05 * seconds
        level, deviation = self._drift.answers
        level *= self._drift.level
        decoding = np.maximum(seconds + growth * np.sign(seconds), least) * level
        unread = max(1, work.prompt - work.known)
        reading, unsure = self._drift.asides.prefill(unread)
        prompt = self._times.prefill(unread) * reading * np.exp(unsure * deviates(1))
        ended = begun.sum(axis=1)
        judging = ended * (self.prefill(work.judging) if work.judging else 0.0)
        closing = ended * self._drift.asides.closing[0] + self._drift.asides.choice[0]
        total = prompt + (decoding + judging) * np.exp(deviation * deviates(0)) + closing
        fixed = work.prompt + CACHE_SLACK
        # A lone sample takes the prompt's own branch; with more, that one stays until the last has begun.
        cells = fixed + work.cap if samples == 1 else fixed + width * (fixed + work.cap)
        if work.whole_cache:
            cells = work.whole_cache * (1 if samples == 1 else 1 + width)
        return Prediction(
            seconds=_interval(total),
            tokens=_interval(emitted.sum(axis=1)),
            joules=self._joules(total),
            memory_bytes=cells * work.bytes_per_token,
        )

    def _table(self, width: int, gain: float) -> npt.NDArray[np.float64]:
        """Return seconds of a pass by how many samples run, at the curve's own context and level."""
        import numpy as np

        seconds = [0.0] + [self._times.at(w) * self._drift.shape(w) for w in range(1, width + 1)]
        seconds[1] /= gain
        return np.array(seconds)

    def _joules(self, seconds: npt.NDArray[np.float64]) -> Interval | None:
        import numpy as np

        from edgetts.control.cost.schedule import deviates

        if self._power is None or self.watts is None:
            return None
        busy = self._power.busy_watts
        unsure = busy.spread / 1.2816 / busy.value if busy.value > 0 else 0.0
        observed = self._drift.asides.watts[1]
        if observed:
            unsure = observed
        elif self._power.provenance != "measured":
            unsure = max(unsure, _MODELLED_WATTS)
        return _interval(seconds * self.watts * np.exp(unsure * deviates(2)))


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    import numpy as np

    # As np.quantile does, which imports half of NumPy when it is first called.
    ordered = np.sort(values)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))

    return Interval(quantile(0.5), quantile((1 - LEVEL) / 2), quantile((1 + LEVEL) / 2), LEVEL)
