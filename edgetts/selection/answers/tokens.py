"""Which tokens spell an answer; knows no tokenizer, only what each token added to the text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from edgetts.errors import InvalidInput


def answer_tokens(pieces: Sequence[str], span: tuple[int, int]) -> range:
    """Return the indices of the tokens that spell the characters from span[0] up to span[1] of a text.

    `pieces` is the text that each token added, in order. A token that overlaps the span belongs to it.
    One that added nothing (the first bytes of a character) belongs to the piece that follows it; at the end
    of the text, where none follows, to what is still missing, if the span reaches there. An empty
    span is spelled by no token.
    Errors: InvalidInput for a span that is negative or ends before it starts.
    """
    start, end = span
    if not 0 <= start <= end:
        raise InvalidInput(f"The span from {start} to {end} is none.")
    ends = [0, *accumulate(map(len, pieces))]
    if start == end:
        return range(0)
    # Token i spells the characters from the end of those before it, ends[i], to ends[i + 1].
    first = next((i for i in range(len(pieces)) if ends[i + 1] > start), None)
    if first is None:
        trailing = next(
            (i for i in range(len(pieces)) if ends[i + 1] == ends[-1] and not pieces[i]), len(pieces)
        )
        return range(trailing, len(pieces))
    while first > 0 and not pieces[first - 1] and ends[first] >= start:
        first -= 1
    if end > ends[-1]:
        return range(first, len(pieces))
    return range(first, next(i for i in range(len(pieces)) if ends[i + 1] >= end) + 1)
