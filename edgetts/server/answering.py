"""Answer one completion request: read it, compute while watching the client, send it whole or as a stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from importlib.metadata import version
from typing import Any

from edgetts.decoding.session import Cancellation
from edgetts.errors import EdgettsError
from edgetts.server.asking import Ask, read_chat, read_completion
from edgetts.server.bodies import read_body, read_json
from edgetts.server.chunking import Chunks
from edgetts.server.forms import Chat, Completion, Form
from edgetts.server.noting import Note
from edgetts.server.refusing import Refusal, refusal_of
from edgetts.server.replying import Head, dumped, reply
from edgetts.server.sending import GoneError, send_json, unless_gone
from edgetts.server.serving import Serving
from edgetts.types import Event, Finished, PlanMade, StepsTaken

_DONE = b"data: [DONE]\n\n"
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Answering:
    """An ASGI endpoint. reads: makes an `Ask` of a body's JSON."""

    def __init__(self, serving: Serving, form: Form, reads: Callable[[Any], Ask]) -> None:
        self._serving, self._form, self._reads = serving, form, reads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        serving, note = self._serving, Note.of(scope)
        # A deadline counts from here, whatever has to be waited for.
        began = time.perf_counter()
        engine = serving.engine
        with serving.room() as take:
            body = await read_body(scope, receive, serving.settings, take)

            def read() -> Ask:
                return self._reads(read_json(body, serving.settings.depth))

            with serving.place() as cancel:
                try:
                    await unless_gone(receive, self._answer(read, engine, cancel, began, send, note))
                except GoneError:
                    serving.metrics.disconnect()
                    note.gone = True

    async def _answer(
        self, read: Callable[[], Ask], engine: Any, cancel: Cancellation, began: float, send: Any, note: Note
    ) -> None:
        ask = await asyncio.to_thread(read)
        note.user, note.streams = ask.user, ask.stream
        head = Head(
            id=self._form.prefix + secrets.token_hex(12),
            created=int(time.time()),
            model=engine.model,
            fingerprint=f"edgetts-{version('edgetts')}",
        )
        async with aclosing(engine.astream(ask.prompt, **ask.asked, cancel=cancel, began=began)) as events:
            if ask.stream:
                await self._stream(ask, head, events, engine, send, note)
                return
            answer = None
            try:
                async for event in events:
                    if isinstance(event, Finished):
                        answer = event.answer
            except EdgettsError as error:
                raise refusal_of(error, ask.blamed(error)) from error
        assert answer is not None  # noqa: S101 - a stream ends with Finished
        self._count(answer, note)
        whole = await asyncio.to_thread(
            lambda: dumped(reply(ask, answer, self._form, head, engine.tokenizer))
        )
        await send_json(send, 200, whole)

    async def _stream(
        self, ask: Ask, head: Head, events: AsyncIterator[Event], engine: Any, send: Any, note: Note
    ) -> None:
        chunks = Chunks(ask, self._form, head, engine.tokenizer)

        async def put(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        begun, waiting = False, []
        try:
            async for event in events:
                if not begun and isinstance(event, PlanMade):
                    # What goes wrong while the prompt is read is still said by the status.
                    waiting.append(event)
                    continue
                if not begun:
                    await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
                    begun = True
                if isinstance(event, Finished):
                    self._count(event.answer, note)
                if isinstance(event, StepsTaken):
                    continue
                for one in (*waiting, event):
                    data = b"".join(b"data: %b\n\n" % dumped(chunk) for chunk in chunks.of(one))
                    if data:
                        await put(data)
                waiting = []
        except (EdgettsError, Refusal) as error:
            refusal = error if isinstance(error, Refusal) else refusal_of(error, ask.blamed(error))
            if not begun:
                raise refusal from error
            note.error = refusal.message
            await put(b"data: %b\n\n" % dumped(refusal.body), more=False)
            return
        await put(_DONE, more=False)

    def _count(self, answer: Any, note: Note) -> None:
        self._serving.metrics.answer(answer.usage)
        note.usage = answer.usage


def chat(serving: Serving) -> Answering:
    """Return the endpoint of chats."""
    settings = serving.settings
    return Answering(serving, Chat(), lambda body: read_chat(body, serving.model(), settings))


def completion(serving: Serving) -> Answering:
    """Return the endpoint of texts that are continued."""
    settings = serving.settings
    return Answering(serving, Completion(), lambda body: read_completion(body, serving.model(), settings))
