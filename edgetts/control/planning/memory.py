"""What the caches of a plan take, and how long samples may get in what memory there is. Knows sizes, no sessions."""

from __future__ import annotations

# Rows of the cache grow ahead of need by this many tokens.
_SLACK = 320


def cache_tokens(prompt: int, samples: int, branches: int, cap: int, whole: int = 0) -> int:
    """Return the tokens that caches hold at most, while `branches` of `samples` run side by side.

    A lone sample takes the prompt's own branch; with more, that one stays until the last sample has started.
    whole: tokens whose cache every branch takes from the start, where it does not grow.
    """
    if whole:
        return whole if samples == 1 else whole * (1 + branches)
    fixed = prompt + _SLACK
    return fixed + cap if samples == 1 else fixed + branches * (fixed + cap)


def longest_cap(tokens: int, prompt: int, samples: int, branches: int, whole: int = 0) -> int:
    """Return the tokens one sample may have where caches may hold `tokens` in all; below 1 it does not fit."""
    if whole:
        return whole - prompt if cache_tokens(prompt, samples, branches, 0, whole) <= tokens else 0
    fixed = prompt + _SLACK
    return tokens - fixed if samples == 1 else (tokens - fixed) // branches - fixed
