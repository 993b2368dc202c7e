"""Samples that are kept to a language: masking, speculation, early exit, particles; over automata that can be enumerated."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from automata import Automaton, Walker, one_place
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from test_sampling import fits, naive
from test_verification import Dice, Parrot, ending, far, narrow, speculator

from edgetts.budget import Budget
from edgetts.decoding.early_exit import Confidence, Criterion, EarlyExitDecoder, Saturation, Schedule
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Capabilities
from edgetts.decoding.speculation import SpeculativeDecoder
from edgetts.errors import InvalidInput, InvalidLogits
from edgetts.selection.search.particle import ParticleFilter
from edgetts.selection.search.scorers import CallableScore
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import ROOT, Grow, Node, Task
from edgetts.selection.strategies.particle import Particle
from edgetts.testing import FakeSession, ToyModel
from edgetts.tokenizer import Tokenizer
from edgetts.types import AcceptanceRule, SamplingParams

__all__ = ["tiny_engine_bundle", "tiny_tokenizer"]

Logits = NDArray[np.float32]

# Of the tests that compare a mean with its expectation: 5.5 standard errors, a false alarm in 4e-8 of worlds.
STANDARD_ERRORS = 5.5

VOCAB, END, LIMIT = 4, 0, 4
PROMPT = [1, 3, 1]
MODEL = ToyModel.random(VOCAB, seed=5, end_tokens=frozenset({END}))
LANGUAGE = Automaton(
    VOCAB,
    {"a": {1: "b", 3: "a"}, "b": {2: "a", 3: "c", 0: "z"}, "c": {0: "z", 1: "a", 2: "c"}, "z": {}},
)
"""Some places allow two tokens of four, some three; a text may not end at once."""


def run(
    params: SamplingParams,
    alone: Any = None,
    *,
    session: FakeSession | None = None,
    language: Automaton | None = LANGUAGE,
    samples: int = 1,
    max_tokens: int = LIMIT,
    prompt: Sequence[int] = PROMPT,
) -> ParallelDecoder:
    session = session or FakeSession(MODEL)
    branch, logits = session.prefill(prompt)
    decoder = ParallelDecoder(
        session,
        branch,
        logits.copy(),
        params,
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        greedy_first=False,
        alone=alone,
        constraint=language,
    )
    decoder.start(samples, last=True)
    while decoder.active:
        decoder.step()
    decoder.close()
    assert session.live == []
    return decoder


def after(tokens: tuple[int, ...]) -> Sequence[float]:
    return MODEL.probabilities((*PROMPT, *tokens))


def evidence() -> float:
    """How likely the model keeps to the language by itself, for as long as samples may get."""
    return sum(free for _, free, _ in LANGUAGE.samples(after, END, LIMIT))


def within() -> dict[tuple[int, ...], float]:
    """What is drawn token by token within the language."""
    found: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for tokens, _, share in LANGUAGE.samples(after, END, LIMIT):
        found[tokens] += share
    return found


# One token

finite_logits = arrays.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(-8, 8, width=32).map(lambda x: round(x * 4) / 4)
)
params_strategy = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.integers(0, 14),
    top_p=st.sampled_from([0.33, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.21]),
    repetition_penalty=st.sampled_from([0.8, 1.0, 1.3]),
)


@settings(max_examples=80, deadline=None)
@given(finite_logits, params_strategy, st.data())
def test_what_is_not_allowed_has_no_probability_before_temperature_and_filters(
    logits: Logits, params: SamplingParams, data: st.DataObject
) -> None:
    tokens = st.sets(st.integers(0, len(logits) - 1), min_size=1)
    allowed, seen = sorted(data.draw(tokens)), sorted(data.draw(tokens))
    masked = np.full(len(logits), -np.inf, np.float32)
    masked[allowed] = logits[allowed]
    before = logits.copy()
    language = one_place(len(logits), allowed)
    found = Sampler(params, prompt=seen, matcher=language.start()).distribution(logits)
    np.testing.assert_array_equal(logits, before)
    # The same as an unconstrained sampler finds in masked logits, whose filters have tests of their own.
    expected = Sampler(params, prompt=seen).distribution(masked)
    possible = expected.probabilities > 0
    assert found.ids.tolist() == expected.ids[possible].tolist()
    np.testing.assert_allclose(found.probabilities, expected.probabilities[possible], rtol=1e-5)
    free = naive(
        logits,
        SamplingParams(temperature=params.temperature, repetition_penalty=params.repetition_penalty),
        seen,
    )
    share = 1.0 if params.temperature == 0 else sum(free[token] for token in allowed)
    assert found.log_share == pytest.approx(math.log(share), abs=1e-5)
    drawn = Sampler(params, prompt=seen, matcher=language.start()).draw(logits)
    assert drawn.token in found.ids
    assert drawn.log_share == found.log_share
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    assert drawn.logprob == pytest.approx(exact[drawn.token], abs=1e-5), "the model's own, at temperature 1"


@pytest.mark.parametrize(
    "params",
    [{"temperature": 1.0}, {"temperature": 0.6}, {"top_k": 2}, {"top_p": 0.8}, {"min_p": 0.3}],
    ids=str,
)
def test_draws_have_the_masked_distribution(params: dict[str, Any]) -> None:
    logits = np.array([2.0, -1.0, 0.5, 2.0, -np.inf, 1.25, -3.0, 0.0], np.float32)
    allowed = [1, 2, 5, 7]
    masked = np.full(8, -np.inf, np.float32)
    masked[allowed] = logits[allowed]
    how = {"temperature": 1.0} | params
    counts = Counter(
        Sampler(SamplingParams(seed=seed, **how), matcher=one_place(8, allowed).start()).draw(logits).token
        for seed in range(1500)
    )
    fits(counts, naive(masked, SamplingParams(**how)))


@given(finite_logits, st.integers(0, 99), st.sampled_from([0.0, 0.7, 1.0]))
@settings(max_examples=40, deadline=None)
def test_a_language_that_allows_everything_changes_nothing(
    logits: Logits, seed: int, temperature: float
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed)
    one = Sampler(params)
    other = Sampler(params, matcher=one_place(len(logits), range(len(logits))).start())
    assert [one.draw(logits) for _ in range(4)] == [other.draw(logits) for _ in range(4)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_nothing_is_possible_a_sentence_says_so(temperature: float) -> None:
    logits = np.array([0.0, -np.inf, 1.0], np.float32)
    for allowed in ([], [1]):
        sampler = Sampler(SamplingParams(temperature=temperature), matcher=one_place(3, allowed).start())
        with pytest.raises(InvalidLogits, match="finds none possible") as error:
            sampler.draw(logits)
        assert error.value.hint
        with pytest.raises(InvalidLogits, match="finds none possible"):
            sampler.distribution(logits)


@pytest.mark.parametrize("temperature", [1e-3, 5e-324, 1e300])
def test_extreme_temperatures_draw_what_is_allowed(temperature: float) -> None:
    logits = np.array([9.0, 1.0, 1.0, -4.0], np.float32)
    for seed in range(30):
        params = SamplingParams(temperature=temperature, seed=seed)
        drawn = Sampler(params, matcher=one_place(4, [1, 3]).start()).draw(logits)
        assert drawn.token in ((1,) if temperature < 1 else (1, 3))
        assert math.isfinite(drawn.log_share)


def test_the_matcher_moves_with_each_token() -> None:
    logits = np.zeros(VOCAB, np.float32)
    sampler = Sampler(SamplingParams(temperature=1.0), matcher=LANGUAGE.start())
    with pytest.raises(InvalidInput, match="may not come"):
        sampler.take(logits, 2)
    taken = [sampler.take(logits, 1).token, sampler.take(logits, 3).token]
    sampler.distribution(logits)
    while taken[-1] != END:
        taken.append(sampler.draw(logits).token)
    assert isinstance(sampler.matcher, Walker)
    assert list(sampler.matcher.taken) == taken, "the end token too, and nothing that was only looked at"


# Whole samples


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
@given(seed=st.integers(0, 999), samples=st.integers(1, 5), temperature=st.sampled_from([0.0, 0.8, 2.0]))
@settings(max_examples=40, deadline=None)
def test_every_sample_is_of_the_language(
    constraining: Any, seed: int, samples: int, temperature: float
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, constraining=constraining)
    for trace in run(params, samples=samples, max_tokens=12).traces.values():
        ends = [END] if trace.finish == "end" else []
        assert LANGUAGE.holds([*trace.tokens, *ends])
        assert len(trace.log_shares) == len(trace.tokens) + len(ends)
        assert isinstance(trace.sampler.matcher, Walker)
        assert trace.sampler.matcher.taken == (*trace.tokens, *ends)
        if temperature == 0:
            assert trace.log_weight == 0.0
        elif constraining == "mask" and temperature == 0.8:
            assert trace.log_weight == pytest.approx(log_weight(trace.tokens, ends, params), abs=1e-5)


def log_weight(tokens: Sequence[int], ends: Sequence[int], params: SamplingParams) -> float:
    """Work out a sample's weight from the model."""
    free = SamplingParams(temperature=params.temperature)
    place, total = LANGUAGE.start(), 0.0
    for i, token in enumerate([*tokens, *ends]):
        shares = naive(MODEL.logits([*PROMPT, *tokens[:i]]), free)
        total += math.log(sum(shares.get(t, 0.0) for t in range(VOCAB) if place.prefix([t])))
        place.take(token)
    return total


def test_what_was_taken_back_does_not_weigh() -> None:
    params = SamplingParams(temperature=0.8, seed=1, top_logprobs=2)
    session = FakeSession(MODEL)
    branch, logits = session.prefill(PROMPT)
    decoder = ParallelDecoder(
        session, branch, logits, params, max_tokens=9, greedy_first=False, constraint=LANGUAGE
    )
    decoder.start(1, last=True)
    while decoder.active and len(decoder.traces[0].tokens) < 4:
        decoder.step()
    trace = decoder.traces[0]
    assert len(trace.tokens) == 4
    decoder.end(0, "stop", 2)
    assert len(trace.tokens) == len(trace.logprobs) == len(trace.top_logprobs) == 2
    assert trace.log_weight == pytest.approx(log_weight(trace.tokens, [], params), abs=1e-5)
    decoder.close()


def test_samples_that_continue_another_stand_where_it_does_and_weigh_what_it_does() -> None:
    session = FakeSession(MODEL)
    branch, logits = session.prefill(PROMPT)
    params = SamplingParams(temperature=0.8, seed=6, top_logprobs=1)
    decoder = ParallelDecoder(
        session, branch, logits, params, max_tokens=8, greedy_first=False, constraint=LANGUAGE
    )
    decoder.start(1, last=True)
    decoder.step()
    decoder.pause(0)
    decoder.ready([0])
    decoder.branch_off(0, 6, last=True)
    while decoder.active:
        decoder.step()
    decoder.close()
    parent = decoder.traces[0]
    assert len({tuple(trace.tokens) for trace in decoder.traces.values()}) > 2
    for trace in list(decoder.traces.values())[1:]:
        ends = [END] if trace.finish == "end" else []
        assert trace.tokens[: trace.inherited] == parent.tokens
        assert LANGUAGE.holds([*trace.tokens, *ends])
        assert trace.log_weight == pytest.approx(log_weight(trace.tokens, ends, params), abs=1e-5)
        assert len(trace.top_logprobs) == len(trace.tokens)


def test_a_sample_that_is_kept_to_a_language_is_not_concluded() -> None:
    session = FakeSession(MODEL)
    branch, logits = session.prefill(PROMPT)
    params = SamplingParams(temperature=0.8)
    decoder = ParallelDecoder(
        session, branch, logits, params, max_tokens=8, greedy_first=False, constraint=LANGUAGE
    )
    decoder.start(1, last=True)
    with pytest.raises(InvalidInput, match="kept to an automaton"):
        decoder.conclude(0, [2], 1, "budget")
    decoder.close()


# Speculation


class Strict(FakeSession):
    """Refuses to run anything that is not of the language."""

    verified = 0

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Any:
        begun = branch.tokens[len(PROMPT) :]  # type: ignore[attr-defined]
        assert LANGUAGE.holds([*begun, *tokens]), "a position is verified in vain"
        self.verified += len(tokens) - 1
        return super().extend(branch, tokens)


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
@given(
    seed=st.integers(0, 999),
    length=st.sampled_from([1, 2, 4]),
    temperature=st.sampled_from([0.0, 1.0]),
    shares=st.sampled_from([far, ending, narrow]),
    kind=st.sampled_from([Dice, Parrot]),
    penalties=st.sampled_from([{}, {"frequency_penalty": 0.7, "logit_bias": ((1, 0.8),)}]),
)
@settings(max_examples=30, deadline=None)
def test_speculation_by_the_exact_rule_says_what_plain_decoding_says(
    constraining: Any, seed: int, length: int, temperature: float, shares: Any, kind: Any, penalties: Any
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, constraining=constraining, **penalties)
    plain = run(params, max_tokens=10).traces[0]
    alone = SpeculativeDecoder(speculator(kind(shares, seed), length), "exact")
    trace = run(params, alone, session=Strict(MODEL), max_tokens=10).traces[0]
    assert (trace.tokens, trace.finish) == (plain.tokens, plain.finish)
    assert (trace.logprobs, trace.log_shares) == (plain.logprobs, plain.log_shares)


@pytest.mark.parametrize("rule", ["exact", "rejection", "typical"])
@pytest.mark.parametrize("always", [True, False])
def test_every_rule_keeps_samples_valid_and_verifies_nothing_in_vain(
    rule: AcceptanceRule, always: bool
) -> None:
    verified = 0
    for seed in range(24):
        for kind in (Dice, Parrot):
            session = Strict(MODEL)
            drafts = speculator(kind(far, seed), 4, always)
            params = SamplingParams(temperature=(0.0, 1.0)[seed % 2], seed=seed)
            trace = run(params, SpeculativeDecoder(drafts, rule), session=session, max_tokens=10).traces[0]
            ends = [END] if trace.finish == "end" else []
            assert LANGUAGE.holds([*trace.tokens, *ends])
            assert trace.sampler.matcher.taken == (*trace.tokens, *ends)  # type: ignore[union-attr]
            assert len(trace.log_shares) == len(trace.tokens) + len(ends)
            assert session.verified == sum(drafts.tally.drafted)
            verified += session.verified
    assert verified > 30


@pytest.mark.parametrize(
    ("shares", "kind", "always"), [(far, Dice, True), (narrow, Dice, False), (far, Parrot, True)]
)
def test_the_rejection_rule_keeps_the_distribution_and_the_weights(
    shares: Any, kind: Any, always: bool
) -> None:
    """A drawn guess that is cut leaves the residual, not all there is: whoever draws plainly there is found out."""
    counts: Counter[tuple[int, ...]] = Counter()
    weights = []
    for seed in range(600):
        params = SamplingParams(temperature=1.0, seed=seed)
        drafts = speculator(kind(shares, seed), 3, always)
        trace = run(params, SpeculativeDecoder(drafts, "rejection"), session=Strict(MODEL)).traces[0]
        counts[tuple(trace.tokens)] += 1
        weights.append(math.exp(trace.log_weight))
    fits(counts, within())
    mean, error = np.mean(weights), np.std(weights) / math.sqrt(len(weights))
    assert abs(mean - evidence()) < STANDARD_ERRORS * error


# Early exit

CUTS = (2, 5)
EXITS = Capabilities(exits=CUTS, tolerance=0.0)


@dataclass
class Head:
    """Read a fake's stream, which is the finished logits, of some ids."""

    cut: int
    ids: Sequence[int]

    @property
    def vocabulary(self) -> NDArray[np.int64]:
        return np.array(self.ids, np.int64)

    def read(self, stream: Logits) -> Logits:
        return stream[self.vocabulary].astype(np.float32)

    def confidence(self, probability: float) -> float:
        return probability


@given(
    seed=st.integers(0, 999),
    temperature=st.sampled_from([0.0, 0.9]),
    criterion=st.sampled_from([Confidence(0.0), Confidence(0.5), Saturation(0.5), Schedule(2)]),
    constraining=st.sampled_from(["mask", "rejection"]),
)
@settings(max_examples=40, deadline=None)
def test_early_exits_with_heads_that_are_right_say_what_plain_decoding_says(
    seed: int, temperature: float, criterion: Criterion, constraining: Any
) -> None:
    heads = [Head(cut, range(VOCAB)) for cut in CUTS]
    params = SamplingParams(
        temperature=temperature, seed=seed, constraining=constraining, presence_penalty=0.4
    )
    plain = run(params, max_tokens=12).traces[0]
    exits = EarlyExitDecoder(heads, criterion)
    trace = run(params, exits, session=FakeSession(MODEL, capabilities=EXITS), max_tokens=12).traces[0]
    assert (trace.tokens, trace.logprobs, trace.log_shares) == (
        plain.tokens,
        plain.logprobs,
        plain.log_shares,
    )


@pytest.mark.parametrize("criterion", [Confidence(0.0), Schedule(1)], ids=str)
@pytest.mark.parametrize("ids", [(0, 2), (2,), (1,)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_heads_that_know_nothing_allowed_let_nobody_leave(
    criterion: Criterion, ids: Sequence[int], temperature: float
) -> None:
    left = stayed = 0
    for seed in range(30):
        heads = [Head(cut, ids) for cut in CUTS]
        exits = EarlyExitDecoder(heads, criterion, most_pending=3)
        session = FakeSession(MODEL, capabilities=EXITS)
        trace = run(
            SamplingParams(temperature=temperature, seed=seed), exits, session=session, max_tokens=12
        ).traces[0]
        ends = [END] if trace.finish == "end" else []
        assert LANGUAGE.holds([*trace.tokens, *ends])
        told = exits.summary()
        if told is not None:
            left += sum(told.left.values())
            stayed += told.tokens - sum(told.left.values())
    assert left > 0
    assert stayed > 0


# Particles

FILTERS = [
    Particle(resample_below=0.0, potential="progress"),
    Particle(resample_below=1.0, potential="odds"),
    Particle(resample_below=1.0, potential="progress", successors=2),
    Particle(resample_below=0.7, potential="score", annealing=True, horizon=6),
]
ROUNDS = 3


def score(tokens: Sequence[int]) -> float:
    return float(np.random.Generator(np.random.PCG64([9, len(tokens), *tokens])).uniform(0.2, 0.8))


def filtered(strategy: Particle, params: SamplingParams, samples: int = 6) -> ParticleFilter:
    """Run a particle filter on a decoder, one token a step, for ROUNDS rounds."""
    session = FakeSession(MODEL)
    branch, logits = session.prefill(PROMPT)
    decoder = ParallelDecoder(
        session, branch, logits, params, max_tokens=LIMIT + 9, greedy_first=False, constraint=LANGUAGE
    )
    search = strategy.start(Task(samples, seed=params.seed))
    parents: dict[int, int] = {}
    nodes: list[Node] = []
    for number in range(ROUNDS):
        move = search.next(nodes)
        if move is None:
            break
        assert isinstance(move, Grow)
        for sample in move.drop:
            decoder.end(sample, "pruned")
        if number:
            decoder.ready(list(move.copies))
        children: list[int] = []
        for node, count in move.copies.items():
            before = len(decoder.traces)
            if node == ROOT:
                decoder.start(count, last=True)
            else:
                decoder.branch_off(node, count, last=True)
            new = range(before, len(decoder.traces))
            parents.update(dict.fromkeys(new, node))
            children += new
        for child in children:
            if child in decoder.active:
                decoder.pause(child)
        nodes = [
            Node(
                id=child,
                parent=parents[child],
                depth=number + 1,
                text="",
                tokens=len(decoder.traces[child].tokens),
                logprob=0.0,
                step="",
                step_tokens=1,
                step_logprob=0.0,
                ended=decoder.traces[child].finish is not None,
                complete=decoder.traces[child].finish is not None,
                score=score(decoder.traces[child].tokens),
                log_weight=decoder.traces[child].log_weight,
            )
            for child in children
        ]
    search._frontier.take(nodes)
    search._advance(nodes)
    decoder.close()
    assert session.live == []
    return search


def potential(kind: str, tokens: Sequence[int], before: float) -> float:
    value = score(tokens)
    return value / (1 - value) if kind == "odds" else value / (before if kind == "progress" else 1.0)


def target(kind: str) -> float:
    """The model's distribution over what the language allows, times the potentials of all rounds, summed up."""
    total = 0.0
    for tokens, free, _ in LANGUAGE.samples(after, END, ROUNDS):
        weight, before = free, 1.0
        # One that ended stands where it is, and is weighed again in every round.
        for number in range(1, ROUNDS + 1):
            weight *= potential(kind, tokens[:number], before)
            before = score(tokens[:number])
        total += weight
    return total


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
@pytest.mark.parametrize("strategy", FILTERS, ids=str)
def test_particles_estimate_the_evidence_of_the_language_without_bias(
    strategy: Particle, constraining: Any
) -> None:
    runs, exact = 120, target(strategy.potential)
    found = []
    for seed in range(runs):
        params = SamplingParams(temperature=1.0, seed=seed, constraining=constraining)
        found.append(math.exp(filtered(strategy, params).log_evidence))
    mean, error = np.mean(found), np.std(found) / math.sqrt(runs)
    sys.stdout.write(f"{mean:.5f} for {exact:.5f}, {(mean - exact) / error:+.2f} standard errors\n")
    assert abs(mean - exact) < STANDARD_ERRORS * error
    assert error < 0.08 * exact, "precise enough to find a weight that was left out"


# The engine


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
def test_answers_carry_weights_and_alternatives(tiny_tokenizer: Tokenizer, constraining: Any) -> None:
    session = ScriptedSession([b"yes"])
    space = ord(" ")
    words = {"a": {space: "b"}, "b": {ord("n"): "c"}, "c": {ord("e"): "d"}, "d": {session.end: "z"}, "z": {}}
    language = Automaton(session.model.vocab, words)
    engine = scripted_engine(tiny_tokenizer, session)
    sampling = SamplingParams(temperature=2.0, top_logprobs=3, constraining=constraining)
    answer = engine.answer("Hello", sampling=sampling, constraint=language)
    (sample,) = answer.samples
    assert (answer.text, sample.finish_reason) == (" ne", "end")
    assert len(sample.top_logprobs) == len(sample.tokens) == 3
    assert all(len(likely) <= 3 for likely in sample.top_logprobs)
    assert sample.top_logprobs[0][0] == (space, 0.0), "nothing else is likely"
    assert sample.top_logprobs[1][0][0] == ord("y")
    assert sample.log_weight < -20, "the model would have said something else"
    assert answer.to_json()["samples"][0]["log_weight"] == sample.log_weight
    engine.close()
    plain = scripted_engine(tiny_tokenizer, ScriptedSession([b"yes"])).answer("Hello").samples[0]
    assert (plain.log_weight, plain.top_logprobs) == (0.0, ())


def test_a_search_is_told_what_its_steps_weigh(tiny_tokenizer: Tokenizer) -> None:
    told: list[Node] = []

    class Noting(ParticleFilter):
        def next(self, nodes: Sequence[Node]) -> Grow | None:
            told.extend(nodes)
            return super().next(nodes)

    class Noted(Particle):
        def start(self, task: Task) -> ParticleFilter:
            return Noting(
                task, resample_below=1.0, potential="progress", successors=1, annealing=False, horizon=8
            )

    session = ScriptedSession([b"yes", b"yes yes"] * 20)
    n, e, space = ord("n"), ord("e"), ord(" ")
    words = {
        "a": {space: "b"},
        "b": {n: "c", e: "c"},
        "c": {e: "b", n: "d"},
        "d": {session.end: "z"},
        "z": {},
    }
    engine = scripted_engine(tiny_tokenizer, session)
    strategy = Noted(
        scorer=CallableScore(lambda question, text: 0.5), splitter=StepSplitter("tokens", size=2)
    )
    answer = engine.answer(
        "Hello",
        budget=Budget(samples=3),
        strategy=strategy,
        sampling=SamplingParams(temperature=20.0, seed=1, max_tokens=9),
        constraint=Automaton(session.model.vocab, words),
    )
    engine.close()
    ended = {sample.index: sample for sample in answer.samples}
    assert {node.depth for node in told} > {1, 2}
    for node in told:
        assert node.log_weight < 0
        if node.ended:
            assert node.log_weight == ended[node.id].log_weight
