"""Fit the roofline's constants to the measured machines in roofline.toml, and say how far off they are elsewhere.

python -m edgetts.profiles.roofline_fit prints the constants, every residual, and the errors on a machine that was
left out. Nothing at run time imports this.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from edgetts.profiles.device import Processor
from edgetts.profiles.figure import Figure
from edgetts.profiles.roofline import (
    FITS,
    Dimensions,
    Efficiency,
    Shape,
    pass_seconds,
    prompt_seconds,
    shape_from,
)
from edgetts.profiles.table import Table, parse_toml

_START = Efficiency(0.6, 0.2, 0.3, 0.3, 1e-4, 2.0)
_NAMES = ("bandwidth", "operations", "prompts", "cache", "layer", "sharpness")
# How far from the start a constant may go before data must speak for it: standard deviations of logarithms.
_PRIOR = {"bandwidth": 0.5, "operations": 1.0, "prompts": 1.0, "cache": 0.7, "layer": 1.0, "sharpness": 0.3}
_NOISE = 0.1
_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Point:
    """One measured time. width 0: of a prompt of `past` tokens; else of a pass with `past` tokens in each branch."""

    machine: str
    runtime: str
    model: str
    shape: Shape
    processor: Processor
    width: int
    past: int
    seconds: float

    def predicted(self, fit: Efficiency) -> float:
        if self.width == 0:
            return prompt_seconds(self.shape, self.processor, fit, self.past)
        return pass_seconds(self.shape, self.processor, fit, self.width, self.past)


def read_points() -> list[Point]:
    """Return every measured time that is kept in roofline.toml."""
    top = parse_toml(FITS.read_bytes(), FITS.name)
    machine_tables, model_tables = top.table("machines"), top.table("models")
    machines = {name: _processor(machine_tables.table(name)) for name in machine_tables.names}
    models = {name: _dimensions(model_tables.table(name)) for name in model_tables.names}
    points = []
    for curve in top.tables("measured", 64):
        machine, model, runtime = (curve.text(name) for name in ("machine", "model", "runtime"))
        shape = shape_from(models[model], curve.number("layer_bits", 1, 32), curve.number("head_bits", 1, 32))
        curve.text("source")
        curve.day("date")
        for name, width in (("passes", 1), ("prompts", 0)):
            for point in curve.tables(name, 64):
                points.append(
                    Point(
                        machine=machine,
                        runtime=runtime,
                        model=model,
                        shape=shape,
                        processor=machines[machine],
                        width=width and point.whole("width", 1, 4096),
                        past=point.whole("past" if width else "tokens", 0, 1 << 20),
                        seconds=point.number("seconds", 1e-6, 1e3),
                    )
                )
                point.end()
        curve.end()
    return points


def fit(points: Sequence[Point]) -> Efficiency:
    """Return the constants under which the logarithms of times are nearest to the measured ones.

    Levenberg and Marquardt's method on logarithms, with a weak prior, so that what the points do not tell stays usual.
    """
    start = np.log([getattr(_START, name) for name in _NAMES])
    scale = np.array([_PRIOR[name] for name in _NAMES])

    def residuals(x: np.ndarray) -> np.ndarray:
        made = Efficiency(*(float(value) for value in np.exp(x)))
        errors = [np.log(point.predicted(made) / point.seconds) / _NOISE for point in points]
        # A few bad points, from a busy moment, may not rule: the loss grows as their size, not its square.
        robust = [np.sign(e) * np.sqrt(2 * (np.sqrt(1 + e * e) - 1)) for e in errors]
        return np.concatenate([robust, (x - start) / scale])

    x, damping = start.copy(), 1.0
    now = residuals(x)
    for _ in range(_ROUNDS):
        slopes = np.stack([(residuals(x + step) - now) / 1e-4 for step in 1e-4 * np.eye(len(x))], axis=1)
        square = slopes.T @ slopes
        move = np.linalg.solve(square + damping * np.eye(len(x)), -slopes.T @ now)
        tried = residuals(x + move)
        if tried @ tried < now @ now:
            x, now, damping = x + move, tried, damping / 3
        else:
            damping *= 4
    return Efficiency(*(float(value) for value in np.exp(x)))


def errors(made: Efficiency, points: Sequence[Point]) -> list[float]:
    """Return the relative error of each point."""
    return [point.predicted(made) / point.seconds - 1 for point in points]


def left_out(points: Sequence[Point]) -> dict[str, list[float]]:
    """Return, for each machine, the errors on it of a fit to the others; empty where there are no others."""
    machines = sorted({point.machine for point in points})
    if len(machines) < 2:
        return {}
    found = {}
    for machine in machines:
        others = [point for point in points if point.machine != machine]
        found[machine] = errors(fit(others), [point for point in points if point.machine == machine])
    return found


def fit_runtime(points: Sequence[Point]) -> Efficiency:
    """Return the constants of one runtime with their errors, on these machines and on machines left out."""
    made = fit(points)
    here = [abs(error) for error in errors(made, points)]
    away = [abs(error) for found in left_out(points).values() for error in found]
    most = _of_four_in_five(away) if away else 2 * _of_four_in_five(here)
    return replace(made, error=statistics.median(here), elsewhere=most)


def _of_four_in_five(sizes: Sequence[float]) -> float:
    return statistics.quantiles(sizes, n=5)[-1]


def _processor(table: Table) -> Processor:
    table.text("source")
    bandwidth, operations = (
        Figure(table.number(n, 1, 1e18), "measured") for n in ("bandwidth", "operations")
    )
    return Processor(table.where, table.whole("cores", 1, 4096), bandwidth, operations)


def _dimensions(table: Table) -> Dimensions:
    return Dimensions(*(table.whole(name, 1, 1 << 23) for name in Dimensions.__dataclass_fields__))


def report() -> list[str]:
    """Return the fit of every runtime, as the tables that roofline.toml keeps, and the residuals as comments."""
    every = read_points()
    lines = []
    for runtime in sorted({point.runtime for point in every}):
        points = [point for point in every if point.runtime == runtime]
        made = fit_runtime(points)
        lines.append(f"[fits.{runtime}]")
        lines += [f"{name} = {value:.4g}" for name, value in asdict(made).items()]
        for point, error in zip(points, errors(made, points), strict=True):
            what = f"pass of {point.width} at {point.past}" if point.width else f"prompt of {point.past}"
            measured = f"{1e3 * point.seconds:8.1f} ms"
            lines.append(f"# {point.machine:<11} {point.model:<13} {what:<18} {measured} {error:+5.0%}")
        for machine, found in left_out(points).items():
            size, bias = statistics.median(map(abs, found)), statistics.median(found)
            lines.append(f"# {machine} left out of the fit: median error {size:.0%}, bias {bias:+.0%}")
        lines.append("")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(report()))
