"""Fit networks by gradient descent in torch (extra `train`).

The teacher is the model itself: the final hidden state it had, through the rows of its head that belong
to a reduced vocabulary. A recurrent student unrolls on its own states, as it will when it drafts (Hydra,
2024; EAGLE, 2024).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import MissingExtra
from edgetts.export.exits.guessers import Embeddings, Task
from edgetts.export.exits.network import EPSILON, Floats, Network
from edgetts.export.exits.states import States

_BATCH = 512
_WARM_UP = 100
# How much the deeper guesses of an unrolled draft count.
_WEIGHTS = (1.0, 0.6, 0.4)


def import_torch() -> Any:
    """Return torch. Raises MissingExtra, which names the extra."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", "train") from error
    return torch


def fit(
    task: Task,
    states: States,
    embeddings: Embeddings,
    head: Floats,
    *,
    width: int,
    seconds: float | None = None,
    epochs: int = 1000,
    rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Network:
    """Train a network of `width` until `seconds` have passed, or for some epochs.

    head: rows [reduced, hidden] of the model's head for the vocabulary that may be guessed.
    """
    torch = import_torch()
    student = _Student(torch, task, states, width, seed)
    used, index = np.unique(states.tokens, return_inverse=True)
    table = torch.from_numpy(embeddings(used)) if task.inputs == 2 else None
    tokens = torch.from_numpy(index)
    rows_of_head = torch.from_numpy(np.ascontiguousarray(head))
    source, features = task.source(states), states.features
    optimizer = torch.optim.AdamW(student.parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    rows = task.rows(states)
    steps = max(1, epochs * len(rows) // _BATCH)
    began, unrolled = time.monotonic(), task.ahead if task.kind == "recurrent" else 1
    for step, part in enumerate(_batches(rows, seed)):
        share = step / steps
        if seconds is not None:
            share = max(share, (time.monotonic() - began) / seconds)
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
        state = torch.from_numpy(source[part].astype(np.float32))
        loss: Any = 0.0
        with torch.autocast("cpu", torch.bfloat16):
            for depth in range(unrolled):
                inputs = [state] if table is None else [state, table[tokens[part + depth]]]
                state = student(*inputs)
                target = part + (depth + 1 if task.kind == "recurrent" else task.ahead)
                with torch.no_grad():
                    wanted = torch.from_numpy(features[target].astype(np.float32))
                    teacher = torch.log_softmax((wanted @ rows_of_head.T).float(), -1)
                guess = torch.log_softmax((state @ rows_of_head.T).float(), -1)
                loss = loss + _WEIGHTS[depth] * (teacher.exp() * (teacher - guess)).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters, 1.0)
        optimizer.step()
        progress(share)
    return student.network()


class _Student:
    """A network's weights as torch parameters, and its formula."""

    def __init__(self, torch: Any, task: Task, states: States, width: int, seed: int) -> None:
        torch.manual_seed(seed)
        self._torch = torch
        hidden = states.features.shape[1]
        spread = float(np.sqrt(np.mean(np.square(states.features[:4096].astype(np.float32)))))

        def matrix(rows: int, cols: int, scale: float) -> Any:
            return torch.nn.Parameter(torch.randn(rows, cols) * scale / math.sqrt(cols))

        self._width, self._hidden = width, hidden
        self._inner = matrix(2 * width + hidden, task.inputs * hidden, 1.0)
        self._down = matrix(hidden, width, 0.5)
        self._in = [torch.nn.Parameter(torch.ones(hidden)) for _ in range(task.inputs)]
        self._out = torch.nn.Parameter(torch.full((hidden,), spread))
        with torch.no_grad():
            # To begin with, the state guessed is the one given.
            self._inner[2 * width :, :hidden] += torch.eye(hidden)
        self.parameters = [self._inner, self._down, *self._in, self._out]

    def __call__(self, *inputs: Any) -> Any:
        torch = self._torch
        x = torch.cat([self._norm(x, weight) for x, weight in zip(inputs, self._in, strict=True)], -1)
        gate, up, skip = torch.split(x @ self._inner.T, [self._width, self._width, self._hidden], -1)
        return self._norm(torch.nn.functional.silu(gate) * up @ self._down.T + skip, self._out)

    def _norm(self, x: Any, weight: Any) -> Any:
        x = x.float()
        return x * self._torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight

    def network(self) -> Network:
        def array(parameter: Any) -> Floats:
            return np.asarray(parameter.detach().numpy(), np.float32)

        return Network(
            array(self._inner), array(self._down), tuple(array(p) for p in self._in), array(self._out)
        )


def _batches(rows: NDArray[np.intp], seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield shuffled rows for ever."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(rows)
        for at in range(0, max(1, len(order) - _BATCH + 1), _BATCH):
            yield order[at : at + _BATCH]
