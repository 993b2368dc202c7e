"""What of a chat fits the model's context, with room for an answer. Counts tokens; draws none."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgetts.chat import Message
from edgetts.conversation.history import History
from edgetts.errors import PromptTooLong

WhenFull = Literal["drop", "refuse"]
"""drop: the oldest turns, as many as it takes. refuse: what does not fit, so that nothing is forgotten."""
SLACK = 0.75
"""Share of the context that is filled at most after turns were dropped. What is dropped changes the prompt from its
beginning on, so that all of it is read anew: better seldom much than a little at every turn."""


@dataclass(frozen=True, slots=True)
class TurnsDropped:
    """The context was full: the model does not see the `count` turns any more that were the oldest it saw.

    tokens: of the prompt that is left, of a context of `context`.
    """

    count: int
    tokens: int
    context: int


def fit(
    history: History,
    question: str,
    count: Callable[[Sequence[Message]], int],
    *,
    context: int,
    room: int,
    when_full: WhenFull,
) -> tuple[History, TurnsDropped | None]:
    """Return the history that is shown to the model with a question, and what was dropped of it for that.

    count: tokens of messages as a prompt. room: tokens kept for the answer. The system message stays. Raises
    PromptTooLong where the question does not fit by itself, or turns had to be dropped that may not be.
    """
    tokens = count(history.messages(question))
    if tokens + room <= context:
        return history, None
    turns = len(history.seen)
    alone = tokens if not turns else count(history.dropping(turns).messages(question))
    if alone + room > context:
        with_system = "" if history.system is None else " with the system message"
        raise PromptTooLong(
            f"The message has {alone} tokens{with_system}, and {room} are kept for its answer, but the model's context "
            f"holds {context}.",
            hint="Shorten it.",
        )
    if when_full == "refuse":
        raise PromptTooLong(
            f"The context is full: the chat has {tokens} tokens with this message, and {room} are kept for its answer, "
            f"but the model's context holds {context}.",
            hint="Begin anew, or have the oldest turns dropped.",
        )

    def size(dropped: int) -> int:
        return count(history.dropping(dropped).messages(question))

    def fewest(limit: int) -> int:
        return bisect_left(range(turns), True, lo=1, key=lambda n: size(n) + room <= limit)

    # A question that takes most of the context itself leaves no slack: then what fits may stay.
    target = int(SLACK * context)
    dropped = fewest(target if alone + room <= target else context)
    kept = history.dropping(dropped)
    return kept, TurnsDropped(dropped, size(dropped), context)
