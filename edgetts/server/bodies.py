"""Read a request's body within limits, and its JSON strictly. Knows bytes; not what they ask for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from edgetts.server.refusing import Refusal
from edgetts.server.sending import within
from edgetts.server.settings import Settings

_LONGEST_NUMBER = 40
"""Digits of a whole number; no field takes one nearly as long."""
_DRAINED = 64 << 20
_DRAIN_SECONDS = 5.0
"""Read and dropped of a body that is too large, so that its sender gets to read why."""


async def read_body(
    scope: Mapping[str, Any], receive: Any, settings: Settings, take: Callable[[int], None]
) -> bytes:
    """Return the body. take: is told of every byte that is held, and may refuse. Raises Refusal: 415 for what is not said to be JSON, 413 for too much, 408 for too slow."""
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        # A page of another origin can send other types without asking; this one it cannot.
        raise Refusal(415, "The body must be JSON, with the header content-type: application/json.")
    if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
        raise Refusal(
            415, "The body is compressed, which is not supported: send it without content-encoding."
        )
    said = headers.get(b"content-length", b"0")
    large = Refusal(
        413, f"The body is larger than {settings.body_bytes} bytes.", headers={"connection": "close"}
    )
    if len(said) > _LONGEST_NUMBER or int(said) > settings.body_bytes:
        if b"expect" not in headers:
            await _drain(receive)
        raise large
    parts: list[bytes] = []
    size, more = 0, True

    async def read() -> None:
        nonlocal size, more
        while more and size <= settings.body_bytes:
            message = await receive()
            if message["type"] != "http.request":
                raise Refusal(400, "The body did not come whole.")
            parts.append(message.get("body", b""))
            take(len(parts[-1]))
            size += len(parts[-1])
            more = message.get("more_body", False)

    try:
        await within(settings.body_seconds, read())
    except TimeoutError:
        raise Refusal(
            408, f"The body did not come within {settings.body_seconds:g} s.", headers={"connection": "close"}
        ) from None
    if size > settings.body_bytes:
        parts.clear()
        if more:
            await _drain(receive)
        raise large
    return b"".join(parts)


async def _drain(receive: Any) -> None:
    async def drop() -> None:
        size = 0
        while size < _DRAINED:
            message = await receive()
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

    try:
        await within(_DRAIN_SECONDS, drop())
    except TimeoutError:
        return


def read_json(body: bytes, depth: int) -> Any:
    """Return what JSON says. depth: how deep it may be nested.

    Raises Refusal, 400: for bytes that are no UTF-8, no JSON, NaN or infinities, a name given twice, surrogates that
    are no character, numbers that no field takes.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, f"The body is not UTF-8 (byte {error.start}).") from None
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise _deep(depth) from None
    except ValueError as error:
        where = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(400, f"The body is no JSON{where}.") from None
    _check_nesting(value, depth)
    return value


def _deep(depth: int) -> Refusal:
    return Refusal(400, f"The body's JSON is nested deeper than {depth} levels.")


def _refuse_constant(name: str) -> float:
    raise Refusal(400, f"The body holds {name}, which is no JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refusal(400, "The body holds a number that is too large.")
    return value


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise Refusal(400, f"The body holds a number of {len(text)} digits.")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Refusal(400, f"The body gives {twice[:60]!r} twice.")
    return made


def _check_nesting(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str) and not one.isascii():
                try:
                    one.encode()
                except UnicodeEncodeError:
                    raise Refusal(400, "The body holds half a character: a lone surrogate.") from None
        if not below:
            return
        level = below
    raise _deep(depth)
