"""Choose the words with which a sample that runs out of time is made to state its answer; knows texts and formats, no clocks.

"s1: Simple test-time scaling" ends the thinking of a model by its own token; "AnytimeReasoner" (truncate and
summarise) asks for the best answer so far. Here the words go into the sample itself, as if it had drawn them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from edgetts.decoding.closing import LONGEST_WAY, Closings
from edgetts.decoding.constraint import Matcher
from edgetts.selection.answers import AnswerFormat, extract
from edgetts.selection.answers.format import FormatName
from edgetts.tokenizer import Tokenizer

THINK, END_THINK = "<think>", "</think>"

_STATE = "\n\nThe answer is"
_BOXED = "\n\nThe answer is \\boxed{"
# Behind an opened box a small model gave a number in 10 of 10 texts cut after 80 tokens, behind the words alone in 7.
_WORDS: dict[FormatName, tuple[str, int]] = {
    "auto": (_STATE, 16),
    "number": (_BOXED, 16),
    "choice": (_STATE, 8),
    "yes-no": (_STATE, 8),
    "set": (_STATE, 32),
    "expression": (_BOXED, 32),
    "boxed": (_BOXED, 24),
    "json": ("\n\n```json\n", 64),
}
"""What a text is made to go on with, and how many tokens it may draw behind it. Formats not here have no words for an
answer: code has to be written, a pattern or a whole text is known to nobody beforehand."""
_AFTER_THINKING = 48
"""Tokens that a model may draw behind its thinking where the format has no words."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """Tokens to go on with, and how many may be drawn behind them."""

    tokens: tuple[int, ...]
    most: int


class Concluding(Protocol):
    """How the samples of one question are concluded when the budget ends.

    least: tokens that a sample has more than before it is concluded.
    """

    @property
    def passes(self) -> int:
        """Passes that a conclusion takes at most, one token each; 0 where there is none to make."""
        ...

    @property
    def least(self) -> int: ...

    def conclusion(self, text: str, matcher: Matcher | None) -> Conclusion | None:
        """Return how a text is concluded; None where it is left as it is. matcher: where a constrained one stands."""
        ...


class LanguageForcing:
    """Has constrained samples end as their language allows, in as many tokens as that should take."""

    least = 0

    def __init__(self, closings: Closings) -> None:
        self.passes = closings.passes

    def conclusion(self, text: str, matcher: Matcher | None) -> Conclusion | None:  # noqa: ARG002 - the words do not count
        way = None if matcher is None else matcher.ending(LONGEST_WAY)
        return Conclusion(tuple(way), 0) if way else None


class Forcing:
    """Concludes the samples of one question in words.

    template: of the chat, or "". prompt: what is continued, since a template may open the thinking. several: more than one sample
    is drawn; a lone text of which nobody said what its answer looks like may be no answer to anything, and is left as it is.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        answer_format: AnswerFormat,
        *,
        template: str = "",
        prompt: Sequence[int] = (),
        stops: Sequence[str] = (),
        several: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._format = answer_format
        asked = several or answer_format.name != "auto"
        words, self._most = _WORDS.get(answer_format.name, ("", 0)) if asked else ("", 0)
        # Words that end a sample could not be followed by an answer.
        if any(stop in words for stop in stops):
            words = " " + words.strip()
        self._words = "" if any(stop in words for stop in stops) else words
        self._end = tokenizer.token_id(END_THINK)
        self._thinks = self._end is not None or END_THINK in template
        opening = tokenizer.decode(prompt[-8:]) if prompt else ""
        self._opened = THINK in opening and END_THINK not in opening

    @cached_property
    def passes(self) -> int:
        """Passes that a conclusion takes at most, one token each; 0 where there is none to make."""
        ways = [self._made(thinking=False)] if self._words else []
        if self._thinks:
            ways.append(self._made(thinking=True))
        return max((len(way.tokens) + way.most for way in ways), default=0)

    @property
    def least(self) -> int:
        """A text that is no longer than its conclusion would be asked before it has begun."""
        return self.passes

    def conclusion(self, text: str, matcher: Matcher | None = None) -> Conclusion | None:  # noqa: ARG002 - there is none
        """Return how a text is concluded; None where it states its answer already, or there are no words for it."""
        if self.thinking(text):
            return self._made(thinking=True)
        if not self._words:
            return None
        stated = extract(text, self._format, complete=False)
        return None if stated is not None and stated.explicit else self._made(thinking=False)

    def thinking(self, text: str) -> bool:
        """Whether a text is within the model's thinking."""
        if not self._thinks or END_THINK in text:
            return False
        return self._opened or text.lstrip().startswith(THINK)

    def _made(self, *, thinking: bool) -> Conclusion:
        tokens: list[int] = []
        if thinking:
            tokens = [self._end] if self._end is not None else self._encode("\n" + END_THINK)
        words = self._words or ("\n\n" if thinking else "")
        most = self._most if self._words else _AFTER_THINKING
        return Conclusion((*tokens, *self._encode(words)), most)

    def _encode(self, words: str) -> list[int]:
        return self._tokenizer.encode(words, special=False) if words else []
