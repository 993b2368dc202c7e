"""Early exit over fake sessions and tiny real models: what leaves where, and that no cache goes without."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import TinyBundle, TinyModel
from golden import TINY_MODELS
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgetts.decoding.early_exit import (
    Arrival,
    Confidence,
    Criterion,
    EarlyExitDecoder,
    ExitHead,
    QExit,
    Saturation,
    Schedule,
)
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.session import Branch, Capabilities, Features, Logits, Session
from edgetts.errors import InvalidInput, InvalidLogits, Unsupported
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.reference import Decoder
from edgetts.testing import FakeSession, ToyModel
from edgetts.types import EarlyExits, SamplingParams

PROMPT = [1, 3, 1, 2]
END = 0
CUTS = (2, 5)
LAYERS = 6
VOCAB = 7
GREEDY = SamplingParams(temperature=0.0)
FP32 = 1e-4


class Recorded(FakeSession):
    """A fake that can stop at CUTS, and remembers what was asked of it."""

    def __init__(self, seed: int = 2, end: int | None = END, context: int = 300) -> None:
        model = ToyModel.random(VOCAB, seed=seed, end_tokens=frozenset() if end is None else frozenset({end}))
        super().__init__(model, context=context, capabilities=Capabilities(exits=CUTS, tolerance=0.0))
        self.advances: list[tuple[int, int]] = []
        self.completed: list[int] = []
        self.most_pending = 0

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        self.advances.append((len(tokens), cut))
        stream = super().advance(branch, tokens, cut)
        self.most_pending = max(self.most_pending, branch.pending)
        return stream

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        self.completed.append(branch.pending + len(tokens))
        return super().complete(branch, tokens)


@dataclass
class FakeHead:
    """Read a fake's stream, which is the finished logits: right, rolled to be wrong, or of fewer ids."""

    cut: int
    rolled: int = 0
    ids: Sequence[int] = tuple(range(VOCAB))
    sure: float | None = None
    reads: int = 0

    @property
    def vocabulary(self) -> NDArray[np.int64]:
        return np.array(self.ids, np.int64)

    def read(self, stream: Features) -> Logits:
        assert stream.shape == (VOCAB,)
        assert not np.isnan(stream).any(), "a stream that the session has taken back"
        self.reads += 1
        return np.roll(stream, self.rolled)[self.vocabulary].astype(np.float32)

    def confidence(self, probability: float) -> float:
        assert 0 < probability <= 1
        return probability if self.sure is None else self.sure


@dataclass
class LensHead:
    """Read a real stream as if it were the last layer's (the logit lens): a guess that is often wrong."""

    tiny: TinyModel
    cut: int

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.tiny.arch, self.tiny.weights.__getitem__, positions=1)
        self.vocabulary = np.arange(self.tiny.arch.vocab, dtype=np.int64)

    def read(self, stream: Features) -> Logits:
        return np.asarray(self.decoder.final(stream) @ self.decoder.head().T, np.float32)

    def confidence(self, probability: float) -> float:
        return probability


@dataclass(frozen=True)
class Scripted:
    """Leave at the cut drawn for a position; `cuts` of them stay."""

    seed: int
    stay: float = 0.3
    needs_confidence: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def cut(self, position: int, cuts: int) -> int:
        chance = random.Random(1000 * self.seed + position)  # noqa: S311 - a script
        return cuts if chance.random() < self.stay else chance.randrange(cuts)

    def leaves(self, arrival: Arrival) -> bool:
        return arrival.cut == self.cut(arrival.position, arrival.cuts)


NEVER = Confidence(1.5)
ALWAYS = Confidence(0.0)


def perfect() -> list[ExitHead]:
    return [FakeHead(cut) for cut in CUTS]


def begin(
    session: Session,
    params: SamplingParams,
    max_tokens: int,
    alone: EarlyExitDecoder | None = None,
    prompt: Sequence[int] = PROMPT,
    samples: int = 1,
) -> ParallelDecoder:
    branch, logits = session.prefill(prompt)
    run = ParallelDecoder(
        session,
        branch,
        logits.copy(),
        params,
        prompt_tokens=prompt,
        max_tokens=max_tokens,
        greedy_first=False,
        alone=alone,
    )
    run.start(samples, last=True)
    return run


def decode(*arguments: Any, **options: Any) -> ParallelDecoder:
    run = begin(*arguments, **options)
    while run.active:
        run.step()
    run.close()
    return run


def summed(decoder: EarlyExitDecoder) -> EarlyExits:
    found = decoder.summary()
    assert found is not None
    return found


# The fake: every token is known


@given(
    seed=st.integers(0, 999),
    max_tokens=st.integers(1, 20),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    penalty=st.sampled_from([1.0, 1.4]),
    criterion=st.sampled_from([NEVER, ALWAYS, QExit(0.6), Saturation(0.5), Schedule(3), Scripted(1)]),
    most_pending=st.sampled_from([1, 2, 8]),
)
@settings(max_examples=200, deadline=None)
def test_with_heads_that_are_right_tokens_log_probs_and_ends_are_those_of_plain_decoding(
    seed: int,
    max_tokens: int,
    temperature: float,
    penalty: float,
    criterion: Criterion,
    most_pending: int,
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, repetition_penalty=penalty)
    plain = decode(Recorded(seed), params, max_tokens).traces[0]
    session = Recorded(seed)
    decoder = EarlyExitDecoder(perfect(), criterion, most_pending=most_pending)
    trace = decode(session, params, max_tokens, decoder).traces[0]
    assert (trace.tokens, trace.finish) == (plain.tokens, plain.finish)
    assert trace.logprobs == plain.logprobs
    assert session.live == []
    found = decoder.summary()
    # The first token comes from the prompt's pass.
    steps = len(plain.tokens) - 1 + (plain.finish == "end" and len(plain.tokens) > 0)
    if steps < 1:
        assert found is None
        return
    assert found is not None
    assert found.tokens == steps
    assert found.layers_run == session.layers_run
    assert found.layers_full == steps * LAYERS
    assert found.agreed == found.compared
    assert set(found.left) == set(CUTS)
    if criterion is NEVER:
        assert found.left == dict.fromkeys(CUTS, 0)
        assert (found.layers_run, found.mean_depth) == (found.layers_full, LAYERS)
        assert found.agreement is None
    if not criterion.monotone:
        assert session.most_pending <= most_pending + 1
        assert max(session.completed, default=0) <= decoder.widest == most_pending + 1


@pytest.mark.parametrize("most_pending", [1, 3, 8])
def test_layers_are_run_as_the_cuts_say(most_pending: int) -> None:
    session = Recorded(end=None)
    decoder = EarlyExitDecoder(perfect(), ALWAYS, most_pending=most_pending)
    decode(session, GREEDY, 60, decoder)
    rounds, rest = divmod(59, most_pending + 1)
    # In every round as many leave as may wait; then one takes all of them to the end.
    assert session.completed == [most_pending + 1] * rounds
    found = summed(decoder)
    assert found.tokens == 59
    assert found.left == {2: 59 - rounds, 5: 0}
    assert found.layers_run == session.layers_run == rounds * (most_pending + 1) * LAYERS + rest * 2
    assert (found.compared, found.agreed) == (rounds * most_pending,) * 2
    assert found.agreement == 1.0
    assert found.mean_depth == pytest.approx(((59 - rounds) * 2 + rounds * LAYERS) / 59)


def test_passes_say_how_many_tokens_they_ran() -> None:
    decoder = EarlyExitDecoder(perfect(), ALWAYS, most_pending=3)
    run = begin(Recorded(end=None), GREEDY, 12, decoder)
    assert run.widest == 4
    widths = []
    while run.active:
        assert len(run.step()) == 1
        widths.append(run.last_width)
    assert widths == [1, 1, 1, 4, 1, 1, 1, 4, 1, 1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_observed_agreement_is_counted_where_the_network_was_heard(seed: int) -> None:
    """Heads that do not know half the tokens: what they should have said is worked out from the model."""
    knows = (0, 2, 5)
    session = Recorded(seed, end=None)
    decoder = EarlyExitDecoder([FakeHead(cut, ids=knows) for cut in CUTS], Scripted(seed), most_pending=4)
    trace = decode(session, GREEDY, 50, decoder).traces[0]
    waiting: list[bool] = []
    compared: list[bool] = []
    left = dict.fromkeys(CUTS, 0)
    for position in range(1, 50):
        logits = session.model.logits([*PROMPT, *trace.tokens[:position]])
        chosen, whole = max(knows, key=lambda i: logits[i]), int(logits.argmax())
        at = Scripted(seed).cut(position, len(CUTS))
        if len(waiting) == 4 or at == len(CUTS):
            assert trace.tokens[position] == whole
            compared += waiting
            waiting = []
        else:
            assert trace.tokens[position] == chosen
            left[CUTS[at]] += 1
            waiting.append(chosen == whole)
    found = summed(decoder)
    assert (found.compared, found.agreed) == (len(compared), sum(compared))
    assert 0 < found.agreed < found.compared, "some right, some wrong"
    assert found.left == left
    assert found.layers_run == session.layers_run


def test_a_head_that_is_always_wrong_never_agrees() -> None:
    decoder = EarlyExitDecoder([FakeHead(2, rolled=1)], ALWAYS)
    decode(Recorded(end=None), GREEDY, 30, decoder)
    found = summed(decoder)
    assert found.compared > 20
    assert (found.agreed, found.agreement) == (0, 0.0)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_schedule_is_kept_and_nothing_is_completed_after_full_depth(every: int) -> None:
    session = Recorded(end=None)
    heads = [FakeHead(cut) for cut in CUTS]
    decoder = EarlyExitDecoder(heads, Schedule(every), most_pending=1)
    assert decoder.widest == 1
    decode(session, GREEDY, 40, decoder)
    depths: list[int] = []
    for tokens, cut in session.advances:
        if tokens:
            depths.append(cut)
        else:
            depths[-1] = cut
    # Token 0 came from the prompt's pass, token 1 is the first to be stepped.
    full, middle = list(range(1, every)), list(range(every, 2 * every))
    assert session.completed == [1] * len(full)
    assert depths == [5] * len(full + middle) + [2] * (39 - len(full + middle))
    found = summed(decoder)
    assert found.left == {2: 39 - len(full + middle), 5: len(middle)}
    assert found.layers_run == 6 * len(full) + 5 * len(middle) + 2 * found.left[2] == session.layers_run
    assert (found.compared, found.agreement) == (0, None)
    # A head is read only where something leaves.
    assert {head.cut: head.reads for head in heads} == found.left


def test_saturation_reads_a_head_only_to_draw() -> None:
    heads = [FakeHead(cut) for cut in CUTS]
    decoder = EarlyExitDecoder(heads, Saturation(0.9), most_pending=2)
    decode(Recorded(end=None), GREEDY, 30, decoder)
    # The fake's streams are the same at all cuts.
    found = summed(decoder)
    assert (heads[0].reads, heads[1].reads) == (0, found.left[5])
    assert found.left == {2: 0, 5: 20}


def test_where_a_token_must_go_on_no_head_is_read() -> None:
    heads = [FakeHead(cut) for cut in CUTS]
    decoder = EarlyExitDecoder(heads, ALWAYS, most_pending=2)
    decode(Recorded(end=None), GREEDY, 31, decoder)
    assert (heads[0].reads, heads[1].reads) == (20, 0)


def test_heads_are_asked_in_the_order_of_their_cuts_each_with_its_own_confidence() -> None:
    heads: list[ExitHead] = [FakeHead(5, sure=0.9), FakeHead(2, sure=0.4)]
    decoder = EarlyExitDecoder(heads, Confidence(0.6))
    decode(Recorded(end=None), GREEDY, 10, decoder)
    found = summed(decoder)
    assert list(found.left) == [2, 5]
    assert (found.left[2], found.left[5]) == (0, 8)


# Ends


@pytest.mark.parametrize("max_tokens", range(1, 13))
def test_token_limits_count_what_is_drawn(max_tokens: int) -> None:
    decoder = EarlyExitDecoder(perfect(), ALWAYS, most_pending=3)
    session = Recorded(end=None)
    trace = decode(session, GREEDY, max_tokens, decoder).traces[0]
    assert (len(trace.tokens), trace.finish) == (max_tokens, "length")
    # What is still pending at the end is not completed.
    assert len(session.completed) == (max_tokens - 1) // 4


def test_a_stop_keeps_what_came_before_it() -> None:
    session = Recorded(end=None)
    decoder = EarlyExitDecoder(perfect(), ALWAYS)
    plain = decode(Recorded(end=None), GREEDY, 7).traces[0]
    run = begin(session, GREEDY, 100, decoder)
    while len(run.traces[0].tokens) < 7:
        run.step()
    run.end(0, "stop", keep=5)
    assert (run.traces[0].tokens, run.traces[0].finish) == (plain.tokens[:5], "stop")
    assert (run.active, session.live, session.completed) == ((), [], [])
    run.close()


@pytest.mark.parametrize("steps", [0, 1, 5, 9, 12])
def test_a_deadline_cuts_between_passes(steps: int, tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle("llama")
    session = OnnxSession.open(tiny.bundle, by_segment=True, threads=1)
    try:
        decoder = EarlyExitDecoder([LensHead(tiny, 1)], ALWAYS, most_pending=3)
        run = begin(session, GREEDY, 100, decoder, prompt=PROMPT)
        for _ in range(steps):
            run.step()
        run.end(0, "deadline")
        run.close()
        assert (len(run.traces[0].tokens), run.traces[0].finish) == (steps + 1, "deadline")
        assert session.cache_bytes == 0
    finally:
        session.close()


def test_a_sample_that_outlives_its_siblings_goes_on_alone() -> None:
    params = SamplingParams(temperature=0.9, seed=19)
    plain = decode(Recorded(19), params, 40, samples=3)
    assert len({len(trace.tokens) for trace in plain.traces.values()}) == 3
    decoder = EarlyExitDecoder(perfect(), ALWAYS, most_pending=2)
    session = Recorded(19)
    run = decode(session, params, 40, decoder, samples=3)
    for index, trace in plain.traces.items():
        assert (run.traces[index].tokens, run.traces[index].finish) == (trace.tokens, trace.finish)
    assert 0 < summed(decoder).tokens < max(len(trace.tokens) for trace in plain.traces.values())
    assert session.live == []


def test_what_others_completed_is_not_compared() -> None:
    session = Recorded(end=None)
    decoder = EarlyExitDecoder(perfect(), ALWAYS, most_pending=4)
    run = begin(session, GREEDY, 20, decoder)
    for _ in range(3):
        run.step()
    branch = run.traces[0].branch
    assert branch is not None
    assert branch.pending == 3
    session.complete(branch)
    while run.active:
        run.step()
    plain = decode(Recorded(end=None), GREEDY, 20).traces[0]
    assert run.traces[0].tokens == plain.tokens
    assert summed(decoder).compared == 12


# Real networks: late layers see every token


Open = Callable[[TinyModel, tuple[int, ...]], Session]


def onnx(tiny: TinyModel, cuts: tuple[int, ...]) -> Session:
    session = OnnxSession.open(tiny.bundle, by_segment=True, threads=1)
    assert set(cuts) <= set(session.capabilities.exits)
    return session


def reference(tiny: TinyModel, cuts: tuple[int, ...]) -> Session:
    return tiny.reference(cuts=cuts)


@pytest.fixture(params=[onnx, reference], ids=["onnx", "reference"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    sessions: list[Session] = []

    def open_(tiny: TinyModel, cuts: tuple[int, ...]) -> Session:
        sessions.append(request.param(tiny, cuts))
        return sessions[-1]

    yield open_
    for session in sessions:
        session.close()


def cuts_of(tiny: TinyModel) -> tuple[int, ...]:
    return tiny.manifest.cuts


def worthwhile(session: Session, params: SamplingParams) -> tuple[list[int], ParallelDecoder]:
    """Return a prompt that a random model does not answer by ending at once, and the plain answer."""
    for first in range(1, 40):
        prompt = [(first + 7 * i) % session.info.vocab for i in range(11)]
        plain = decode(session, params, 24, prompt=prompt)
        if len(plain.traces[0].tokens) > 12:
            return prompt, plain
    raise AssertionError("no text worth decoding")


@pytest.mark.parametrize("name", TINY_MODELS)
def test_a_threshold_that_nothing_reaches_is_plain_decoding(
    name: str, tiny_bundle: TinyBundle, opened: Open
) -> None:
    tiny = tiny_bundle(name)
    cuts = cuts_of(tiny)
    session = opened(tiny, cuts)
    for params in (GREEDY, SamplingParams(temperature=0.8, seed=3)):
        prompt, plain = worthwhile(session, params)
        decoder = EarlyExitDecoder([LensHead(tiny, cut) for cut in cuts], NEVER)
        trace = decode(session, params, 24, decoder, prompt=prompt).traces[0]
        assert trace.tokens == plain.traces[0].tokens
        np.testing.assert_allclose(trace.logprobs, plain.traces[0].logprobs, atol=FP32)
        found = summed(decoder)
        assert found.layers_run == found.layers_full == found.tokens * tiny.arch.layers
        assert sum(found.left.values()) == found.compared == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", TINY_MODELS)
def test_tokens_of_full_depth_look_back_at_a_whole_cache(
    name: str, seed: int, tiny_bundle: TinyBundle, opened: Open
) -> None:
    """Leave at random; whatever takes full depth must see what a plain reading of the same tokens sees."""
    tiny = tiny_bundle(name)
    cuts = cuts_of(tiny)
    session = opened(tiny, cuts)
    script = Scripted(seed)
    # A random model may end anywhere: take a prompt after which it does not.
    for start in range(seed, 40, 4):
        prompt = [(start + 7 * i) % session.info.vocab for i in range(9)]
        decoder = EarlyExitDecoder([LensHead(tiny, cut) for cut in cuts], script, most_pending=3)
        run = begin(session, GREEDY, 30, decoder, prompt=prompt)
        while run.active and len(run.traces[0].tokens) < 25:
            run.step()
        trace = run.traces[0]
        if trace.finish is None:
            break
        run.close()
    assert trace.finish is None
    tokens = [*prompt, *trace.tokens]
    plain_branch, first = session.prefill(prompt)
    rows = np.concatenate([first[None], session.extend(plain_branch, trace.tokens)])
    waiting = 0
    choices: list[bool] = []
    compared: list[bool] = []
    full = 0
    for position in range(1, len(trace.tokens)):
        if waiting == 3 or script.cut(position, len(cuts)) == len(cuts):
            row = rows[position].astype(np.float64)
            assert trace.tokens[position] == row.argmax(), position
            expected = row.max() - (np.log(np.exp(row - row.max()).sum()) + row.max())
            assert trace.logprobs[position] == pytest.approx(expected, abs=FP32)
            compared += choices
            choices, waiting, full = [], 0, full + 1
        else:
            choices.append(trace.tokens[position] == rows[position].argmax())
            waiting += 1
    found = summed(decoder)
    assert full >= 5
    assert (found.compared, found.agreed) == (len(compared), sum(compared))
    # What is pending is brought to the end, and then a step goes as on any other branch.
    assert trace.branch is not None
    late = session.complete(trace.branch, trace.tokens[-1:]).copy()
    assert len(late) == waiting + 1
    np.testing.assert_allclose(late, rows[len(rows) - len(late) :], atol=FP32)
    after = session.step([trace.branch], [5]).copy()
    again, expected_after = session.prefill([*tokens, 5])
    np.testing.assert_allclose(after[0], expected_after, atol=FP32)
    session.free(again)
    session.free(plain_branch)
    run.close()


def test_a_schedule_of_a_real_model_needs_no_layer_twice(tiny_bundle: TinyBundle, opened: Open) -> None:
    """Equal to a slow walk: every token at its own depth, over caches only as deep as those before it."""
    tiny = tiny_bundle("llama")
    cuts = cuts_of(tiny)
    session = opened(tiny, cuts)
    heads = {cut: LensHead(tiny, cut) for cut in cuts}
    trace = decode(
        session, GREEDY, 24, EarlyExitDecoder([*heads.values()], Schedule(3)), prompt=PROMPT
    ).traces[0]
    network = Decoder(tiny.arch, tiny.weights.__getitem__, positions=64)
    caches = [network.empty_cache() for _ in range(tiny.arch.layers)]
    read: Sequence[int] = PROMPT
    for position, token in enumerate(trace.tokens):
        stage = position // 3
        depth = [tiny.arch.layers, *reversed(cuts)][min(stage, len(cuts))]
        x = network.embed(read)
        for layer in range(depth):
            x = network.layer(layer, network.layer_weights(layer), x, caches[layer])
        logits = network.final(x[-1]) @ network.head().T
        assert token == logits.argmax(), position
        read = [token]
    assert len(trace.tokens) > 3 * len(cuts)


# Drawing from a head's few tokens


@given(
    temperature=st.sampled_from([0.0, 0.4, 0.7, 1.5, 1e-35, 1e35]),
    top_k=st.sampled_from([0, 1, 2, 3, 5, VOCAB]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    min_p=st.sampled_from([0.0, 0.2]),
    penalty=st.sampled_from([1.0, 0.6, 1.7]),
    seed=st.integers(0, 99),
    knows=st.sets(st.integers(0, VOCAB - 1), min_size=1).map(sorted),
)
@settings(max_examples=200, deadline=None)
def test_only_what_a_head_knows_is_drawn_at_a_cut(
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    penalty: float,
    seed: int,
    knows: list[int],
) -> None:
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=penalty,
        seed=seed,
    )
    session = Recorded(seed, end=None)
    decoder = EarlyExitDecoder([FakeHead(2, ids=knows)], ALWAYS, most_pending=20)
    trace = decode(session, params, 12, decoder).traces[0]
    assert set(trace.tokens[1:]) <= set(knows)
    for position in range(1, 12):
        logits = session.model.logits([*PROMPT, *trace.tokens[:position]])[knows].astype(np.float64)
        own = logits[knows.index(trace.tokens[position])]
        assert trace.logprobs[position] == pytest.approx(own - np.log(np.exp(logits).sum()), abs=1e-4)


def test_sampling_follows_the_seed() -> None:
    def text(seed: int) -> tuple[list[int], list[float]]:
        params = SamplingParams(temperature=0.7, seed=seed)
        heads: list[ExitHead] = [FakeHead(2, rolled=1), FakeHead(5)]
        decoder = EarlyExitDecoder(heads, Scripted(7), most_pending=3)
        trace = decode(Recorded(end=None), params, 30, decoder).traces[0]
        assert all(summed(decoder).left.values())
        return trace.tokens, trace.logprobs

    assert text(1) == text(1)
    assert text(1) != text(2)


# Criteria against their formulas

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def arrival(cut: int = 0, cuts: int = 9, position: int = 1, **known: Any) -> Arrival:
    return Arrival(cut, cuts, position, known.get("streams", ()), known.get("confidences", ()))


@given(probabilities, st.floats(0, 1.5))
def test_confidence_looks_at_the_last_cut(confidences: list[float], threshold: float) -> None:
    at = arrival(len(confidences) - 1, confidences=confidences)
    assert Confidence(threshold).leaves(at) == (confidences[-1] >= threshold)


@given(probabilities, st.floats(0, 1.5))
def test_q_exit_is_the_probability_of_having_left(confidences: list[float], q: float) -> None:
    left, stayed = Fraction(0), Fraction(1)
    for confidence in map(Fraction, confidences):
        left += stayed * confidence
        stayed *= 1 - confidence
    assume(abs(left - Fraction(q)) > Fraction(1, 10**12))
    assert QExit(q).leaves(arrival(len(confidences) - 1, confidences=confidences)) == (left >= q)


@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=5),
    st.floats(-1, 1.5),
)
def test_saturation_is_the_cosine_of_the_last_two_streams(rows: list[list[int]], threshold: float) -> None:
    streams = [np.array(row, np.float32) for row in rows]
    found = Saturation(threshold).leaves(arrival(len(rows) - 1, streams=streams))
    if len(rows) == 1:
        assert not found
        return
    a, b = rows[-2:]
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0
    assume(abs(cosine - threshold) > 1e-9)
    assert found == (cosine >= threshold)


def test_streams_of_nothing_are_not_alike() -> None:
    nothing, something = np.zeros(3, np.float32), np.ones(3, np.float32)
    for streams in ([nothing, nothing], [something, nothing], [nothing, something]):
        assert not Saturation(0.5).leaves(arrival(1, streams=streams))
    assert Saturation(0.5).leaves(arrival(1, streams=[something, something]))


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 80))
def test_a_schedule_descends_one_cut_at_a_time(every: int, cuts: int, position: int) -> None:
    def depth(position: int) -> int:
        """Index of the cut that a token leaves at; `cuts` is full depth."""
        leaving = [cut for cut in range(cuts) if Schedule(every).leaves(arrival(cut, cuts, position))]
        return min(leaving, default=cuts)

    expected = cuts
    for later in range(1, position + 1):
        if later % every == 0 and expected > 0:
            expected -= 1
    assert depth(position) == expected
    assert depth(position + 1) in (expected, expected - 1)


# What cannot be


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InvalidInput, match="none"):
        EarlyExitDecoder([], ALWAYS)
    with pytest.raises(InvalidInput, match="different cuts"):
        EarlyExitDecoder([FakeHead(2), FakeHead(2)], ALWAYS)
    with pytest.raises(InvalidInput, match="pending"):
        EarlyExitDecoder(perfect(), ALWAYS, most_pending=0)
    for make in (
        lambda: Confidence(-0.1),
        lambda: Confidence(math.nan),
        lambda: Saturation(math.nan),
        lambda: QExit(-1.0),
        lambda: Schedule(0),
    ):
        with pytest.raises(InvalidInput, match="at least"):
            make()
    run = begin(Recorded(end=None), GREEDY, 9, EarlyExitDecoder([FakeHead(3)], ALWAYS))
    with pytest.raises(Unsupported, match="layer 3"):
        run.step()
    run.close()


@pytest.mark.parametrize("criterion", [ALWAYS, Schedule(1)])
def test_a_head_without_numbers_is_refused(criterion: Criterion) -> None:
    class Broken(FakeHead):
        def read(self, stream: Features) -> Logits:
            return np.full(VOCAB, np.nan, np.float32)

    session = Recorded(end=None)
    run = begin(session, GREEDY, 9, EarlyExitDecoder([Broken(2)], criterion))
    with pytest.raises(InvalidLogits):
        run.step()
    run.close()
    assert session.live == []


def test_nothing_drawn_sums_up_to_nothing() -> None:
    assert EarlyExitDecoder(perfect(), ALWAYS).summary() is None
    nothing = EarlyExits(tokens=0, left={}, layers_run=0, layers_full=0, compared=0, agreed=0)
    assert (nothing.mean_depth, nothing.agreement) == (0.0, None)
