"""Take off what an answer is dressed in: LaTeX, Markdown, Unicode forms; knows no kinds of answers."""

from __future__ import annotations

import re
import unicodedata

MAX_ANSWER_CHARS = 500
"""Longest spelling that is read as a number, a choice, an expression and the like; anything longer is text."""
SUPERSCRIPT = "[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+"

_SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_LATEX_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname|mbox|boxed)\s?\{([^{}]*)\}")
_NOISE = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|\\[()\[\];:, ]|\\!|\*\*|__|`")
_TRIMMED = " ,;:!?\"'\u201c\u201d\u2018\u2019\u00ab\u00bb*_`"
_PASSES = 32
"""A text dressed more often than this stays partly dressed; each pass takes one layer off."""


def canonical_text(raw: str) -> str:
    """Fold case, Unicode forms and space; trim leading articles and the punctuation around."""
    text = raw
    for _ in range(_PASSES):
        barer = _one_layer_off(text)
        if barer == text:
            break
        text = barer
    return text


def unwrap(raw: str) -> str:
    r"""Take \text{...} and its like, math delimiters and Markdown emphasis away."""
    return _NOISE.sub(" ", unwrap_latex(raw))


def unwrap_latex(raw: str) -> str:
    r"""Take \text{...} and its like away, one level of them."""
    return _LATEX_WRAPPER.sub(r" \1 ", raw)


def caret_powers(raw: str) -> str:
    """Write 5² as 5^2, before Unicode normalisation makes it 52."""
    return re.sub(SUPERSCRIPT, lambda m: "^" + m[0].translate(_SUPERSCRIPT_DIGITS), raw)


def _one_layer_off(raw: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", unwrap(caret_powers(raw))).casefold().split())
    text = text.rstrip(_TRIMMED + ".").lstrip(_TRIMMED) or text  # an answer of signs alone stays
    if re.fullmatch(r"\([^()]+\)", text):
        text = text[1:-1].strip() or text
    return re.sub(r"^(?:an?|the) (?=\S)", "", text)
