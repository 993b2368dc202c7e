"""Write a rule's settings as NAME:FIRST,KEY=VALUE and read them back; knows no rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss


def spell(name: str, rule: Any) -> str:
    """Return the name with the settings that `read_settings` needs to make the same rule.

    The first number stands alone, others with their names, and only where they differ from the default.
    """
    parts = []
    for at, field in enumerate(_numeric(type(rule))):
        value = getattr(rule, field.name)
        if field.default is MISSING or value != field.default:
            parts.append(_write(value) if at == 0 else f"{field.name}={_write(value)}")
    return f"{name}:{','.join(parts)}" if parts else name


def read_settings(name: str, cls: type[Any], text: str) -> dict[str, float | int]:
    """Read the settings of a rule of class `cls`. Errors: InvalidInput, naming what is known."""
    known = {field.name: field for field in _numeric(cls)}
    found: dict[str, float | int] = {}
    for at, part in enumerate(text.split(",") if text else ()):
        key, equals, value = part.strip().partition("=")
        if not equals:
            if at or not known:
                raise InvalidInput(f"{name!r} cannot read {part!r}.", hint=_usage(name, known))
            key, value = next(iter(known)), key
        key = key.strip().replace("-", "_")
        if key not in known:
            raise InvalidInput(
                f"{name!r} has no setting {key!r}.", hint=near_miss(key, known, _usage(name, known))
            )
        if key in found:
            raise InvalidInput(f"{name!r} is given {key} twice.", hint=_usage(name, known))
        found[key] = _number(name, key, value, whole=str(known[key].type) == "int")
    for field in known.values():
        if field.default is MISSING and field.name not in found:
            raise InvalidInput(f"{name!r} needs {field.name}.", hint=_usage(name, known))
    return found


def _numeric(cls: type[Any]) -> list[Field[Any]]:
    """The settings: fields that are numbers. Annotations are text, under `from __future__ import annotations`."""
    return [field for field in fields(cls) if str(field.type) in ("float", "int")]


def _number(name: str, key: str, text: str, *, whole: bool) -> float | int:
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        kind = "a whole number" if whole else "a number"
        raise InvalidInput(f"{key} of {name!r} is {text.strip()!r}, but it must be {kind}.")
    return number


def _write(value: float | int) -> str:
    """Write a number so that it reads back as itself, without a fraction where it has none."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _usage(name: str, known: Mapping[str, Field[Any]]) -> str:
    if not known:
        return f"Write {name!r} alone."
    first, *others = known
    return f"Write {name}:{first.upper()}" + "".join(f"[,{other}={other.upper()}]" for other in others) + "."
