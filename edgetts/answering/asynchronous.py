"""Hand the events of an answer, computed in a thread of its own, to a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import TypeVar

from edgetts.decoding.session import Cancellation
from edgetts.types import Answer, Finished

_Value = TypeVar("_Value")
# Events that wait for a coroutine that reads slowly; then the thread waits. More than answers have: one that waited
# would keep its place and its branches from others, for as long as somebody does not read.
_AHEAD = 1 << 16


def finished(events: Iterable[object]) -> Answer:
    """Return the answer at the end of a stream."""
    for event in events:
        if isinstance(event, Finished):
            return event.answer
    raise AssertionError("a stream ends with Finished")


async def afinished(events: AsyncGenerator[object, None]) -> Answer:
    """Return the answer at the end of an asynchronous stream, which is closed."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Finished):
                return event.answer
    raise AssertionError("a stream ends with Finished")


async def cancellable(
    start: Callable[[Cancellation], Iterator[_Value]], given: Cancellation | None
) -> AsyncGenerator[_Value, None]:
    """Yield what `in_thread` does of an iterator that a cancellation ends, `given` or one of its own.

    Its own is requested where somebody leaves early: the caller's may be that of other answers too, which go on.
    """
    own = Cancellation()
    if given is not None:
        given.register(own.request)
    try:
        async with aclosing(in_thread(lambda: start(own), own)) as values:
            async for value in values:
                yield value
    finally:
        if given is not None:
            given.unregister(own.request)


async def in_thread(
    start: Callable[[], Iterator[_Value]], cancel: Cancellation, *, ahead: int = _AHEAD
) -> AsyncGenerator[_Value, None]:
    """Yield what an iterator yields that is made and read in a thread of its own.

    Whoever leaves early, by closing the generator or being cancelled, has `cancel` requested, and waits until
    the thread has given up what it holds. ahead: values that may wait to be read. An exception is raised here.
    """
    loop = asyncio.get_running_loop()
    values: asyncio.Queue[tuple[_Value | None, BaseException | None]] = asyncio.Queue()
    room = threading.Semaphore(ahead)
    left = threading.Event()
    ended = asyncio.Event()

    def tell(callback: Callable[..., None], *arguments: object) -> None:
        # The loop may be gone when a program ends; then nobody waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback, *arguments)

    def run() -> None:
        try:
            iterator = start()
            try:
                for value in iterator:
                    if left.is_set() or loop.is_closed():
                        break
                    room.acquire()
                    tell(values.put_nowait, (value, None))
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            tell(values.put_nowait, (None, error))
        else:
            tell(values.put_nowait, (None, None))
        finally:
            tell(ended.set)

    threading.Thread(target=run, name="edgetts-answer", daemon=True).start()
    try:
        while True:
            value, error = await values.get()
            room.release()
            if error is not None:
                raise error
            if value is None:
                return
            yield value
    finally:
        left.set()
        if not ended.is_set():
            cancel.request()
            room.release()
            # Even where this task was cancelled: what the thread holds is given back before it goes on.
            await asyncio.shield(_wait(ended, room))


async def _wait(ended: asyncio.Event, room: threading.Semaphore) -> None:
    while not ended.is_set():
        room.release()
        try:
            await asyncio.wait_for(ended.wait(), 0.05)
        except asyncio.TimeoutError:  # the built-in one only from Python 3.11 on
            continue
