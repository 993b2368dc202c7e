"""Write a strategy as the text that makes it again; knows fields and names."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from edgetts.errors import EdgettsError
from edgetts.selection.strategies import Strategy, make_strategy


def spell_strategy(strategy: Strategy) -> str | None:
    """Return text such as "self_consistency:stop=posterior:0.9"; None where no text makes the same strategy."""
    settings = _differing(strategy)
    text = strategy.name + (f":{','.join(settings)}" if settings else "")
    return text if _makes(text, strategy) else None


def _differing(strategy: Any) -> list[str]:
    """Return the settings that are not what they are by default."""
    if not is_dataclass(strategy) or isinstance(strategy, type):
        return []
    try:
        usual = type(strategy)()
    except TypeError:
        return []
    return [
        f"{field.name}={_spelled(value)}"
        for field in fields(strategy)
        if (value := getattr(strategy, field.name)) != getattr(usual, field.name)
    ]


def _spelled(value: Any) -> str:
    """Write one setting: what has settings itself by its name and those."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not is_dataclass(value) or isinstance(value, type):
        return str(value)
    name = str(getattr(value, "name", ""))
    if ":" not in name:
        own = []
        for field in fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, bool | int | float | str) and inner != field.default:
                own.append(f"{field.name}={_spelled(inner)}")
        name += f":{';'.join(own)}" if own else ""
    return name.replace(",", ";")


def _makes(text: str, strategy: Strategy) -> bool:
    try:
        return make_strategy(text) == strategy
    except EdgettsError:
        return False
