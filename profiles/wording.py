"""Profiles in words for a person: every line that is not measured says so. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterable

from edgetts.profiles.comparing import Difference, speed_figures
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DefaultBudget, DeviceProfile
from edgetts.profiles.device_figures import figures_of
from edgetts.profiles.figure import Figure
from edgetts.profiles.speed import SpeedProfile

_UNITS = {"bandwidth": "B/s", "operations": " 8-bit multiply-adds/s", "watts": "W", "bytes": "B"}
_STATES = {
    "mains": "on mains",
    "battery": "on battery",
    "low": "with little battery left",
    "throttled": "throttled by heat",
    "background": "in the background",
}


def device_lines(device: DeviceProfile) -> list[str]:
    """Return a device as lines."""
    lines = [f"{device.name}: {device.title} ({device.kind})", f"  processor: {device.processor.name}"]
    lines.append(f"  cores: {device.processor.cores}")
    if device.npu is not None:
        lines.append(f"  npu: {device.npu.name}")
    lines += [
        f"  {name}: {figure_words(figure, unit_of(name))}" for name, figure in figures_of(device).items()
    ]
    for mode, states in device.budgets.items():
        for state, budget in states.items():
            lines.append(f"  budget, {mode}, {_STATES[state]}: {budget_words(budget)}")
    return lines


def speed_lines(profile: SpeedProfile, changed: Iterable[str] = ()) -> list[str]:
    """Return a speed profile as lines. changed: facts that are no longer as they were."""
    made = profile.made
    lines = [f"{profile.model} on {profile.runtime}, {made.scope}, {made.date} ({profile.mark})"]
    lines += [f"  no longer holds: {change}" for change in changed]
    lines += [f"  {name}: {value}" for name, value in profile.facts.items()]
    lines += [f"  made with {name} {value}" for name, value in made.versions.items()]
    if profile.run_threads:
        lines.append(f"  threads chosen by measuring: {profile.run_threads}")
    lines += [f"  {name}: {figure_words(figure, '')}" for name, figure in speed_figures(profile).items()]
    return lines


def curve_lines(times: StepTimes) -> list[str]:
    """Return a curve as lines, each with where it comes from."""
    mark = f"{times.source}, ±{100 * times.spread:.0f}%"
    lines = [
        f"  {width:>3} {'token' if width == 1 else 'tokens'} a pass: {_number(1e3 * seconds)} ms, "
        f"{_number(width / seconds)} tokens/s ({mark})"
        for width, seconds in zip(times.widths, times.seconds, strict=True)
    ]
    if times.growth:
        lines.append(
            f"  1000 tokens more of context add {_number(1e6 * times.growth)} ms a branch ({times.source})"
        )
    for tokens, seconds in times.prompts:
        lines.append(f"  a prompt of {tokens} tokens: {_number(seconds)} s ({mark})")
    return lines


def difference_rows(found: Iterable[Difference]) -> list[tuple[str, str, str, str, str]]:
    """Return figures side by side as rows: name, both values, ratio, and whether they differ beyond their spreads."""
    return [
        (
            one.name,
            _value(one.first),
            _value(one.second),
            "-" if one.ratio is None else f"{one.ratio:.3g}",
            "-" if one.first is None or one.second is None else "yes" if one.beyond_spread else "no",
        )
        for one in found
    ]


def unit_of(name: str) -> str:
    """Return the unit of a device's figure, by the end of its name."""
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def figure_words(figure: Figure, unit: str) -> str:
    """Return a value with its spread and where it comes from."""
    size, prefix = (1e9, "G") if unit and abs(figure.value) >= 1e9 else (1.0, "")
    spread = f" ± {_number(figure.spread / size)}" if figure.spread else ""
    measure = f" {prefix}{unit}".rstrip() if unit else ""
    where = ", ".join(part for part in (figure.provenance, figure.date) if part)
    source = f": {figure.source}" if figure.source else ""
    return f"{_number(figure.value / size)}{spread}{measure} ({where}{source})"


def budget_words(budget: DefaultBudget) -> str:
    """Return a default budget in words."""
    parts = ["any number of samples" if budget.samples is None else f"{budget.samples} sample"]
    if budget.samples is not None and budget.samples > 1:
        parts = [f"at most {budget.samples} samples"]
    if budget.seconds is not None:
        parts.append(f"within {_number(budget.seconds)} s")
    if budget.joules is not None:
        parts.append(f"{_number(budget.joules)} J")
    if budget.max_tokens is not None:
        parts.append(f"of at most {budget.max_tokens} tokens")
    return ", ".join(parts)


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    mark = "" if figure.provenance == "measured" else f" {figure.provenance}"
    spread = f" ± {_number(figure.spread)}" if figure.spread else ""
    return f"{_number(figure.value)}{spread}{mark}"


def _number(value: float) -> str:
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.3g}"
    return f"{value:.4g}"
