"""Draw a model's own text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from edgetts.decoding.sampling import Sampler
from edgetts.decoding.session import Branch, Session
from edgetts.types import SamplingParams

WIDTH = 16
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Passage:
    """One sample: the tokens the model drew behind a prompt. index: of the prompt, in the order they were given."""

    index: int
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(slots=True)
class _Running:
    index: int
    prompt: tuple[int, ...]
    branch: Branch
    sampler: Sampler
    tokens: list[int] = field(default_factory=list)


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
                prompt = tuple(next(prompts))
                branch, logits = session.prefill(prompt)
                running.append(_Running(count, prompt, branch, Sampler(params, count)))
                running[-1].tokens.append(running[-1].sampler.draw(logits).token)
                count += 1
                drawn += 1
            for one in [r for r in running if _ended(r, session)]:
                running.remove(one)
                session.free(one.branch)
                done += len(one.tokens)
                progress(min(1.0, done / wanted))
                yield Passage(one.index, one.prompt, tuple(one.tokens))
            if not running:
                return
            logits = session.step([r.branch for r in running], [r.tokens[-1] for r in running])
            for one, row in zip(running, logits, strict=True):
                one.tokens.append(one.sampler.draw(row).token)
            drawn += len(running)
    finally:
        for one in running:
            session.free(one.branch)


def _ended(one: _Running, session: Session) -> bool:
    full = one.branch.length >= session.info.context
    return full or one.tokens[-1] in session.info.end_tokens or len(one.tokens) >= _LONGEST
