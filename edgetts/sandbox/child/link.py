"""Messages between two processes over two pipes; knows nothing of what they mean."""

from __future__ import annotations

import os

_MOST = 16 << 20
_LENGTH = 4


class BrokenLinkError(Exception):
    """The other side is gone, or says what cannot be understood."""


class Link:
    """Send and receive whole messages, each with its length before it."""

    def __init__(self, receiving: int, sending: int) -> None:
        self._receiving = receiving
        self._sending = sending

    def send(self, message: bytes) -> None:
        if len(message) > _MOST:
            raise BrokenLinkError("a message is too large")
        write(self._sending, len(message).to_bytes(_LENGTH, "big") + message)

    def receive(self) -> bytes:
        size = int.from_bytes(read(self._receiving, _LENGTH), "big")
        if size > _MOST:
            raise BrokenLinkError("a message is too large")
        return read(self._receiving, size)


def write(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise BrokenLinkError(str(error)) from None


def read(descriptor: int, size: int) -> bytes:
    """Read exactly so many bytes, and none beyond."""
    parts = []
    while size:
        try:
            part = os.read(descriptor, min(size, 1 << 16))
        except OSError as error:
            raise BrokenLinkError(str(error)) from None
        if not part:
            raise BrokenLinkError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
