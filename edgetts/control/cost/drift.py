"""How far passes are from the measured curve: now, usually, and how surely. Knows ratios; the curve stays as it is."""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from edgetts.control.cost.asides import Asides
from edgetts.control.cost.conformal import AdaptiveBound

PASS_MISS = 0.005
"""How often a single pass may take longer than its bound.

A deadline can only be missed by a pass that begins when less than its own time is left. Bounds are at least as long as typical
passes, so that one or two passes of an answer begin within twice the bound of the deadline; at 1 in 200 each, 1 answer in 100
misses. Two bounds, one relative to what passes take now and one to the curve, are each held to half of
it; the lesser is used.
"""
SUM_MISS = 0.05
"""How often a few passes together may take longer than theirs: what is lost then is how samples conclude, not the deadline.

Two bounds too.
"""

# Passes whose median says how long passes take now.
_NOW = 9
# Seconds after which what was observed is worth half beside what is usual.
_HALF_LIFE = 60.0
# What is worth more than this share is worth all: passes of one answer follow each other.
_FRESH = 0.95
_USUAL_WEIGHT = 20.0
_USUAL_MOST = 2000.0
# Changes of width that are remembered, and how many weigh as much as the curve.
_SHAPES = 32
_SHAPE_WEIGHT = 4
# Passes after a change that are compared with those before it, but for the first, which may allocate; and how old those may be.
_AFTER_CHANGE = 12
_CHANGE_SECONDS = 20.0
_BLOCKS = (8, 32)
_ANSWERS = 32
_LEAST_PASSES = 12
_ANSWER_PRIOR = 3.0
_ANSWER_SPREAD = 0.15


@dataclass(slots=True)
class Trail:
    """The passes of one answer: seconds, and what the curve says; `level`: the ratio when it began."""

    level: float
    seconds: float = 0.0
    curve: float = 0.0
    passes: int = 0


class Drift:
    """What one runtime's answers teach about a curve; calls may come from any thread.

    spread: how far a single pass lies from the curve (half of the range of the middle 80%, as a share).
    clock: in seconds, to know how old an observation is; None takes them all for recent.
    """

    def __init__(self, spread: float = 0.1, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: 0.0)
        self._lock = threading.RLock()
        deviation = max(spread, 0.02) / 1.2816
        self._now: deque[float] = deque(maxlen=_NOW)
        self._level: float | None = None
        self._at = self._clock()
        self._usual = 0.0
        self._count = _USUAL_WEIGHT
        self._shapes: dict[int, deque[float]] = {}
        self._shape: dict[int, float] = {}
        # The width that is being run, the level before it (None where that was long ago, or told already), and passes since.
        self._width = 0
        self._before: float | None = None
        self._run: list[float] = []
        self._relative = AdaptiveBound(PASS_MISS / 2, deviation)
        self._absolute = AdaptiveBound(PASS_MISS / 2, deviation)
        # Of blocks of passes: relative to the level at their beginning, and to the curve.
        self._sums = {
            block: tuple(AdaptiveBound(SUM_MISS / 2, deviation / (1 if block == 1 else 2)) for _ in range(2))
            for block in (1, *_BLOCKS)
        }
        self._tail: deque[tuple[float, float]] = deque(maxlen=max(_BLOCKS) + 1)
        self._passes = 0
        self._trails: deque[Trail] = deque(maxlen=_ANSWERS)
        self.asides = Asides()

    def copy(self) -> Drift:
        """Return one that knows the same and learns apart."""
        made = Drift(clock=self._clock)
        with self._lock:
            for name, value in vars(self).items():
                if name not in ("_lock", "_clock", "asides"):
                    setattr(made, name, deepcopy(value))
        made.asides = self.asides.copy()
        return made

    @property
    def level(self) -> float:
        """How many times longer passes take than the curve says: those just observed, or what is usual."""
        with self._lock:
            return self._level_at(self._clock())

    def _level_at(self, moment: float) -> float:
        if not self._now:
            return math.exp(self._usual)
        if self._level is None:
            self._level = statistics.median(self._now)
        fresh = 0.5 ** min(max(0.0, moment - self._at) / _HALF_LIFE, 60.0)
        if fresh > _FRESH:
            return self._level
        return math.exp(self._usual + fresh * (math.log(self._level) - self._usual))

    def shape(self, width: int) -> float:
        """Return how much longer passes of a width take than others, beside the curve."""
        with self._lock:
            if width not in self._shape:
                self._shape[width] = self._shape_of(width)
            return self._shape[width]

    def _shape_of(self, width: int) -> float:
        if seen := self._shapes.get(width):
            # One may be the device's change of speed; many are not.
            sure = len(seen) ** 2 / (len(seen) ** 2 + _SHAPE_WEIGHT**2)
            return 1 + sure * (statistics.median(seen) - 1)
        near = [w for w, seen in self._shapes.items() if len(seen) >= _SHAPE_WEIGHT]
        below, above = [w for w in near if w < width], [w for w in near if w > width]
        if not below or not above:
            return 1.0
        low, high = max(below), min(above)
        part = math.log(width / low) / math.log(high / low)
        return (1 - part) * self._shape_of(low) + part * self._shape_of(high)

    def begin(self) -> Trail:
        """Return what the passes of an answer are to be noted in."""
        with self._lock:
            trail = Trail(self.level)
            self._trails.append(trail)
            return trail

    def observe(self, width: int, seconds: float, curve: float, trail: Trail) -> None:
        """Take in a pass: what it took, and what the curve says it should have."""
        if not (seconds > 0 and math.isfinite(seconds)):
            return
        with self._lock:
            now, known = self._clock(), bool(self._now)
            level, shape = self._level_at(now - seconds), self.shape(width)
            ratio = min(max(seconds / curve, 1e-3), 1e3)
            plain = ratio / shape
            if known:
                self._relative.observe(plain / level)
                self._note_sum(1, plain, level)
                self._note_shape(width, ratio, level, now - seconds)
                if now - seconds - self._at > _HALF_LIFE / 6:
                    # What was observed long ago is worth as much as its age leaves, and soon nothing.
                    self._now.clear()
                    self._now.append(level)
            self._absolute.observe(plain)
            self._now.append(plain)
            self._level, self._at = None, now
            self._count = min(self._count + 1, _USUAL_MOST)
            self._usual += (math.log(plain) - self._usual) / self._count
            self._note_sums(plain, level)
            trail.seconds += seconds
            trail.curve += curve * shape
            trail.passes += 1

    def _note_shape(self, width: int, ratio: float, level: float, moment: float) -> None:
        """Compare passes of a width with those of another one just before: later ones only tell how fast the device is now."""
        if width != self._width:
            self._end_run()
            fresh = moment - self._at < _CHANGE_SECONDS
            self._width, self._before = width, level if fresh else None
        if self._before is not None:
            self._run.append(ratio / self._before)
            if len(self._run) == _AFTER_CHANGE:
                self._end_run()
                self._before = None

    def _end_run(self) -> None:
        if len(self._run) > 1:
            seen = self._shapes.setdefault(self._width, deque(maxlen=_SHAPES))
            seen.append(statistics.median(self._run[1:]))
            self._shape.clear()
        self._run = []

    def _note_sums(self, plain: float, level: float) -> None:
        self._tail.append((plain, level))
        self._passes += 1
        for block in _BLOCKS:
            if self._passes % (block // 4) == 0 and len(self._tail) >= block:
                last = list(self._tail)[-block:]
                self._note_sum(block, sum(ratio for ratio, _ in last) / block, last[0][1])

    def _note_sum(self, block: int, plain: float, level: float) -> None:
        relative, absolute = self._sums[block]
        relative.observe(plain / level)
        absolute.observe(plain)

    @property
    def pass_bound(self) -> float:
        """What a pass takes at most, as a multiple of the curve and its shape (see PASS_MISS)."""
        with self._lock:
            return min(self.level * self._relative.bound, max(self._absolute.bound, self.level))

    def sum_bound(self, passes: int) -> float:
        """Return what so many passes together take at most, as a multiple of their curve (see SUM_MISS)."""
        with self._lock:
            block = max(k for k in self._sums if k <= max(1, passes))
            relative, absolute = self._sums[block]
            level = self.level
            return min(level * relative.bound, max(absolute.bound, level))

    @property
    def answers(self) -> tuple[float, float]:
        """How a whole answer's passes compare with the level it began at: typical ratio, and its log's deviation."""
        with self._lock:
            seen = [
                math.log(t.seconds / (t.level * t.curve))
                for t in self._trails
                if t.passes >= _LEAST_PASSES and t.curve > 0
            ]
        if not seen:
            return 1.0, _ANSWER_SPREAD
        middle = statistics.median(seen)
        centre = middle * len(seen) / (len(seen) + _ANSWER_PRIOR)
        squares = sum((value - centre) ** 2 for value in seen) + _ANSWER_PRIOR * _ANSWER_SPREAD**2
        return math.exp(centre), math.sqrt(squares / (len(seen) + _ANSWER_PRIOR))
