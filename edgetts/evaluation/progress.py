"""Fit what samples are like to a record, for the adaptive strategy. Knows no files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.evaluation.record import ProblemRecord
from edgetts.selection.stopping.evidence import shown
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_fitting import Example, fit_progress


def progress_of(problems: Sequence[ProblemRecord], of: str) -> Progress | None:
    """Return what the samples that were drawn and graded are like; None where all of them are right, or all wrong.

    of: whose samples at what they are, in words.
    """
    examples = [
        Example(
            shown(
                problem.question,
                sample.text,
                math.fsum(sample.logprobs),
                len(sample.tokens),
                complete=sample.finished,
            ),
            sample.right,
        )
        for problem in problems
        for sample in problem.samples
        if sample.right is not None and not sample.greedy
    ]
    if len({one.right for one in examples}) < 2:
        return None
    return fit_progress(examples, source=f"{len(examples)} samples of {of}"[:1000])
