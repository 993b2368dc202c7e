"""The first layers draft, the others verify: the same tokens, and no layer sees a token twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_speculation import FREE_WIDTH, decode, toy

from edgetts.decoding.alone import Situation
from edgetts.decoding.session import Capabilities, Features, Logits
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    ExitDrafter,
    NgramDrafter,
    PassCosts,
    Speculator,
)
from edgetts.testing import FakeSession
from edgetts.types import SamplingParams

CUTS = (2, 5)
VOCAB = 5


class Head:
    """Say what the whole network would, or every so often the next token instead: the fake's stream is its logits."""

    def __init__(self, cut: int, wrong_every: int = 0) -> None:
        self.cut = cut
        self.vocabulary: NDArray[np.int64] = np.arange(VOCAB)
        self._wrong, self._reads = wrong_every, 0

    def read(self, stream: Features) -> Logits:
        self._reads += 1
        logits: Logits = np.nan_to_num(stream, neginf=-1e9).astype(np.float32)
        return np.roll(logits, 1) if self._wrong and self._reads % self._wrong == 0 else logits

    def confidence(self, probability: float) -> float:
        return probability


def segmented(seed: int) -> FakeSession:
    return FakeSession(toy(seed).model, capabilities=Capabilities(exits=CUTS, tolerance=0.0))


def drafting(
    cut: int, wrong_every: int, length: int, *, ngram: bool = False, always: bool = True
) -> Speculator:
    def drafters(at: Situation) -> Sequence[Drafter]:
        first: list[Drafter] = [NgramDrafter(at.prompt, at.others)] if ngram else []
        return [*first, ExitDrafter(at.session, at.branch, Head(cut, wrong_every))]

    costs = PassCosts(FREE_WIDTH.at)
    return Speculator(drafters, Acceptance(), costs, longest=length, always=always)


@given(
    seed=st.integers(0, 500),
    cut=st.sampled_from(CUTS),
    wrong_every=st.sampled_from([0, 1, 2, 3]),
    length=st.sampled_from([1, 2, 4, 8]),
    max_tokens=st.integers(1, 14),
    temperature=st.sampled_from([0.0, 0.8]),
    ngram=st.booleans(),
    always=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_tokens_are_those_of_plain_decoding(
    seed: int,
    cut: int,
    wrong_every: int,
    length: int,
    max_tokens: int,
    temperature: float,
    ngram: bool,
    always: bool,
) -> None:
    params = SamplingParams(temperature=temperature, seed=seed)
    plain = decode(toy(seed), params, max_tokens).traces[0]
    session = segmented(seed)
    drafts = drafting(cut, wrong_every, length, ngram=ngram, always=always)
    trace = decode(session, params, max_tokens, drafts).traces[0]
    assert (trace.tokens, trace.logprobs, trace.finish) == (plain.tokens, plain.logprobs, plain.finish)
    assert session.live == []


def test_all_accepted_and_every_layer_sees_each_token_once() -> None:
    greedy = SamplingParams(temperature=0.0)
    runs = ((seed, decode(toy(seed), greedy, 13).traces[0]) for seed in range(200))
    seed, plain = next((seed, run) for seed, run in runs if len(run.tokens) == 13)
    for cut in CUTS:
        session = segmented(seed)
        drafts = drafting(cut, 0, 3)
        assert decode(session, greedy, 13, drafts).traces[0].tokens == plain.tokens
        # Twelve tokens after the prompt's, four a pass: three guesses right, and the one behind them.
        assert drafts.tally.passes == 3
        assert drafts.tally.accepted == [3, 3, 3]
        # Twelve tokens went in, of which none was taken back.
        assert session.layers_run == 12 * session.info.layers


def test_wrong_guesses_are_taken_back_from_the_first_layers() -> None:
    greedy = SamplingParams(temperature=0.0)
    runs = ((seed, decode(toy(seed), greedy, 9).traces[0]) for seed in range(200))
    seed, plain = next((seed, run) for seed, run in runs if len(run.tokens) == 9)
    session = segmented(seed)
    drafts = drafting(2, 1, 2)
    assert decode(session, greedy, 9, drafts).traces[0].tokens == plain.tokens
    assert drafts.tally.accepted[0] == 0
    # A pass a token: of its two guesses one went through the first layers while the other was made, and all three
    # tokens through the rest; the next pass begins behind the first of them.
    passes, layers = drafts.tally.passes, session.info.layers
    assert passes == 8
    assert session.layers_run > passes * layers
    assert session.live == []
