"""Probe how much a token's logits depend on what else a pass computes.

Quantised kernels take other paths for other widths, so that the same token's logits differ a little;
where two tokens are nearly as likely, the first choice may flip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgetts.decoding.session import Branch, Logits, Session

_TOKENS = 96
_WIDTHS = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Invariance:
    """Logits of one kind of pass beside those of plain steps, over `positions` tokens.

    kind: "extend", tokens of one branch in one pass, or "step", branches side by side. largest: the
    greatest difference of a logit. flips: positions with another first choice; margin: by how much the
    plain step's first choice led its second at most where it flipped, 0 without flips.
    """

    kind: str
    width: int
    positions: int
    largest: float
    flips: int
    margin: float


def probe_invariance(
    session: Session, prompt: Sequence[int], tokens: int = _TOKENS, widths: Sequence[int] = _WIDTHS
) -> list[Invariance]:
    """Let the model go on from a prompt, greedily, and compute the same tokens in passes of other widths."""
    able = session.capabilities
    root, first = session.prefill(prompt)
    try:
        text, plain = _steps(session, root, first, min(tokens, session.info.context - len(prompt)))
        found: list[Invariance] = []
        one_pass = [width for width in widths if able.widest is None or width <= able.widest]
        for width in one_pass if able.extend and able.truncate else ():
            found.append(_compare("extend", width, plain, _extends(session, root, len(prompt), text, width)))
        for width in widths if able.parallel and able.fork and able.truncate else ():
            found.append(
                _compare("step", width, plain, _side_by_side(session, root, len(prompt), text, width))
            )
        return found
    finally:
        session.free(root)


def _steps(session: Session, root: Branch, first: Logits, count: int) -> tuple[list[int], Logits]:
    """Return greedy tokens, and the logits behind each of them, computed one by one."""
    text, rows = [int(first.argmax())], []
    for _ in range(count - 1):
        rows.append(session.step([root], [text[-1]])[0].copy())
        text.append(int(rows[-1].argmax()))
    return text[:-1], np.stack(rows)


def _extends(session: Session, root: Branch, begin: int, text: list[int], width: int) -> Iterator[Logits]:
    session.truncate(root, begin)
    for at in range(0, len(text), width):
        yield session.extend(root, text[at : at + width])


def _side_by_side(
    session: Session, root: Branch, begin: int, text: list[int], width: int
) -> Iterator[Logits]:
    session.truncate(root, begin)
    branches = session.fork(root, width)
    try:
        for token in text:
            yield session.step(branches, [token] * width)[-1:]
    finally:
        for branch in branches:
            session.free(branch)


def _compare(kind: str, width: int, plain: Logits, rows: Iterator[Logits]) -> Invariance:
    at, largest, flips, margin = 0, 0.0, 0, 0.0
    for part in rows:
        for row in part:
            reference = plain[at]
            largest = max(largest, float(np.abs(row - reference).max()))
            if row.argmax() != reference.argmax():
                flips += 1
                second, best = np.partition(reference, -2)[-2:]
                margin = max(margin, float(best - second))
            at += 1
    return Invariance(kind, width, at, largest, flips, margin)
