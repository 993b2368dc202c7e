"""The text of one sample as it grows: whole characters, cut at a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from edgetts.tokenizer import StopMatcher, TextStream, Tokenizer


class Transcript:
    """Turn a sample's tokens into text. `text` never holds half a character or a stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._stream = TextStream(tokenizer)
        self._matcher = StopMatcher(stops)
        self._pieces: list[str] = []
        self.stopped = False
        self.tokens = 0
        """Tokens taken, the one that completed a stop string among them."""

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def push(self, token: int) -> str:
        """Take a token; return the text that is certain now. Sets `stopped` when a stop string appeared."""
        self.tokens += 1
        return self._keep(self._stream.push(token))

    def finish(self) -> str:
        """Return what was held back. Call it once, when the sample has ended."""
        last = self._keep(self._stream.flush())
        if not self.stopped:
            rest = self._matcher.flush()
            self._pieces.append(rest)
            last += rest
        return last

    def fork(self) -> Transcript:
        """Return a transcript that continues from here, apart from this one."""
        other = copy(self)
        other._stream, other._matcher = self._stream.fork(), self._matcher.fork()
        other._pieces = list(self._pieces)
        return other

    def _keep(self, new: str) -> str:
        if self.stopped or not new:
            return ""
        text, self.stopped = self._matcher.push(new)
        self._pieces.append(text)
        return text
