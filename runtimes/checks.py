"""What every runtime refuses alike, by what its session says of the model."""

from __future__ import annotations

from collections.abc import Sequence

from edgetts.decoding.session import SessionInfo
from edgetts.errors import InvalidInput, PromptTooLong


def check_tokens(info: SessionInfo, tokens: Sequence[int]) -> None:
    """Raise InvalidInput for no tokens, or an id outside the vocabulary."""
    if not tokens:
        raise InvalidInput("There are no tokens to run.")
    if min(tokens) < 0 or max(tokens) >= info.vocab:
        raise InvalidInput(f"A token id lies outside the vocabulary of {info.vocab}.")


def check_prompt(info: SessionInfo, length: int) -> None:
    """Raise PromptTooLong for a prompt that the context does not hold."""
    if length > info.context:
        raise PromptTooLong(
            f"The prompt has {length} tokens, but the model's context holds {info.context}.",
            hint="Shorten the prompt.",
        )


def check_room(info: SessionInfo, length: int) -> None:
    """Raise PromptTooLong for a branch that would outgrow the context."""
    if length > info.context:
        raise PromptTooLong(
            f"A branch would reach {length} tokens, but the model's context holds {info.context}."
        )
