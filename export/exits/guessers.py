"""What a guesser is trained to do: from which inputs, towards which states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.export.exits.network import Floats, Network
from edgetts.export.exits.states import States

DEPTH = 3
"""Tokens ahead that a recurrent guesser is unrolled for in training, and heads that guess in parallel."""
_CHUNK = 1024

Embeddings = Callable[[NDArray[np.int64]], Floats]


@dataclass(frozen=True, slots=True)
class Task:
    """Estimate a final hidden state, from which a token will be drawn.

    exit: that of a position, from its residual stream at `cut`. parallel: that of the position `ahead`,
    from the final state of this one. recurrent: that of the next position, from the final state of this
    one, or its own estimate of it, and the token drawn from it; unrolled `ahead` times.
    """

    kind: str
    cut: int
    ahead: int = 0

    @property
    def inputs(self) -> int:
        return 2 if self.kind == "recurrent" else 1

    def rows(self, states: States) -> NDArray[np.intp]:
        """Return the positions to begin at."""
        return states.starts(self.ahead)

    def source(self, states: States) -> NDArray[np.float16]:
        """Return what the first input is read from."""
        return states.streams[self.cut] if self.kind == "exit" else states.features


@dataclass(frozen=True, slots=True)
class Trial:
    """How guesses did at held-out positions, by tokens ahead: [n] stated probabilities, and whether right.

    Right is what the whole network finds most likely. At the second and later tokens only positions
    count at which the guesses before were right.
    """

    stated: tuple[Floats, ...]
    right: tuple[NDArray[np.bool_], ...]
    rows: NDArray[np.intp]

    @property
    def agreement(self) -> tuple[float, ...]:
        return tuple(float(right.mean()) if len(right) else 0.0 for right in self.right)

    @property
    def positions(self) -> int:
        return len(self.rows)


def try_out(
    task: Task,
    network: Network,
    states: States,
    embeddings: Embeddings,
    head: Floats,
    vocabulary: NDArray[np.int64],
) -> Trial:
    """Let a network guess at held-out positions. head: rows [reduced, hidden] of what can be guessed."""
    rows = task.rows(states)
    steps = task.ahead if task.kind == "recurrent" else 1
    stated: list[list[Floats]] = [[] for _ in range(steps)]
    right: list[list[NDArray[np.bool_]]] = [[] for _ in range(steps)]
    source = task.source(states)
    for at in range(0, len(rows), _CHUNK):
        part = rows[at : at + _CHUNK]
        state = source[part].astype(np.float32)
        alive = np.ones(len(part), bool)
        for step in range(steps):
            inputs = [state]
            if task.kind == "recurrent":
                inputs.append(embeddings(states.tokens[part + step]))
            state = network.apply(*inputs)
            logits = state @ head.T
            best = logits.argmax(axis=-1)
            target = part + (step + 1 if task.kind == "recurrent" else task.ahead)
            hit = vocabulary[best] == states.best[target]
            top = logits[np.arange(len(best)), best]
            probability = 1 / np.exp(logits - top[:, None]).sum(axis=-1)
            stated[step].append(probability[alive].astype(np.float32))
            right[step].append(hit[alive])
            alive &= hit
    return Trial(
        tuple(np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in stated),
        tuple(np.concatenate(parts) if parts else np.zeros(0, bool) for parts in right),
        rows,
    )


def tasks(cuts: Sequence[int], layers: int) -> list[Task]:
    """Return every guesser that a model with such cuts may have, the most useful first."""
    return [
        Task("recurrent", layers, DEPTH),
        *(Task("exit", cut) for cut in cuts),
        *(Task("parallel", layers, ahead) for ahead in range(1, DEPTH + 1)),
    ]
