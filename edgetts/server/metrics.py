"""Count what the server did, and write it as Prometheus reads it. Knows numbers; no prompts, no clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgetts.types import Usage

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

OK = 200
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class _Histogram:
    """How many values were at most each bound."""

    bounds: Sequence[float] = _SECONDS
    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        place = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[place] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        made, seen = [], 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            seen += count
            made.append(f'{name}_bucket{{le="{"+Inf" if bound is None else f"{bound:g}"}"}} {seen}')
        return [*made, f"{name}_sum {self.total:.6f}", f"{name}_count {seen}"]


class Metrics:
    """Counters since the start. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._tokens = {"prompt": 0, "generated": 0, "cached": 0, "scoring": 0}
        self._samples = 0
        self._joules = 0.0
        self._seconds, self._first = _Histogram(), _Histogram()
        self._disconnects = 0

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered, whatever with. route: a path that there is, or "other"."""
        with self._lock:
            self._requests[route, status] = self._requests.get((route, status), 0) + 1
            if route.endswith("completions") and status == OK:
                self._seconds.add(seconds)

    def disconnect(self) -> None:
        """Count a client that left before its answer was there."""
        with self._lock:
            self._disconnects += 1

    def answer(self, usage: Usage) -> None:
        """Count what an answer took."""
        with self._lock:
            self._tokens["prompt"] += usage.prompt_tokens
            self._tokens["generated"] += usage.generated_tokens
            self._tokens["cached"] += usage.cached_tokens
            self._tokens["scoring"] += usage.scoring_tokens
            self._samples += usage.samples
            self._joules += usage.joules or 0.0
            if usage.time_to_first_token is not None:
                self._first.add(usage.time_to_first_token)

    def write(self, gauges: Mapping[str, tuple[str, Callable[[], float | None]]]) -> str:
        """Return all in Prometheus' text form. gauges: name to what it is, and what it is now; None where unknown."""
        with self._lock:
            lines = _titled("edgetts_requests_total", "counter", "Requests by route and status.")
            for (route, status), count in sorted(self._requests.items()):
                lines.append(f'edgetts_requests_total{{route="{route}",status="{status}"}} {count}')
            lines += _titled(
                "edgetts_disconnects_total", "counter", "Clients that left before their answer was there."
            )
            lines.append(f"edgetts_disconnects_total {self._disconnects}")
            lines += _titled(
                "edgetts_tokens_total", "counter", "Tokens: read, read before, drawn, read to judge texts."
            )
            lines += [f'edgetts_tokens_total{{kind="{kind}"}} {n}' for kind, n in self._tokens.items()]
            lines += _titled("edgetts_samples_total", "counter", "Samples that were drawn.")
            lines.append(f"edgetts_samples_total {self._samples}")
            lines += _titled(
                "edgetts_joules_total", "counter", "Joules of all answers, where they are known."
            )
            lines.append(f"edgetts_joules_total {self._joules:.6f}")
            for name, what, histogram in (
                (
                    "edgetts_request_seconds",
                    "Seconds from a request's head to the end of its answer.",
                    self._seconds,
                ),
                ("edgetts_first_token_seconds", "Seconds from a question to its first token.", self._first),
            ):
                lines += _titled(name, "histogram", what) + histogram.lines(name)
        for name, (what, look) in gauges.items():
            value = look()
            if value is not None:
                lines += [*_titled(name, "gauge", what), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _titled(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
