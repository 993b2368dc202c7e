"""Read an answer of a kind that is not declared; knows nothing of where it stood."""

from __future__ import annotations

from edgetts.selection.answers.algebra import plain_expression
from edgetts.selection.answers.choices import canonical_choice
from edgetts.selection.answers.found import AnswerKind
from edgetts.selection.answers.json_values import canonical_json
from edgetts.selection.answers.numbers import GROUPED_INTEGER, VULGAR_FRACTION, canonical_number
from edgetts.selection.answers.sets import braced_set
from edgetts.selection.answers.spelling import canonical_text
from edgetts.selection.answers.yes_no import plain_yes_no

__all__ = [
    "GROUPED_INTEGER",
    "VULGAR_FRACTION",
    "canonical",
    "canonical_choice",
    "canonical_number",
    "canonical_text",
]


def canonical(raw: str) -> tuple[AnswerKind, str] | None:
    """Read an answer as the first kind that it is unmistakably, else as text; None where nothing is left of it.

    In this order: a choice, a number, yes or no, a JSON object or array, a set in braces, an expression
    (where sympy is installed).
    """
    if choice := canonical_choice(raw):
        return "choice", choice
    if number := canonical_number(raw):
        return "number", number
    if answer := plain_yes_no(raw):
        return "yes-no", answer
    if raw.strip()[:1] in ("{", "[") and (value := canonical_json(raw)):
        return "json", value
    if elements := braced_set(raw):
        return "set", elements
    if expression := plain_expression(raw):
        return "expression", expression
    text = canonical_text(raw)
    return ("text", text) if text else None
