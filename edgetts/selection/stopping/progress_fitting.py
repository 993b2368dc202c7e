"""Fit what samples are like, from samples known to be right or wrong; knows no files and no votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.bootstrap import quantile
from edgetts.selection.confidence.logistic import fit_logistic
from edgetts.selection.stopping.evidence import Shown
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS

KNOTS = 32
"""Quantiles that stand for the distribution of fresh samples' probabilities."""
_PENALTY = 2.0


@dataclass(frozen=True, slots=True)
class Example:
    """A sample whose answer is known to be right or wrong."""

    shown: Shown
    right: bool


def fit_progress(
    examples: Sequence[Example], *, source: str = "", otherwise: Progress | None = None
) -> Progress:
    """Fit what samples are like. Some hundred of them, of some dozen questions, are enough.

    otherwise: where none of them is about arithmetic, what is kept of that; None is what comes with edgetts.
    Errors: InvalidInput without a right and a wrong one.
    """
    if len({one.right for one in examples}) < 2:
        kind = "wrong" if any(one.right for one in examples) else "right"
        raise InvalidInput(
            f"Progress cannot be fitted without {kind} samples.", hint="Record more questions, or others."
        )
    fitted = otherwise or DEFAULT_PROGRESS
    evidence = fitted.evidence
    slopes, plain = _fit([[one.shown.logprob] for one in examples], [one.right for one in examples])
    evidence = replace(evidence, plain=plain, plain_logprob=slopes[0])
    checked = [one for one in examples if one.shown.passed is not None]
    known = len({one.right for one in checked}) == 2
    if known:
        rows = [
            [float(bool(s.passed)), float(bool(s.passed)) * (s.covered or 0.0), s.logprob, s.brevity]
            for s in (one.shown for one in checked)
        ]
        slopes, intercept = _fit(rows, [one.right for one in checked])
        evidence = replace(
            evidence,
            intercept=intercept,
            **dict(zip(("passed", "covered", "logprob", "brevity"), slopes, strict=True)),
        )
    return Progress(
        evidence=evidence,
        fresh=_knots([evidence.probability(one.shown) for one in checked]) if known else fitted.fresh,
        fresh_plain=_knots([evidence.plainly(one.shown.logprob) for one in examples]),
        memory=fitted.memory,
        tokens=max(1.0, sum(one.shown.tokens for one in examples) / len(examples)),
        source=source or f"fitted on {len(examples)} samples",
    )


def _fit(rows: Sequence[Sequence[float]], right: Sequence[bool]) -> tuple[list[float], float]:
    """Fit slopes that are not negative: whichever would be is left out, the most negative first."""
    kept = list(range(len(rows[0])))
    while kept:
        slopes, intercept = fit_logistic(
            [[row[at] for at in kept] for row in rows], [float(one) for one in right], penalty=_PENALTY
        )
        worst = min(range(len(kept)), key=lambda at: slopes[at])
        if slopes[worst] >= 0:
            found = dict(zip(kept, slopes, strict=True))
            return [found.get(at, 0.0) for at in range(len(rows[0]))], intercept
        del kept[worst]
    slopes, intercept = fit_logistic([[0.0] for _ in rows], [float(one) for one in right])
    return [0.0] * len(rows[0]), intercept


def _knots(values: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(values)
    return tuple(round(quantile(ordered, (at + 0.5) / KNOTS), 6) for at in range(KNOTS))
