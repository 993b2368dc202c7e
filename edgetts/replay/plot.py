"""Draw accuracy against cost with the frontier and its knee; knows points and labels, and matplotlib alone draws."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetts.errors import InvalidInput, MissingExtra, StorageError
from edgetts.interval import Interval
from edgetts.replay.pareto import frontier, knee

_FIXED, _OTHER, _LINE, _KNEE = "#8a8a8a", "#1f6fb2", "#1f6fb2", "#c0392b"


@dataclass(frozen=True, slots=True)
class Marked:
    """One policy. cost: in the panel's unit. fixed: always draws the same number of samples."""

    label: str
    cost: float
    accuracy: Interval
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: its points, and what the costs are of."""

    unit: str
    points: Sequence[Marked]


def draw_pareto(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write a picture with one chart for each panel, whole or not at all.

    Errors: MissingExtra without matplotlib; InvalidInput for a name that ends in no kind of picture; StorageError.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "plots") from error
    picture = Figure(figsize=(6.2 * len(panels), 4.6), layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(title, fontsize=10)
    for at, panel in enumerate(panels, 1):
        _draw(picture.add_subplot(1, len(panels), at), panel)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        picture.savefig(draft, dpi=150, format=path.suffix.lstrip(".").lower())
        draft.replace(path)
    except ValueError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(
            f"A picture cannot be written as {path.name!r}.", hint="End its name in .png, .svg or .pdf."
        ) from error
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: {error.strerror or error}.") from error


def need_plots(path: Path) -> None:
    """Say before any work that a picture cannot be drawn. Errors: as `draw_pareto`."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plots")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidInput(
            f"A picture cannot be written as {path.name!r}.", hint="End its name in .png, .svg or .pdf."
        )
    if not path.absolute().parent.is_dir():
        raise StorageError(f"There is no directory {path.parent} to write {path.name} to.")


def _draw(axes: Any, panel: Panel) -> None:
    places = [(one.cost, one.accuracy.value) for one in panel.points]
    for one in panel.points:
        colour = _FIXED if one.fixed else _OTHER
        low, high = one.accuracy.value - one.accuracy.low, one.accuracy.high - one.accuracy.value
        axes.errorbar(
            one.cost,
            100 * one.accuracy.value,
            yerr=[[100 * max(low, 0.0)], [100 * max(high, 0.0)]],
            fmt="s" if one.fixed else "o",
            color=colour,
            ecolor=colour,
            elinewidth=0.6,
            alpha=0.85,
            markersize=5,
            zorder=2,
        )
        # Two kinds of points lie close: their names go to different sides.
        place = (4, -9) if one.fixed else (4, 4)
        axes.annotate(
            one.label, (one.cost, 100 * one.accuracy.value), place, textcoords="offset points", fontsize=6
        )
    line = frontier(places)
    axes.plot(
        [places[at][0] for at in line],
        [100 * places[at][1] for at in line],
        color=_LINE,
        linewidth=1.2,
        zorder=1,
        label="frontier",
    )
    if (at := knee(places)) is not None:
        axes.plot(
            places[at][0],
            100 * places[at][1],
            marker="o",
            markersize=13,
            fillstyle="none",
            color=_KNEE,
            linestyle="none",
            zorder=3,
            label=f"knee: {panel.points[at].label} (farthest above the chord)",
        )
    axes.set_xlabel(panel.unit)
    axes.set_ylabel("right answers, %  (95% by drawing problems anew)")
    axes.set_xlim(0, 1.2 * max((one.cost for one in panel.points), default=1.0))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="lower right")
