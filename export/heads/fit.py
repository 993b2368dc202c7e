"""Fit draft heads to passages of a model's own text, by gradient descent in torch (extra `train`).

The teacher is the model itself: the hidden state it had one token on, through the rows of its head
that belong to a reduced vocabulary. The student unrolls on its own states, as it will when it drafts
(Hydra, 2024; EAGLE, 2024).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.export.heads.own_text import Passage

Floats = NDArray[np.float32]
DEPTH = 3
_BATCH = 512
_EPSILON = 1e-5
# How much the deeper guesses of an unrolled draft count.
_WEIGHTS = (1.0, 0.6, 0.4)


@dataclass(frozen=True, slots=True)
class Heads:
    """A network g = norm(down(silu(gate x) * up x) + skip x), x = [norm(features), norm(embedding)].

    inner: [2 * width + hidden, 2 * hidden], gate, up and skip stacked. down: [hidden, width]. norms:
    weights of the three norms. vocabulary: ids that a guess may be, int64 [reduced].
    """

    inner: Floats
    down: Floats
    feature_norm: Floats
    token_norm: Floats
    out_norm: Floats
    vocabulary: NDArray[np.int64]

    @property
    def width(self) -> int:
        return int(self.down.shape[1])


@dataclass(frozen=True, slots=True)
class Agreement:
    """Share of held-out positions at which a guess was the model's own most likely token, by depth.

    From the second depth on only positions count at which the guesses before were right.
    """

    positions: int
    by_depth: tuple[float, ...]


def reduced_vocabulary(passages: Sequence[Passage], vocab: int, size: int) -> NDArray[np.int64]:
    """Return the tokens the model used most, filled up with the lowest ids, which merges made first."""
    counts = np.zeros(vocab, np.int64)
    for passage in passages:
        np.add.at(counts, passage.tokens, 1)
    ranked = np.lexsort((np.arange(vocab), -counts))
    return np.sort(ranked[: min(size, vocab)])


class Windows:
    """Positions of passages that have DEPTH tokens behind them, as arrays."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        long = [p for p in passages if len(p.tokens) > DEPTH]
        if not long:
            raise InvalidInput("There is too little text to train on.", hint="Ask for more tokens.")
        self.features = np.concatenate([p.features for p in long])
        self.tokens = np.concatenate([p.tokens for p in long])
        starts, at = [], 0
        for passage in long:
            starts.append(np.arange(at, at + len(passage.tokens) - DEPTH))
            at += len(passage.tokens)
        self.starts = np.concatenate(starts)


def import_torch() -> Any:
    """Return torch. Raises MissingExtra, which names the extra."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", "train") from error
    return torch


def fit(
    train: Windows,
    held_out: Windows,
    embeddings: Callable[[NDArray[np.int64]], Floats],
    head_rows: Floats,
    vocabulary: NDArray[np.int64],
    *,
    width: int,
    epochs: int,
    rate: float = 1e-3,
    seed: int = 0,
    seconds: float | None = None,
    progress: Callable[[float, float], None] = lambda share, loss: None,
) -> tuple[Heads, Agreement]:
    """Train for some epochs, or until `seconds` have passed; return the heads and what they reach.

    embeddings: rows of the embedding table for ids. head_rows: rows of the model's head for the
    reduced vocabulary, [reduced, hidden].
    """
    torch = import_torch()
    torch.manual_seed(seed)
    hidden = head_rows.shape[1]
    used, index = np.unique(np.concatenate([train.tokens, held_out.tokens]), return_inverse=True)
    table = torch.from_numpy(embeddings(used))
    head = torch.from_numpy(np.ascontiguousarray(head_rows))
    split = len(train.tokens)
    data = {
        "train": (torch.from_numpy(train.features), torch.from_numpy(index[:split])),
        "test": (torch.from_numpy(held_out.features), torch.from_numpy(index[split:])),
    }

    def matrix(rows: int, cols: int, scale: float) -> Any:
        return torch.nn.Parameter(torch.randn(rows, cols) * scale / math.sqrt(cols))

    inner = matrix(2 * width + hidden, 2 * hidden, 1.0)
    down = matrix(hidden, width, 0.5)
    spread = float(np.sqrt(np.mean(np.square(train.features[:4096].astype(np.float32)))))
    norms = [torch.nn.Parameter(torch.full((hidden,), scale)) for scale in (1.0, 1.0, spread)]
    with torch.no_grad():
        # To begin with, the next state is the present one.
        inner[2 * width :, :hidden] += torch.eye(hidden)
    parameters = [inner, down, *norms]

    def norm(x: Any, weight: Any) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPSILON) * weight

    def advance(features: Any, embedded: Any) -> Any:
        x = torch.cat([norm(features, norms[0]), norm(embedded, norms[1])], -1)
        gate, up, skip = torch.split(x @ inner.T, [width, width, hidden], -1)
        return norm(torch.nn.functional.silu(gate) * up @ down.T + skip, norms[2])

    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    features, tokens = data["train"]
    steps = max(1, epochs * len(train.starts) // _BATCH)
    random = np.random.default_rng(seed)
    began, running = time.monotonic(), 0.0
    share = 0.0
    order = random.permutation(train.starts)
    at = 0
    for step in range(steps):
        if seconds is not None:
            share = max(step / steps, (time.monotonic() - began) / seconds)
            if share >= 1:
                break
        else:
            share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        if at + _BATCH > len(order):
            order, at = random.permutation(train.starts), 0
        picked = torch.from_numpy(order[at : at + _BATCH])
        at += _BATCH
        with torch.autocast("cpu", torch.bfloat16):
            state = features[picked].float()
            loss: Any = 0.0
            for depth in range(DEPTH):
                embedded = table[tokens[picked + depth]]
                state = advance(state, embedded)
                target = features[picked + depth + 1].float()
                with torch.no_grad():
                    teacher = torch.log_softmax((target @ head.T).float(), -1)
                student = torch.log_softmax((state @ head.T).float(), -1)
                loss = loss + _WEIGHTS[depth] * (teacher.exp() * (teacher - student)).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running += 0.02 * (float(loss.detach()) - running) if step else float(loss.detach())
        progress(share, running)

    features, tokens = data["test"]
    right = np.zeros(DEPTH)
    seen = np.zeros(DEPTH)
    with torch.no_grad():
        for begin in range(0, len(held_out.starts), _BATCH):
            picked = torch.from_numpy(held_out.starts[begin : begin + _BATCH])
            state = features[picked].float()
            good = torch.ones(len(picked), dtype=torch.bool)
            for depth in range(DEPTH):
                state = advance(state, table[tokens[picked + depth]])
                teacher = (features[picked + depth + 1].float() @ head.T).argmax(-1)
                hit = (state @ head.T).argmax(-1) == teacher
                seen[depth] += int(good.sum())
                good &= hit
                right[depth] += int(good.sum())
    arrays = [p.detach().numpy().astype(np.float32) for p in parameters]
    heads = Heads(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], vocabulary)
    return heads, Agreement(
        int(seen[0]), tuple(float(r / max(1.0, s)) for r, s in zip(right, seen, strict=True))
    )
