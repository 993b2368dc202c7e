"""Verify guesses behind a sample's last token in one pass: what is drawn from their logits decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.decoding.alone import Situation
from edgetts.decoding.session import Features
from edgetts.decoding.speculation.drafter import Drafter
from edgetts.decoding.speculation.speculator import Speculator
from edgetts.decoding.trace import TokenDrawn
from edgetts.types import LONGEST_DRAFT


@dataclass(slots=True)
class _State:
    """What is kept of a sample between its passes.

    known: tokens that its drafters were told of. features: the hidden state its last token was drawn
    from, where it was alone then; valid while it has `drawn` tokens.
    """

    drafters: Sequence[Drafter]
    known: int = 0
    features: Features | None = None
    drawn: int = -1


class SpeculativeDecoder:
    """See `edgetts.decoding.alone.Alone`. Serves the samples of one question."""

    def __init__(self, speculator: Speculator) -> None:
        self._speculator = speculator
        self._states: dict[int, _State] = {}

    @property
    def widest(self) -> int:
        return 1 + LONGEST_DRAFT

    def step(self, at: Situation) -> tuple[list[TokenDrawn], int]:
        speculator, session, trace = self._speculator, at.session, at.trace
        began = speculator.clock()
        state = self._states.get(trace.index)
        if state is None:
            state = self._states[trace.index] = _State(speculator.drafters(at.prompt, at.others))
        features = state.features if state.drawn == len(trace.tokens) else None
        for drafter in state.drafters:
            drafter.accept(trace.tokens[state.known :], features)
        state.known = len(trace.tokens)
        # The last token a limit allows is drawn, not guessed.
        draft = speculator.draft(state.drafters, at.room - 1)
        guesses, last, length = draft.tokens, trace.tokens[-1], at.branch.length
        logits = session.extend(at.branch, [last, *guesses]) if guesses else session.step([at.branch], [last])
        drawn: list[TokenDrawn] = []
        emitted: list[int] = []
        for row, guess in zip(logits, [*guesses, None], strict=True):
            one = trace.sampler.draw(row)
            emitted.append(one.token)
            drawn.append(at.take(one))
            if trace.finish is not None or one.token != guess:
                break
        if session.capabilities.hidden_states:
            state.features = session.features()[len(drawn) - 1].copy()
            state.drawn = len(trace.tokens)
        if len(drawn) <= len(guesses):
            session.truncate(at.branch, length + len(drawn))
        speculator.settle(draft, emitted, speculator.clock() - began)
        return drawn, 1 + len(guesses)
