"""Send JSON, and stop computing for a client that has gone. Knows ASGI messages; not what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class GoneError(Exception):
    """The client left."""


async def send_json(send: Any, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send a whole response of JSON."""
    told = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    lines = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in (told | dict(headers or {})).items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def within(seconds: float, work: Coroutine[Any, Any, _Value]) -> _Value:
    """Do the work, or raise TimeoutError once the seconds are over.

    As `asyncio.wait_for`, which up to Python 3.11 forgets that its task was cancelled where the work is done just then.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()


async def unless_gone(receive: Any, work: Coroutine[Any, Any, _Value]) -> _Value:
    """Do the work, but cancel it once the client has disconnected, and raise GoneError then.

    Returns when the work has given up what it holds. The request's body must have been read.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled() or task.exception() is not None:
                raise GoneError
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.wait({task, watch})
