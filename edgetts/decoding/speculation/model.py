"""Guess by a smaller model with the same vocabulary, such as the model itself with layers left out (Draft & Verify, 2023)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from edgetts.decoding.session import Branch, Features, Session
from edgetts.decoding.speculation.drafter import Proposal, Tail, stated_kind
from edgetts.errors import InvalidInput

# Guesses beyond this depth cost a pass of the smaller model each, and are seldom reached.
_DEEPEST = 8


class DraftModel:
    """A session that only guesses. It has one branch, and goes on from whatever that shares with what is asked.

    Serves all samples, one after the other; calls may come from any thread.
    """

    def __init__(self, session: Session, clock: Callable[[], float] = time.perf_counter) -> None:
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._branch: Branch | None = None
        self._read: list[int] = []
        self._last: tuple[int, float] | None = None
        self.cost = 0.0
        """Seconds of a guess: a running mean of what was measured, 0 before that."""

    @property
    def vocab(self) -> int:
        return self._session.info.vocab

    def guess(self, tokens: Sequence[int]) -> tuple[int, float] | None:
        """Return the likeliest token behind `tokens`, and how likely it finds it; None beyond its context."""
        with self._lock:
            if len(tokens) >= self._session.info.context:
                return None
            shared = next(
                (i for i, (a, b) in enumerate(zip(self._read, tokens, strict=False)) if a != b),
                min(len(self._read), len(tokens)),
            )
            if shared == len(tokens) == len(self._read) and self._last is not None:
                return self._last
            # The last token is read again where it is known already: its logits are not kept.
            shared = min(shared, len(tokens) - 1)
            began = self._clock()
            if self._branch is None or shared == 0:
                self._forget()
                self._branch, logits = self._session.prefill(tokens)
            else:
                if shared < len(self._read):
                    self._session.truncate(self._branch, shared)
                    del self._read[shared:]
                logits = self._session.extend(self._branch, tokens[shared:])[-1]
            if len(tokens) - shared == 1:
                seconds = self._clock() - began
                self.cost += (seconds - self.cost) * (0.1 if self.cost else 1.0)
            self._read = list(tokens)
            best = int(logits.argmax())
            exact = np.exp((logits - logits[best]).astype(np.float64))
            self._last = best, float(1.0 / exact.sum())
            return self._last

    def close(self) -> None:
        """Release the model."""
        with self._lock:
            self._session.close()
            self._branch, self._read, self._last = None, [], None

    def _forget(self) -> None:
        if self._branch is not None:
            self._session.free(self._branch)
        self._branch, self._read, self._last = None, [], None


class ModelDrafter:
    """Guess what a smaller model would go on with. One guess costs a pass of it."""

    name = "model"

    def __init__(self, model: DraftModel, prompt: Sequence[int]) -> None:
        self._model = model
        self._known = list(prompt)
        self._read = 0

    @property
    def cost(self) -> float:
        """Seconds of a guess now: tokens that came while it was not asked have to be read first."""
        return self._model.cost * max(1, len(self._known) - self._read)

    def propose(self, drafted: Sequence[int]) -> Proposal | None:
        if len(drafted) >= _DEEPEST:
            return None
        found = self._model.guess([*self._known, *drafted])
        if found is None:
            return None
        self._read = len(self._known)
        token, probability = found
        return Proposal(token, *stated_kind(self.name, len(drafted), probability))

    def accept(self, tokens: Sequence[int], features: Features | None, tail: Tail = ()) -> None:  # noqa: ARG002 - the protocol's
        self._known += tokens


def check_vocabularies(model: Session, draft: DraftModel) -> None:
    """Raise InvalidInput where a draft model cannot name the tokens of the model it drafts for."""
    if model.info.vocab != draft.vocab:
        raise InvalidInput(
            f"The draft model has {draft.vocab} tokens, and the model {model.info.vocab}.",
            hint="A draft model must have the vocabulary of the model it drafts for.",
        )
