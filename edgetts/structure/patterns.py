"""How large a regular expression becomes when its counted repetitions are written out. Compiles nothing."""

from __future__ import annotations

import re

from edgetts.errors import InvalidInput

LONGEST = 5_000
"""Characters of one pattern at most."""
LARGEST = 10_000
"""Pieces that one pattern may stand for once its repetitions are written out: (a{100}){100} is just that."""

_PIECE = re.compile(
    r"\\[pPux]\{[^}]*\}|\\.|\[(?:\\.|\[[^\]]*\]|[^\]\\])(?:\\.|\[:[^\]]*:\]|[^\]\\])*\]|\(\?[^:)(]*[:>]?|.",
    re.S,
)
_COUNT = re.compile(r"\{(\d+),?(\d*)\}")


def check_pattern(pattern: str, where: str) -> int:
    """Return how many pieces a pattern stands for. Raises InvalidInput where it is too long or too large.

    where: what the pattern is, for the message. Other mistakes in it are left to the compiler.
    """
    if len(pattern) > LONGEST:
        raise InvalidInput(
            f"{where} has {len(pattern)} characters, but {LONGEST} is the most.", hint="Write a shorter one."
        )
    size = _written_out(pattern)
    if size > LARGEST:
        raise InvalidInput(
            f"{where} is too large: with its repetitions written out it has more than {LARGEST} pieces.",
            hint="Repeat less: nested counts such as (a{100}){1000} multiply.",
        )
    return size


def _written_out(pattern: str) -> int:
    # Totals of the groups that are open, and the size of the piece that a count would repeat.
    open_groups, total, last, at = [], 0, 0, 0
    while at < len(pattern):
        count = _COUNT.match(pattern, at)
        if count and last:
            low, high = count.groups()
            times = max(int(low), int(high or 0), 1) if len(count.group()) < 32 else LARGEST + 1
            total += last * (times - 1)
            last *= times
            at = count.end()
            continue
        piece = _PIECE.match(pattern, at)
        text = piece.group() if piece else pattern[at]
        at += len(text)
        if text.startswith("("):
            open_groups.append(total)
            total = last = 0
        elif text == ")" and open_groups:
            last, total = max(total, 1), open_groups.pop() + max(total, 1)
        elif text not in ("|", "*", "+", "?"):
            last, total = 1, total + 1
        if total > LARGEST:
            break
    return total
