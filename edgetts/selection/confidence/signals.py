"""What tells how sure to be of a chosen answer: named measurements of votes; knows no probability of being right.

More is surer, for every signal. What a value is worth is found by calibration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.aggregation.votes import Aggregator, Tally, Vote
from edgetts.selection.need import Need

Measure = Callable[[Sequence[Vote], Tally], "float | None"]

TAIL_TOKENS = 32
"""Tokens at the end of a text that its tail is made of."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Measure how sure to be of a tally's answer; None where the votes do not tell.

    `nats`: a value is a log-prob, at most 0; otherwise it is from 0 to 1.
    """

    name: str
    needs: frozenset[Need]
    measure: Measure
    nats: bool = False

    def __call__(self, votes: Sequence[Vote], tally: Tally) -> float | None:
        """Return the value, finite, the same whatever the order of votes; None for a tally without an answer."""
        if tally.answer is None:
            return None
        value = self.measure(votes, tally)
        return value if value is not None and math.isfinite(value) else None

    def probability(self, value: float) -> float:
        """Read a value as a probability as it stands, which is what calibration is compared with."""
        return math.exp(min(0.0, value)) if self.nats else min(1.0, max(0.0, value))


def certaindex(votes: Sequence[Vote]) -> float | None:
    """Return (log n - H) / log n over the classes of n votes; None for fewer than two.

    H is the entropy of the classes in nats, so that 1 is unanimity and 0 is that no two agree. A vote that does
    not count agrees with nobody: it is a class of its own. Source: "Efficiently Serving LLM Reasoning
    Programs with Certaindex".
    """
    n = len(votes)
    if n < 2:
        return None
    classes = sorted(Counter(vote.answer for vote in votes if vote.counts).values())
    # H = log n - sum(c log c) / n, and classes of one add nothing to the sum.
    return math.fsum(count * math.log(count) for count in classes) / (n * math.log(n))


def tail_logprob(logprobs: Sequence[float], tokens: int = TAIL_TOKENS) -> float | None:
    """Return the mean log-prob of the last tokens, in nats; None for an empty text.

    Answers stand at the end, and so do the tokens that tell most ("Deep Think with Confidence").
    """
    if tokens < 1:
        raise InvalidInput(f"A tail has at least one token, not {tokens}.")
    tail = logprobs[-tokens:]
    return math.fsum(tail) / len(tail) if tail else None


def by_sample(name: str, values: Mapping[int, float], *, nats: bool = False) -> Signal:
    """Make a signal of values known by sample index, such as tails: their mean over the winner's votes."""

    def measure(votes: Sequence[Vote], tally: Tally) -> float | None:
        return _mean(values[vote.sample] for vote in _winners(votes, tally) if vote.sample in values)

    return Signal(name, frozenset({"logprobs"}) if nats else frozenset(), measure, nats)


def share_by(aggregator: Aggregator) -> Signal:
    """Make a signal of an aggregator: what it believes of the tally's answer, such as the share of RPC."""

    def measure(votes: Sequence[Vote], tally: Tally) -> float | None:
        return aggregator(votes).distribution.get(tally.answer or "", 0.0) if len(votes) > 1 else None

    needs: frozenset[Need] = frozenset({"several"})
    return Signal(f"{aggregator.name}-share", aggregator.needs | needs, measure)


def signal(name: str) -> Signal:
    """Return a signal by its name. Errors: InvalidInput for one that is not there."""
    if name not in SIGNALS:
        raise InvalidInput(f"There is no signal {name!r}.", hint=near_miss(name, SIGNALS))
    return SIGNALS[name]


def _winners(votes: Sequence[Vote], tally: Tally) -> list[Vote]:
    return [vote for vote in votes if vote.counts and vote.answer == tally.answer]


def _mean(values: Iterable[float]) -> float | None:
    """fsum is exact, so that the order of votes changes nothing; minus infinity is no error in it."""
    known = list(values)
    return math.fsum(known) / len(known) if known else None


def _vote_share(votes: Sequence[Vote], tally: Tally) -> float | None:
    return len(_winners(votes, tally)) / len(votes) if len(votes) > 1 else None


def _margin(votes: Sequence[Vote], tally: Tally) -> float | None:
    if len(votes) < 2:
        return None
    others = Counter(vote.answer for vote in votes if vote.counts and vote.answer != tally.answer)
    return max(0, len(_winners(votes, tally)) - max(others.values(), default=0)) / len(votes)


def _sample_logprob(votes: Sequence[Vote], tally: Tally) -> float | None:
    return _mean(vote.mean_logprob for vote in votes if vote.sample == tally.sample)


def _winner_logprob(votes: Sequence[Vote], tally: Tally) -> float | None:
    return _mean(vote.mean_logprob for vote in _winners(votes, tally))


def _answer_probability(votes: Sequence[Vote], tally: Tally) -> float | None:
    return _mean(
        math.exp(min(0.0, vote.answer_logprob))
        for vote in _winners(votes, tally)
        if vote.answer_logprob is not None
    )


def _self_evaluation(votes: Sequence[Vote], tally: Tally) -> float | None:
    return _mean(vote.score for vote in _winners(votes, tally) if vote.score is not None)


def _verifier(votes: Sequence[Vote], tally: Tally) -> float | None:
    return _mean(float(vote.passed) for vote in _winners(votes, tally) if vote.passed is not None)


SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {
        one.name: one
        for one in (
            Signal("share", frozenset({"several"}), lambda votes, tally: tally.confidence),
            Signal("vote-share", frozenset({"several"}), _vote_share),
            Signal("margin", frozenset({"several"}), _margin),
            Signal("certaindex", frozenset({"several"}), lambda votes, tally: certaindex(votes)),
            Signal("sample-logprob", frozenset({"logprobs"}), _sample_logprob, nats=True),
            Signal("winner-logprob", frozenset({"logprobs"}), _winner_logprob, nats=True),
            Signal("answer-probability", frozenset({"logprobs"}), _answer_probability),
            Signal("self-evaluation", frozenset({"score"}), _self_evaluation),
            Signal("verifier", frozenset({"verifier"}), _verifier),
        )
    }
)
"""share: the aggregator's own, of the answer it chose. vote-share: the winner's votes among all samples, those
without an answer included. margin: the winner's lead over the next in votes, among all samples. certaindex:
see there. sample-logprob: nats per token of the sample shown; winner-logprob: the mean over the winner's votes.
answer-probability: of the tokens that spell the answer; self-evaluation: of the scorer; verifier: share of passes;
each the mean over the winner's votes for which it is known."""
