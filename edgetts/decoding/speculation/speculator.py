"""Decide how many guesses to verify in a pass, and keep account of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgetts.decoding.alone import Situation
from edgetts.decoding.constraint import Matcher
from edgetts.decoding.session import Capabilities
from edgetts.decoding.speculation.acceptance import Acceptance
from edgetts.decoding.speculation.costs import PassCosts
from edgetts.decoding.speculation.drafter import Drafter, Proposal
from edgetts.errors import InvalidInput
from edgetts.types import LONGEST_DRAFT, Speculation

# A draft must promise so much over plain decoding before it is tried: the promise is an estimate.
_WORTHWHILE = 1.02
# Guesses less likely than this to be reached are not made.
_HOPELESS = 0.02
# A guess that costs less than this share of a plain step is always asked for.
_CHEAP = 0.005
# A guess this likely is taken without asking further drafters.
_CONFIDENT = 0.6
# Guesses looked ahead, as a wider pass may pay where the next wider one does not.
_AHEAD = 3
# Every so many passes a costly drafter is asked even if it did not pay of late.
_PROBE = 32
# Unless that takes more than this share of the time so far: a draft model has all the text to catch up on.
_PROBE_SHARE = 0.03


@dataclass(slots=True)
class Draft:
    """Guesses for one pass. The first `verified` of them run; the rest are only held against what comes.

    broken: whether the guess behind those would have run too, but is not allowed there: it is the last one, and it costs
    no pass to verify that it is wrong.
    """

    proposals: list[Proposal]
    verified: int
    spent: float = 0.0
    """Seconds that guessing took."""
    broken: bool = False

    @property
    def tokens(self) -> list[int]:
        return [proposal.token for proposal in self.proposals[: self.verified]]


@dataclass(frozen=True, slots=True)
class _Outlook:
    """A draft so far: the pass's width with it, the probability that all of it is right, what it yields.

    spent: seconds of guessing. best: the most tokens a second of the drafts that begin as it does.
    """

    width: int
    reached: float
    expected: float
    spent: float
    best: float


@dataclass(slots=True)
class Tally:
    """Counts over all passes of all samples."""

    passes: int = 0
    emitted: int = 0
    seconds: float = 0.0
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    by_drafter: dict[str, tuple[int, int]] = field(default_factory=dict)


def longest_draft(able: Capabilities, asked: int | None = None, usual: int = LONGEST_DRAFT) -> int:
    """Return how many guesses a session verifies in one pass, `asked` or else `usual` ones at most.

    Raises InvalidInput where more are asked for than it was exported for.
    """
    if able.widest is None:
        return usual if asked is None else asked
    most = able.widest - 1
    if asked is not None and asked > most:
        raise InvalidInput(
            f"The model was exported for drafts of up to {most} tokens, not of {asked}.",
            hint=f"Export it again with --draft-width {asked}.",
        )
    return min(most, usual if asked is None else asked)


MakeDrafters = Callable[[Situation], Sequence[Drafter]]
"""Make drafters for one sample, when it first runs alone."""


class Speculator:
    """Draft for the samples of one question.

    `drafters` makes those of one sample, the cheapest first; the first that has an idea is taken.
    longest: guesses of a pass at most. `always`: verify as many as there are, whatever it costs;
    otherwise as many as promise the most tokens a second.
    """

    def __init__(
        self,
        drafters: MakeDrafters,
        acceptance: Acceptance,
        costs: PassCosts,
        *,
        longest: int = LONGEST_DRAFT,
        always: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.drafters = drafters
        self._acceptance = acceptance
        self._costs = costs
        self.longest = longest
        self._always = always
        self.clock = clock
        self.tally = Tally()

    def draft(self, drafters: Sequence[Drafter], most: int, matcher: Matcher | None = None) -> Draft:
        """Make at most `most` guesses, and choose how many of them to verify.

        matcher: of the sample; none is made behind a guess that it does not allow, and that is not run.
        """
        proposals: list[Proposal] = []
        reached, expected, spent = 1.0, 1.0, 0.0
        plain = best = 1.0 / self._costs.seconds(1)
        verified, broken = 0, False
        tokens: list[int] = []
        for i in range(min(most, self.longest)):
            outlook = _Outlook(i + 1, reached, expected, spent, best)
            proposal, seconds = self._ask(drafters, tokens, outlook)
            if proposal is None:
                break
            proposals.append(proposal)
            tokens.append(proposal.token)
            spent += seconds
            broken = matcher is not None and matcher.prefix(tokens) <= i
            reached *= self._acceptance.probability(proposal)
            expected += reached
            rate = expected / (self._costs.seconds(i + 2) + spent)
            if rate > best and rate > plain * _WORTHWHILE:
                best, verified = rate, i + 1
            elif proposal.weights is not None and not self._always:
                # Guesses behind a drawn one depend on it, so they must not decide whether it is verified:
                # only the tokens that lead on well would be, and those are not drawn from its weights.
                break
            if broken or (reached < _HOPELESS and not self._always):
                break
        verified = len(proposals) if self._always else verified
        # Whether a guess is verified must not depend on its token: one that would have been is verified all the same,
        # by the logits before it, without running it.
        broken = broken and verified == len(proposals)
        return Draft(proposals, verified - broken, spent, broken)

    def settle(self, draft: Draft, emitted: Sequence[int], seconds: float) -> None:
        """Learn from a pass: what it emitted, and how long it took."""
        self._costs.observe(draft.verified + 1, seconds - draft.spent)
        tally = self.tally
        tally.passes += 1
        tally.emitted += len(emitted)
        tally.seconds += seconds
        for i, proposal in enumerate(draft.proposals):
            if i < draft.verified:
                self._count(i, proposal, i < len(emitted) and emitted[i] == proposal.token)
        for proposal, token in zip(draft.proposals, emitted, strict=False):
            right = proposal.token == token
            self._acceptance.learn(proposal, right)
            if not right:
                break

    def summary(self) -> Speculation | None:
        """Sum up all passes so far; None where there were none."""
        tally = self.tally
        if not tally.passes:
            return None
        plain = self._costs.seconds(1)
        return Speculation(
            passes=tally.passes,
            tokens=tally.emitted,
            drafted=tuple(tally.drafted),
            accepted=tuple(tally.accepted),
            by_drafter=dict(tally.by_drafter),
            seconds=tally.seconds,
            seconds_saved=tally.emitted * plain - tally.seconds,
        )

    def _ask(
        self, drafters: Sequence[Drafter], drafted: list[int], outlook: _Outlook
    ) -> tuple[Proposal | None, float]:
        """Return the likeliest guess of those that are worth asking, and the seconds that asking took."""
        chosen: Proposal | None = None
        likeliest, spent = 0.0, 0.0
        for drafter in drafters:
            if likeliest >= _CONFIDENT:
                break
            costly = drafter.cost > _CHEAP * self._costs.seconds(1)
            if costly and not self._always and not self._pays(drafter, likeliest, outlook):
                continue
            proposal = drafter.propose(drafted)
            if proposal is None:
                continue
            spent += drafter.cost
            probability = self._acceptance.probability(proposal)
            if probability > likeliest:
                chosen, likeliest = proposal, probability
        return chosen, spent

    def _pays(self, drafter: Drafter, likeliest: float, outlook: _Outlook) -> bool:
        """Whether its guesses, as good as they were of late, promise more tokens a second than the draft so far."""
        probing = not outlook.spent and self.tally.passes % _PROBE == 0
        if probing and drafter.cost <= _PROBE_SHARE * self.tally.seconds:
            # One that lost is looked at again: texts change.
            return True
        right = self._acceptance.typical(drafter.name)
        if right <= likeliest:
            return False
        reached, expected = outlook.reached, outlook.expected
        for more in range(1, _AHEAD + 1):
            reached *= right
            expected += reached
            seconds = self._costs.seconds(outlook.width + more) + outlook.spent + more * drafter.cost
            if expected / seconds > outlook.best:
                return True
        return False

    def _count(self, position: int, proposal: Proposal, right: bool) -> None:
        tally = self.tally
        while len(tally.drafted) <= position:
            tally.drafted.append(0)
            tally.accepted.append(0)
        tally.drafted[position] += 1
        tally.accepted[position] += right
        drafted, accepted = tally.by_drafter.get(proposal.kind[0], (0, 0))
        tally.by_drafter[proposal.kind[0]] = (drafted + 1, accepted + right)
