"""Note one answer's use in the log, where the user switched that on."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgetts.host import Host
from edgetts.profiles.device import PowerState
from edgetts.types import Answer
from edgetts.use.log import UseLog
from edgetts.use.observing import Observer


class Noting:
    """Watch the passes of one answer on a host whose speed was measured, then write down what it took.

    state: what the device is in. now: seconds since 1970.
    """

    def __init__(
        self, log: UseLog, host: Host, state: PowerState | None, now: Callable[[], float] = time.time
    ) -> None:
        self._log = log
        self._host = host
        self._state = state
        self._now = now
        self._observer = None if host.speed is None else Observer(host.speed.times)

    def observe(self, width: int, seconds: float, past: float | None) -> None:
        """Take in a pass."""
        if self._observer is not None:
            self._observer.observe(width, seconds, past)

    def write(self, answer: Answer) -> None:
        """Write down what the answer took; nothing where the model was never measured on this device."""
        if self._observer is None or self._host.speed is None:
            return
        use = self._observer.use(
            answer,
            mark=self._host.speed.mark,
            runtime=self._host.runtime,
            hour=int(self._now() // 3600),
            power=self._state,
        )
        if use is not None:
            self._log.append(use)
