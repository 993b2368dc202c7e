"""Count the joules of one answer between readings of a meter, and say how fast they go."""

from __future__ import annotations

from collections.abc import Callable


class JouleCount:
    """What was spent since `began`, on the clock. meter: joules so far, None where it cannot be told just now.

    watts: what the device is predicted to draw; None where no power is known. Where there is no meter, joules are
    watts by seconds. Meters that are read seldom stand still in between: the time since counts at the rate.
    """

    def __init__(
        self,
        meter: Callable[[], float | None] | None,
        watts: float | None,
        clock: Callable[[], float],
        began: float,
    ) -> None:
        self._meter = meter
        self._watts = watts
        self._clock = clock
        self._began = began
        self._read = 0.0
        self._read_at = began

    @property
    def rate(self) -> float | None:
        """Watts to reckon with: predicted, or those observed where they are more."""
        elapsed = self._read_at - self._began
        observed = self._read / elapsed if elapsed > 0 else 0.0
        if self._watts is None:
            return observed or None
        return max(self._watts, observed)

    @property
    def metered(self) -> tuple[float, float] | None:
        """Joules at the last reading of a meter, and the seconds until then; None without one."""
        return (self._read, self._read_at - self._began) if self._read > 0 else None

    @property
    def spent(self) -> float | None:
        """Joules by now; None where neither a meter nor the watts are known."""
        now = self._clock()
        reading = None if self._meter is None else self._meter()
        if reading is not None and reading > self._read:
            self._read, self._read_at = reading, now
        rate = self.rate
        if rate is None:
            return reading
        return self._read + rate * max(0.0, now - self._read_at)
