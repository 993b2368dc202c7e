"""Guess from the residual stream at a cut: the first layers draft, the others verify (Kangaroo, 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgetts.decoding.early_exit.head import ExitHead, first_probability
from edgetts.decoding.session import Branch, Features, Session
from edgetts.decoding.speculation.drafter import Proposal, Tail, stated_kind

# Guesses beyond this depth cost a pass of the first layers each, and are seldom reached.
_DEEPEST = 4


class ExitDrafter:
    """Run the first layers over the sample's last token and over its own guesses; the branch keeps what they computed.

    Tokens it has advanced are pending in the branch, and what verifies completes them: no layer sees a
    token twice, whoever's guesses are verified in the end.
    """

    name = "exit"

    def __init__(
        self,
        session: Session,
        branch: Branch,
        head: ExitHead,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._session, self._branch, self._head = session, branch, head
        self._clock = clock
        self._last = -1
        self._begun: list[int] = []
        self._stream: Features | None = None
        self.cost = 0.0
        """Seconds of a guess beyond what verifying needs anyway, which is the last token's first layers."""

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        if self._last < 0 or len(drafted) >= _DEEPEST:
            return None
        inputs = [self._last, *drafted]
        if self._begun != inputs[: len(self._begun)]:
            # Somebody else's guesses took the place of this one's.
            pairs = enumerate(zip(self._begun, inputs, strict=False))
            kept = next((i for i, (begun, token) in pairs if begun != token), len(inputs))
            self._session.truncate(self._branch, self._branch.length - (len(self._begun) - kept))
            del self._begun[kept:]
            self._stream = None
        missing = inputs[len(self._begun) :]
        began = self._clock()
        if missing:
            needed = not self._begun
            streams = self._session.advance(self._branch, missing, self._head.cut)
            self._begun = inputs
            self._stream = streams[-1].copy()
            if needed and len(missing) == 1:
                began = self._clock()
        if self._stream is None:
            return None
        logits = self._head.read(self._stream)
        best, stated = int(logits.argmax()), first_probability(logits)
        self.cost += 0.1 * (self._clock() - began - self.cost)
        confidence = self._head.confidence(stated)
        kind, _ = stated_kind(self.name, len(drafted), confidence)
        return Proposal(int(self._head.vocabulary[best]), kind, confidence)

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:  # noqa: ARG002 - the protocol's
        # What was begun has been completed or taken back by whoever verified.
        self._begun, self._stream = [], None
        if tokens:
            self._last = tokens[-1]
