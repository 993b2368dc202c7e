"""The rules that verify guesses: rejection keeps the model's distribution, typical is its formula and no more."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from test_sampling import naive

from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.sampling import Drawn, Sampler
from edgetts.decoding.session import Capabilities, Features
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    PassCosts,
    Proposal,
    SpeculativeDecoder,
    Speculator,
    Weights,
    decoder,
)
from edgetts.decoding.speculation.drafter import Tail
from edgetts.decoding.speculation.verification import (
    DELTA,
    EPSILON,
    RULES,
    Rule,
    rejection,
    residual,
    typical,
)
from edgetts.errors import InvalidInput, InvalidLogits
from edgetts.profiles.curves import StepTimes
from edgetts.testing import FakeSession, ToyModel, goodness_of_fit
from edgetts.tokenizer import Tokenizer
from edgetts.types import AcceptanceRule, DecodeParams, SamplingParams

__all__ = ["tiny_engine_bundle", "tiny_tokenizer"]

Logits = NDArray[np.float32]
Shares = Callable[[tuple[int, ...]], NDArray[np.float64]]

# A right rule fails a statistical test of this file in one of a million worlds; seeds are fixed, so in
# ours it does always or never.
FALSE_ALARM = 1e-6
RUNS = 1500

VOCAB, END = 4, 0
PROMPT = [1, 3, 1]
MODEL = ToyModel.random(VOCAB, seed=5, end_tokens=frozenset({END}))
"""Every token is possible everywhere, its end token too."""
LIMIT = 4
FREE_WIDTH = StepTimes((1, 8), (0.010, 0.0101), 1000.0, "measured")


class Dice:
    """Draw guesses from q, given the prefix, by a generator of its own, and say what q is.

    kind: of a guess behind a prefix; not of the guess itself.
    """

    name = "dice"
    cost = 0.0

    def __init__(
        self, shares: Shares, seed: int, kind: Callable[[tuple[int, ...]], int] = lambda _: 0
    ) -> None:
        self._shares, self._kind = shares, kind
        self._random = np.random.Generator(np.random.PCG64([7, seed]))
        self._tokens = tuple(PROMPT)

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        prefix = (*self._tokens, *drafted)
        weights = listed(self._shares(prefix))
        token = int(self._random.choice(weights.ids, p=weights.probabilities))
        return Proposal(token, (self.name, self._kind(prefix)), 0.5, weights)

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:
        self._tokens += tuple(tokens)


class Parrot(Dice):
    """Guess the likeliest token of q, always: a guess without weights."""

    name = "parrot"

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        prefix = (*self._tokens, *drafted)
        return Proposal(int(self._shares(prefix).argmax()), (self.name, 0), 0.5)


def listed(shares: NDArray[np.float64]) -> Weights:
    """State a distribution as a drafter may: what it never draws left out, the ids in no order."""
    ids = np.flatnonzero(shares)[::-1].astype(np.int64)
    return Weights(ids, shares[ids])


def far(prefix: tuple[int, ...]) -> NDArray[np.float64]:
    """Another model altogether, and a confident one."""
    generator = np.random.Generator(np.random.PCG64([99, len(prefix), *prefix]))
    return generator.dirichlet(np.full(VOCAB, 0.3))


def ending(prefix: tuple[int, ...]) -> NDArray[np.float64]:
    """Drafts the end token inside most drafts."""
    return np.array([0.7, 0.1, 0.1, 0.1])


def narrow(prefix: tuple[int, ...]) -> NDArray[np.float64]:
    """Never draws two of the tokens that the model may."""
    shares = np.zeros(VOCAB)
    shares[[len(prefix) % VOCAB, (len(prefix) + 1) % VOCAB]] = 0.5
    return shares


def own(params: SamplingParams) -> Shares:
    """What a sampler of these params itself draws from."""
    return lambda prefix: dense(Sampler(params, prompt=prefix).distribution(MODEL.logits(prefix)), VOCAB)


def dense(weights: Weights, size: int) -> NDArray[np.float64]:
    shares = np.zeros(size)
    shares[weights.ids] = weights.probabilities
    return shares


def speculator(
    drafter: Drafter, length: int, always: bool = True, times: StepTimes = FREE_WIDTH
) -> Speculator:
    return Speculator(lambda at: [drafter], Acceptance(), PassCosts(times.at), longest=length, always=always)


def decode(
    model: ToyModel,
    params: SamplingParams,
    drafts: Speculator | None,
    rule: AcceptanceRule = "rejection",
    max_tokens: int = LIMIT,
) -> ParallelDecoder:
    session = FakeSession(model)
    branch, logits = session.prefill(PROMPT)
    run = ParallelDecoder(
        session,
        branch,
        logits.copy(),
        params,
        prompt_tokens=PROMPT,
        max_tokens=max_tokens,
        greedy_first=False,
        alone=None if drafts is None else SpeculativeDecoder(drafts, rule),
    )
    run.start(1, last=True)
    while run.active:
        run.step()
    run.close()
    assert session.live == []
    return run


def sampled(
    drafter: Callable[[int], Drafter],
    length: int = 4,
    max_tokens: int = LIMIT,
    model: ToyModel = MODEL,
    **params: Any,
) -> Counter[tuple[int, ...]]:
    """Draw whole samples with as many seeds, and drafters of as many."""
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(RUNS):
        how = SamplingParams(seed=seed, **({"temperature": 1.0} | params))
        run = decode(model, how, speculator(drafter(seed), length), max_tokens=max_tokens)
        found[tuple(run.traces[0].tokens)] += 1
    return found


def exact_samples(
    max_tokens: int = LIMIT, model: ToyModel = MODEL, **params: Any
) -> dict[tuple[int, ...], float]:
    """Return every sample that plain decoding with these params may draw, with its probability."""
    how = SamplingParams(**({"temperature": 1.0} | params))

    def probabilities(prefix: tuple[int, ...]) -> list[float]:
        shares = naive(model.logits(prefix), how, prefix)
        return [shares.get(token, 0.0) for token in range(model.vocab)]

    return ToyModel(model.vocab, probabilities, model.end_tokens).samples(PROMPT, max_tokens)


def fits(counts: Counter[Any], probabilities: dict[Any, float]) -> None:
    fit = goodness_of_fit(counts, probabilities)
    sys.stdout.write(f"{fit}; a right rule falls below {FALSE_ALARM} once in {1 / FALSE_ALARM:,.0f} runs\n")
    assert fit.p > FALSE_ALARM


# Rejection keeps the distribution of whole samples


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("drafter", [Dice, Parrot])
@pytest.mark.parametrize("shares", [far, ending, narrow])
def test_rejection_keeps_the_distribution(shares: Shares, drafter: type[Dice], length: int) -> None:
    # The first token comes from the prompt's pass, and a pass draws one token behind its guesses.
    limit = length + 2
    counts = sampled(lambda seed: drafter(shares, seed), length, limit)
    fits(counts, exact_samples(limit))


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.6},
        {"temperature": 1.8},
        {"temperature": None},
        {"top_k": 2},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"repetition_penalty": 1.6},
        {"temperature": 1.4, "top_k": 3, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 0.7},
    ],
    ids=str,
)
def test_rejection_keeps_what_filters_and_penalties_leave(params: dict[str, Any]) -> None:
    fits(sampled(lambda seed: Dice(far, seed), **params), exact_samples(**params))


@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_rejection_keeps_the_distribution_within_limits(max_tokens: int) -> None:
    fits(
        sampled(lambda seed: Dice(far, seed), max_tokens=max_tokens, length=4),
        exact_samples(max_tokens=max_tokens),
    )


def test_rejection_keeps_zeros_of_the_model() -> None:
    """The drafter draws what cannot be, as often as not."""

    def sparse(prefix: tuple[int, ...]) -> list[float]:
        shares = np.array(MODEL.probabilities(prefix))
        shares[(prefix[-1] + 1) % VOCAB] = 0.0
        shares[END] += 1e-3
        return (shares / shares.sum()).tolist()

    model = ToyModel(VOCAB, sparse, frozenset({END}))
    counts = sampled(lambda seed: Dice(lambda prefix: np.full(VOCAB, 0.25), seed), model=model)
    fits(counts, exact_samples(model=model))


@pytest.mark.parametrize("params", [{}, {"temperature": 0.6, "top_p": 0.9}, {"top_k": 2}], ids=str)
def test_guesses_drawn_from_the_samplers_own_distribution_are_all_accepted(params: dict[str, Any]) -> None:
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(RUNS):
        how = SamplingParams(seed=seed, **({"temperature": 1.0} | params))
        drafts = speculator(Dice(own(how), seed), 4)
        trace = decode(MODEL, how, drafts).traces[0]
        found[tuple(trace.tokens)] += 1
        # Guesses behind an accepted end token are not looked at.
        looked = drafts.tally.emitted
        assert sum(drafts.tally.accepted) == min(looked, sum(drafts.tally.drafted))
    fits(found, exact_samples(**params))


def test_these_counts_would_show_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain_residual(sampler: Sampler, logits: Logits, proposal: Proposal) -> Drawn:
        """Draw what is rejected anew from p, not from what is left of it."""
        p, q = sampler.distribution(logits), proposal.weights
        assert q is not None
        if sampler.uniform() * q.of(proposal.token) < p.of(proposal.token):
            return sampler.take(logits, proposal.token)
        return sampler.draw(logits)

    def certain(sampler: Sampler, logits: Logits, proposal: Proposal) -> Drawn:
        """Take a drawn guess for one that nothing was drawn for, but leave it in the residual."""
        if sampler.uniform() < sampler.distribution(logits).of(proposal.token):
            return sampler.take(logits, proposal.token)
        return sampler.draw(logits)

    def credulous(sampler: Sampler, logits: Logits, proposal: Proposal) -> Drawn:
        return sampler.take(logits, proposal.token)

    for wrong in (plain_residual, certain, credulous):
        monkeypatch.setattr(decoder, "RULES", {"rejection": wrong})
        counts = sampled(lambda seed: Dice(far, seed))
        assert goodness_of_fit(counts, exact_samples()).p < FALSE_ALARM, wrong.__name__


def test_choosing_how_many_to_verify_keeps_the_distribution() -> None:
    """A token behind which guessing pays must not be verified for that reason."""
    # A pass of two costs more than its guess promises, unless one of three tokens follows from it.
    times = StepTimes((1, 2, 3, 8), (0.010, 0.0165, 0.0166, 0.0170), 1000.0, "measured")
    learned = Acceptance()
    for _ in range(200):
        learned.learn(Proposal(0, ("dice", 1), 0.5), True)
        learned.learn(Proposal(0, ("dice", 2), 0.5), False)

    def kind(prefix: tuple[int, ...]) -> int:
        return 0 if len(prefix) == len(PROMPT) + 1 else 1 if prefix[-1] == 1 else 2

    found: Counter[tuple[int, ...]] = Counter()
    verified = 0
    for seed in range(RUNS):
        drafts = Speculator(
            lambda at, seed=seed: [Dice(lambda prefix: np.full(VOCAB, 0.25), seed, kind)],  # type: ignore[misc]
            Frozen(learned),
            PassCosts(times.at),
            longest=4,
            clock=lambda: 0.0,
        )
        found[tuple(decode(MODEL, SamplingParams(temperature=1.0, seed=seed), drafts).traces[0].tokens)] += 1
        verified += sum(drafts.tally.drafted)
    assert verified, "some guesses pay"
    fits(found, exact_samples())


class Frozen(Acceptance):
    """What another has learned, and no more."""

    def __init__(self, learned: Acceptance) -> None:
        self._learned = learned

    def probability(self, proposal: Proposal) -> float:
        return self._learned.probability(proposal)

    def learn(self, proposal: Proposal, right: bool) -> None:
        pass


# Laws of one token


class Fixed:
    """Stands in for a generator that gives these numbers and no more."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0)


shares_strategy = (
    st.lists(st.integers(0, 20), min_size=2, max_size=12)
    .filter(any)
    .map(lambda counts: np.array(counts, np.float64) / sum(counts))
)
finite_logits = arrays.arrays(
    np.float32, st.integers(2, 12), elements=st.floats(-6, 6, width=32).map(lambda x: round(x * 4) / 4)
)
params_strategy = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(0, 14),
    top_p=st.sampled_from([0.33, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.21]),
    repetition_penalty=st.sampled_from([0.8, 1.0, 1.3]),
)


def one_token(rule: Rule, params: SamplingParams, logits: Logits, proposal: Proposal, *numbers: float) -> int:
    sampler = Sampler(params)
    sampler._random = Fixed(*numbers)  # type: ignore[assignment]
    return rule(sampler, logits, proposal).token


@given(finite_logits, params_strategy, st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_accepted_and_what_is_left_add_up_to_the_model(
    logits: Logits, params: SamplingParams, data: st.DataObject
) -> None:
    size = len(logits)
    shares = data.draw(shares_strategy.filter(lambda shares: len(shares) <= size))
    q = np.append(shares, np.zeros(size - len(shares)))
    weights = listed(q)
    p = dense(Sampler(params).distribution(logits), size)
    left = residual(Sampler(params).distribution(logits), weights)
    rest = dense(left, size)
    assert rest.min() >= 0
    assert rest.sum() == pytest.approx(1)
    accepted = np.zeros(size)
    for guess in np.flatnonzero(q):
        ratio = min(1.0, p[guess] / q[guess])
        proposal = Proposal(int(guess), ("dice", 0), 0.5, weights)
        below, above = ratio * (1 - 1e-9), ratio * (1 + 1e-9)
        if ratio > 0:
            assert one_token(rejection, params, logits, proposal, below) == guess
        if ratio < 1 - 1e-8:
            # What is rejected is not drawn after all.
            for second in (0.0, 0.3, 0.6, 1 - 2**-53):
                other = one_token(rejection, params, logits, proposal, above, second)
                assert other != guess
                assert rest[other] > 0
        accepted[guess] = q[guess] * ratio
    assert accepted.sum() == pytest.approx(np.minimum(p, q).sum())
    emitted = accepted + (1 - accepted.sum()) * rest
    np.testing.assert_allclose(emitted, p, atol=1e-9)


@given(finite_logits, params_strategy, st.data())
@settings(max_examples=100, deadline=None)
def test_a_certain_guess_is_accepted_as_often_as_it_is_drawn(
    logits: Logits, params: SamplingParams, data: st.DataObject
) -> None:
    guess = data.draw(st.integers(0, len(logits) - 1))
    p = dense(Sampler(params).distribution(logits), len(logits))
    proposal = Proposal(guess, ("parrot", 0), 0.5)
    if p[guess] > 0:
        assert one_token(rejection, params, logits, proposal, p[guess] * (1 - 1e-9)) == guess
    if p[guess] < 1 - 1e-8:
        other = one_token(rejection, params, logits, proposal, p[guess] * (1 + 1e-9), 0.5)
        assert other != guess
        assert p[other] > 0


@given(shares_strategy)
def test_nothing_is_left_where_both_are_equal(shares: NDArray[np.float64]) -> None:
    """Only rounding gets there; then the model's distribution is as good as any."""
    same = listed(shares)
    assert residual(same, same) is same


def test_a_share_of_seeds_is_accepted() -> None:
    logits = MODEL.logits(PROMPT)
    p, q = np.array(MODEL.probabilities(tuple(PROMPT))), far(tuple(PROMPT))
    hits = 0
    for seed in range(4 * RUNS):
        proposal = Dice(far, seed).propose([])
        assert proposal is not None
        sampler = Sampler(SamplingParams(temperature=1.0, seed=seed))
        hits += rejection(sampler, logits, proposal).token == proposal.token
    share = float(np.minimum(p, q).sum())
    fits(Counter({True: hits, False: 4 * RUNS - hits}), {True: share, False: 1 - share})


@given(finite_logits, params_strategy, st.sets(st.integers(0, 11)))
@settings(deadline=None)
def test_the_distribution_is_the_one_that_is_drawn_from(
    logits: Logits, params: SamplingParams, seen: set[int]
) -> None:
    known = [token for token in seen if token < len(logits)]
    before = logits.copy()
    found = Sampler(params, prompt=known).distribution(logits)
    np.testing.assert_array_equal(logits, before)
    assert found.ids.dtype == np.int64
    assert found.probabilities.dtype == np.float64
    assert found.probabilities.sum() == pytest.approx(1)
    assert (np.diff(found.ids) > 0).all()
    expected = naive(logits, params, known)
    # A token at the edge of a filter may fall to either side of it by rounding.
    edges = [
        naive(logits, SamplingParams(**(_fields(params) | {"top_p": top_p, "min_p": min_p})), known)
        for top_p in ({params.top_p} if params.top_p == 1 else {params.top_p - 1e-6, params.top_p + 1e-6})
        for min_p in {max(params.min_p - 1e-6, 0.0), params.min_p + 1e-6}
    ]
    shares = dict(zip(found.ids.tolist(), found.probabilities.tolist(), strict=True))
    assert any(shares == pytest.approx(near, abs=1e-5) for near in (expected, *edges))


def _fields(params: SamplingParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in SamplingParams.__dataclass_fields__}


def test_draws_follow_the_stated_distribution() -> None:
    """Each filter through the sampler's own draw, not through a second implementation."""
    logits = MODEL.logits(PROMPT)
    for params in ({}, {"top_k": 2}, {"top_p": 0.8}, {"min_p": 0.3}, {"temperature": 0.5}):
        how = {"temperature": 1.0} | params
        counts = Counter(Sampler(SamplingParams(seed=s, **how)).draw(logits).token for s in range(RUNS))
        stated = Sampler(SamplingParams(**how)).distribution(logits)
        fits(counts, dict(zip(stated.ids.tolist(), stated.probabilities.tolist(), strict=True)))


@pytest.mark.parametrize("rule", list(RULES.values()))
def test_tokens_come_with_the_models_log_prob_and_count_as_seen(rule: Rule) -> None:
    logits = np.array([2.0, 1.9, -1.0, 0.5], np.float32)
    exact = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    for seed in range(20):
        for guess in range(4):
            sampler = Sampler(
                SamplingParams(temperature=0.7, top_k=3, repetition_penalty=1.3, seed=seed), prompt=[3]
            )
            found = rule(sampler, logits, Proposal(guess, ("parrot", 0), 0.5))
            assert found.logprob == pytest.approx(exact[found.token], abs=1e-5)
            assert sampler._penalties.seen == {3, found.token}


@pytest.mark.parametrize("rule", list(RULES.values()))
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_logits_are_refused_by_every_rule(rule: Rule, temperature: float) -> None:
    sampler = Sampler(SamplingParams(temperature=temperature))
    with pytest.raises(InvalidLogits):
        rule(sampler, np.array([0, np.nan], np.float32), Proposal(0, ("parrot", 0), 0.5))


# Greed and seeds


@given(seed=st.integers(0, 99), length=st.sampled_from([1, 2, 4]), penalty=st.sampled_from([1.0, 1.4]))
@settings(max_examples=40, deadline=None)
def test_greedy_samples_are_those_of_plain_decoding(seed: int, length: int, penalty: float) -> None:
    model = ToyModel.random(VOCAB, seed=seed, end_tokens=frozenset({END}))
    params = SamplingParams(temperature=0.0, seed=seed, repetition_penalty=penalty)
    plain = decode(model, params, None, max_tokens=10).traces[0]
    for drafter in (Dice(far, seed), Parrot(far, seed)):
        for rule in ("exact", "rejection"):
            found = decode(model, params, speculator(drafter, length), rule, max_tokens=10).traces[0]  # type: ignore[arg-type]
            assert (found.tokens, found.logprobs, found.finish) == (
                plain.tokens,
                plain.logprobs,
                plain.finish,
            )
            drafter._tokens = tuple(PROMPT)


@given(seed=st.integers(0, 999), length=st.sampled_from([1, 2, 4]))
@settings(max_examples=40, deadline=None)
def test_exact_ignores_what_a_guess_was_drawn_from(seed: int, length: int) -> None:
    params = SamplingParams(temperature=1.0, seed=seed)
    plain = decode(MODEL, params, None).traces[0]
    found = decode(MODEL, params, speculator(Dice(far, seed), length), "exact").traces[0]
    assert (found.tokens, found.logprobs, found.finish) == (plain.tokens, plain.logprobs, plain.finish)


def test_the_same_seeds_give_the_same_tokens() -> None:
    params = SamplingParams(temperature=1.0, seed=3)
    runs = [decode(MODEL, params, speculator(Dice(far, 5), 4)).traces[0].tokens for _ in range(2)]
    assert runs[0] == runs[1]


# Typical acceptance


class Untouched:
    """Stands in for a generator that must not be asked: an accepted guess is not drawn."""

    def random(self) -> float:
        raise LookupError


def accepts(logits: Logits, params: SamplingParams, guess: int) -> bool:
    """Whether typical acceptance takes a guess; a greedy sampler draws its best where it does not."""
    sampler = Sampler(params)
    sampler._random = Untouched()  # type: ignore[assignment]
    try:
        return typical(sampler, logits, Proposal(guess, ("parrot", 0), 0.5)).token == guess
    except LookupError:
        return False


@given(finite_logits, st.sampled_from([0.0, 0.3, None, 1.0, 2.0]))
@settings(max_examples=200, deadline=None)
def test_typical_accepts_what_the_formula_says(logits: Logits, temperature: float | None) -> None:
    heat = {0.0: 1.0, None: 0.7}.get(temperature, temperature)
    assert heat is not None
    scaled = logits.astype(np.float64) / heat
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    entropy = -sum(share * math.log(share) for share in p if share > 0)
    threshold = min(EPSILON, DELTA * math.exp(-entropy))
    assume(np.abs(p - threshold).min() > 1e-5 * threshold)
    found = [accepts(logits, SamplingParams(temperature=temperature), guess) for guess in range(len(logits))]
    assert found == (p > threshold).tolist()
    assert found[int(p.argmax())], "the likeliest token is always typical"


def test_typical_takes_the_confident_and_draws_otherwise() -> None:
    sure = np.log(np.array([0.97, 0.02, 0.01], np.float32))
    flat = np.zeros(3, np.float32)
    params = SamplingParams(temperature=1.0)
    assert [accepts(sure, params, guess) for guess in range(3)] == [True, False, False]
    assert all(accepts(flat, params, guess) for guess in range(3))
    for seed in range(20):
        one, other = (Sampler(SamplingParams(temperature=1.0, seed=seed)) for _ in range(2))
        assert typical(one, sure, Proposal(2, ("parrot", 0), 0.5)) == other.draw(sure)


def test_typical_never_accepts_what_filters_leave_out() -> None:
    flat = np.zeros(6, np.float32)
    params = SamplingParams(temperature=1.0, top_k=2)
    assert [accepts(flat, params, guess) for guess in range(6)] == [True, True, False, False, False, False]


def test_typical_needs_less_where_the_model_is_unsure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both bounds bind where EPSILON is the smaller of the constants."""
    from edgetts.decoding.speculation import verification

    monkeypatch.setattr(verification, "EPSILON", 0.05)
    monkeypatch.setattr(verification, "DELTA", 0.5)
    params = SamplingParams(temperature=1.0)
    sure = np.log(np.array([0.93, 0.06, 0.01], np.float32))
    assert [accepts(sure, params, guess) for guess in range(3)] == [True, True, False]
    wide = np.log(np.array([0.02, *[0.98 / 49] * 49], np.float32))
    assert accepts(wide, params, 0), "half of exp(-H), about 0.01, is less than 0.02"


def test_typical_is_lossy_and_faster_for_greedy_samples() -> None:
    """Second-best guesses are taken, so the text is the drafter's."""
    model = ToyModel(VOCAB, lambda prefix: [0.01, 0.55, 0.43, 0.01], frozenset({END}))

    def second(prefix: tuple[int, ...]) -> NDArray[np.float64]:
        return np.array([0.0, 0.0, 1.0, 0.0])

    params = SamplingParams(temperature=0.0)
    drafts = speculator(Parrot(second, 0), 4)
    trace = decode(model, params, drafts, "typical", max_tokens=11).traces[0]
    assert trace.tokens == [1, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]
    assert drafts.tally.passes == 2
    assert decode(model, params, speculator(Parrot(second, 0), 4), max_tokens=11).traces[0].tokens == [1] * 11


# Which rule is used


def test_unknown_rules_are_refused() -> None:
    assert DecodeParams().acceptance == "exact"
    with pytest.raises(InvalidInput, match="no acceptance rule 'lenient'") as error:
        DecodeParams(acceptance="lenient")  # type: ignore[arg-type]
    assert "typical" in str(error.value.hint)
    with pytest.raises(TypeError):
        RULES["lenient"] = typical  # type: ignore[index]


@pytest.mark.parametrize("asked", [None, "exact", "rejection", "typical"])
def test_the_engine_verifies_by_the_rule_that_was_asked_for(
    tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, asked: AcceptanceRule | None
) -> None:
    used: set[str] = set()

    def recorded(name: str, rule: Rule) -> Rule:
        def verify(sampler: Sampler, logits: Logits, proposal: Proposal) -> Drawn:
            used.add(name)
            return rule(sampler, logits, proposal)

        return verify

    monkeypatch.setattr(decoder, "RULES", {name: recorded(name, rule) for name, rule in RULES.items()})
    text = b"one two three; one two three; one two three"
    session = ScriptedSession([text], capabilities=Capabilities(tolerance=0.0))
    engine = scripted_engine(tiny_tokenizer, session)
    how = DecodeParams("speculative") if asked is None else DecodeParams("speculative", acceptance=asked)
    answer = engine.answer("Hello", sampling=SamplingParams(temperature=0.8), decode=how)
    assert answer.text == " " + text.decode()
    assert used == {asked or "exact"}
    told = answer.usage.speculation
    assert told is not None
    assert sum(told.accepted) > 0
