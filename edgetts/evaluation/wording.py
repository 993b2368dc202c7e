"""Say figures in words for a person: a terminal and a report show the same rows."""

from __future__ import annotations

import math

from edgetts.evaluation.comparison import Comparison
from edgetts.evaluation.costs import Cost
from edgetts.evaluation.summary import Summary
from edgetts.interval import Interval
from edgetts.selection.confidence import Quality


def summary_rows(summary: Summary) -> list[tuple[str, str]]:
    """Return names and values of a run's figures; what was not measured says so."""
    rows = [("problems", _problems(summary))]
    rows.append(("accuracy", "not graded" if summary.accuracy is None else percent(summary.accuracy)))
    if summary.abstained and summary.answered is not None:
        rows.append(("accuracy where answered", percent(summary.answered)))
    right = None if summary.accuracy is None else summary.accuracy.value
    if summary.mean_score is not None and right is not None and abs(summary.mean_score - right) > 1e-9:
        rows.append(("mean score, partial credit included", f"{summary.mean_score:.3f}"))
    passes = summary.pass_at_k
    if passes is not None:
        for k, one in passes.at.items():
            rows.append((f"pass@{k}", percent(one)))
        if passes.without_greedy:
            rows.append(("", "pass@k is of the drawn samples; the greedy one is left out"))
        if passes.cut:
            rows.append(
                (
                    "",
                    f"pass@k is not unbiased: in {passes.cut} problems samples were ended before they were done",
                )
            )
    if summary.confidence is None:
        rows.append(("confidence", "none: it takes several samples, or a calibration"))
    else:
        rows.extend(quality_rows(summary.confidence, summary.confidence_source))
    for name, spent in (("tokens", summary.tokens), ("seconds", summary.seconds), ("joules", summary.joules)):
        rows.extend(_cost(name, spent, summary.problems))
    rows.append(("samples a problem", f"{summary.samples:.1f}"))
    think = summary.overthinking
    if think.of_right is not None and think.outcome_efficiency is not None:
        rows.append(
            (
                "overthinking",
                f"{think.of_right:.0%} of a right sample's tokens come up to its first right answer; "
                f"outcome efficiency {think.outcome_efficiency:.0%}",
            )
        )
    if think.to_first_right is not None and summary.samples > 1:
        rows.append(
            (
                "to the first right sample",
                f"{think.to_first_right:.0%} of the tokens, in {think.solved} problems that have one",
            )
        )
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary.stop_reasons.items())
    rows.append(("stopped", reasons))
    return rows


def quality_rows(quality: Quality, source: str) -> list[tuple[str, str]]:
    """Return names and values of how good confidences are."""
    known = "unknown: all are right, or all wrong" if quality.auroc is None else f"{quality.auroc:.3f}"
    return [
        (
            "confidence",
            f"{source or 'unnamed'}, of {quality.n} answers, {quality.accuracy:.1%} of them right",
        ),
        ("ECE", f"{quality.ece:.3f} (equal widths), {quality.adaptive_ece:.3f} (equal sizes)"),
        ("Brier score", f"{quality.brier:.3f}"),
        ("AUROC", known),
        (
            "selective accuracy",
            f"{quality.at_50:.1%} of the surest 50%, {quality.at_80:.1%} of the surest 80%; mean {quality.area:.1%}",
        ),
    ]


def comparison_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """Return names and values of a comparison."""
    alone = (comparison.first_alone, comparison.second_alone)
    rows = [
        (
            "problems",
            f"{comparison.shared} shared; {alone[0]} only in the first, {alone[1]} only in the second",
        ),
        ("first", percent(comparison.first)),
        ("second", percent(comparison.second)),
        ("second less first", f"{_signed(comparison.difference)} percentage points, paired"),
        (
            "right in one alone",
            f"first {comparison.only_first_right}, second {comparison.only_second_right}; "
            f"McNemar's exact test p = {comparison.p_value:.3g}",
        ),
    ]
    for name, ratio in (
        ("tokens", comparison.tokens),
        ("seconds", comparison.seconds),
        ("joules", comparison.joules),
    ):
        if ratio is not None:
            rows.append(
                (f"{name}, second over first", f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
            )
    return rows


def percent(one: Interval) -> str:
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"


def _signed(one: Interval) -> str:
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _problems(summary: Summary) -> str:
    parts = [str(summary.problems)]
    if summary.graded < summary.problems:
        parts.append(f"{summary.graded} graded")
    if summary.errors:
        parts.append(f"{summary.errors} failed")
    if summary.abstained:
        parts.append(f"{summary.abstained} abstained from")
    return ", ".join(parts)


def _cost(name: str, one: Cost | None, problems: int) -> list[tuple[str, str]]:
    if one is None:
        return [(name, "not measured")]
    of = "" if one.measured == problems else f", measured in {one.measured}"
    spread = f"{_amount(one.mean)} a problem, median {_amount(one.median)}, 95% within {_amount(one.p95)}"
    rows = [(name, f"{spread}; {_amount(one.total)} in all{of}")]
    if one.of_pass is None:
        rows.append((f"{name} for a right answer", "unknown: none was right"))
    else:
        high = _amount(one.of_pass.high) if math.isfinite(one.of_pass.high) else "no bound"
        rows.append(
            (
                f"{name} for a right answer",
                f"{_amount(one.of_pass.value)} ({_amount(one.of_pass.low)} to {high})",
            )
        )
    return rows


def _amount(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
