"""Cut an answer into the chunks of a stream, as its events come. Knows events and chunks; sends nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgetts.server.asking import Ask
from edgetts.server.forms import Form, Json
from edgetts.server.replying import Head, Shown, called, logprobs, own, shown, streams, usage
from edgetts.tokenizer import Tokenizer
from edgetts.tools.reading import CallBegun, TextSaid
from edgetts.types import Event, Finished, PlanMade, SampleDone, TextDelta

if TYPE_CHECKING:
    from edgetts.tools import CallReader, Piece


class Chunks:
    """Chunks of one answer.

    The first says in an `edgetts` object when text comes; the last that ends a choice has the `edgetts` object of a
    whole answer. Log-probs of a choice come with its last chunk.
    """

    def __init__(self, ask: Ask, form: Form, head: Head, tokenizer: Tokenizer) -> None:
        self._ask, self._form, self._head, self._tokenizer = ask, form, head, tokenizer
        self._begun = False
        self._open = set(range(ask.choices))
        self._readers: dict[int, CallReader] = {}
        self._called: set[int] = set()

    def of(self, event: Event) -> Iterator[Json]:
        """Yield the chunks that an event brings."""
        if isinstance(event, PlanMade):
            if not self._begun:
                self._begun = True
                yield from self._opening(streams(self._ask, event.plan))
        elif isinstance(event, TextDelta):
            for index in self._places(event.sample):
                yield from self._said(index, event.text)
        elif isinstance(event, SampleDone):
            if not self._ask.selects and not self._ask.copies and len(self._open) > 1:
                for index in self._places(event.sample.index):
                    yield from self._closing(index, Shown(event.sample.text, event.sample))
        elif isinstance(event, Finished):
            yield from self._finished(event)

    def _opening(self, when: str) -> Iterator[Json]:
        first: Json = {"edgetts": {"streams": when, "seed": self._ask.seed}}
        for index in range(self._ask.choices):
            opening = self._form.opening(index)
            yield self._chunk(opening if opening is not None else self._form.delta(index, "")) | first
            first = {}

    def _places(self, sample: int) -> list[int]:
        """Return the choices that a sample is shown as."""
        if self._ask.selects:
            return [0]
        return list(range(self._ask.choices)) if self._ask.copies else [sample]

    def _said(self, index: int, text: str) -> Iterator[Json]:
        if self._ask.tools is None:
            if text:
                yield self._chunk(self._form.delta(index, text))
            return
        if index not in self._readers:
            self._readers[index] = self._ask.tools.reader()
        yield from self._told(index, self._readers[index].push(text))

    def _told(self, index: int, pieces: Sequence[Piece]) -> Iterator[Json]:
        """Yield the chunks of what a reader of calls told."""
        for piece in pieces:
            if isinstance(piece, TextSaid):
                yield self._chunk(self._form.delta(index, piece.text))
            elif isinstance(piece, CallBegun):
                self._called.add(index)
                call = {"index": piece.index, **called(piece.id, piece.name, "")}
                yield self._chunk(self._form.calling(index, call))
            else:
                more = {"index": piece.index, "function": {"arguments": piece.text}}
                yield self._chunk(self._form.calling(index, more))

    def _closing(self, index: int, one: Shown, last: Json | None = None) -> Iterator[Json]:
        self._open.discard(index)
        if index in self._readers:
            yield from self._told(index, self._readers[index].flush(cut=one.finish == "length"))
        finish = "tool_calls" if index in self._called and one.finish == "stop" else one.finish
        told = logprobs(self._ask, one, self._form, self._tokenizer)
        yield self._chunk(self._form.closing(index, finish, told)) | (last or {})

    def _finished(self, event: Finished) -> Iterator[Json]:
        choices = shown(self._ask, event.answer)
        left = sorted(self._open)
        for index in left:
            last = {"edgetts": own(self._ask, event.answer)} if index == left[-1] else None
            yield from self._closing(index, choices[index], last)
        if self._ask.usage_chunk:
            yield self._head.write(self._form.chunk) | {
                "choices": [],
                "usage": usage(self._ask, event.answer),
            }

    def _chunk(self, choice: Json) -> Json:
        made = self._head.write(self._form.chunk) | {"choices": [choice]}
        return made | ({"usage": None} if self._ask.usage_chunk else {})
