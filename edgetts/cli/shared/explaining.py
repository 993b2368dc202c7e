"""Tables of what a plan was chosen among, and of what was predicted beside what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgetts.cli.shared.output import printable

if TYPE_CHECKING:
    from edgetts.interval import Interval
    from edgetts.types import Answer, Considered, Plan

_HEAD = ("", "plan", "seconds", "joules", "tokens", "right", "worth", "why not")


def plan_lines(plan: Plan, most: int | None = None) -> list[str]:
    """Return a plan as EXPLAIN does: what it is, what it was chosen among, why. most: rows of the table."""
    cap = f"at most {plan.max_tokens} tokens a sample"
    many = "1 sample" if plan.samples == 1 else f"{plan.samples} samples, {plan.width} at a time"
    lines = [
        f"plan       {plan.strategy}: {many}, {cap}, on {plan.runtime}",
        f"why        {plan.reason}",
        f"for        {plan.objective}",
    ]
    if plan.power:
        lines.append(f"power      {plan.power}")
    if plan.approach != "reason":
        lines.append("asked for  the answer alone")
    if plan.temperature is not None:
        lines.append(f"drawn at   temperature {plan.temperature:g}, the first sample greedily")
    if plan.rounds_at:
        lines.append(f"rounds     votes are looked at after {', '.join(map(str, plan.rounds_at))} samples")
    lines += [f"ends       {plan.stop_rule}", "", "predicted  (middle, and the bounds of 90%)"]
    for name, found, digits, source in (
        ("seconds", plan.seconds, 2, plan.source),
        ("joules", plan.joules, 1, "watts of the device's profile by time"),
        ("tokens", plan.tokens, 0, "lengths of earlier samples, or a guess"),
    ):
        lines.append(f"  {name:9}{_bounds(found, digits)}" + ("" if found is None else f"  ({source})"))
    if plan.memory_bytes is not None:
        lines.append(f"  {'memory':9}{plan.memory_bytes / 1e6:.1f} MB of caches at most, beside the model")
    right = _bounds(plan.success, 2)
    lines.append(f"  {'right':9}{right}" + (f"  ({plan.success_source})" if plan.success_source else ""))
    if plan.candidates:
        lines += ["", *_table(plan.candidates if most is None else plan.candidates[:most])]
        if most is not None and len(plan.candidates) > most:
            lines.append(f"... and {len(plan.candidates) - most} more (--all)")
    return [printable(line) for line in lines]


def _table(candidates: Sequence[Considered]) -> list[str]:
    rows = [_HEAD, *(_row(one, first=i == 0) for i, one in enumerate(candidates))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, 1, 7) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(one: Considered, *, first: bool) -> tuple[str, ...]:
    mark = "->" if first else "" if one.fits else "x"
    worth = "" if one.utility is None else f"{one.utility:.3f}"
    figures = (_value(one.seconds, 2), _value(one.joules, 1), _value(one.tokens, 0), _value(one.success, 2))
    return (mark, one.what, *figures, worth, one.reason)


def _value(found: Interval | None, digits: int) -> str:
    return "" if found is None else f"{found.value:.{digits}f}"


def _bounds(found: Interval | None, digits: int) -> str:
    if found is None:
        return "not known"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def compared_lines(answer: Answer) -> list[str]:
    """Return what was predicted beside what came of it, and what was decided on the way."""
    plan, usage = answer.plan, answer.usage
    lines = [f"{'':9}{'predicted':>24}{'actual':>12}"]
    for name, found, actual, digits in (
        ("seconds", plan.seconds, usage.seconds, 2),
        ("joules", plan.joules, usage.joules, 1),
        ("tokens", plan.tokens, float(usage.generated_tokens), 0),
    ):
        told = "not known" if actual is None else f"{actual:.{digits}f}"
        inside = "" if found is None or actual is None else _inside(found, actual, digits)
        lines.append(f"{name:9}{_bounds(found, digits):>24}{told:>12}  {inside}".rstrip())
    lines.append(f"{'samples':9}{plan.samples:>24}{usage.samples:>12}")
    right = _bounds(plan.success, 2)
    sure = "none" if answer.confidence is None else f"{answer.confidence:.2f}"
    lines.append(f"{'right':9}{right:>24}{sure:>12}  confidence by {answer.confidence_source}")
    if usage.joules_source:
        lines.append(f"joules are {usage.joules_source}")
    if answer.decisions:
        lines += ["", f"{'at':>8}  {'tokens':>6}  decided"]
    for one in answer.decisions:
        samples = f" {', '.join(map(str, one.samples))}" if one.samples else ""
        count = f" {one.count}" if one.count else ""
        lines.append(f"{one.at:7.2f}s  {one.tokens:>6}  {one.kind}{count}{samples}: {one.reason}")
    lines.append(f"revised {len(answer.revisions)} times; stopped: {answer.stop_reason}")
    return [printable(line) for line in lines]


def _inside(found: Interval, actual: float, digits: int) -> str:
    # What is printed is compared: a bound that reads the same is kept.
    low, high, value = (round(one, digits) for one in (found.low, found.high, actual))
    if low <= value <= high:
        return "inside"
    return "below" if value < low else "above"
