"""The two forms of an answer: a chat's message, and a continued text, whole or in chunks. Knows OpenAI's field names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from edgetts.tokenizer import Tokenizer
from edgetts.transcript import Transcript
from edgetts.types import Sample

Json = dict[str, Any]
_LEAST = -9999.0
"""What stands for minus infinity, which JSON has not."""


class Form(Protocol):
    """How one endpoint writes what it answers."""

    prefix: str
    whole: str
    chunk: str

    def choice(
        self, index: int, text: str, calls: Sequence[Json], finish: str, logprobs: Json | None
    ) -> Json: ...

    def opening(self, index: int) -> Json | None:
        """Return the chunk that begins a choice, if there is one."""
        ...

    def delta(self, index: int, text: str) -> Json: ...

    def calling(self, index: int, call: Json) -> Json: ...

    def closing(self, index: int, finish: str, logprobs: Json | None) -> Json: ...

    def logprobs(self, tokens: Sequence[Token]) -> Json: ...


class Token:
    """A token of an answer with its log-prob, and the likeliest ones in its place."""

    __slots__ = ("alternatives", "logprob", "offset", "spelled")

    def __init__(
        self, spelled: bytes, logprob: float, offset: int, alternatives: Sequence[tuple[bytes, float]]
    ) -> None:
        self.spelled = spelled
        self.logprob = max(logprob, _LEAST)
        self.offset = offset
        self.alternatives = [(one, max(value, _LEAST)) for one, value in alternatives]


def tokens_of(sample: Sample, tokenizer: Tokenizer) -> list[Token]:
    """Return the tokens of a sample's text; those of a stop string, which the text is without, are left out."""
    transcript = Transcript(tokenizer, ())
    made: list[Token] = []
    length = len(sample.text) if sample.finish_reason == "stop" else math.inf
    for i, token in enumerate(sample.tokens):
        offset = len(transcript.text)
        if offset >= length:
            break
        transcript.push(token)
        likely = sample.top_logprobs[i] if i < len(sample.top_logprobs) else ()
        alternatives = [(_spelled(one, tokenizer), value) for one, value in likely]
        made.append(Token(_spelled(token, tokenizer), sample.logprobs[i], offset, alternatives))
    return made


def _spelled(token: int, tokenizer: Tokenizer) -> bytes:
    return tokenizer.token_bytes(token)


def _text(spelled: bytes) -> str:
    return spelled.decode("utf-8", errors="replace")


class Chat:
    """A message of the assistant."""

    prefix, whole, chunk = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def choice(
        self, index: int, text: str, calls: Sequence[Json], finish: str, logprobs: Json | None
    ) -> Json:
        message: Json = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = list(calls)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def opening(self, index: int) -> Json | None:
        return _chunk(index, {"role": "assistant", "content": ""})

    def delta(self, index: int, text: str) -> Json:
        return _chunk(index, {"content": text})

    def calling(self, index: int, call: Json) -> Json:
        return _chunk(index, {"tool_calls": [call]})

    def closing(self, index: int, finish: str, logprobs: Json | None) -> Json:
        return _chunk(index, {}) | {"finish_reason": finish, "logprobs": logprobs}

    def logprobs(self, tokens: Sequence[Token]) -> Json:
        def one(spelled: bytes, logprob: float) -> Json:
            return {"token": _text(spelled), "logprob": logprob, "bytes": list(spelled)}

        content = [
            one(token.spelled, token.logprob)
            | {"top_logprobs": [one(*other) for other in token.alternatives]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def _chunk(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


class Completion:
    """A text that goes on where the prompt ends."""

    prefix, whole, chunk = "cmpl-", "text_completion", "text_completion"

    def choice(
        self, index: int, text: str, calls: Sequence[Json], finish: str, logprobs: Json | None
    ) -> Json:
        assert not calls  # noqa: S101 - only chats have tools
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def opening(self, index: int) -> Json | None:  # noqa: ARG002 - as the other form
        return None

    def delta(self, index: int, text: str) -> Json:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def calling(self, index: int, call: Json) -> Json:  # noqa: ARG002 - as the other form
        raise AssertionError("only chats have tools")

    def closing(self, index: int, finish: str, logprobs: Json | None) -> Json:
        return {"index": index, "text": "", "logprobs": logprobs, "finish_reason": finish}

    def logprobs(self, tokens: Sequence[Token]) -> Json:
        return {
            "tokens": [_text(token.spelled) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{_text(one): value for one, value in token.alternatives} for token in tokens],
            "text_offset": [token.offset for token in tokens],
        }
