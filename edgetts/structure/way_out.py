"""Find a short way to where a text in a language may end, for one that runs out of tokens. Knows texts and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgetts.structure.vocabulary import Vocabulary

# What ends something in JSON, and what leads on to what is still required; then what fills a value: zeros may go on for
# ever behind a point.
_CLOSING = ('"', "}", "]", ",", ":", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0")


class Place(Protocol):
    """What of a matcher is asked."""

    @property
    def may_end(self) -> bool: ...

    def allowed(self) -> NDArray[np.bool_]: ...

    def take(self, token: int) -> None: ...


class WaysOut:
    """Finds ways out in one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        writes = vocabulary.writes
        spelt: dict[bytes, int] = {}
        for token, written in enumerate(writes):
            if token not in vocabulary.controls:
                spelt.setdefault(written, token)
        self._closing = [spelt[text.encode()] for text in _CLOSING if text.encode() in spelt]
        controls = list(vocabulary.controls)
        self._lengths = np.array([len(written) for written in writes], np.int32)
        self._lengths[controls] = 0
        self._firsts = np.array([written[0] if written else 0 for written in writes], np.uint8)

    def find(self, place: Place, most: int) -> tuple[int, ...] | None:
        """Return tokens that lead from a place, which is used up, to where the text may end; None where `most` do not.

        Greedy: it closes whatever can be closed, writes what is forced in as few tokens as it can, and otherwise takes the
        longest token. So it is short, not always the shortest, and in a language that is no JSON it may find none.
        """
        way: list[int] = []
        while not place.may_end:
            if len(way) >= most:
                return None
            token = self._next(place.allowed())
            place.take(token)
            way.append(token)
        return tuple(way)

    def _next(self, mask: NDArray[np.bool_]) -> int:
        ids = np.flatnonzero(mask)
        firsts = self._firsts[ids]
        if firsts.min() != firsts.max():
            for token in self._closing:
                if mask[token]:
                    return token
        return int(ids[self._lengths[ids].argmax()])
