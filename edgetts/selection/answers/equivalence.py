"""Which answers are the same, so that votes are counted by class; knows nothing of how often each was given.

Equal canonical forms are the same. So are, beyond that: numbers with their units (5 km and 5000 m),
expressions of equal value, and free texts that are similar enough.

A unit parts two numbers only where both carry one that is known: "5", "5 km" and "5 customers" are one
answer, "5 km" and "5 m" are two. A bare 5 among both belongs to neither, and stays an answer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TypeAlias

from edgetts.selection.answers.algebra import canonical_expression, has_algebra
from edgetts.selection.answers.choices import canonical_choice
from edgetts.selection.answers.clusters import clusters
from edgetts.selection.answers.code_blocks import canonical_code
from edgetts.selection.answers.extraction import extract, read_whole
from edgetts.selection.answers.format import AnswerFormat
from edgetts.selection.answers.found import AnswerKind, Extracted
from edgetts.selection.answers.json_values import canonical_json
from edgetts.selection.answers.numbers import read_number
from edgetts.selection.answers.sets import canonical_set
from edgetts.selection.answers.spelling import canonical_text
from edgetts.selection.answers.units import in_base, unit_named
from edgetts.selection.answers.values import same_expressions
from edgetts.selection.answers.yes_no import canonical_yes_no

MAX_EXPRESSIONS = 128
"""Different expressions whose values are compared; what more there are is the same only as its own form."""

_Key = tuple[str, str]
"""A canonical form and a unit."""
_Place: TypeAlias = "tuple[str, Fraction | str]"
"""A dimension and how much of it; or a unit and a number too long to convert."""


def classes(found: Sequence[Extracted | None], format: AnswerFormat | str = "auto") -> list[str | None]:  # noqa: A002  # as in extract
    """Name the class of each answer: the same name for answers that are the same, None for none.

    The name is the shortest canonical form in the class, first by alphabet, with its unit where that is
    what tells it from another class. It depends on which answers there are, not on their order or number.
    Only the format "text" compares by similarity (see `clusters`); a short text that `auto` finds is
    compared as it is spelled, since there one other word is another answer.
    Errors: InvalidInput for an unknown format.
    """
    form = AnswerFormat.parse(format) if isinstance(format, str) else format
    if form.name == "text":
        return _named_by_similarity(found)
    names = _expression_names({one.canonical for one in found if one}, _kinds(found))
    keys: list[_Key | None] = [
        (names[one.canonical], one.unit if one.kind == "number" else "") if one else None for one in found
    ]
    with_units = _unit_names({key for key in keys if key is not None})
    return [None if key is None else with_units[key] for key in keys]


def read_answer(raw: str, format: AnswerFormat | str = "auto") -> Extracted | None:  # noqa: A002  # as in extract
    """Read a spelling that is an answer and nothing else ("B", "3/4", a reference); None where it is none.

    Errors: InvalidInput for an unknown format.
    """
    form = AnswerFormat.parse(format) if isinstance(format, str) else format
    span = (0, len(raw))
    if form.name in ("auto", "boxed", "regex"):
        return read_whole(raw, span)
    if form.name == "number":
        number = read_number(raw, form.option)
        return Extracted(number.value, raw, "number", span, unit=number.unit) if number else None
    if form.name == "none":
        return None
    reader, kind = _readers(form)[form.name]
    canonical = reader(raw)
    return Extracted(canonical, raw, kind, span) if canonical else None


def same_answer(
    found: Extracted | str | None,
    truth: str,
    format: AnswerFormat | str = "auto",  # noqa: A002  # as in extract
) -> bool:
    """Whether an answer is the reference, which may be spelled in any way, under a format.

    `found` is what `extract` returns, or the spelling of an answer. A reference that is no answer of
    the format as it stands ("... #### 18") is looked for as in a text. Under a format that detects the
    kind, `found` is also read as the kind of the reference: "1, 2" is the set {2, 1}.
    Errors: InvalidInput for an unknown format.
    """
    form = AnswerFormat.parse(format) if isinstance(format, str) else format
    reference = read_answer(truth, form)
    if (reference is None or reference.kind == "text") and form.name not in ("text", "none"):
        stated = extract(truth, form)
        reference = stated if stated and (stated.explicit or reference is None) else reference
    answer = read_answer(found, form) if isinstance(found, str) else found
    if reference is None or answer is None:
        return False
    if _same(answer, reference, form):
        return True
    if answer.kind == reference.kind or form.name not in ("auto", "boxed", "regex"):
        return False
    if reference.kind not in ("yes-no", "set", "expression", "json", "code", "choice"):
        return False
    reread = read_answer(answer.raw, reference.kind)
    return reread is not None and _same(reread, reference, form)


def _same(one: Extracted, other: Extracted, form: AnswerFormat) -> bool:
    first, second = classes([one, other], form)
    return first == second


def _readers(form: AnswerFormat) -> dict[str, tuple[Callable[[str], str | None], AnswerKind]]:
    return {
        "choice": (lambda raw: canonical_choice(raw, form.letters), "choice"),
        "yes-no": (canonical_yes_no, "yes-no"),
        "set": (canonical_set, "set"),
        "expression": (canonical_expression, "expression"),
        "json": (canonical_json, "json"),
        "code": (lambda raw: canonical_code(raw, form.option), "code"),
        "text": (canonical_text, "text"),
    }


def _shortest(names: Iterable[str]) -> str:
    return min(names, key=lambda name: (len(name), name))


def _named_by_similarity(found: Sequence[Extracted | None]) -> list[str | None]:
    answered = [index for index, one in enumerate(found) if one is not None]
    texts = [one.canonical for one in found if one is not None]
    names: list[str | None] = [None] * len(found)
    for group in clusters(texts):
        name = _shortest(texts[i] for i in group)
        for i in group:
            names[answered[i]] = name
    return names


def _kinds(found: Sequence[Extracted | None]) -> dict[str, set[AnswerKind]]:
    kinds: dict[str, set[AnswerKind]] = {}
    for one in found:
        if one is not None:
            kinds.setdefault(one.canonical, set()).add(one.kind)
    return kinds


def _expression_names(forms: set[str], kinds: dict[str, set[AnswerKind]]) -> dict[str, str]:
    """Name every form by its class, where expressions (and numbers among them) of equal value are one."""
    names = {form: form for form in forms}
    valued = sorted(form for form in forms if kinds[form] & {"expression", "number"})
    if len(valued) < 2 or not any("expression" in kinds[form] for form in valued) or not has_algebra():
        return names
    valued = valued[:MAX_EXPRESSIONS]
    for group in same_expressions(valued):
        name = _shortest(valued[i] for i in group)
        names |= {valued[i]: name for i in group}
    return names


def _unit_names(answers: set[_Key]) -> dict[_Key, str]:
    """Name answers by value and unit; `answers` without a unit have "" for one."""
    classes_: dict[_Place, list[_Key]] = {}
    for value, written in sorted(answers):
        if unit := unit_named(written) if written else None:
            base = in_base(value, unit)
            place: _Place = (unit.dimension, base) if base is not None else (unit.name, value)
            classes_.setdefault(place, []).append((value, written))
    owners: dict[str, list[_Place]] = {}
    for place, members in classes_.items():
        for value in sorted({value for value, _ in members}):
            owners.setdefault(value, []).append(place)
    names: dict[_Key, str] = {}
    for place, members in classes_.items():
        values = {value for value, _ in members}
        alone = len(values) == 1 and all(owners[value] == [place] for value in values)
        name = _shortest(values if alone else (f"{value} {unit}" for value, unit in members))
        names |= dict.fromkeys(members, name)
    for value, written in answers:
        if (value, written) not in names:
            owner = owners.get(value, [])
            names[value, written] = names[classes_[owner[0]][0]] if len(owner) == 1 else value
    return names
