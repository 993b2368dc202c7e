"""Take values out of a TOML table that somebody else wrote, each checked. Knows no profile."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from edgetts.errors import CorruptFile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Word = TypeVar("_Word", bound=str)

MAX_BYTES = 1 << 20
"""Of a file: more than two hundred profiles need."""
_LONGEST_LINE = 2000
"""A parser of TOML may take time that grows with the square of a line's length."""
LONGEST_TEXT = 300
_NEEDED: Any = object()


def parse_toml(raw: bytes, what: str) -> Table:
    """Decode the bytes of a file; CorruptFile says what `what` is wrong with."""
    if len(raw) > MAX_BYTES:
        raise CorruptFile(f"{what} is larger than {MAX_BYTES >> 20} MB.")
    if max(map(len, raw.split(b"\n")), default=0) > _LONGEST_LINE:
        raise CorruptFile(f"{what} has a line of more than {_LONGEST_LINE} bytes.")
    try:
        return Table(tomllib.loads(raw.decode("utf-8")), what)
    except (ValueError, RecursionError) as error:
        words = str(error).splitlines()[0][:LONGEST_TEXT] if str(error) else type(error).__name__
        raise CorruptFile(f"{what} is not readable TOML: {words}.") from error


class Table:
    """Gives out each value once; `end` refuses what nobody took, so that a misspelt name is never ignored.

    Where `default` is given, a name may be missing. Every other deviation is a CorruptFile.
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise CorruptFile(f"{where} is not a table.")
        self._data = dict(data)
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self._data

    @property
    def names(self) -> list[str]:
        """Names that were not taken yet."""
        return list(self._data)

    def text(self, name: str, default: str = _NEEDED) -> str:
        """Take one line of printable text: what is shown on a terminal may not steer it."""
        value = self._take(name, default)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            raise self.wrong(name, f"is not a line of text of at most {LONGEST_TEXT} characters")
        return value

    def day(self, name: str, default: str = _NEEDED) -> str:
        """Take a day, quoted or not; any day, since clocks jump."""
        value = self._take(name, default)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        if value == "" and default == "":
            return ""
        try:
            if len(value) == len("2026-01-01"):
                return date.fromisoformat(value).isoformat()
        except (TypeError, ValueError):
            pass
        raise self.wrong(name, "is not a day such as 2026-01-31")

    def word(self, name: str, words: Sequence[_Word], default: _Word = _NEEDED) -> _Word:
        value = self._take(name, default)
        for word in words:
            if value == word:
                return word
        raise self.wrong(name, f"is none of {', '.join(words)}")

    def number(self, name: str, low: float, high: float, default: float = _NEEDED) -> float:
        return self._number(self._take(name, default), name, low, high)

    def whole(self, name: str, low: int, high: int, default: int = _NEEDED) -> int:
        return self._whole(self._take(name, default), name, low, high)

    def whole_or(self, word: str, name: str, low: int, high: int, default: int) -> int | None:
        """Take a whole number, or None where `word` stands in its place."""
        if self._data.get(name) == word:
            del self._data[name]
            return None
        return self.whole(name, low, high, default)

    def flag(self, name: str, default: bool = _NEEDED) -> bool:
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "is neither true nor false")
        return value

    def numbers(self, name: str, low: float, high: float, most: int) -> tuple[float, ...]:
        return tuple(self._number(value, name, low, high) for value in self._list(name, most))

    def wholes(self, name: str, low: int, high: int, most: int) -> tuple[int, ...]:
        return tuple(self._whole(value, name, low, high) for value in self._list(name, most))

    def table(self, name: str) -> Table:
        return Table(self._take(name, _NEEDED), f"{self.where}, {name}")

    def optional_table(self, name: str) -> Table | None:
        return self.table(name) if name in self._data else None

    def words(self, name: str, words: Sequence[str]) -> list[str]:
        """Take a list of some of `words`."""
        found = self._list(name, len(words))
        if any(word not in words for word in found):
            raise self.wrong(name, f"may name only {', '.join(words)}")
        return found

    def tables(self, name: str, most: int, *, needed: bool = False) -> list[Table]:
        """Take a list of tables; one that is missing is empty, where it is not needed."""
        values = self._list(name, most) if needed or name in self._data else []
        return [Table(value, f"{self.where}, {name} {i + 1}") for i, value in enumerate(values)]

    def texts(self, most: int) -> dict[str, str]:
        """Take everything that is left, as lines of text by name."""
        if len(self._data) > most:
            raise CorruptFile(f"{self.where} has more than {most} entries.")
        for name in self._data:
            if not name.isprintable() or not 0 < len(name) <= LONGEST_TEXT:
                raise CorruptFile(f"{self.where} has a name that is no line of text.")
        return {name: self.text(name) for name in self.names}

    def end(self) -> None:
        if self._data:
            unknown = ", ".join(sorted(repr(name)[:60] for name in self._data)[:5])
            raise CorruptFile(f"{self.where} has entries that edgetts does not know: {unknown}.")

    def wrong(self, name: str, what: str) -> CorruptFile:
        return CorruptFile(f"{self.where} is wrong: {name} {what}.")

    def _take(self, name: str, default: Any) -> Any:
        value = self._data.pop(name, default)
        if value is _NEEDED:
            raise self.wrong(name, "is missing")
        return value

    def _list(self, name: str, most: int) -> list[Any]:
        value = self._take(name, _NEEDED)
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(name, f"is not a list of at most {most} entries")
        return value

    def _number(self, value: Any, name: str, low: float, high: float) -> float:
        # Compared before it becomes a float, which a large whole number cannot.
        sound = type(value) in (int, float) and low <= value <= high and math.isfinite(value)
        if not sound:
            raise self.wrong(name, f"is not a number from {low:g} to {high:g}")
        return float(value)

    def _whole(self, value: Any, name: str, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"is not a whole number from {low} to {high}")
        return value
