"""What was spent after the answer was there; knows texts and counts of tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.evaluation.record import ProblemRecord, SampleRecord
from edgetts.selection.answers import AnswerFormat, extract, read_answer

MOST_SENTENCES = 400
"""Of one text; what follows counts as one."""
_END = re.compile(r"\n+|[.!?;](?=\s)")


@dataclass(frozen=True, slots=True)
class Overthinking:
    """Shares from 0 to 1: more is better, 1 is nothing wasted.

    `outcome_efficiency`: tokens up to the first right answer within a sample over all of its tokens, 0 for a
    sample that is wrong, mean over `samples` ("Do NOT Think That Much for 2+3=? On the Overthinking of o1-Like
    LLMs"). `of_right`: the same over right samples alone. `to_first_right`: tokens of samples in the order of
    drawing up to the first right one, over those of all, mean over the `solved` problems that have one.
    """

    outcome_efficiency: float | None
    of_right: float | None
    samples: int
    to_first_right: float | None
    solved: int


def overthinking(problems: Sequence[ProblemRecord]) -> Overthinking:
    """Measure it where samples are graded, and within samples where the reference is known."""
    shares: list[float] = []
    right: list[float] = []
    firsts: list[float] = []
    for problem in problems:
        samples = [sample for sample in problem.samples if sample.right is not None]
        total = sum(len(sample.tokens) for sample in samples)
        first = next((at for at, sample in enumerate(samples) if sample.right), None)
        if first is not None and total:
            firsts.append(sum(len(sample.tokens) for sample in samples[: first + 1]) / total)
        if problem.reference is None:
            continue
        for sample in samples:
            share = first_right(sample, problem.reference, problem.answer_format) if sample.right else 0.0
            if share is not None:
                shares.append(share)
                if sample.right:
                    right.append(share)
    return Overthinking(_mean(shares), _mean(right), len(shares), _mean(firsts), len(firsts))


def first_right(sample: SampleRecord, reference: str, format: str) -> float | None:  # noqa: A002 - as in extract
    """Return the share of a right text up to the end of the first sentence that has the right answer.

    The share of characters stands for that of tokens. A sentence has the answer where it would be found in it
    as it is in a whole text, so that an equal number on the way counts as well. None where sentences do not
    have answers: in free text, code, and formats whose answer is marked.
    """
    kind = AnswerFormat.parse(format)
    if kind.name not in ("auto", "number", "choice", "boxed"):
        return None
    wanted = read_answer(reference, kind)
    if wanted is None:
        return None
    begin = 0
    ends = [match.end() for match in _END.finditer(sample.text)][:MOST_SENTENCES]
    for end in (*ends, len(sample.text)):
        if sentence := sample.text[begin:end].strip():
            found = extract(sentence, kind)
            if found is not None and found.canonical == wanted.canonical:
                return end / len(sample.text)
            begin = end
    return 1.0


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
