"""Speculation over fake sessions and tiny real models: the same tokens as plain decoding, in fewer passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import TinyBundle
from fakes_engine import FakeClock, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.session import Capabilities, Features, Session
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    NgramDrafter,
    NgramPool,
    PassCosts,
    Proposal,
    SpeculativeDecoder,
    Speculator,
)
from edgetts.decoding.speculation.drafter import Tail
from edgetts.errors import InvalidInput, Unsupported
from edgetts.profiles.curves import StepTimes
from edgetts.runtimes.onnx import OnnxSession
from edgetts.testing import FakeSession, ToyModel, goodness_of_fit
from edgetts.tokenizer import Tokenizer
from edgetts.types import LONGEST_DRAFT, DecodeParams, SamplingParams

__all__ = ["tiny_engine_bundle", "tiny_tokenizer"]

PROMPT = [1, 3, 1, 2]
END = 0
ABLE = Capabilities(tolerance=0.0)
FREE_WIDTH = StepTimes((1, 8), (0.010, 0.0101), 1000.0, "measured")
"""A device on which eight tokens a pass cost hardly more than one."""
NO_WIDTH = StepTimes((1, 8), (0.010, 0.080), 1000.0, "measured")
"""A device on which they cost eight times as much."""


class Oracle:
    """Guess a known continuation, of which every `wrong_every`-th token is spoilt (0: none)."""

    name = "oracle"
    cost = 0.0

    def __init__(self, begin: int, truth: Sequence[int], vocab: int, wrong_every: int = 0) -> None:
        self._truth, self._vocab, self._wrong = truth, vocab, wrong_every
        self._begin = begin
        self.length = begin

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        at = self.length - self._begin + len(drafted)
        if at >= len(self._truth):
            return Proposal(END, (self.name, 1), 0.5)
        token = self._truth[at]
        if self._wrong and at % self._wrong == 0:
            token = (token + 1) % self._vocab
        return Proposal(token, (self.name, 0), 0.9)

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:
        self.length += len(tokens)


def speculator(
    *makers: Drafter | None, length: int = 4, always: bool = True, times: StepTimes = FREE_WIDTH
) -> Speculator:
    return Speculator(
        lambda at: [m or NgramDrafter(at.prompt, at.others) for m in makers],
        Acceptance(),
        PassCosts(times.at),
        longest=length,
        always=always,
    )


def decode(
    session: Session,
    params: SamplingParams,
    max_tokens: int,
    drafts: Speculator | None = None,
    prompt: Sequence[int] = PROMPT,
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
        alone=None if drafts is None else SpeculativeDecoder(drafts),
    )
    run.start(1, last=True)
    while run.active:
        run.step()
    run.close()
    return run


def toy(seed: int = 2, vocab: int = 5) -> FakeSession:
    return FakeSession(ToyModel.random(vocab, seed=seed, end_tokens=frozenset({END})))


@given(
    seed=st.integers(0, 999),
    length=st.sampled_from([1, 2, 4, 8]),
    wrong_every=st.sampled_from([0, 1, 2, 3]),
    max_tokens=st.integers(1, 12),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    penalty=st.sampled_from([1.0, 1.4]),
)
@settings(max_examples=150, deadline=None)
def test_tokens_log_probs_and_ends_are_those_of_plain_decoding(
    seed: int, length: int, wrong_every: int, max_tokens: int, temperature: float, penalty: float
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed, repetition_penalty=penalty)
    plain = decode(toy(seed), params, max_tokens).traces[0]
    session = toy(seed)
    oracle = Oracle(len(PROMPT), plain.tokens, 5, wrong_every)
    drafts = speculator(oracle, length=length)
    run = decode(session, params, max_tokens, drafts)
    trace = run.traces[0]
    assert (trace.tokens, trace.finish) == (plain.tokens, plain.finish)
    assert trace.logprobs == plain.logprobs
    assert session.live == []
    if wrong_every == 0 and len(plain.tokens) > 1:
        # The first token comes from the prompt's pass, and a pass draws one token behind its guesses.
        left = len(plain.tokens) - 1 + (plain.finish == "end")
        assert drafts.tally.passes == -(-left // (length + 1))


@pytest.mark.parametrize("length", [1, 4])
def test_sampling_keeps_the_distribution(length: int) -> None:
    model = ToyModel.random(4, seed=5, end_tokens=frozenset({END}))
    expected = model.samples(PROMPT, 3)
    guess = max(expected, key=lambda tokens: expected[tokens])
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(1500):
        drafts = speculator(Oracle(len(PROMPT), guess, 4), length=length)
        run = decode(FakeSession(model), SamplingParams(temperature=1.0, seed=seed), 3, drafts)
        found[tuple(run.traces[0].tokens)] += 1
    assert goodness_of_fit(found, expected).p > 1e-4


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3"])
def test_tiny_models_of_every_family_say_the_same(family: str, tiny_bundle: TinyBundle) -> None:
    session = OnnxSession.open(tiny_bundle(family).bundle, threads=1)
    try:
        for params in (SamplingParams(temperature=0.0), SamplingParams(temperature=0.8, seed=3)):
            # Of a random model's texts, take one that does not end at once.
            for first in range(1, 20):
                prompt = [(first + 7 * i) % session.info.vocab for i in range(11)]
                plain = decode(session, params, 24, prompt=prompt).traces[0]
                if len(plain.tokens) > 8:
                    break
            assert len(plain.tokens) > 8, "a text worth drafting"
            for length in (1, 2, 4, 8):
                for wrong_every in (0, 2, 3):
                    oracle = Oracle(len(prompt), plain.tokens, session.info.vocab, wrong_every)
                    one = decode(session, params, 24, speculator(oracle, length=length), prompt).traces[0]
                    assert one.tokens == plain.tokens, (length, wrong_every)
                one = decode(session, params, 24, speculator(None, length=length), prompt).traces[0]
                assert one.tokens == plain.tokens, length
        assert session.cache_bytes == 0
    finally:
        session.close()


def test_features_are_what_logits_are_made_of(tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle("llama")
    session = OnnxSession.open(tiny.bundle, threads=1)
    try:
        head = tiny.weights["token_embd.weight" if tiny.arch.tied_embeddings else "output.weight"]
        branch, logits = session.prefill([1, 2, 3])
        assert np.allclose(session.features() @ head.T, logits[None], atol=1e-4)
        logits = session.extend(branch, [4, 5])
        assert session.features().shape == (2, tiny.arch.hidden)
        assert np.allclose(session.features() @ head.T, logits, atol=1e-4)
    finally:
        session.close()
    with pytest.raises(Unsupported):
        toy().features()


def test_drafts_that_cost_more_than_they_bring_are_left_out() -> None:
    """Half the guesses are right, but every token more costs a whole pass."""
    params = SamplingParams(temperature=0.0)
    plain = decode(FakeSession(ToyModel.random(5, seed=1), context=400), params, 200).traces[0]
    session = FakeSession(ToyModel.random(5, seed=1), context=400)
    clock = FakeClock()
    drafts = speculator(Oracle(len(PROMPT), plain.tokens, 5, 2), length=4, always=False, times=NO_WIDTH)
    drafts.clock = clock
    inner = session.extend

    def extend(branch: object, tokens: Sequence[int]) -> object:
        clock.now += NO_WIDTH.at(len(tokens))
        return inner(branch, tokens)  # type: ignore[arg-type]

    session.extend = extend  # type: ignore[method-assign, assignment]
    trace = decode(session, params, 200, drafts).traces[0]
    assert trace.tokens == plain.tokens
    assert sum(drafts.tally.drafted) <= 6, "a handful of trials at most"


def test_a_wider_pass_is_chosen_where_the_next_wider_one_does_not_pay() -> None:
    times = StepTimes((1, 2, 4), (0.010, 0.030, 0.0301), 1000.0, "measured")
    drafts = speculator(length=8, always=False, times=times)
    draft = drafts.draft([Oracle(0, [1] * 50, 5)], 8)
    assert len(draft.tokens) >= 3


def test_what_was_not_verified_is_learned_from_all_the_same() -> None:
    learned = Acceptance()
    drafts = Speculator(lambda at: [], learned, PassCosts(NO_WIDTH.at), longest=4)
    oracle = Oracle(0, [1] * 400, 5)
    guess = oracle.propose([])
    assert guess is not None
    before = learned.probability(guess)
    for _ in range(50):
        draft = drafts.draft([oracle], 4)
        assert draft.verified == 0 or drafts.tally.passes > 3
        drafts.settle(draft, [2], 0.01)
    assert learned.probability(guess) < 0.1 < before


def test_phrases_computed_in_vain_are_guessed_where_nothing_else_is_known() -> None:
    drafter = NgramDrafter([1, 2, 3])
    assert drafter.propose([7]) is None
    drafter.accept([4], None, [(7, 8), (9, 5)])
    seven, nine = drafter.propose([7]), drafter.propose([7, 9])
    assert seven is not None
    assert nine is not None
    assert (seven.token, nine.token) == (8, 5)
    assert drafter.propose([2]).token == 3, "the text itself comes first"  # type: ignore[union-attr]


def test_what_a_pass_computed_in_vain_is_told_to_drafters() -> None:
    greedy, heard = SamplingParams(temperature=0.0), []
    runs = ((seed, decode(toy(seed), greedy, 8).traces[0]) for seed in range(50))
    seed, plain = next((seed, run) for seed, run in runs if len(run.tokens) == 8)

    class Listening(Oracle):
        def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:
            heard.append(list(tail))
            super().accept(tokens, features, tail)

    oracle = Listening(len(PROMPT), plain.tokens, 5, wrong_every=2)
    decode(toy(seed), greedy, 8, speculator(oracle, length=3))
    model, told = toy(seed).model, [tail for tail in heard if tail]
    assert told
    for tail in told:
        assert 1 <= len(tail) <= 3
    # The first pass ran the first token and three guesses, of which the second was wrong.
    first = told[0]
    right = plain.tokens[: 1 + 3 - len(first)]
    behind = [*PROMPT, *right]
    for guess, choice in first:
        behind.append(guess)
        assert choice == int(model.logits(behind).argmax())


@given(st.lists(st.integers(0, 6), min_size=2, max_size=60))
def test_an_ngram_guess_is_what_followed_the_longest_known_run_last(tokens: list[int]) -> None:
    pool = NgramPool()
    pool.add(tokens, 0)
    tail = tokens[-5:]
    best: tuple[int, int] | None = None
    for n in range(min(5, len(tail)), 0, -1):
        run = tail[len(tail) - n :]
        places = [i for i in range(len(tokens) - n) if tokens[i : i + n] == run]
        if places:
            best = (tokens[places[-1] + n], n)
            break
    found = pool.longest(tail)
    assert (None if found is None else found[:2]) == best


def test_siblings_are_guessed_from() -> None:
    drafter = NgramDrafter([1, 2], [[5, 6, 7, 8, 9]])
    drafter.accept([5, 6])
    first = drafter.propose([])
    assert first is not None
    assert first.token == 7
    second = drafter.propose([7])
    assert second is not None
    assert second.token == 8


# Through the engine

TWICE = b"one two three four five six seven; one two three four five six seven; one two"


@pytest.mark.parametrize("mode", ["auto", "speculative"])
def test_repetition_takes_fewer_passes_and_says_so(tiny_tokenizer: Tokenizer, mode: str) -> None:
    texts, passes = [], []
    for how in ("plain", mode):
        session = ScriptedSession([TWICE], times=FREE_WIDTH, capabilities=ABLE)
        engine = scripted_engine(tiny_tokenizer, session, times=FREE_WIDTH, clock=session.clock)
        answer = engine.answer("Hello", decode=DecodeParams(how))  # type: ignore[arg-type]
        texts.append(answer.text)
        passes.append(session.passes)
    assert texts[0] == texts[1]
    assert passes[1] < 0.75 * passes[0]
    told = answer.usage.speculation
    assert told is not None
    assert told.tokens_per_pass > 1.3
    assert told.seconds_saved > 0
    assert sum(told.accepted) <= sum(told.drafted)
    assert told.by_drafter["ngram"] == (sum(told.drafted), sum(told.accepted))


@pytest.mark.parametrize("stop", ["thr", "seven;", "e", "two three four five six seven; one two three"])
def test_stop_strings_inside_a_draft_cut_where_plain_decoding_does(
    tiny_tokenizer: Tokenizer, stop: str
) -> None:
    answers = []
    for how in ("plain", "speculative"):
        session = ScriptedSession([TWICE], capabilities=ABLE)
        engine = scripted_engine(tiny_tokenizer, session)
        sampling = SamplingParams(stop=(stop,))
        answers.append(engine.answer("Hello", sampling=sampling, decode=DecodeParams(how, length=8)))  # type: ignore[arg-type]
    one, other = (answer.samples[0] for answer in answers)
    assert (one.text, one.tokens, one.logprobs, one.finish_reason) == (
        other.text,
        other.tokens,
        other.logprobs,
        other.finish_reason,
    )
    assert one.finish_reason == "stop"


@pytest.mark.parametrize("limit", range(1, 12))
def test_token_limits_count_what_is_emitted(tiny_tokenizer: Tokenizer, limit: int) -> None:
    for sampling, budget in (
        (SamplingParams(max_tokens=limit), None),
        (SamplingParams(), Budget(tokens=limit, samples=1)),
    ):
        session = ScriptedSession([b"a" * 40], capabilities=ABLE)
        engine = scripted_engine(tiny_tokenizer, session)
        answer = engine.answer("aaaaaaaaaaaaaaa", sampling=sampling, budget=budget, decode="speculative")
        assert len(answer.samples[0].tokens) == limit
        assert answer.usage.generated_tokens == limit


def test_what_cannot_be_is_said(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"x"], capabilities=ABLE))
    with pytest.raises(InvalidInput, match="no drafter"):
        engine.answer("Hello", decode=DecodeParams(drafters=("oracle",)))
    with pytest.raises(InvalidInput, match="no decoding"):
        engine.answer("Hello", decode="fast")  # type: ignore[arg-type]
    for length in (0, LONGEST_DRAFT + 1):
        with pytest.raises(InvalidInput, match="draft"):
            DecodeParams(length=length)
    narrow = ScriptedSession([b"x"], capabilities=Capabilities(extend=False))
    with pytest.raises(Unsupported, match="verify"):
        scripted_engine(tiny_tokenizer, narrow).answer("Hello", decode="speculative")
    assert scripted_engine(tiny_tokenizer, narrow).answer("Hello", decode="auto").text == " x"
