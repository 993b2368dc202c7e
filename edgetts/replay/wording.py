"""Say what replays came to, as lines of text; knows figures, no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.interval import Interval
from edgetts.replay.checking import Checked
from edgetts.replay.comparing import Figures
from edgetts.replay.playing import Outcome
from edgetts.replay.report import Report
from edgetts.replay.trace import AnswerTrace

_MOST_NAME = 52


def report_lines(report: Report) -> list[str]:
    """Return the table of a report, with what it is of above it."""
    fewest, most = report.samples
    counts = f"{most}" if fewest == most else f"{fewest} to {most}"
    half = "" if report.half == "both" else f", the half {report.half!r}"
    orders = "in recorded order" if report.orders == 1 else f"in {report.orders} orders each"
    lines = [
        f"{report.title}: {report.problems} problems{half}, {counts} recorded samples {orders}",
        f"{report.device}; joules are modelled",
        "",
    ]
    width = min(_MOST_NAME, max(len(one.name) for one in report.figures))
    lines.append(
        f"{'policy':{width}}  {'right [95%]':>19} {'tokens':>7} {'seconds':>8} {'joules':>8} {'samples':>7}  stopped by"
    )
    for one in report.figures:
        stops = ", ".join(f"{reason} {share:.0%}" for reason, share in one.stops.items())
        lines.append(
            f"{one.name[:width]:{width}}  {_share(one.accuracy):>19} {one.tokens:7.0f} {one.seconds:8.2f} "
            f"{_amount(one.joules):>8} {one.samples:7.2f}  {stops}"
        )
        lines += [f"{'':{width}}    {note}" for note in _notes(one)]
    beside = [one for one in report.figures if one.beside is not None]
    if beside:
        lines += [
            "",
            f"beside {report.figures[0].name}, in pairs",
            f"{'policy':{width}}  {'points right':>21} {'tokens':>17} {'seconds':>17} {'joules':>17}",
        ]
    for one in beside:
        if one.beside is not None:
            told = one.beside
            points = Interval(
                100 * told.accuracy.value, 100 * told.accuracy.low, 100 * told.accuracy.high, 0.95
            )
            lines.append(
                f"{one.name[:width]:{width}}  {_span(points, '+.1f'):>21} {_ratio(told.tokens):>17} "
                f"{_ratio(told.seconds):>17} {_ratio(told.joules):>17}"
            )
    for cost, front in report.fronts.items():
        if len(report.figures) > 2:
            bend = "none" if front.knee is None else front.knee
            lines += ["", f"frontier by {cost}: {'; '.join(front.frontier)}", f"its knee: {bend}"]
    return lines


def _notes(one: Figures) -> list[str]:
    """Return what must be known of a row beside its figures."""
    notes = []
    if one.settings:
        notes += [f"half {half!r} by {name}" for half, name in one.settings.items()]
    if one.abstained:
        notes.append(f"no answer to {one.abstained:.0%}")
    if one.utility is not None:
        notes.append(f"worth {one.utility:+.3f} an answer")
    if one.late:
        notes.append(f"{one.late:.1%} ended after the deadline")
    if one.short:
        notes.append(f"{one.short:.0%} would have drawn more samples than were recorded")
    return notes


def checked_lines(trace: AnswerTrace, checked: Checked) -> list[str]:
    """Say whether an answer's decisions were made again, and show them."""
    if checked.same:
        verdict = f"all {len(checked.decisions)} decisions are the same"
    elif checked.trouble:
        verdict = f"the replay differs: {checked.trouble}"
    else:
        verdict = f"decision {(checked.differs or 0) + 1} differs"
    lines = [f"line {trace.line}: {trace.title}, {len(trace.samples)} samples: {verdict}"]
    for at, one in enumerate(checked.decisions):
        mark = "!" if checked.differs is not None and at >= checked.differs else " "
        joules = "" if one.joules is None else f" {one.joules:8.2f} J"
        count = f" {one.count}" if one.count else ""
        which = f" {','.join(map(str, one.samples))}" if one.samples else ""
        lines.append(
            f"{mark} {one.at:8.3f} s {one.tokens:6} tokens{joules}  {one.kind}{count}{which}: {one.reason}"
        )
    return lines


def outcome_lines(trace: AnswerTrace, rows: Sequence[tuple[str, Outcome]]) -> list[str]:
    """Say what other policies would have made of one answer's samples."""
    width = min(_MOST_NAME, max((len(name) for name, _ in rows), default=6))
    lines = [
        f"line {trace.line}: {trace.title}, {len(trace.samples)} samples",
        f"{'policy':{width}}  {'tokens':>7} {'seconds':>8} {'joules':>8} {'samples':>7}  answer",
    ]
    for name, one in rows:
        short = ", short of samples" if one.short else ""
        answer = "none" if one.answer is None else " ".join(one.answer.split())[:60]
        lines.append(
            f"{name[:width]:{width}}  {one.tokens:7} {one.seconds:8.2f} {_amount(one.joules):>8} {one.samples:7}  "
            f"{answer} ({one.stop}{short})"
        )
    return lines


def _share(interval: Interval) -> str:
    return f"{interval.value:6.1%} [{interval.low:.0%}, {interval.high:.0%}]"


def _span(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _ratio(interval: Interval | None) -> str:
    return "-" if interval is None else _span(interval, ".2f")


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
