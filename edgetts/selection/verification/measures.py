"""Say whether the units on both sides of an equation are such that its numbers alone tell nothing."""

from __future__ import annotations

from collections.abc import Collection

from edgetts.selection.answers.units import unit_named

_COINS = frozenset(
    {"cent", "cents", "¢", "penny", "pennies", "pence", "nickel", "nickels", "dime", "dimes", "quarter", "quarters"}
)  # fmt: skip
_MISTAKABLE = {
    "pound": "weight", "pounds": "weight", "ounce": "weight", "ounces": "weight", "oz": "weight", "ton": "weight",
    "tons": "weight", "gallon": "volume", "gallons": "volume", "quart": "volume", "quarts": "volume",
    "pint": "volume", "pints": "volume", "cup": "volume", "cups": "volume", "inch": "length", "yard": "length",
    "decade": "time", "decades": "time", "century": "time", "centuries": "time",
}  # fmt: skip
"""Units of which `unit_named` does not know what they measure; here it is enough that they may be converted."""
_SAME_KIND = {"months": "time", "mass": "weight"}


def converts(left: Collection[str], right: Collection[str]) -> bool:
    """Whether units of one kind are mixed: 30 minutes + 30 minutes = 1 hour, 2 * 70 cents = 1.40."""
    if _COINS.isdisjoint(left) != _COINS.isdisjoint(right):
        return True  # a price without a unit may be in dollars
    kinds: dict[str, str] = {}
    for word in (*left, *right):
        known = unit_named(word)
        if known is not None and known.dimension != "ratio":
            kind, name = _SAME_KIND.get(known.dimension, known.dimension), known.name
        elif word in _MISTAKABLE:
            kind, name = _MISTAKABLE[word], word.removesuffix("s")
        else:
            continue
        if kinds.setdefault(kind, name) != name:
            return True
    return False
