"""Choose among many tools those that a question may need. Knows words; no model."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgetts.errors import MissingExtra
from edgetts.tools.tool import Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 12
"""Tools that are shown without choosing among them: more cost a small model more of its prompt than they are worth."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_ENDINGS = ("ings", "ing", "ies", "es", "ed", "s")


def shortlist(
    tools: Sequence[Tool], question: str, most: int = MOST, *, keep: Collection[str] = ()
) -> list[Tool]:
    """Return the `most` tools whose names and descriptions have most to do with a question, in their order.

    By BM25 (Robertson and Zaragoza, 2009), in the package bm25s; equals go by their place. keep: names that are among
    them in any case, so that there may be more. Raises MissingExtra where there is something to choose and no bm25s.
    """
    if len(tools) <= most:
        return list(tools)
    scores = _scores([_words(_text(tool)) for tool in tools], _words(question))
    ranked = sorted(range(len(tools)), key=lambda i: (-float(scores[i]), i))
    kept = {i for i, tool in enumerate(tools) if tool.name in keep}
    chosen = kept | set([i for i in ranked if i not in kept][: max(0, most - len(kept))])
    return [tool for i, tool in enumerate(tools) if i in chosen]


def _text(tool: Tool) -> str:
    parameters = tool.parameters.get("properties")
    fields = parameters if isinstance(parameters, dict) else {}
    described = [v.get("description", "") for v in fields.values() if isinstance(v, dict)]
    return " ".join([tool.name, tool.description, *fields, *(d for d in described if isinstance(d, str))])


def _words(text: str) -> list[str]:
    """Return a text's words without their commonest endings; names are taken apart: getCityWeather, get_city_weather."""
    return [_stem(word.lower()) for word in _WORDS.findall(text)]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _scores(texts: Sequence[Sequence[str]], asked: Sequence[str]) -> NDArray[np.float32]:
    import numpy as np

    known = sorted({word for words in texts for word in words})
    ids = {word: i for i, word in enumerate(known)}
    wanted = [ids[word] for word in asked if word in ids]
    if not wanted:
        return np.zeros(len(texts), np.float32)
    try:
        import bm25s
    except ImportError as error:
        raise MissingExtra("bm25s", "search") from error
    index = bm25s.BM25()
    index.index(([[ids[word] for word in words] for words in texts], ids), show_progress=False)
    scores: NDArray[np.float32] = index.get_scores(wanted)
    return scores
