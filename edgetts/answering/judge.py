"""Ask the model in its live cache whether a text is right; knows tokens and a chat template, not what for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.decoding.session import Logits
from edgetts.tokenizer import Tokenizer

QUESTION = "Is the answer above correct? Reply with one word, Yes or No."
UNFINISHED_QUESTION = "Is everything above correct so far? Reply with one word, Yes or No."

_YES = ("Yes", "yes", " Yes", " yes", "YES")
_NO = ("No", "no", " No", " no", "NO")


class Judge:
    """Turn one more question into tokens that follow an answer, and logits into the probability of a yes.

    "Language Models (Mostly) Know What They Know": P(True). Untuned small models are badly calibrated:
    measure what it tells before you rely on it.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[Message], prompt: Sequence[int]
    ) -> None:
        """`prompt` is what the messages were encoded to."""
        self._tokenizer = tokenizer
        self._template = template
        self._messages = list(messages)
        self._prompt = list(prompt)
        self._questions: dict[bool, list[int]] = {}
        self._yes, self._no = self._first_tokens(_YES), self._first_tokens(_NO)

    def question(self, complete: bool) -> list[int]:
        """Return the tokens that end the answer above and ask about it."""
        if complete not in self._questions:
            text = QUESTION if complete else UNFINISHED_QUESTION
            asked = [*self._messages, Message("assistant", ""), Message("user", text)]
            ids = encode_chat(self._tokenizer, self._template, asked)
            if ids[: len(self._prompt)] == self._prompt:
                tokens = ids[len(self._prompt) :]
            else:
                # The template writes an empty turn otherwise than one that is under way.
                tokens = self._tokenizer.encode(f"\n\n{text}\n", special=False)
            self._questions[complete] = tokens
        return self._questions[complete]

    def probability(self, logits: Logits) -> float:
        """Return P(yes) / (P(yes) + P(no)), from the logits [V] of what follows the question; 0.5 if it says neither."""
        yes, no = (_log_sum([float(logits[i]) for i in ids]) for ids in (self._yes, self._no))
        return 0.5 if yes == no else 1 / (1 + math.exp(min(700.0, no - yes)))

    def _first_tokens(self, words: Sequence[str]) -> list[int]:
        """Return the tokens that spell a word alone, and where none does, the first ones of its spelling."""
        spelled = [self._tokenizer.encode(word, special=False) for word in words]
        alone = {ids[0] for ids in spelled if len(ids) == 1}
        return sorted(alone or {ids[0] for ids in spelled if ids})


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
