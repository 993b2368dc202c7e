"""How much of what was planned is drawn before a rule says that it is enough; learned by kind of question."""

from __future__ import annotations

import threading
from collections import OrderedDict

_LEAST = 3
"""Answers before which a mean says nothing."""
_MEMORY = 20.0
"""Answers that weigh as much as all before them: what is asked changes."""
_KINDS = 256


class Drawn:
    """Mean shares, by kind of question and strategy. Calls may come from any thread."""

    def __init__(self) -> None:
        self._means: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, kind: str, drawn: int, planned: int) -> None:
        """Take in an answer that drew so many of the samples that were planned, and was ended by no limit."""
        if planned < 2:
            return
        share = min(1.0, max(0, drawn) / planned)
        with self._lock:
            mean, count = self._means.pop(kind, (0.0, 0))
            count += 1
            self._means[kind] = (mean + (share - mean) / min(count, _MEMORY), count)
            while len(self._means) > _KINDS:
                self._means.popitem(last=False)

    def share(self, kind: str) -> float | None:
        """Return the share to expect; None where too few answers were seen."""
        with self._lock:
            mean, count = self._means.get(kind, (0.0, 0))
        return mean if count >= _LEAST else None
