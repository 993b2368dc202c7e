"""SmolLM2-135M-Instruct, its GGUF's own integers: what quantised kernels keep of the laws, with figures.

Quantised kernels are not batch-invariant, so widths are compared within tolerances and never as equal.
The floors below have room; run with -s to see what was measured.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, open_bundle
from edgetts.decoding.parallel import ParallelDecoder
from edgetts.export.check import reference_logits
from edgetts.export.checkpoint import open_checkpoint
from edgetts.runtimes.onnx import OnnxSession
from edgetts.tokenizer import Tokenizer
from edgetts.types import SamplingParams

pytestmark = pytest.mark.real

TEXT = (
    "The lighthouse keeper counted the ships that passed before noon: three trawlers, one ferry, and a grey "
    "tanker low in the water. By evening the wind had turned to the north, and he wrote in the log that the "
    "harbour would be closed until morning."
)
QUESTION = "<|im_start|>user\nName three rivers in Europe.<|im_end|>\n<|im_start|>assistant\n"

# The largest difference of logits, which spread by about 5 here, and the mean one.
WIDEST, MEAN = 3.0, 0.35


@pytest.fixture(scope="module")
def session(smollm2_bundle: Path) -> Iterator[OnnxSession]:
    session = OnnxSession.open(smollm2_bundle, spin=False)
    yield session
    session.close()


@pytest.fixture(scope="module")
def tokenizer(smollm2_bundle: Path) -> Tokenizer:
    return Tokenizer.load(smollm2_bundle / TOKENIZER, open_bundle(smollm2_bundle).tokenizer)


def say(what: str) -> None:
    sys.stdout.write(f"\n{what}\n")


def sampled(
    session: OnnxSession, prompt: Sequence[int], count: int, length: int, **params: Any
) -> list[list[int]]:
    branch, logits = session.prefill(prompt)
    decoder = ParallelDecoder(
        session, branch, logits, SamplingParams(**params), max_tokens=length, greedy_first=False
    )
    decoder.start(count, last=True)
    while decoder.active:
        decoder.step()
    decoder.close()
    return [decoder.traces[i].tokens for i in range(count)]


def agreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the largest and the mean difference, and how often the most likely token is the same."""
    difference = np.abs(found - expected)
    same = float((found.argmax(-1) == expected.argmax(-1)).mean())
    return float(difference.max()), float(difference.mean()), same


def forced(session: OnnxSession, tokens: Sequence[int], width: int) -> NDArray[np.float32]:
    """Return the logits of every token but the first, read in passes of `width` tokens."""
    branch, _ = session.prefill(tokens[:1])
    rows = [session.extend(branch, tokens[at : at + width]).copy() for at in range(1, len(tokens), width)]
    session.free(branch)
    return np.concatenate(rows)


def test_greedy_tokens_are_the_same_each_time(
    session: OnnxSession, smollm2_bundle: Path, tokenizer: Tokenizer
) -> None:
    prompt = tokenizer.encode(QUESTION, special=True)
    other = OnnxSession.open(smollm2_bundle, spin=False)
    runs = [
        sampled(s, prompt, 1, 24, temperature=0, seed=i)[0] for i, s in enumerate((session, session, other))
    ]
    other.close()
    say(f"greedy: {tokenizer.decode(runs[0])!r}")
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) > 5


def test_the_same_seed_at_the_same_width_gives_the_same_samples(
    session: OnnxSession, tokenizer: Tokenizer
) -> None:
    prompt = tokenizer.encode(QUESTION, special=True)
    runs = [sampled(session, prompt, 8, 16, temperature=0.8, seed=5) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({tuple(tokens) for tokens in runs[0]}) > 1


def test_eight_at_once_are_near_one_alone(session: OnnxSession, tokenizer: Tokenizer) -> None:
    """The same tokens are forced, so that logits of the same prefixes are compared."""
    prompt = tokenizer.encode(QUESTION, special=True)
    tokens = sampled(session, prompt, 8, 16, temperature=0.8, seed=5)
    length = min(map(len, tokens))
    branch, _ = session.prefill(prompt)
    together = session.fork(branch, 8)
    wide = np.stack(
        [session.step(together, [sample[i] for sample in tokens]).copy() for i in range(length)], axis=1
    )
    narrow = []
    for sample in tokens:
        (alone,) = session.fork(branch, 1)
        narrow.append(np.concatenate([session.step([alone], [token]).copy() for token in sample[:length]]))
        session.free(alone)
    for freed in (branch, *together):
        session.free(freed)
    largest, mean, same = agreement(wide, np.stack(narrow))
    say(
        f"8 at once and alone, {8 * length} tokens: largest {largest:.3f}, mean {mean:.4f}, first choice {same:.1%}"
    )
    assert largest < WIDEST
    assert mean < MEAN
    assert same > 0.9
    assert session.cache_bytes == 0


def test_samples_drawn_together_may_diverge_from_those_alone(
    session: OnnxSession, tokenizer: Tokenizer
) -> None:
    """Only told: near a tie a different width draws another token, and all after it differ."""
    prompt = tokenizer.encode(QUESTION, special=True)
    together = sampled(session, prompt, 8, 20, temperature=0.8, seed=5)
    branch, logits = session.prefill(prompt)
    decoder = ParallelDecoder(
        session, branch, logits, SamplingParams(temperature=0.8, seed=5), max_tokens=20, greedy_first=False
    )
    for i in range(8):
        decoder.start(1, last=i == 7)
        while decoder.active:
            decoder.step()
    decoder.close()
    firsts = []
    for i, sample in enumerate(together):
        alone = decoder.traces[i].tokens
        differ = [at for at, (a, b) in enumerate(zip(sample, alone, strict=False)) if a != b]
        firsts.append(differ[0] if differ else None)
    say(f"first token that differs between 8 at once and alone, by sample: {firsts}")
    assert all(first is None or first >= 1 for first in firsts), "the first comes from the same prefill"


@pytest.mark.parametrize("width", [2, 3, 16])
def test_extending_is_near_stepping(session: OnnxSession, tokenizer: Tokenizer, width: int) -> None:
    tokens = tokenizer.encode(TEXT, special=False)
    largest, mean, same = agreement(forced(session, tokens, width), forced(session, tokens, 1))
    say(f"passes of {width} and of 1: largest {largest:.3f}, mean {mean:.4f}, first choice {same:.1%}")
    assert largest < WIDEST
    assert mean < MEAN
    assert same > 0.8


def test_segments_in_turn_are_the_whole_model(
    session: OnnxSession, smollm2_bundle: Path, tokenizer: Tokenizer
) -> None:
    tokens = tokenizer.encode(TEXT, special=False)
    cut = OnnxSession.open(smollm2_bundle, spin=False, by_segment=True)
    np.testing.assert_array_equal(forced(cut, tokens, 16), forced(session, tokens, 16))
    cut.close()


def test_the_first_choice_is_the_references(
    session: OnnxSession, smollm2_gguf: Path, tokenizer: Tokenizer
) -> None:
    """The file's weights are kept exactly: what is lost is lost by rounded activations."""
    tokens = tokenizer.encode(TEXT, special=False)
    with open_checkpoint(smollm2_gguf) as checkpoint:
        expected = reference_logits(checkpoint, list(tokens), lambda share: None)[1:]
    largest, mean, same = agreement(forced(session, tokens, 16), expected)
    say(
        f"and the NumPy reference, {len(tokens)} tokens: largest {largest:.3f}, mean {mean:.4f}, same {same:.1%}"
    )
    assert same >= 0.85
    assert mean < MEAN


def test_long_prompts_are_read_in_chunks(session: OnnxSession, tokenizer: Tokenizer) -> None:
    tokens = (tokenizer.encode(TEXT, special=False) * 8)[:400]
    branch, logits = session.prefill(tokens)
    assert branch.length == 400
    expected = forced(session, tokens, 100)[-1]
    largest, mean, _ = agreement(logits[None], expected[None])
    say(f"a prompt of 400 tokens in chunks, and in passes of 100: largest {largest:.3f}, mean {mean:.4f}")
    assert mean < MEAN
    session.free(branch)
