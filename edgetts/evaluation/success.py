"""Fit what is known of a model's success at a task to a record of its samples. Knows records, votes and verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgetts.control.success.figures import (
    MOST_QUESTIONS,
    ByQuestion,
    Drawing,
    TaskLengths,
    VerifierCounts,
    VoteCurve,
    fingerprint,
)
from edgetts.control.success.model import Approach
from edgetts.control.success.profile import SuccessProfile
from edgetts.errors import InvalidInput
from edgetts.evaluation.record import ProblemRecord, Run
from edgetts.evaluation.reordering import Ballot
from edgetts.evaluation.success_shares import greedy_share, points_of, sampled_share
from edgetts.evaluation.success_signals import coverage_law, difficulty_of, reliability_of
from edgetts.selection.aggregation import Aggregator, Verified, make_aggregator
from edgetts.selection.answers import AnswerFormat, read_answer
from edgetts.selection.confidence import quantile
from edgetts.selection.verification.registry import make_verifier
from edgetts.selection.verification.verifier import ErrorRates, Work
from edgetts.types import SPREAD_TEMPERATURE

ORDERS = 32
"""In which the samples of a question are counted, at most; there are fewer for caps below the recorded one."""
QUANTILES = 20
CAPS = (0.25, 0.5, 0.75, 0.9)
"""Quantiles of the lengths at which samples are cut, to see what a cap costs."""
LEAST = 4
"""Questions without which nothing is fitted."""
_OLD_TEMPERATURE = re.compile(r"temperature (\d{1,2}(?:\.\d{1,4})?)")
_OLD_CAP = re.compile(r"at most (\d{1,7}) tokens")

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the samples of a record were drawn, where its header does not say. None is what the header says."""

    approach: Approach = "reason"
    temperature: float | None = None
    cap: int | None = None
    date: str = ""


def fit_success(
    run: Run,
    *,
    model: str | None = None,
    conditions: Conditions | None = None,
    aggregators: Sequence[str] = ("majority",),
    verifier: str | None = None,
    progress: Progress | None = None,
) -> SuccessProfile:
    """Fit a success profile of one drawing to a graded record, in which every question has the same number of samples.

    model: the name under which it is looked up; None is the record's. verifier: by name, whose verdicts are found
    out here; None is the one the record was made with, or arithmetic where answers are numbers.
    Errors: InvalidInput for a record that has too few questions, or whose samples were ended by a rule.
    """
    conditions = conditions or Conditions()
    problems = _whole(run)
    form = _format(problems)
    say = progress or (lambda stage, fraction: None)
    name, judged = _judged(run, problems, form, verifier, say)
    ballots = [Ballot.of(problem) for problem in judged]
    samples = len(ballots[0].votes)
    cap = conditions.cap or _cap(run, problems)
    counts = None if name is None else _counts(name, judged)
    methods: list[tuple[str, str, Aggregator]] = [(one, "", make_aggregator(one)) for one in aggregators]
    if name is not None and counts is not None:
        methods.append(("verified", name, Verified.of(_rates(name, counts))))
    methods.sort(key=lambda one: (one[1], one[0]))
    lengths = _lengths(problems, cap)
    curves = []
    caps = sorted(
        {c for c in (_round_up(quantile(sorted(_drawn(problems)), share)) for share in CAPS) if c < cap}
    )
    for at, (aggregator, verified, rule) in enumerate(methods):
        for done, limit in enumerate((*caps, cap)):
            say("counting votes", (at + done / (len(caps) + 1)) / len(methods))
            shorter = ballots if limit == cap else [ballot.cut(limit) for ballot in ballots]
            most = ORDERS if limit == cap else ORDERS // 3
            curves.append(VoteCurve(aggregator, verified, limit, points_of(shorter, rule, samples, most)))
    reliability, checks = reliability_of(ballots, samples)
    date = str(run.header.get("started", ""))[:10] or conditions.date
    drawing = Drawing(
        approach=conditions.approach,
        temperature=_temperature(run, conditions),
        questions=len(ballots),
        samples=samples,
        cap=cap,
        data=_data(run, len(ballots), samples),
        date=date if re.fullmatch(r"\d{4}-\d\d-\d\d", date) else "",
        lengths=lengths,
        votes=tuple(curves),
        greedy=greedy_share(ballots),
        sampled=sampled_share(ballots),
        coverage=coverage_law([(len(one.drawn), sum(one.right[at] for at in one.drawn)) for one in ballots]),
        reliability=reliability,
        verifiers=() if counts is None else (counts,),
        difficulty=difficulty_of(ballots, samples),
        checks=checks,
        by_question=_by_question(problems, ballots),
    )
    return SuccessProfile(model or run.model, run.task or "unnamed", form, (drawing,))


def pooled(runs: Sequence[Run]) -> Run:
    """Return several records of one model and kind of task as one, whose header is the first's.

    Errors: InvalidInput where samples were drawn at different temperatures, or cut at different lengths.
    """
    first = runs[0]
    for other in runs[1:]:
        for name, old in (("temperature", _OLD_TEMPERATURE), ("max_tokens", _OLD_CAP)):
            found = [_sampling(run, name, old) for run in (first, other)]
            if name == "temperature":
                found = [SPREAD_TEMPERATURE if value is None else value for value in found]
            if found[0] != found[1]:
                raise InvalidInput(
                    f"{first.source} and {other.source} were recorded with different settings ({name}: {found[0]}, {found[1]}).",
                    hint="Fit them one after the other: a profile holds several.",
                )
    problems = [replace(one, id=f"{at}/{one.id}") for at, run in enumerate(runs) for one in run.problems]
    return first if len(runs) == 1 else replace(first, problems=problems)


def _by_question(problems: Sequence[ProblemRecord], ballots: Sequence[Ballot]) -> ByQuestion | None:
    """Return how often each question was answered rightly; None without greedy samples, or others."""
    found: dict[int, tuple[float, float]] = {}
    for problem, ballot in zip(problems, ballots, strict=True):
        if ballot.greedy is None:
            return None
        drawn = [ballot.right[at] for at in ballot.drawn]
        found.setdefault(
            fingerprint(problem.question), (float(ballot.right[ballot.greedy]), sum(drawn) / len(drawn))
        )
    kept = sorted(found)[:MOST_QUESTIONS]
    greedy, shares = (tuple(found[one][at] for one in kept) for at in (0, 1))
    return ByQuestion(tuple(kept), greedy, shares)


def _whole(run: Run) -> list[ProblemRecord]:
    """Return the problems that were answered and graded. Raise InvalidInput where their samples are not comparable."""
    known = [one for one in run.problems if one.error is None and one.samples]
    graded = [one for one in known if all(sample.right is not None for sample in one.samples)]
    if len(graded) < LEAST:
        raise InvalidInput(
            f"The record has {len(graded)} questions with graded samples, but a success profile takes {LEAST}.",
            hint="Record a hundred, to be of use: edgetts calibrate --task NAME",
        )
    drawn = {len(one.samples) for one in graded}
    if len(drawn) > 1 or any(sample.cut for one in graded for sample in one.samples):
        raise InvalidInput(
            "The record's questions have different numbers of samples, or some that were given up: a vote of more "
            "would be taken over those questions alone that needed more.",
            hint="Record with: edgetts eval TASK --samples 16 --strategy self_consistency:stop=none --record FILE",
        )
    return graded


def _format(problems: Sequence[ProblemRecord]) -> str:
    """Return the format that all questions have; "auto" is "number" where every reference is one."""
    forms = {one.answer_format for one in problems}
    form = forms.pop() if len(forms) == 1 else "auto"
    if form != "auto":
        return form
    kind = AnswerFormat.parse("number")
    numeric = (one.reference is not None and read_answer(one.reference, kind) is not None for one in problems)
    return "number" if all(numeric) else "auto"


def _judged(
    run: Run, problems: list[ProblemRecord], form: str, verifier: str | None, say: Progress
) -> tuple[str | None, list[ProblemRecord]]:
    """Return a verifier's name, and the problems with its verdicts; None where there is no verifier to ask."""
    recorded = run.header.get("verify")
    if verifier is None and isinstance(recorded, str) and recorded:
        return recorded[:100], problems
    if verifier is None and form != "number":
        return None, problems
    name = verifier or "arithmetic"
    judge = make_verifier(name)
    done = []
    for at, one in enumerate(problems):
        say(f"checking texts: {name}", at / len(problems))
        samples = tuple(
            replace(
                sample,
                passed=judge.verify(Work(one.question, sample.text, sample.answer, sample.finished)).passed,
            )
            for sample in one.samples
        )
        done.append(replace(one, samples=samples))
    return name, done


def _counts(name: str, problems: Sequence[ProblemRecord]) -> VerifierCounts:
    seen = {(right, passed): 0 for right in (True, False) for passed in (True, False, None)}
    for one in problems:
        for sample in one.samples:
            seen[sample.right is True, sample.passed] += 1
    right, wrong = ((seen[hit, True], seen[hit, False], seen[hit, None]) for hit in (True, False))
    return VerifierCounts(name, right, wrong)


def _rates(name: str, counts: VerifierCounts) -> ErrorRates:
    """Return the rates an engine would weigh verdicts by: the declared ones, or else those that were seen."""
    try:
        declared = make_verifier(name).rates
    except InvalidInput:  # such as one whose file is not here
        declared = None
    return declared or ErrorRates(counts.passes_right, counts.passes_wrong, "measured")


def _drawn(problems: Sequence[ProblemRecord]) -> list[float]:
    return [float(len(sample.tokens)) for one in problems for sample in one.samples]


def _lengths(problems: Sequence[ProblemRecord], cap: int) -> TaskLengths:
    lengths = sorted(_drawn(problems))
    cut = sum(not sample.finished for one in problems for sample in one.samples) / len(lengths)
    values = tuple(quantile(lengths, (i + 0.5) / QUANTILES) for i in range(QUANTILES))
    return TaskLengths(values, len(lengths), cut, cap)


def _round_up(length: float) -> int:
    return max(16, math.ceil(length / 16) * 16)


def _sampling(run: Run, name: str, old: re.Pattern[str]) -> float | None:
    """Return what a header says of sampling: as a setting, or, in the oldest records, in words."""
    sampling = run.header.get("sampling")
    if isinstance(sampling, dict):
        value = sampling.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if 0 <= value < 1e7 else None
    found = old.search(sampling) if isinstance(sampling, str) else None
    return float(found[1]) if found else None


def _temperature(run: Run, conditions: Conditions) -> float:
    known = conditions.temperature
    if known is None:
        known = _sampling(run, "temperature", _OLD_TEMPERATURE)
    return SPREAD_TEMPERATURE if known is None else known


def _cap(run: Run, problems: Sequence[ProblemRecord]) -> int:
    longest = max(1, *map(int, _drawn(problems)))
    stated = _sampling(run, "max_tokens", _OLD_CAP)
    return longest if stated is None else max(int(stated), longest)


def _data(run: Run, questions: int, samples: int) -> str:
    seeded = "" if run.task_seed is None else f", seed {run.task_seed}"
    words = f"{questions} questions of {run.task or 'a run'}{seeded}, {samples} samples of each"
    return "".join(char if char.isprintable() else " " for char in words)[:300]
