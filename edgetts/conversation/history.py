"""What was said in a chat. Knows texts only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from edgetts.chat import Message
from edgetts.errors import InvalidInput
from edgetts.types import FinishReason


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user said, and what was answered, to the letter. Checked when made.

    finish_reason: why the answer ends; one that was stopped early is there as far as it came.
    """

    question: str
    answer: str
    finish_reason: FinishReason = "end"

    def __post_init__(self) -> None:
        check_text(self.question, "message")
        check_text(self.answer, "answer")
        if self.finish_reason not in get_args(FinishReason):
            raise InvalidInput(
                f"An answer has the finish reason {self.finish_reason!r}.",
                hint=f"There are {', '.join(get_args(FinishReason))}.",
            )

    @property
    def complete(self) -> bool:
        """Whether the model itself ended the answer."""
        return self.finish_reason in ("end", "stop")


@dataclass(frozen=True, slots=True)
class History:
    """The turns of a chat, oldest first. dropped: so many of the oldest are not shown to the model any more."""

    system: str | None = None
    turns: tuple[Turn, ...] = ()
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.system is not None:
            check_text(self.system, "system message")
        if not 0 <= self.dropped <= len(self.turns):
            raise InvalidInput(f"{self.dropped} of {len(self.turns)} turns cannot have been dropped.")

    @property
    def seen(self) -> tuple[Turn, ...]:
        """The turns that the model is shown."""
        return self.turns[self.dropped :]

    def messages(self, question: str | None = None) -> list[Message]:
        """Return what the model is shown: the system message, the turns, and what is asked now."""
        shown = [] if self.system is None else [Message("system", self.system)]
        for turn in self.seen:
            shown += [Message("user", turn.question), Message("assistant", turn.answer)]
        return shown if question is None else [*shown, Message("user", question)]

    def dropping(self, count: int) -> History:
        """Return the history with so many more of the oldest turns out of the model's sight."""
        return replace(self, dropped=self.dropped + count)

    def adding(self, turn: Turn) -> History:
        return replace(self, turns=(*self.turns, turn))


def check_text(text: object, what: str) -> None:
    """Refuse what no model can be told. Errors: InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput(f"The {what} is {type(text).__name__}, but it must be text.")
    if not text.strip() and what != "answer":
        raise InvalidInput(f"The {what} is empty.", hint="Say something.")
    # Bytes that are no UTF-8 arrive from consoles and from JSON as halves of characters.
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInput(f"The {what} is not UTF-8 text.")
