"""Ctrl-C that keeps what there is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgetts.decoding.session import Cancellation


@contextmanager
def interrupts(cancel: Cancellation) -> Iterator[None]:
    """Have the first Ctrl-C end the work with what there is, the second the program."""

    def first(signum: int, frame: object) -> None:  # noqa: ARG001 - signal's signature
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancel.request()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
