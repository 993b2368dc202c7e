"""Check a written GGUF file: run it in llama.cpp beside its source in float32, and encode beside its source.

The judge is the NumPy reference on the source's weights, as for bundles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.errors import RuntimeFailure
from edgetts.export.calibration import TEXT as CALIBRATION
from edgetts.export.check import TEXT, Divergence, reference_logits
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.to_gguf import llamacpp
from edgetts.export.to_gguf.keys import exact_context
from edgetts.export.to_gguf.vocabulary import sample_lines
from edgetts.tokenizer import TokenizerFacts

if TYPE_CHECKING:
    import tokenizers

Floats = NDArray[np.float32]

_EXACT_KL = {"F32": 1e-3, "F16": 1e-2, "BF16": 2e-2}
"""The largest mean KL in nats that rounding to a type explains, and llama.cpp's tables in half precision;
a wrong file is far above."""
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A file in llama.cpp against its source in float32, on a fixed text of `tokens` tokens.

    mean_kl in nats; top1: share of positions with the same first choice; largest: of the logits'
    differences. same_tokens: whether llama.cpp makes the source's tokens of `lines` lines, which no
    quantisation changes.
    """

    tokens: int
    mean_kl: float
    top1: float
    largest: float
    lines: int
    same_tokens: int


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexities in llama.cpp on a fixed text: what leaving layers out cost, and then what rounding did.

    pruned: with the source's weights, None where no layer was left out.
    """

    tokens: int
    source: float
    pruned: float | None
    written: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the source makes of the fixed text: tokens, and logits [T, vocab] in float32."""

    tokens: list[int]
    logits: Floats


def expect(
    checkpoint: Checkpoint, tokenizer: tokenizers.Tokenizer, progress: Callable[[float], None]
) -> Expectation:
    """Run the source in float32."""
    tokens: list[int] = tokenizer.encode(TEXT, add_special_tokens=False).ids
    tokens = tokens[: exact_context(checkpoint.architecture)]
    return Expectation(tokens, reference_logits(checkpoint, tokens, progress))


def round_trip(path: Path, expected: Expectation, tokenizer: tokenizers.Tokenizer) -> RoundTrip:
    """Run `path` in llama.cpp and compare. Raises MissingExtra, RuntimeFailure."""
    lines = sample_lines()
    found, theirs = llamacpp.logits_and_tokens(path, expected.tokens, lines)
    if found.shape != expected.logits.shape:
        raise RuntimeFailure(
            f"llama.cpp makes logits of the shape {list(found.shape)} of {path.name}, "
            f"and its source {list(expected.logits.shape)}."
        )
    following = np.asarray(expected.tokens[1:], np.int64)
    total = Divergence.between(expected.logits, found, following)
    ours = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    return RoundTrip(
        tokens=total.positions,
        mean_kl=total.kl / total.positions,
        top1=total.agreements / total.positions,
        largest=total.largest,
        lines=len(lines),
        same_tokens=sum(a == b for a, b in zip(ours, theirs, strict=True)),
    )


def must_be_exact(trip: RoundTrip, kind: str) -> None:
    """Raise RuntimeFailure where a file in floating point computes something else than its source."""
    if not trip.mean_kl <= _EXACT_KL[kind]:
        raise RuntimeFailure(
            f"The file is wrong: llama.cpp computes something else from it than its source "
            f"(mean KL {trip.mean_kl:.4f} nats).",
            hint="Nothing was kept. Please report this with the model's name.",
        )


def perplexity_tokens(
    tokenizer: tokenizers.Tokenizer, facts: TokenizerFacts, arch: Architecture
) -> list[int]:
    """Encode the fixed text on which perplexities are stated, as the model expects a text to begin."""
    text = files("edgetts.export").joinpath(CALIBRATION).read_text(encoding="utf-8")
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    if facts.add_bos and facts.bos is not None:
        tokens = [facts.bos, *tokens]
    return tokens[: min(exact_context(arch), _LONGEST)]


def perplexities(paths: Sequence[Path], tokens: list[int]) -> list[float]:
    """Return exp of the mean loss of a text in llama.cpp, for each file."""
    return [math.exp(min(loss, 700.0)) for loss in llamacpp.mean_losses(paths, tokens)]
