"""What an answer is to look like, as a person says it. Knows no vocabulary and no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema describes. Checked when it is compiled."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class Regex:
    """A text that a regular expression matches as a whole, in the syntax of Rust's regex crate."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """A text of a context-free language, as llguidance's Lark dialect writes it."""

    lark: str


Structure = JsonSchema | JsonObject | Regex | Grammar
