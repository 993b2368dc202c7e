"""Vote again over recorded samples, in many orders, fewer of them and cut shorter. Knows votes, no text."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.evaluation.loading import votes_of
from edgetts.evaluation.record import ProblemRecord
from edgetts.selection.aggregation import Aggregator, Vote

Order = tuple[int, ...]
"""Positions of a problem's samples, as they would have been drawn."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One problem's votes and whether each is right. greedy: the position of its greedy sample, None without one."""

    id: str
    votes: tuple[Vote, ...]
    right: tuple[bool, ...]
    greedy: int | None

    @classmethod
    def of(cls, problem: ProblemRecord) -> Ballot:
        """Take a graded problem. Paths are left out: who needs them counts texts, not orders."""
        places = [at for at, sample in enumerate(problem.samples) if sample.greedy]
        return cls(
            problem.id,
            tuple(votes_of(problem)),
            tuple(sample.right is True for sample in problem.samples),
            places[0] if len(places) == 1 and len(problem.samples) > 1 else None,
        )

    @property
    def drawn(self) -> list[int]:
        """Positions of the samples that were drawn alike; all, where there is no greedy one among others."""
        return [at for at in range(len(self.votes)) if at != self.greedy]

    def cut(self, cap: int) -> Ballot:
        """Return what the votes would be had samples been cut at `cap` tokens: those that are longer say nothing."""
        votes = tuple(
            vote
            if vote.tokens <= cap
            else replace(
                vote,
                answer=None,
                tokens=cap,
                complete=False,
                explicit=False,
                passed=None,
                logprob=vote.mean_logprob * cap,
                path=vote.path[:cap],
            )
            for vote in self.votes
        )
        right = tuple(hit and vote.tokens <= cap for hit, vote in zip(self.right, self.votes, strict=True))
        return Ballot(self.id, votes, right, self.greedy)

    def orders(self, samples: int, most: int) -> list[Order]:
        """Return up to `most` different choices of so many samples, every choice where there are no more.

        The greedy one comes first, as where an engine draws several; the others are drawn without repeats.
        """
        first = () if self.greedy is None else (self.greedy,)
        drawn, wanted = self.drawn, samples - len(first)
        if math.comb(len(drawn), wanted) <= most:
            return [(*first, *chosen) for chosen in itertools.combinations(drawn, wanted)]
        rng = random.Random(f"{self.id}/{samples}")  # noqa: S311  # not for secrets
        return [(*first, *rng.sample(drawn, wanted)) for _ in range(most)]

    def vote(self, order: Order, aggregator: Aggregator) -> tuple[bool, float]:
        """Return whether the vote of those samples is right, and the winner's share of them."""
        votes = [self.votes[at] for at in order]
        tally = aggregator(votes)
        if tally.answer is None:
            return False, 0.0
        shown = next(at for at in order if self.votes[at].sample == tally.sample)
        return self.right[shown], tally.counts[tally.answer] / len(votes)

    def seen(self, order: Order) -> tuple[list[int], list[float], list[int]]:
        """Return counts of answers, nats a token and lengths of those samples."""
        votes = [self.votes[at] for at in order]
        counts = Counter(vote.answer for vote in votes if vote.counts)
        return (
            sorted(counts.values(), reverse=True),
            [vote.mean_logprob if vote.tokens else 0.0 for vote in votes],
            [vote.tokens for vote in votes],
        )


def sizes_to(samples: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and the number of samples itself."""
    return tuple(sorted({2**n for n in range(samples.bit_length()) if 2**n <= samples} | {samples}))


def halves(ids: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Part positions in halves, by the ids at them and a seed alone."""
    ordered = sorted(range(len(ids)), key=lambda at: ids[at])
    random.Random(seed).shuffle(ordered)  # noqa: S311  # not for secrets
    half = (len(ordered) + 1) // 2
    return ordered[:half], ordered[half:]
