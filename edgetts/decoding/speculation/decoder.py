"""Verify guesses behind a sample's last token in one pass of the model, by the rule that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.decoding.alone import Situation
from edgetts.decoding.session import Branch, Features, Logits, Session
from edgetts.decoding.speculation.drafter import Drafter, Tail
from edgetts.decoding.speculation.speculator import Speculator, longest_draft
from edgetts.decoding.speculation.verification import RULES
from edgetts.decoding.trace import TokenDrawn
from edgetts.types import AcceptanceRule, Speculation


@dataclass(slots=True)
class _State:
    """What is kept of a sample between its passes.

    known: tokens that its drafters were told of. features: the hidden state its last token was drawn
    from, where it was alone then; valid while it has `drawn` tokens. tail: what the latest pass computed in
    vain.
    """

    drafters: Sequence[Drafter]
    known: int = 0
    features: Features | None = None
    drawn: int = -1
    tail: Tail = ()


class SpeculativeDecoder:
    """See `edgetts.decoding.alone.Alone`. Serves the samples of one question.

    acceptance: the rule by which guesses are verified, see `edgetts.decoding.speculation.verification`.
    """

    def __init__(self, speculator: Speculator, acceptance: AcceptanceRule = "exact") -> None:
        self._speculator = speculator
        self._verify = RULES[acceptance]
        self._states: dict[int, _State] = {}

    @property
    def widest(self) -> int:
        return 1 + self._speculator.longest

    def step(self, at: Situation) -> tuple[list[TokenDrawn], int]:
        speculator, session, trace = self._speculator, at.session, at.trace
        began = speculator.clock()
        state = self._states.get(trace.index)
        if state is None:
            state = self._states[trace.index] = _State(speculator.drafters(at))
        features = state.features if state.drawn == len(trace.tokens) else None
        for drafter in state.drafters:
            drafter.accept(trace.tokens[state.known :], features, state.tail)
        state.known = len(trace.tokens)
        last, length = trace.tokens[-1], at.branch.length
        # The last token a limit allows is drawn, not guessed.
        most = longest_draft(session.capabilities, usual=at.room - 1)
        draft = speculator.draft(state.drafters, most, trace.sampler.matcher)
        guesses = draft.tokens
        logits = _run(session, at.branch, length, [last, *guesses])
        drawn: list[TokenDrawn] = []
        emitted: list[int] = []
        # What breaks a constraint is held against the logits before it, which are there anyway.
        behind = draft.proposals[draft.verified] if draft.broken else None
        for row, proposal in zip(logits, [*draft.proposals[: draft.verified], behind], strict=True):
            sampler = trace.sampler
            one = sampler.draw(row) if proposal is None else self._verify(sampler, row, proposal)
            emitted.append(one.token)
            drawn.append(at.take(one))
            # Whatever the rule, a token equal to the guess is one whose successor this pass computed.
            if trace.finish is not None or proposal is None or one.token != proposal.token:
                break
        if session.capabilities.hidden_states:
            state.features = session.features()[len(drawn) - 1].copy()
            state.drawn = len(trace.tokens)
        state.tail = [(guesses[i - 1], int(logits[i].argmax())) for i in range(len(drawn), len(logits))]
        if len(drawn) <= len(guesses):
            session.truncate(at.branch, length + len(drawn))
        speculator.settle(draft, emitted, speculator.clock() - began)
        return drawn, 1 + len(guesses)

    def summary(self) -> Speculation | None:
        """Sum up all passes so far; None where there were none."""
        return self._speculator.summary()


def _run(session: Session, branch: Branch, length: int, tokens: list[int]) -> Logits:
    """Append tokens to a branch that had `length`, some of which its first layers may have seen; return their logits."""
    if branch.pending:
        if branch.length > length + len(tokens):
            session.truncate(branch, length + len(tokens))
        return session.complete(branch, tokens[branch.length - length :])
    return session.extend(branch, tokens) if len(tokens) > 1 else session.step([branch], tokens)
