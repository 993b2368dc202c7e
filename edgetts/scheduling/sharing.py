"""How a session is shared, and what goes on at it: values that the engine and its users see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes on at a session now, and went on since it was opened.

    waiting: questions that are not let in yet. read, cached: tokens of prompts that were read, and that were there already.
    rows: tokens drawn for, in all passes over steps.
    """

    foreground: int
    background: int
    waiting: int
    branches: int
    kept_branches: int
    kept_bytes: int
    passes: int
    rows: int
    widest: int
    read: int
    cached: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a session is shared. memory: bytes that branches may take now. kept_bytes: what may be kept of them for
    questions that begin alike. most: questions under way at a time; most_waiting: those that wait for that.
    """

    memory: Callable[[], int]
    kept_bytes: int = 0
    most: int = 16
    most_waiting: int = 256
