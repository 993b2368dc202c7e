"""Choose how a sample that runs alone comes to its tokens: plainly, by drafts, or leaving the network early.

Knows a session and its guessers, and keeps what speculation learns from one answer for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from edgetts.decoding.alone import Situation
from edgetts.decoding.early_exit import CRITERIA, EarlyExitDecoder, make_criterion
from edgetts.decoding.early_exit.decoder import MOST_PENDING
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.session import Session
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    DraftModel,
    ExitDrafter,
    ModelDrafter,
    NgramDrafter,
    ParallelDrafter,
    PassCosts,
    RecurrentDrafter,
    SpeculativeDecoder,
    Speculator,
    longest_draft,
)
from edgetts.errors import InvalidInput, Unsupported
from edgetts.types import LONGEST_DRAFT, AcceptanceRule, DecodeParams, LeaveEarly, LeavingNote

DRAFTERS = (
    NgramDrafter.name,
    RecurrentDrafter.name,
    ParallelDrafter.name,
    ExitDrafter.name,
    ModelDrafter.name,
)
"""Everyone who may guess, by name; those to be asked first come first."""
# Guesses verified in a pass where the caller wants speculation and names no length.
_FORCED_LENGTH = 4


class LoneDecoding:
    """Makes an `Alone` for each answer. `curve`: seconds of a pass by its width, as far as is known."""

    def __init__(
        self,
        session: Session,
        guessers: Guessers | None,
        curve: Callable[[int], float],
        clock: Callable[[], float],
        draft_model: DraftModel | None = None,
    ) -> None:
        self._session = session
        self._guessers = guessers
        self._draft_model = draft_model
        # Rules accept unequally often.
        self._acceptance = {rule: Acceptance() for rule in get_args(AcceptanceRule)}
        self._costs = PassCosts(curve)
        self._clock = clock

    @property
    def guess_rate(self) -> float:
        """How often the guesses of whoever guesses best have been right of late, by the exact rule."""
        return max(self._acceptance["exact"].typical(name) for name in self.drafters)

    @property
    def drafters(self) -> tuple[str, ...]:
        """Who may guess at coming tokens of this model."""
        kinds = self._guessers.kinds if self._guessers is not None else frozenset()
        there = {NgramDrafter.name, *kinds} - (set() if self._cut is not None else {ExitDrafter.name})
        there |= set() if self._draft_model is None else {ModelDrafter.name}
        return tuple(name for name in DRAFTERS if name in there)

    def make(self, decode: DecodeParams) -> SpeculativeDecoder | EarlyExitDecoder | None:
        """Return what decodes one answer's lone samples; None decodes them plainly.

        Raises InvalidInput for what the model has not got, Unsupported for what its session cannot do.
        """
        if decode.early_exit is not None:
            return self._early(decode.early_exit)
        can = self._session.capabilities
        wanted = self._wanted(decode.drafters)
        always = decode.mode == "speculative"
        longest = 0
        if decode.mode != "plain":
            usual = _FORCED_LENGTH if always else LONGEST_DRAFT
            longest = longest_draft(can, decode.length, usual)
        able = can.extend and can.truncate and can.widest != 1
        if decode.mode == "speculative" and not able:
            raise Unsupported(
                f"The {self._session.info.runtime} runtime cannot verify drafts.",
                hint="Decode with mode plain.",
            )
        if decode.mode == "plain" or not able or not wanted:
            return None
        speculator = Speculator(
            lambda at: [self._drafter(name, at, decode.acceptance) for name in wanted],
            self._acceptance[decode.acceptance],
            self._costs,
            longest=longest,
            always=always,
            clock=self._clock,
        )
        return SpeculativeDecoder(speculator, decode.acceptance)

    def close(self) -> None:
        """Let go of the guessers."""
        self._guessers = None

    def _wanted(self, named: tuple[str, ...] | None) -> list[str]:
        """Return who is to guess, the cheapest first."""
        there = self.drafters
        if named is None:
            # A recurrent network sees what parallel heads do not; first layers cost more than either.
            best = RecurrentDrafter.name if RecurrentDrafter.name in there else ParallelDrafter.name
            return [name for name in there if name in (NgramDrafter.name, best, ModelDrafter.name)]
        if unknown := sorted(set(named) - set(DRAFTERS)):
            raise InvalidInput(
                f"There is no drafter {', '.join(unknown)}.", hint=f"There are: {', '.join(DRAFTERS)}."
            )
        if missing := [name for name in named if name not in there]:
            kinds = self._guessers.kinds if self._guessers is not None else frozenset()
            if ExitDrafter.name in missing and ExitDrafter.name in kinds:
                raise InvalidInput(
                    "The model was opened whole, so that its first layers cannot guess.",
                    hint="Open it in segments: edgetts.load(..., by_segment=True).",
                )
            if ModelDrafter.name in missing:
                raise InvalidInput(
                    "No draft model was given.", hint="Load with one: edgetts.load(..., draft_model=FILE)."
                )
            raise InvalidInput(
                f"This model has no {missing[0]} guesser.", hint="Train one with: edgetts exits train MODEL"
            )
        return [name for name in DRAFTERS if name in named]

    def _drafter(self, name: str, at: Situation, rule: AcceptanceRule) -> Drafter:
        if name == NgramDrafter.name:
            return NgramDrafter(at.prompt, at.others)
        if name == ModelDrafter.name and self._draft_model is not None:
            return ModelDrafter(self._draft_model, at.prompt)
        guessers = self._guessers
        if guessers is None:  # the others were there when the answer began
            raise InvalidInput("The engine is closed.", hint="Load the model again.")
        if name == ParallelDrafter.name and (parallel := guessers.parallel) is not None:
            return ParallelDrafter(parallel, self._clock)
        if (
            name == ExitDrafter.name
            and self._cut is not None
            and (head := guessers.exit(self._cut)) is not None
        ):
            return ExitDrafter(at.session, at.branch, head, self._clock)
        recurrent = guessers.recurrent
        assert recurrent is not None  # noqa: S101 - likewise
        heat = at.trace.sampler.temperature if rule == "rejection" else 0.0
        return RecurrentDrafter(recurrent, self._clock, heat=heat or None, seed=(at.trace.index,))

    @property
    def _cut(self) -> int | None:
        """Where drafting by the first layers stops: the cut whose head is right most often for the layers it takes."""
        able = self._session.capabilities.exits
        found = {} if self._guessers is None else self._guessers.exits
        there = [cut for cut in found if cut in able]
        depth = self._session.info.layers
        return max(there, key=lambda cut: found[cut] * (1 - cut / depth), default=None)

    def _early(self, want: LeaveEarly) -> EarlyExitDecoder:
        guessers, able = self._guessers, self._session.capabilities.exits
        if guessers is None or not guessers.exits:
            raise InvalidInput("This model has no exits.", hint="Train some with: edgetts exits train MODEL")
        if not able:
            raise InvalidInput(
                "The model was opened whole, so that no token can leave it early.",
                hint="Open it in segments: edgetts.load(..., by_segment=True).",
            )
        if want.criterion not in CRITERIA:
            make_criterion(want.criterion, 0.0)  # says so
        if want.strictness is None:
            row = _least_depth(guessers.leaving, want)
            criterion, cuts = make_criterion(row.criterion, row.strictness), row.cuts
        else:
            criterion, cuts = make_criterion(want.criterion, want.strictness), tuple(guessers.exits)
        heads = [guessers.exit(cut) for cut in cuts if cut in able]
        most = MOST_PENDING
        if (widest := self._session.capabilities.widest) is not None:
            # With the token that goes on, as many as one pass over the late layers takes.
            most = max(1, min(most, widest - 1))
        return EarlyExitDecoder([head for head in heads if head is not None], criterion, most_pending=most)


def _least_depth(rows: Sequence[LeavingNote], want: LeaveEarly) -> LeavingNote:
    """Return what runs fewest layers of what kept the agreement on both halves of the held-out text."""
    rows = [row for row in rows if row.criterion == want.criterion and row.depth < 1]
    kept = [row for row in rows if min(row.agreement) >= (want.agreement or 0.0)]
    if not kept:
        best = max((min(row.agreement) for row in rows), default=0.0)
        raise InvalidInput(
            f"No exit of this model keeps {want.agreement:.1%} of the tokens by {want.criterion}: "
            f"{best:.1%} is the most that was measured.",
            hint="Ask for less, or see: edgetts exits show MODEL",
        )
    return min(kept, key=lambda row: row.depth)
