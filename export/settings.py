"""Read typed values out of a model's untrusted settings, with complaints that name the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.export.families import supported_hint
from edgetts.export.mapped_file import DAMAGED_HINT


class Settings:
    """Read typed values; every complaint names the file and the key."""

    def __init__(self, file: str, values: Mapping[str, Any], prefix: str = "") -> None:
        self.file, self._values, self._prefix = file, values, prefix

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; null counts as left out."""
        value = self._values.get(self._prefix + key)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        # GGUF may state one value per layer.
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]
        if isinstance(value, list):
            self.unsupported(f"{self._prefix}{key} differs from layer to layer")
        # Beyond that, arithmetic with it could overflow before it is refused.
        if type(value) is not int or abs(value) >= 1 << 53:
            self.corrupt(key, value, "a whole number")
        return int(value)

    def count(self, key: str) -> int:
        value = self.whole(key)
        if value < 1:
            self.corrupt(key, value, "a whole number greater than zero")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if type(value) not in (int, float):
            self.corrupt(key, value, "a number")
        if not abs(value) < 1e300:
            self.corrupt(key, value, "a finite number")
        return float(value)

    def text(self, key: str, default: str) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            self.corrupt(key, value, "a string")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.corrupt(key, value, "true or false")
        return bool(value)

    def corrupt(self, key: str, value: object, what: str) -> NoReturn:
        if value is None:
            raise CorruptFile(f"{self.file} does not state {self._prefix}{key}.", hint=DAMAGED_HINT)
        raise CorruptFile(
            f"{self.file} states {str(value)[:60]!r} as {self._prefix}{key}, which is not {what}."
        )

    def unsupported(self, what: str) -> NoReturn:
        raise UnsupportedModel(f"{self.file} cannot be used: {what}.", hint=supported_hint())
