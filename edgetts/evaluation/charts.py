"""Draw lines, bars and points as SVG text; knows numbers and labels, not what they mean. Every label is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high` with `ticks` marked as they are written."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


SHARE_TICKS = tuple((n / 4, f"{25 * n}%") for n in range(5))


def share_axis(label: str) -> Axis:
    """From 0 to 100%."""
    return Axis(label, 0.0, 1.0, SHARE_TICKS)


def amount_axis(label: str, most: float) -> Axis:
    """From 0 to a round number no less than `most`."""
    if not (math.isfinite(most) and most > 0):
        most = 1.0
    step = 10.0 ** math.floor(math.log10(most))
    step *= next(factor for factor in (0.25, 0.5, 1.0, 2.5) if math.ceil(most / (step * factor)) <= 5)
    steps = math.ceil(most / step)
    return Axis(label, 0.0, steps * step, tuple((n * step, f"{n * step:g}") for n in range(steps + 1)))


class Chart:
    """A frame with two axes, to which marks are added; `svg` is the whole."""

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self._title, self._x, self._y = title, x, y
        self._marks: list[str] = []

    def line(self, points: Sequence[tuple[float, float]], style: str = "line") -> None:
        """Join points. Styles are the classes of the page: line, guide."""
        path = " ".join(f"{self._across(x):.1f},{self._up(y):.1f}" for x, y in points)
        self._marks.append(f'<polyline class="{escape(style)}" points="{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]]) -> None:
        """Shade between a low and a high value at every x."""
        there = [f"{self._across(x):.1f},{self._up(high):.1f}" for x, _, high in points]
        back = [f"{self._across(x):.1f},{self._up(low):.1f}" for x, low, _ in reversed(points)]
        self._marks.append(f'<polygon class="band" points="{" ".join(there + back)}"/>')

    def bar(self, low: float, high: float, value: float, note: str) -> None:
        """A bar from x = low to high; the note is shown when it is pointed at."""
        left, right, top = self._across(low), self._across(high), self._up(value)
        self._marks.append(
            f'<rect class="bar" x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
            f'height="{max(HEIGHT - BOTTOM - top, 0):.1f}"><title>{escape(note)}</title></rect>'
        )

    def point(self, x: float, y: float, note: str) -> None:
        self._marks.append(
            f'<circle class="point" cx="{self._across(x):.1f}" cy="{self._up(y):.1f}" r="3.5">'
            f"<title>{escape(note)}</title></circle>"
        )

    def svg(self) -> str:
        """Return the chart as one element."""
        x, y = self._x, self._y
        frame = [
            f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>',
            f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{HEIGHT - BOTTOM}"/>',
        ]
        for value, name in x.ticks:
            frame.append(
                f'<text x="{self._across(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
                f"{escape(name)}</text>"
            )
        for value, name in y.ticks:
            up = self._up(value)
            frame.append(f'<line class="grid" x1="{LEFT}" y1="{up:.1f}" x2="{WIDTH - RIGHT}" y2="{up:.1f}"/>')
            frame.append(f'<text x="{LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        frame.append(
            f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x.label)}</text>'
            f'<text x="12" y="{centre}" text-anchor="middle" transform="rotate(-90 12 {centre})">{escape(y.label)}</text>'
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self._title)}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(frame)}{"".join(self._marks)}</svg>'
        )

    def _across(self, value: float) -> float:
        return LEFT + self._share(value, self._x) * (WIDTH - LEFT - RIGHT)

    def _up(self, value: float) -> float:
        return HEIGHT - BOTTOM - self._share(value, self._y) * (HEIGHT - TOP - BOTTOM)

    @staticmethod
    def _share(value: float, axis: Axis) -> float:
        share = (value - axis.low) / (axis.high - axis.low)
        return min(1.0, max(0.0, share)) if math.isfinite(share) else 1.0
