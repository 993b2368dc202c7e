"""Check a finished bundle on a fixed text, against the source run in float32 by the NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, Check, read_manifest
from edgetts.decoding.session import Session
from edgetts.export.checkpoint import Checkpoint
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.reference import Decoder, hidden_states

Floats = NDArray[np.float32]

TEXT = """\
The river rises in the hills north of the town and runs for about 120 kilometres before it reaches the sea. In \
spring, when the snow melts, it carries three times as much water as in late summer; the mills along its banks \
were built for that difference. A farmer who kept a diary from 1871 to 1904 wrote: "Water is never where you want \
it, and never when." He was right. To find how long a boat takes, divide the distance by its speed over the ground, \
so 30 km at 12 km/h is 2.5 hours. def area(width, height): return width * height
"""
_ROWS = 8192
_STEP = 32


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far distributions over the next token lie apart; sums over positions, so that texts add up.

    kl: of the tested model from the reference, in nats. nll: negative log-likelihoods of the text.
    """

    positions: int = 0
    kl: float = 0.0
    agreements: int = 0
    largest: float = 0.0
    reference_nll: float = 0.0
    tested_nll: float = 0.0

    def __add__(self, other: Divergence) -> Divergence:
        return Divergence(
            self.positions + other.positions,
            self.kl + other.kl,
            self.agreements + other.agreements,
            max(self.largest, other.largest),
            self.reference_nll + other.reference_nll,
            self.tested_nll + other.tested_nll,
        )

    @classmethod
    def between(cls, reference: Floats, tested: Floats, following: NDArray[np.int64]) -> Divergence:
        """Compare logits [T, V] of the same positions; `following` [<= T] are the tokens that came next."""
        p, q = _log_softmax(reference), _log_softmax(tested)
        n = np.arange(len(following))
        return cls(
            positions=len(p),
            kl=float(np.sum(np.exp(p) * (p - q))),
            agreements=int(np.sum(p.argmax(axis=-1) == q.argmax(axis=-1))),
            largest=float(np.abs(reference - tested).max()),
            reference_nll=-float(p[n, following].sum()),
            tested_nll=-float(q[n, following].sum()),
        )


def check_bundle(directory: Path, checkpoint: Checkpoint, progress: Callable[[float], None]) -> Check:
    """Run the bundle and the reference over TEXT and compare."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(directory / TOKENIZER))
    tokens = tokenizer.encode(TEXT, add_special_tokens=False).ids[: read_manifest(directory).context]
    reference = reference_logits(checkpoint, tokens, progress)
    session = OnnxSession.open(directory)
    return compare(session, tokens, reference, "the source's weights in float32, plain NumPy")


def compare(
    session: Session,
    tokens: list[int],
    reference: Floats,
    name: str,
    progress: Callable[[float], None] = lambda share: None,
) -> Check:
    """Run a session over tokens, in several passes, beside logits [T, V]; close it. name: whose they are."""
    try:
        branch, first = session.prefill(tokens[:1])
        total = Divergence.between(reference[:1], first[None], np.asarray(tokens[1:2], np.int64))
        for at in range(1, len(tokens), _STEP):
            part = tokens[at : at + _STEP]
            logits = session.extend(branch, part)
            following = np.asarray(tokens[at + 1 : at + 1 + len(part)], np.int64)
            total += Divergence.between(reference[at : at + len(part)], logits, following)
            progress(min(1.0, (at + len(part)) / len(tokens)))
    finally:
        session.close()
    return Check(
        reference=name,
        tokens=total.positions,
        mean_kl=total.kl / total.positions,
        top1=total.agreements / total.positions,
        largest=total.largest,
    )


def reference_logits(checkpoint: Checkpoint, tokens: list[int], progress: Callable[[float], None]) -> Floats:
    """Return float32 logits [T, vocab] of a text, holding one layer's weights at a time."""
    arch = checkpoint.architecture
    decoder = Decoder(arch, lambda name: _load(checkpoint, name, tokens), positions=len(tokens))
    hidden = hidden_states(decoder, arch.layers, range(len(tokens)), progress)
    head = "token_embd.weight" if arch.tied_embeddings else "output.weight"
    logits = np.empty((len(tokens), arch.vocab), np.float32)
    for at in range(0, arch.vocab, _ROWS):
        rows = slice(at, min(at + _ROWS, arch.vocab))
        logits[:, rows] = hidden @ checkpoint.load(head, rows).T
    return logits


def _load(checkpoint: Checkpoint, name: str, tokens: list[int]) -> Floats:
    """Load a tensor; of the embedding table only the rows of the text, in its order."""
    if name != "token_embd.weight":
        # Unpacked as integers first, several times faster than GGUF's own dequantiser, which tests hold it to.
        affine = checkpoint.blocks(name) if name.endswith(".weight") else None
        return checkpoint.load(name) if affine is None else affine.dequantize()
    rows = {token: checkpoint.load(name, slice(token, token + 1)) for token in set(tokens)}
    return np.concatenate([rows[token] for token in tokens])


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)
