"""Use the length of texts to judge their votes; knows token counts, not texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.ballots import Ballots, share_of
from edgetts.selection.aggregation.settings import at_least
from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.need import Need


@dataclass(frozen=True, slots=True)
class ShortestMajority:
    """Choose by votes / log(mean length of the answer's texts, in tokens).

    "Revisiting the Test-Time Scaling of o1-like Models: Do they Truly Possess Test-Time Scaling Capabilities?",
    which found the log steadier than the root, the length or its square. A mean below 2 tokens counts
    as 2, so that the log stays above 0.
    """

    @property
    def name(self) -> str:
        return "shortest_majority"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        weights = {
            answer: len(cast) / math.log(max(2.0, sum(vote.tokens for vote in cast) / len(cast)))
            for answer, cast in ballots.of.items()
        }
        return ballots.decide(weights, share_of(self.name))


@dataclass(frozen=True, slots=True)
class ShortestFew:
    """Let the `keep` shortest texts vote, as if the others had been ended when these were complete.

    short-m@k of "Don't Overthink it. Preferring Shorter Thinking Chains for Improved LLM Reasoning", m being
    `keep`. Texts cut short come after all complete ones; those as long as the last one kept are kept
    too. Ties are broken as everywhere, where the paper takes the shortest.
    """

    keep: int = 3

    def __post_init__(self) -> None:
        at_least("keep", self.keep, 1)

    @property
    def name(self) -> str:
        return "shortest_few"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        lengths = sorted((not vote.complete, vote.tokens) for vote in ballots.counted)
        longest = lengths[: self.keep][-1] if lengths else (False, 0)
        kept = [vote for vote in ballots.counted if (not vote.complete, vote.tokens) <= longest]
        return ballots.decide(ballots.counts(kept), share_of(self.name), shown=kept)


@dataclass(frozen=True, slots=True)
class LengthFiltered:
    """Let only those groups of texts of like length vote whose answers agree most.

    The length-filtered vote of "When More is Less: Understanding Chain-of-Thought Length in LLMs": texts are
    grouped by length, and the `keep` groups whose answers have the lowest entropy vote. The paper has hundreds
    of samples and groups of equal width; with few, a group of one text would agree with itself, so here the
    `groups` have (nearly) equal numbers of texts, and with fewer than two for each nobody is left out.
    Texts of one length stay in one group; groups as good as the last one kept are kept too.
    """

    groups: int = 3
    keep: int = 2

    def __post_init__(self) -> None:
        at_least("groups", self.groups, 1)
        at_least("keep", self.keep, 1)
        if self.keep > self.groups:
            raise InvalidInput(f"A vote filtered by length cannot keep {self.keep} of {self.groups} groups.")

    @property
    def name(self) -> str:
        return "length_filtered"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def __call__(self, votes: Sequence[Vote]) -> Tally:
        ballots = Ballots.sort(votes)
        kept = self._kept(ballots.counted)
        return ballots.decide(ballots.counts(kept), share_of(self.name), shown=kept)

    def _kept(self, votes: Sequence[Vote]) -> Sequence[Vote]:
        if len(votes) < 2 * self.groups:
            return votes
        lengths = sorted(vote.tokens for vote in votes)
        groups: dict[int, list[Vote]] = {}
        for vote in votes:
            groups.setdefault(lengths.index(vote.tokens) * self.groups // len(lengths), []).append(vote)
        entropies = {group: _entropy(members) for group, members in groups.items()}
        most = sorted(entropies.values())[: self.keep][-1]
        return [vote for group, members in groups.items() if entropies[group] <= most for vote in members]


def _entropy(votes: Sequence[Vote]) -> float:
    """In nats, of the votes' answers; rounded, so that equal disagreement is equal whatever its order."""
    shares = [count / len(votes) for count in Counter(vote.answer for vote in votes).values()]
    return round(-math.fsum(share * math.log(share) for share in shares), 12)
