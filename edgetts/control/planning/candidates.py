"""Everything that could be computed for a request, and whether it keeps the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgetts.budget import Budget
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import Prediction, Work
from edgetts.control.planning.memory import cache_tokens, longest_cap
from edgetts.control.planning.request import DEFAULT_MAX_TOKENS, Asked, Request, Way
from edgetts.control.planning.widths import cheap_widths, rounds_for, widths_for
from edgetts.control.success.model import Attempt
from edgetts.interval import Interval

MAX_WIDTH = 16
"""Branches in one pass; beyond it a pass costs as much more as it yields."""
DEFAULT_SAMPLES = 8
"""Samples of a strategy that was asked for by name, where no budget says how many."""
# Of the time before a deadline, the share kept for what no curve predicts.
_RESERVE = 0.05
# Tokens of a step of an answer, typically.
_STEP_TOKENS = 40
# Numbers of samples for which shorter caps are looked at too.
_FEW = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of computing the answer. cap: tokens one sample may have. rounds: as in `Work`."""

    way: Way
    asked: Asked
    samples: int
    width: int
    cap: int
    rounds: tuple[int, ...] = ()
    temperature: float | None = None

    @property
    def branches(self) -> int:
        """Branches whose caches are there at once: partial answers stay in memory while others run."""
        return self.samples if self.way.steps else self.width

    def work(self, request: Request) -> Work:
        texts = self.samples
        if self.way.steps:
            typical = min(self.cap, request.expected)
            texts = round(self.samples * max(1.0, typical / _STEP_TOKENS))
        share = self.way.expected
        return Work(
            prompt=self.asked.prompt,
            known=self.asked.known,
            samples=self.samples,
            width=self.width,
            cap=self.cap,
            lengths=self.asked.lengths,
            rounds=self.rounds,
            gain=request.gain if self.width == 1 else 1.0,
            # `Work` charges it for each sample; a search by steps has its texts judged more often.
            judging=round(self.way.judging * texts / self.samples),
            expected=None if share is None else max(1.0, share * self.samples),
            bytes_per_token=request.bytes_per_token,
            whole_cache=request.whole_cache,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with what is predicted of it. broken: the limit it breaks, in words; empty where it keeps all.

    prediction: None where it was dropped before anything was predicted. memory: bytes of its caches at their longest.
    """

    candidate: Candidate
    prediction: Prediction | None
    success: Interval | None
    memory: int
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent, as it can be compared with predictions. None is no limit. tokens: of all samples; memory: bytes."""

    seconds: float | None
    tokens: int | None
    joules: float | None
    memory: int

    @classmethod
    def of(cls, budget: Budget, request: Request) -> Limits:
        seconds = None if request.seconds is None else (request.seconds - request.opening) * (1 - _RESERVE)
        memory = request.memory_free
        if budget.memory_bytes is not None:
            memory = min(memory, budget.memory_bytes)
        return cls(seconds, budget.tokens, budget.joules, memory)

    def broken_by(self, prediction: Prediction) -> str:
        """Return which limit would be broken, in words; empty for none."""
        if self.seconds is not None and prediction.seconds.value > self.seconds:
            return (
                f"{prediction.seconds.value:.2f} s are more than the {max(self.seconds, 0.0):.2f} s there are"
            )
        if self.joules is not None and prediction.joules is not None:
            joules = prediction.joules.value
            if joules > self.joules:
                return f"{joules:.1f} J are more than {self.joules:g} J"
        if self.tokens is not None and prediction.tokens.value > self.tokens:
            return f"{prediction.tokens.value:.0f} tokens are more than {self.tokens}"
        return ""

    def widest(self, cap: int, expected: int) -> int:
        """Return how many branches the tokens allow: a pass draws one for each, and answers are to end."""
        return MAX_WIDTH if self.tokens is None else max(1, self.tokens // min(expected, cap))


def counts(budget: Budget, request: Request, way: Way) -> tuple[int, ...]:
    """Return the numbers of samples to consider, rising."""
    if request.deterministic:
        return (1,)
    if budget.samples is not None:
        return (budget.samples,)
    if way.most is not None:
        return (way.most,)
    if request.free or any(limit is not None for limit in (budget.seconds, budget.tokens, budget.joules)):
        return tuple(range(1, request.up_to + 1))
    return (DEFAULT_SAMPLES,) if request.named else (1,)


def enumerate_candidates(budget: Budget, request: Request, cost: CostModel) -> Iterator[Candidate]:
    """Yield every candidate that may be the best.

    None depends on a limit of time, energy or tokens, so that a larger budget offers all that a smaller one does.
    """
    most = MAX_WIDTH if request.parallel else 1
    step = [0.0, *(cost.step(width) for width in range(1, most + 1))].__getitem__
    cheap = cheap_widths(step, most)
    for way in request.ways:
        for asked in request.approaches:
            for samples in counts(budget, request, way):
                widths: Sequence[int] = (min(samples, most),)
                if not way.steps:
                    fits = _widest_in_memory(budget, request, asked, min(samples, most))
                    widths = widths_for(samples, step, cheap, fits, gain=request.gain)
                for width in widths:
                    for cap in _caps(request, asked, samples, width == widths[0]):
                        waits = way.rounds and samples > 1
                        rounds = rounds_for(samples, width, cheap) if waits else ()
                        yield Candidate(way, asked, samples, width, cap, rounds)


def _widest_in_memory(budget: Budget, request: Request, asked: Asked, most: int) -> int:
    limits = Limits.of(budget, request)
    cap = min(request.max_tokens or DEFAULT_MAX_TOKENS, request.room)
    room = limits.memory // max(1, request.bytes_per_token)
    while most > 1 and cache_tokens(asked.prompt, most, most, cap, request.whole_cache) > room:
        most -= 1
    return most


def _caps(request: Request, asked: Asked, samples: int, widest: bool) -> list[int]:
    cap = min(request.max_tokens or DEFAULT_MAX_TOKENS, request.room)
    choose = request.max_tokens is None and widest and samples in _FEW
    return [cap, *sorted((one for one in asked.caps if choose and one < cap), reverse=True)]


def fit_memory(candidate: Candidate, request: Request, limits: Limits) -> tuple[int, int]:
    """Return the cap that fits in the memory, below 1 where none does, and the bytes that the caches then take.

    Only a pass of one branch gets shorter samples; a wider one is to be made narrower.
    """
    prompt, samples, branches = candidate.asked.prompt, candidate.samples, candidate.branches
    room = limits.memory // max(1, request.bytes_per_token)
    cap = candidate.cap
    whole = request.whole_cache
    most = longest_cap(room, prompt, samples, branches, whole)
    if most < cap:
        enough = min(cap, request.expected) if samples > 1 else 1
        cap = most if branches == 1 and most >= enough else 0
    tokens = cache_tokens(prompt, samples, branches, max(cap, 0), whole)
    return cap, tokens * request.bytes_per_token


def predict_success(candidate: Candidate, request: Request, cap: int) -> tuple[Interval | None, float | None]:
    """Return P(right) at the best of the temperatures there are to choose from, and that one.

    cap: tokens that a sample gets in the time there is. What is not known of a verifier or of an aggregator is taken
    from the plain vote.
    """
    heats = candidate.asked.temperatures if request.temperature is None else (request.temperature,)
    matrix = candidate.asked.matrix
    if matrix is not None and request.temperature is None and candidate.way.exact and candidate.samples > 1:
        heats = (matrix.best_temperature(candidate.samples)[0],)
    if request.success is None:
        return None, heats[0]
    best: tuple[Interval | None, float] = (None, heats[0])
    for heat in heats[:1] if candidate.samples == 1 else heats:
        found = None
        for aggregator, verified in (
            (candidate.way.aggregator, candidate.way.verified),
            (candidate.way.aggregator, ""),
            ("majority", ""),
        ):
            attempt = Attempt(candidate.samples, cap, candidate.asked.approach, heat, aggregator, verified)
            found = request.success.predict(attempt)
            if found is not None:
                break
        if found is not None and (best[0] is None or found.value > best[0].value):
            best = found, heat
    return best


def cap_within(
    candidate: Candidate, request: Request, limits: Limits, cost: CostModel, tokens: float = 0.0
) -> int:
    """Return the tokens that one sample may get before the limits end it: it never falls where they grow.

    As many run one after the other as are planned; tokens: predicted of all samples, of which the others are spent.
    """
    most = float(candidate.cap)
    if limits.seconds is not None:
        turns = -(-candidate.samples // candidate.width)
        gain = request.gain if candidate.width == 1 else 1.0
        left = limits.seconds - cost.prefill(candidate.asked.unread)
        most = min(most, left / cost.step(candidate.width) * gain / turns)
    if limits.tokens is not None:
        most = min(most, limits.tokens - tokens * (candidate.samples - 1) / candidate.samples)
    return max(1, int(most))
