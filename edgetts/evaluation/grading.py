"""Say whether an answer found in a text is the reference; knows no task."""

from __future__ import annotations

from edgetts.selection.answers import same_answer


def matches(answer: str | None, raw: str | None, reference: str | None, format: str = "auto") -> bool:  # noqa: A002 - as in extract
    """Whether an answer is the reference, by its canonical form or as the text spells it (`raw`).

    The reference may be spelled in any way. Never for no answer, or no reference. Errors: InvalidInput for an
    unknown format.
    """
    if answer is None or reference is None:
        return False
    return any(same_answer(spelled, reference, format) for spelled in (raw, answer) if spelled)
