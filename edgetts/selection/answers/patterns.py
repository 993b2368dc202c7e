"""Compile a user's regular expression, refusing one that could take exponential time; knows no answers.

Python's matcher backtracks and cannot be interrupted. A repeated group whose own length varies is what
makes it exponential, so that is refused, and the text searched is bounded. What remains grows as a
power of at most `REGEX_CHARS`: a pattern with many overlapping repeats is still slow.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edgetts.errors import InvalidInput

REGEX_CHARS = 4_096
"""A user's pattern is applied to this many last characters of a text."""
MAX_PATTERN_CHARS = 1_000

_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[:=!<P>\w']*|[()|*+?]|\{\d+(?:,\d*)?\}|\{,\d*\}|.", re.DOTALL
)

_ANNOTATED = re.compile(r"\(\?(?:#|[A-Za-z]*x)")


@lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile it; InvalidInput where Python cannot, or where matching could take exponential time."""
    if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
        raise InvalidInput(
            f"The regular expression has {len(pattern)} characters, not between 1 and {MAX_PATTERN_CHARS}."
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(
            f"The regular expression {pattern!r} is invalid: {error}.",
            hint="It must be one that Python's re module understands.",
        ) from error
    if _ANNOTATED.search(pattern):
        raise InvalidInput(
            f"The regular expression {pattern!r} has a comment or the verbose flag, which are not read here.",
            hint="Write it without (?#...) and (?x).",
        )
    if _repeats_varying_group(pattern):
        raise InvalidInput(
            f"The regular expression {pattern!r} repeats a group that itself holds a repeat or an "
            "alternative, which can take exponential time.",
            hint=r"Write it without the outer repeat: [\d,]+ instead of (\d+,?)+.",
        )
    return compiled


def _repeats_varying_group(pattern: str) -> bool:
    """Whether a group that can match in several ways at one place is repeated."""
    varies = [False]  # of each open group
    closed_varies = False  # of the group that ended just here
    for match in _TOKEN.finditer(pattern):
        item = match[0]
        counted = item[0] == "{" and len(item) > 1
        if closed_varies and (item in "*+" or counted):
            return True
        closed_varies = False
        if item[0] == "(":
            varies.append(False)
        elif item == ")":
            closed_varies = varies.pop()
            varies[-1] |= closed_varies
        elif item in "*+?|" or (counted and "," in item):
            varies[-1] = True
    return False
