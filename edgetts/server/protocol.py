"""HTTP/1.1 as uvicorn reads it, with what it lacks: times for a
request's head and for a client that reads nothing, and a limit of connections.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgetts.server.refusing import Refusal
from edgetts.server.settings import Settings

_LINGER = 0.5
"""Seconds in which the other side may read why it was refused."""


def protocol_for(settings: Settings) -> type[H11Protocol]:
    """Return the protocol's class for one server."""

    class GuardedProtocol(_GuardedProtocol):
        limits = settings

    return GuardedProtocol


class _GuardedProtocol(H11Protocol):
    limits: Settings
    _clock: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _deaf = False
    """Whether it was refused, and what still comes is dropped until the other side has read why."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._say_no(
                Refusal(503, "Too many connections are open.", code="busy", headers={"retry-after": "2"})
            )
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        super().data_received(data)
        # Idle, for h11, until a whole head has come; uvicorn's own timer runs while there is not a byte of one.
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait()
        elif self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall is None:
            # Closed, it would wait for what was written to be read.
            self._stall = self.loop.call_later(self.limits.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, as h11 says; called while its error is handled."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        self._say_no(Refusal(status, f"{msg.rstrip('.')}: {str(error)[:100]}." if error else msg))

    def _wait(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(self.limits.header_seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._clock = None
        self._say_no(Refusal(408, f"The request did not come within {self.limits.header_seconds:g} s."))

    def _say_no(self, refusal: Refusal) -> None:
        """Answer, if an answer has not begun, and close."""
        self._stop_waiting()
        if self._deaf or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Its application learns of it when it next waits for the client.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(refusal.body).encode()
            headers: list[tuple[Any, Any]] = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
            ]
            for event in (
                h11.Response(status_code=refusal.status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        # Closed at once, with more on its way, the other side would be reset before it could read.
        self._deaf = True
        if self.transport.can_write_eof():
            with suppress(OSError):  # who has left meanwhile needs no end
                self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)
