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


def check_pairs(branches: Sequence[object], tokens: Sequence[int]) -> None:
    """Raise InvalidInput unless there is one token for each branch, and a branch at all."""
    if not branches or len(branches) != len(tokens):
        raise InvalidInput(f"A step takes one token for each branch, not {len(tokens)} for {len(branches)}.")


def check_apart(branches: Sequence[object]) -> None:
    """Raise InvalidInput for a branch that is there twice."""
    if len({id(branch) for branch in branches}) != len(branches):
        raise InvalidInput("A step takes each branch once.")


def check_fork(n: int) -> None:
    """Raise InvalidInput for a fork into no branch."""
    if n < 1:
        raise InvalidInput(f"A fork makes at least one branch, not {n}.")


def check_cut(length: int, wanted: int) -> None:
    """Raise InvalidInput for a length that a branch of `length` tokens cannot be cut to."""
    if not 0 <= wanted <= length:
        raise InvalidInput(f"A branch of {length} tokens cannot be cut to {wanted}.")
