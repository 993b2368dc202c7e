"""Read a model's own text once more, and keep what the network holds at its cuts and behind its last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.session import Session
from edgetts.export.exits.own_text import Passage

Halves = NDArray[np.float16]

_CHUNK = 64
# Residual streams of a few positions run into the thousands, and some models' beyond what 16 bits hold.
_LARGEST = 60_000.0


@dataclass(frozen=True, slots=True)
class States:
    """Positions of several passages, one after the other; tokens[i] was drawn from features[i].

    best: the token that the whole network found most likely there. features: normalised final hidden states, float16 [n, hidden]. streams: the residual stream at each
    cut, likewise. passage: number of the passage each position belongs to. place: its place in it.
    """

    features: Halves
    streams: dict[int, Halves]
    tokens: NDArray[np.int64]
    best: NDArray[np.int64]
    passage: NDArray[np.int64]
    place: NDArray[np.int64]

    def starts(self, ahead: int) -> NDArray[np.intp]:
        """Return the positions that have `ahead` more behind them in their passage."""
        n = len(self.tokens)
        if n <= ahead:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.passage[: n - ahead] == self.passage[ahead:])


def read_states(
    session: Session, passages: Sequence[Passage], progress: Callable[[float], None] = lambda share: None
) -> States:
    """Read passages with a session that can stop at its cuts and return hidden states."""
    cuts = session.capabilities.exits
    streams: dict[int, list[Halves]] = {cut: [] for cut in cuts}
    features: list[Halves] = []
    best: list[NDArray[np.int64]] = []
    for number, passage in enumerate(passages):
        # A token is drawn from the state of the one before it, the first from that of the prompt's last.
        branch, _ = session.prefill(passage.prompt)
        session.truncate(branch, len(passage.prompt) - 1)
        text = [passage.prompt[-1], *passage.tokens[:-1]]
        for at in range(0, len(text), _CHUNK):
            part = text[at : at + _CHUNK]
            for i, cut in enumerate(cuts):
                stream = session.advance(branch, part if i == 0 else [], cut)
                streams[cut].append(np.clip(stream, -_LARGEST, _LARGEST).astype(np.float16))
            logits = session.complete(branch) if cuts else session.extend(branch, part)
            best.append(logits.argmax(axis=-1))
            features.append(session.features().astype(np.float16))
        session.free(branch)
        progress((number + 1) / len(passages))
    lengths = [len(passage.tokens) for passage in passages]
    return States(
        np.concatenate(features),
        {cut: np.concatenate(parts) for cut, parts in streams.items()},
        np.concatenate([np.asarray(passage.tokens, np.int64) for passage in passages]),
        np.concatenate(best),
        np.repeat(np.arange(len(passages)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
    )
