"""Fields of one JSON object that anybody may have written, each by its type and bounds; knows nothing of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from edgetts.evaluation.jsonlines import refuse

COUNT = 1 << 40
"""No count of tokens is greater."""
TIME = 1e12
"""No reading of a clock, in seconds, is greater, and no amount either."""
TEXT = 1 << 16
"""Characters that a text may have."""


class Fields:
    """An object of the line `place`; what is not there, or null, is None or the default."""

    def __init__(self, path: Path, place: int, value: Mapping[str, Any]) -> None:
        self.path, self.place, self.value = path, place, value

    def refuse(self, what: str) -> NoReturn:
        refuse(self.path, self.place, what)

    def only(self, known: Iterable[str]) -> None:
        """Refuse an object that has other fields."""
        if other := sorted(set(self.value) - set(known)):
            self.refuse(f"has a field {other[0][:40]!r} that nothing is known of")

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.value.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > TEXT:
            self.refuse(f"has a {name!r} that is no text, or too long")
        return str(value)

    def word(self, name: str, known: Iterable[str]) -> str:
        value = self.value.get(name)
        if not isinstance(value, str) or value not in set(known):
            self.refuse(f"has a {name!r} that is none of {', '.join(known)}")
        return str(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.value.get(name, default)
        if not isinstance(value, bool):
            self.refuse(f"has a {name!r} that is neither true nor false")
        return bool(value)

    def verdict(self, name: str) -> bool | None:
        """Return true, false, or None where that is not known."""
        return None if self.value.get(name) is None else self.flag(name)

    def count(self, name: str, *, least: int = 0, most: int = COUNT, default: int | None = None) -> int:
        value = self.value.get(name)
        if value is None and default is not None:
            return default
        return whole(self, name, value, least, most)

    def number(
        self, name: str, *, least: float = -TIME, most: float = TIME, default: float | None = None
    ) -> float:
        value = self.value.get(name)
        if value is None and default is not None:
            return default
        return real(self, name, value, least, most)

    def maybe(self, name: str, *, least: float = -TIME, most: float = TIME) -> float | None:
        """Return a number, or None where it is not known."""
        value = self.value.get(name)
        return None if value is None else real(self, name, value, least, most)

    def rows(self, name: str, most: int) -> list[Any]:
        value = self.value.get(name, [])
        if not isinstance(value, list) or len(value) > most:
            self.refuse(f"has {name!r} that are no list, or too long a one")
        return list(value)

    def inner(self, name: str) -> Fields | None:
        """Return an object in the object; None where there is none."""
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(f"has a {name!r} that is no object")
        return Fields(self.path, self.place, value)


def whole(fields: Fields, name: str, value: object, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    if type(value) is not int or not least <= value <= most:
        fields.refuse(f"has a {name!r} that is no whole number from {least} to {most}")
    return value


def real(fields: Fields, name: str, value: object, least: float, most: float) -> float:
    """Return a number within bounds."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        fields.refuse(f"has a {name!r} that is no number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]
