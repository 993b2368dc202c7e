"""Scan the JSON of calls, complete or not. Knows JSON's form; no styles, no tools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

_SPACES = " \t\r\n"
_LONGEST_NAME = 64
_KEYS = ("arguments", "parameters")
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Head:
    """A call up to its arguments. end: where they begin."""

    name: str
    end: int


class Braces:
    """Find where a JSON object ends that comes in pieces."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._quoted = self._escaped = False

    def scan(self, text: str) -> int | None:
        """Take more text; return where in it the object has ended, None where it has not."""
        for at, c in enumerate(text):
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif c == "\\":
                    self._escaped = True
                elif c == '"':
                    self._quoted = False
            elif c == '"':
                self._quoted = True
            elif c in "{[":
                self._depth += 1
            elif c in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return None


def scan_head(text: str, key: str, *, listed: bool) -> Head | Literal[False] | None:
    """Read `{"name": "...", key: ` before an object; None where more must come to tell, False where it is none.

    listed: a bracket comes before it.
    """
    name, at = "", 0
    for part in (*(["["] if listed else []), "{", '"name"', ":", '"', None, ",", f'"{key}"', ":", "{"):
        if part is None:
            end = text.find('"', at)
            name = text[at:] if end < 0 else text[at:end]
            if len(name) > _LONGEST_NAME or not all(c.isalnum() or c in "_-" for c in name):
                return False
            if end < 0:
                return None
            at = end + 1
            continue
        while at < len(text) and text[at] in _SPACES:
            at += 1
        seen = text[at : at + len(part)]
        if seen != part:
            return None if part.startswith(seen) else False
        at += len(part)
    return Head(name, at - 1)


def parse_calls(text: str, key: str, *, listed: bool, cut: bool = False) -> list[tuple[str, str]]:
    """Return names and arguments, as JSON text, of the calls that a text is; empty where it is something else.

    Models write a call's fields in another order, arguments as text, several calls as a list: all are read. cut: the
    text was cut off, and the last call may be, within its arguments.
    """
    found: list[tuple[str, str]] = []
    at = 0
    if listed or text.lstrip().startswith("["):
        at = text.find("[") + 1
        listed = True
    while (at := _skip(text, at)) < len(text):
        if found and text[at] == ",":
            at = _skip(text, at + 1)
        if listed and text[at:].strip() == "]":
            break
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            rest = _cut_call(text[at:], key) if cut else None
            return [*found, rest] if rest is not None else []
        call = _call(value, text[at:end], key)
        if call is None:
            return []
        found.append(call)
        at = end
        # A closing brace too many is what small models write.
        while not listed and text[at : at + 1] == "}":
            at += 1
    return found


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at


def _cut_call(text: str, key: str) -> tuple[str, str] | None:
    head = scan_head(text, key, listed=False)
    return (head.name, text[head.end :]) if isinstance(head, Head) else None


def _call(value: Any, text: str, key: str) -> tuple[str, str] | None:
    """Return a call's name and arguments, as they are written where that can be told."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    head = scan_head(text, key, listed=False)
    if isinstance(head, Head):
        end = Braces().scan(text[head.end :])
        written = text[head.end :][:end]
        return (head.name, written) if _is_object(written) else None
    arguments: Any = next((value[k] for k in (key, *_KEYS) if k in value), {})
    if isinstance(arguments, str):
        return (value["name"], arguments) if _is_object(arguments) else None
    if not isinstance(arguments, dict):
        return None
    written = json.dumps(arguments, ensure_ascii=False)
    return (value["name"], written) if _is_object(written) else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
