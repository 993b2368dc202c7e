"""Choose by a verifier's verdicts on texts, together with votes; knows verdicts, not what was checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgetts.selection.aggregation.ballots import Ballots, share_of, sums_of_logs
from edgetts.selection.aggregation.settings import share
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.need import Need

if TYPE_CHECKING:
    from edgetts.selection.verification.verifier import ErrorRates

_SUREST = 0.999
"""No verdict is believed more than this, so that two that contradict each other can be weighed."""

_NONE = "\0none of these"  # no canonical answer has a null character


@dataclass(frozen=True, slots=True)
class Verified:
    """Choose the answer that votes and verdicts together make most probable, by Bayes' rule.

    Before its verdict an answer is as probable as its share of the votes. Each of its texts that passed
    multiplies its odds by passes_right / passes_wrong, each that failed by (1 - passes_right) /
    (1 - passes_wrong): that is P(verdicts | the answer is right) / P(verdicts | it is wrong), where verdicts
    err independently; a verdict of None says nothing. passes_right and passes_wrong are the verifier's
    error rates: how often it passes a text that is right, or wrong. The default is a verifier that does not
    err, and then this is best-of-N by verifier ("Training Verifiers to Solve Math Word Problems"): an answer
    with a text that passed beats one without, however many votes that has, and among those the majority decides.
    Where no text of the winner passed, the right answer may well be none of these: for the confidence that has the
    weight of one vote without a verdict.
    Where no text has a verdict, votes alone decide.
    """

    passes_right: float = 1.0
    passes_wrong: float = 0.0

    def __post_init__(self) -> None:
        share("passes_right", self.passes_right)
        share("passes_wrong", self.passes_wrong)

    @classmethod
    def of(cls, rates: ErrorRates | None) -> Verified:
        """Use a verifier's error rates; None, where they are not known, takes it for one that does not err."""
        return cls() if rates is None else cls(rates.passes_right, rates.passes_wrong)

    @property
    def name(self) -> str:
        return "verified"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"verifier"})

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        right, wrong = _bounded(self.passes_right), _bounded(self.passes_wrong)
        passing, failing = math.log(right / wrong), math.log((1 - right) / (1 - wrong))
        logs = {}
        for answer, cast in ballots.of.items():
            passed = sum(vote.passed is True for vote in cast)
            failed = sum(vote.passed is False for vote in cast)
            logs[answer] = [math.log(len(cast)) + passed * passing + failed * failing]
        tally = ballots.decide(sums_of_logs(logs), share_of(self.name), merit=_standing)
        verdicts = {vote.passed for vote in ballots.of.get(tally.answer or "", ())}
        if tally.answer is None or tally.confidence is None or True in verdicts or False not in verdicts:
            return tally
        with_none = sums_of_logs({**logs, _NONE: [0.0]})
        total = math.fsum(with_none.values())
        return replace(tally, confidence=with_none[tally.answer] / total)


def _bounded(rate: float) -> float:
    return min(max(rate, 1 - _SUREST), _SUREST)


def _standing(vote: Vote) -> float:
    """A text that passed is shown before one nobody could judge, and that before one that failed."""
    return 0.5 if vote.passed is None else float(vote.passed)
