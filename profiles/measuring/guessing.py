"""Measure what guessing at a lone sample's tokens costs and gains, on given prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgetts.decoding.alone import Situation
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.session import Features, Session
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    NgramDrafter,
    ParallelDrafter,
    PassCosts,
    Proposal,
    RecurrentDrafter,
    SpeculativeDecoder,
    Speculator,
    longest_draft,
)
from edgetts.decoding.speculation.drafter import Tail
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.measuring.timing import Deadline, SteadyClock
from edgetts.profiles.speed import Guessing
from edgetts.types import SamplingParams

_PLAIN = "plain"
_LEAST_TOKENS, _MOST_TOKENS = 24, 128
_MOST_TURNS = 4


@dataclass(slots=True)
class _Account:
    """Of one way to decode: seconds and tokens of it all; guesses made, seconds they took, and how many were right."""

    seconds: float = 0.0
    tokens: int = 0
    guesses: int = 0
    guessing: float = 0.0
    judged: int = 0
    right: int = 0
    acceptance: Acceptance = field(default_factory=Acceptance)


class _Counted(Acceptance):
    """Count what it learns; only guesses whose predecessors were right come to it."""

    def __init__(self, account: _Account) -> None:
        super().__init__()
        self._account = account

    def learn(self, proposal: Proposal, right: bool) -> None:
        self._account.judged += 1
        self._account.right += right
        super().learn(proposal, right)


class _Timed:
    """A drafter whose guesses are timed; see `edgetts.decoding.speculation.Drafter`."""

    def __init__(self, inner: Drafter, account: _Account, clock: Callable[[], float]) -> None:
        self._inner, self._account, self._clock = inner, account, clock

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def cost(self) -> float:
        return self._inner.cost

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        began = self._clock()
        proposal = self._inner.propose(drafted)
        self._account.guessing += self._clock() - began
        self._account.guesses += proposal is not None
        return proposal

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:
        began = self._clock()
        self._inner.accept(tokens, features, tail)
        self._account.guessing += self._clock() - began


def time_guessing(
    session: Session,
    guessers: Guessers | None,
    prompts: Sequence[Sequence[int]],
    times: StepTimes,
    clock: SteadyClock,
    deadline: Deadline,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Guessing, ...]:
    """Continue each prompt plainly and with each drafter in turn, greedily, as long as there is time.

    What leaves too few tokens to tell is left out. As in use, guesses are verified only where they promise more
    tokens a second than none: a drafter that cannot gain is then seldom asked, and gains about 1.
    """
    able = session.capabilities
    if not (able.extend and able.truncate) or not prompts:
        return ()
    makers = _makers(guessers, clock)
    accounts = {name: _Account() for name in (_PLAIN, *makers)}
    for name in makers:
        accounts[name].acceptance = _Counted(accounts[name])
    prompts, length = _affordable(session, prompts, len(accounts), times, deadline.left)
    if not prompts:
        return ()
    for turn in range(_MOST_TURNS):
        began = clock()
        for i, prompt in enumerate(prompts):
            order = list(accounts)
            for name in order if (turn + i) % 2 else reversed(order):
                if deadline.cancelled():
                    return ()
                _run(session, prompt, length, accounts[name], makers.get(name), times, clock, deadline)
                tick()
        if deadline.left < clock() - began:
            break
    return _summed(accounts, makers)


def _affordable(
    session: Session, prompts: Sequence[Sequence[int]], ways: int, times: StepTimes, seconds: float
) -> tuple[Sequence[Sequence[int]], int]:
    """Return the prompts that there is time to continue in so many ways, and by how many tokens each."""
    while prompts:
        reading = sum(times.prefill(len(prompt)) for prompt in prompts)
        room = (seconds / ways - reading) / (len(prompts) * times.at(1))
        length = min(_MOST_TOKENS, int(room), session.info.context - max(map(len, prompts)) - 1)
        if length >= _LEAST_TOKENS:
            return prompts, length
        prompts = prompts[:-1]
    return (), 0


def _makers(
    guessers: Guessers | None, clock: Callable[[], float]
) -> dict[str, Callable[[Situation], Drafter]]:
    makers: dict[str, Callable[[Situation], Drafter]] = {
        NgramDrafter.name: lambda at: NgramDrafter(at.prompt, at.others)
    }
    if guessers is not None and (recurrent := guessers.recurrent) is not None:
        makers[RecurrentDrafter.name] = lambda at: RecurrentDrafter(recurrent, clock)
    if guessers is not None and (parallel := guessers.parallel) is not None:
        makers[ParallelDrafter.name] = lambda at: ParallelDrafter(parallel, clock)
    return makers


def _run(
    session: Session,
    prompt: Sequence[int],
    length: int,
    account: _Account,
    maker: Callable[[Situation], Drafter] | None,
    times: StepTimes,
    clock: SteadyClock,
    deadline: Deadline,
) -> None:
    """Continue a prompt once, and add what it took to the account."""
    alone = None
    if maker is not None:
        speculator = Speculator(
            lambda at: [_Timed(maker(at), account, clock)],
            account.acceptance,
            PassCosts(times.at),
            longest=longest_draft(session.capabilities),
            clock=clock,
        )
        alone = SpeculativeDecoder(speculator)
    branch, logits = session.prefill(prompt)
    decoder = ParallelDecoder(
        session,
        branch,
        logits,
        SamplingParams(temperature=0),
        prompt_tokens=prompt,
        max_tokens=length,
        greedy_first=False,
        alone=alone,
    )
    try:
        decoder.start(1, last=True)
        began, leaps = clock(), clock.leaps
        while decoder.active and not deadline.cancelled():
            decoder.step()
        if clock.leaps == leaps:
            account.seconds += clock() - began
            account.tokens += decoder.generated - 1  # the first one came from the prompt
    finally:
        decoder.close()


def _summed(accounts: Mapping[str, _Account], makers: Iterable[str]) -> tuple[Guessing, ...]:
    plain = accounts[_PLAIN]
    found = []
    for name in makers:
        one = accounts[name]
        enough = min(plain.tokens, one.tokens) >= _LEAST_TOKENS and min(plain.seconds, one.seconds) > 0
        if enough and one.judged:
            gain = one.tokens / one.seconds * plain.seconds / plain.tokens
            found.append(Guessing(name, one.guessing / max(1, one.guesses), one.right / one.judged, gain))
    return tuple(found)
