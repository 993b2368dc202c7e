"""Run works at a session, and write down what branches hold: what one turn does. Knows no threads and no ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from edgetts.decoding.session import Cancelled, Features, Session
from edgetts.errors import InvalidInput, OutOfMemory, RuntimeFailure
from edgetts.scheduling.prefixes import Held, Prefixes, longest
from edgetts.scheduling.work import Lone, Reading, Step, Work

if TYPE_CHECKING:
    from edgetts.scheduling.seat import Seat

_Result = TypeVar("_Result")


class Passes:
    """The passes of one session. seats: those who are there now. kept_bytes: of branches for questions that begin alike."""

    def __init__(self, session: Session, kept_bytes: int, seats: Callable[[], Iterable[Seat]]) -> None:
        self.branches = threading.RLock()
        """Held while branches are forked, cut or freed, and while one is looked for that begins alike."""
        self.prefixes = Prefixes(session, kept_bytes)
        self.passes = self.rows = self.widest = self.read = self.cached = 0
        """Passes over steps or lone ones; tokens drawn for by steps; the most of one pass; tokens of prompts."""
        self._session = session
        self._seats = seats

    def run(self, works: Sequence[Work], chunk: int) -> list[Work]:
        """Run the works of one turn, of a prompt `chunk` tokens at most; return those that went well. The others are finished."""
        match works[0]:
            case Step():
                return self._steps([work for work in works if isinstance(work, Step)])
            case Lone() as lone:
                return self._lone(lone)
            case Reading() as reading:
                return self._chunk(reading, chunk)
        raise AssertionError("there is no other work")

    def known(self, tokens: Sequence[int]) -> int:
        """Return how many first tokens of a prompt need not be read."""
        with self.branches:
            found = longest(tokens, self._candidates(), cuts=self._session.capabilities.truncate)
        return 0 if found is None else found[1]

    def fail(self, work: Work, error: BaseException) -> None:
        """Finish work that went wrong: what its branches have of it all the same is written down."""
        with self.branches:
            _note(work)
        work.finish(error)

    def _steps(self, works: Sequence[Step]) -> list[Work]:
        session = self._session
        branches = [branch for work in works for branch in work.branches]
        tokens = [token for work in works for token in work.tokens]
        try:
            logits = self.roomy(lambda: session.step(branches, tokens))
            features = self._features()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            if len(works) > 1:
                # Only those fail that fail by themselves.
                return [served for work in works for served in self._steps([work])]
            self.fail(works[0], error)
            return []
        at = 0
        with self.branches:
            for work in works:
                end = at + len(work.branches)
                # Copies: the next pass may write where these lie before their seat has drawn from them.
                work.logits = logits[at:end].copy()
                work.features = None if features is None else features[at:end]
                _note(work)
                at = end
        self.passes += 1
        self.rows += len(branches)
        self.widest = max(self.widest, len(branches))
        return list(works)

    def _lone(self, work: Lone) -> list[Work]:
        try:
            work.logits = self.roomy(work.call).copy()
            work.features = self._features()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self.fail(work, error)
            return []
        with self.branches:
            _note(work)
        self.passes += 1
        return [work]

    def _chunk(self, work: Reading, chunk: int) -> list[Work]:
        """Read the next chunk of a prompt."""
        session, cancel = self._session, work.cancel
        try:
            if cancel is not None and cancel.requested:
                raise Cancelled
            if work.branch is None and not work.read:
                self._reuse(work)
            left = len(work.tokens) - work.read
            # Evenly, so that the last chunk is no crumb.
            size = -(-left // -(-left // chunk)) if left else 0
            part = work.tokens[work.read : work.read + size]
            if work.branch is None:
                work.branch, work.logits = self.roomy(lambda: session.prefill(part, cancel))
                with self.branches:
                    work.seat.held[id(work.branch)] = Held(work.branch, list(part))
            else:
                branch = work.branch
                work.logits = self.roomy(lambda: session.read(branch, part, cancel))
                with self.branches:
                    _note(work)
            work.read += len(part)
            self.read += len(part)
            work.features = self._features()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            self.fail(work, error)
            return []
        return [work]

    def _features(self) -> Features | None:
        """Return a copy of the hidden states of the latest pass; None where there are none."""
        if not self._session.capabilities.hidden_states:
            return None
        try:
            features: Features = self._session.features().copy()
        except InvalidInput:  # a pass that stopped at a cut
            return None
        return features

    def _reuse(self, work: Reading) -> None:
        """Begin a prompt with a copy of what another branch has read of it."""
        able = self._session.capabilities
        if not self.prefixes.limit or not able.fork:
            return
        with self.branches:
            found = longest(work.tokens, self._candidates(), cuts=able.truncate)
            if found is None:
                return
            held, shared = found
            try:
                [branch] = self._session.fork(held.branch, 1)
            except RuntimeFailure:  # no memory for a copy: it is read anew
                return
            work.branch = branch
            if shared < branch.length:
                self._session.truncate(branch, shared)
            work.read = work.cached = shared
            work.seat.held[id(branch)] = Held(branch, list(work.tokens[:shared]))
            self.prefixes.touch(held)
        self.cached += shared

    def _candidates(self) -> list[Held]:
        return [*self.prefixes.held, *(held for seat in self._seats() for held in seat.held.values())]

    def roomy(self, call: Callable[[], _Result]) -> _Result:
        """Call the session; where it has no memory left, once more without what is kept for later."""
        try:
            return call()
        except OutOfMemory:
            if not self.spare():
                raise
        return call()

    def spare(self) -> bool:
        """Free what is kept for questions to come; return whether that was anything."""
        with self.branches:
            found = bool(self.prefixes.held)
            self.prefixes.shrink(0)
            for seat in self._seats():
                found |= seat.give_spare()
        return found

    def shrink(self, nbytes: int) -> None:
        with self.branches:
            self.prefixes.shrink(min(self.prefixes.limit, max(0, nbytes)))


def _note(work: Work) -> None:
    """Write down what branches hold now of what work appended to them, some of it where it went wrong."""
    for branch, tokens in work.running:
        held = work.seat.held.get(id(branch))
        if held is not None:
            held.tokens.extend(tokens[: max(0, branch.length - len(held.tokens))])
