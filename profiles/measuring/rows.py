"""Branches to time passes of several widths on: made once, put back after every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from edgetts.decoding.session import Branch, Session

_GROWTH = 16


def made_up(session: Session, length: int) -> list[int]:
    """Return a prompt of that many tokens: any, as what they are does not change how long they take."""
    return [7919 * i % session.info.vocab for i in range(1, length + 1)]


class Rows:
    """The branches of one prompt. `step` runs a pass over the first so many of them, which leaves no trace.

    Where branches run one after the other, one is all there is, and a wider pass is one over a draft.

    Where a runtime can neither roll back nor fork, its one branch grows a little, and is read anew then.
    """

    def __init__(self, session: Session, past: int, most: int) -> None:
        self._session, self._past = session, past
        self._prompt, _ = session.prefill(made_up(session, past))
        self._kept: list[Branch] = []
        self._turn = 0
        able = session.capabilities
        if not able.fork:
            self._kept = [self._prompt]
        elif able.truncate:
            try:
                self._kept = session.fork(self._prompt, most if able.parallel else 1)
            except BaseException:
                session.free(self._prompt)
                raise

    def step(self, width: int, clock: Callable[[], float]) -> float:
        """Return the seconds of a pass over `width` branches, or tokens of one."""
        session = self._session
        if width > 1 and not session.capabilities.parallel:
            return self._extend(width, clock)
        branches: Sequence[Branch] = self._kept[:width] or session.fork(self._prompt, width)
        self._turn += 1
        tokens = [(31 * self._turn + row) % session.info.vocab for row in range(width)]
        try:
            began = clock()
            session.step(branches, tokens)
            return clock() - began
        finally:
            for branch in branches:
                self._put_back(branch)

    def _extend(self, width: int, clock: Callable[[], float]) -> float:
        [branch] = self._kept
        self._turn += 1
        tokens = [(31 * self._turn + at) % self._session.info.vocab for at in range(width)]
        try:
            began = clock()
            self._session.extend(branch, tokens)
            return clock() - began
        finally:
            self._put_back(branch)

    def close(self) -> None:
        for branch in {id(branch): branch for branch in (*self._kept, self._prompt)}.values():
            self._session.free(branch)
        self._kept = []

    def _put_back(self, branch: Branch) -> None:
        session = self._session
        if session.capabilities.truncate:
            session.truncate(branch, self._past)
        elif not self._kept:
            session.free(branch)
        elif branch.length >= min(self._past + _GROWTH, session.info.context):
            session.free(branch)
            self._prompt, _ = session.prefill(made_up(session, self._past))
            self._kept = [self._prompt]


@contextmanager
def rows_of(session: Session, past: int, most: int) -> Iterator[Rows]:
    """Read a made-up prompt of `past` tokens, and make branches for passes of up to `most`. Errors: OutOfMemory."""
    rows = Rows(session, past, most)
    try:
        yield rows
    finally:
        rows.close()
