"""A place at a shared session: the Session contract for one question, whose passes others share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Capabilities,
    Features,
    Logits,
    Session,
    SessionInfo,
)
from edgetts.errors import InvalidInput, Unsupported
from edgetts.scheduling.prefixes import Held
from edgetts.scheduling.work import Lone, Reading, Step

if TYPE_CHECKING:
    from edgetts.scheduling.scheduler import Scheduler


class Seat:
    """See `edgetts.decoding.session.Session`. Used by one thread at a time; its branches are seen by it alone.

    foreground: its work goes before that of the others. Close it, or use it in a with statement: what it holds is
    freed, but for a branch that may be of use to a question that begins alike.
    """

    def __init__(self, scheduler: Scheduler, session: Session, *, foreground: bool) -> None:
        self.foreground = foreground
        self.cached = 0
        """Tokens of prompts that were there already."""
        self.cancel: Cancellation | None = None
        """Takes passes over branches out of line when it is requested: they raise Cancelled. Those under way end."""
        self.shared = False
        """Whether others were at the session while it was: then its times say nothing of passes alone."""
        self.thinks = 0.0
        """Seconds that it takes of late between what a pass gave it and its next call."""
        self.served = 0.0
        """When a pass gave it something last."""
        self.steps = True
        """Whether its last pass was one that others can share, or leads to such."""
        self.held: dict[int, Held] = {}
        """Its branches and what they hold, by identity. Changed under the scheduler's lock of branches."""
        self._scheduler = scheduler
        self._session = session
        self._features: Features | None = None
        self._spare: Held | None = None
        self._closed = False

    @property
    def info(self) -> SessionInfo:
        return self._session.info

    @property
    def capabilities(self) -> Capabilities:
        return self._session.capabilities

    @property
    def crowded(self) -> bool:
        """Whether others step at the same time, so that a pass is better shared than spent on guesses."""
        return self.capabilities.parallel and self._scheduler.crowded(self)

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        work = Reading(self, tokens=tokens, cancel=cancel, owned=True)
        logits = self._done(work, cancel)
        assert work.branch is not None  # noqa: S101 - a reading that succeeds has one
        self.cached += work.cached
        return work.branch, logits

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        self._own(branch)
        return self._done(Reading(self, tokens=tokens, cancel=cancel, branch=branch), cancel)

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        held = self._own(branch)
        with self._scheduler.passes.branches:
            children = self._scheduler.passes.roomy(lambda: self._session.fork(branch, n))
            for child in children:
                self.held[id(child)] = Held(child, held.tokens.copy())
        return children

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        for branch in branches:
            self._own(branch)
        return self._done(Step(self, branches=branches, tokens=tokens), self.cancel)

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        return self._alone(branch, tokens, lambda: self._session.extend(branch, tokens))

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        return self._alone(branch, tokens, lambda: self._session.advance(branch, tokens, cut))

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        return self._alone(branch, tokens, lambda: self._session.complete(branch, tokens))

    def features(self) -> Features:
        if not self.capabilities.hidden_states:
            raise Unsupported("This session cannot return hidden states.")
        if self._features is None:
            raise InvalidInput("This thread has computed nothing yet.")
        return self._features

    def truncate(self, branch: Branch, length: int) -> None:
        held = self._own(branch)
        with self._scheduler.passes.branches:
            self._session.truncate(branch, length)
            self.held[id(branch)] = Held(branch, held.tokens[:length])

    def free(self, branch: Branch) -> None:
        held = self._own(branch)
        with self._scheduler.passes.branches:
            del self.held[id(branch)]
            spare = self._spare
            if not self._scheduler.keeps or branch.pending or self._closed:
                self._session.free(branch)
            elif spare is None or len(held.tokens) >= len(spare.tokens):
                # Of all that it had, the longest may be asked to go on.
                self._spare = held
                if spare is not None:
                    self._session.free(spare.branch)
            else:
                self._session.free(branch)

    def close(self) -> None:
        """Give the seat up: free its branches, keeping one for others. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._scheduler.passes.branches:
            spare, self._spare = self._spare, None
        self._scheduler.leave(self, spare)

    def give_spare(self) -> bool:
        """Free the branch that is kept for others; return whether there was one. Under the scheduler's lock of branches."""
        if self._spare is None:
            return False
        spare, self._spare = self._spare, None
        self._session.free(spare.branch)
        return True

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alone(self, branch: Branch, tokens: Sequence[int], call: Callable[[], Logits]) -> Logits:
        self._own(branch)
        return self._done(Lone(self, branch=branch, tokens=tokens, call=call), self.cancel)

    def _done(self, work: Step | Lone | Reading, cancel: Cancellation | None = None) -> Logits:
        self._scheduler.run(work, cancel)
        self._features = work.features
        assert work.logits is not None  # noqa: S101 - what raised nothing has them
        return work.logits

    def _own(self, branch: Branch) -> Held:
        held = self.held.get(id(branch))
        if held is None or held.branch is not branch:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return held
