"""Draw a model's own text and keep the hidden states it was drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Session
from edgetts.types import SamplingParams

WIDTH = 16
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Passage:
    """One sample: tokens[i] was drawn from features[i]; float16 [n, hidden] and int64 [n].

    index: of its prompt.
    """

    index: int
    features: NDArray[np.float16]
    tokens: NDArray[np.int64]


@dataclass(slots=True)
class _Running:
    index: int
    branch: Branch
    sampler: Sampler
    features: list[NDArray[np.float16]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def passage(self) -> Passage:
        return Passage(self.index, np.stack(self.features), np.asarray(self.tokens, np.int64))


def draw_passages(
    session: Session,
    prompts: Iterator[Sequence[int]],
    wanted: int,
    *,
    temperature: float,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Iterator[Passage]:
    """Yield samples, one a prompt, until `wanted` tokens are drawn; several run side by side."""
    running: list[_Running] = []
    drawn = done = count = 0
    params = SamplingParams(temperature=temperature, seed=seed)
    try:
        while done < wanted:
            while len(running) < WIDTH and drawn < wanted:
                branch, logits = session.prefill(next(prompts))
                one = _Running(count, branch, Sampler(params, count))
                running.append(one)
                count += 1
                drawn += _draw(one, logits, session.features()[0])
            for one in [r for r in running if _ended(r, session)]:
                running.remove(one)
                session.free(one.branch)
                done += len(one.tokens)
                progress(min(1.0, done / wanted))
                yield one.passage()
            if not running:
                return
            logits = session.step([r.branch for r in running], [r.tokens[-1] for r in running])
            features = session.features()
            for one, row, feature in zip(running, logits, features, strict=True):
                drawn += _draw(one, row, feature)
    finally:
        for one in running:
            session.free(one.branch)


def _ended(one: _Running, session: Session) -> bool:
    full = one.branch.length >= session.info.context
    return full or one.tokens[-1] in session.info.end_tokens or len(one.tokens) >= _LONGEST


def _draw(one: _Running, logits: NDArray[np.float32], features: NDArray[np.float32]) -> int:
    one.features.append(features.astype(np.float16))
    one.tokens.append(one.sampler.draw(logits).token)
    return 1
