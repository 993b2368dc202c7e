"""Units that are known, and what each is of the others; knows no answers.

A unit is known only where it cannot be mistaken: "pounds" (weight or money), "oz", "in" and the like
are not. What is not known ("5 customers") is dropped, since samples of one question agree on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from edgetts.selection.answers.spelling import caret_powers

_MAX_DIGITS = 60
"""Numbers of more characters than this are not converted."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit by its short name; one of it is `size` of the dimension's base unit, exactly."""

    name: str
    dimension: str
    size: Fraction


_LENGTHS = {
    "mm": ("0.001", "millimeter millimetre"),
    "cm": ("0.01", "centimeter centimetre"),
    "m": ("1", "meter metre"),
    "km": ("1000", "kilometer kilometre"),
    "inch": ("0.0254", ""),
    "ft": ("0.3048", "foot feet"),
    "yd": ("0.9144", "yard"),
    "mi": ("1609.344", "mile"),
}
_DIMENSIONS = {
    "length": _LENGTHS,
    "mass": {
        "mg": ("0.001", "milligram"),
        "g": ("1", "gram gramme"),
        "kg": ("1000", "kilo kilogram kilogramme"),
        "t": ("1000000", "tonne"),
        "lb": ("453.59237", "lbs"),
    },
    "time": {
        "s": ("1", "sec second"),
        "min": ("60", "minute"),
        "h": ("3600", "hr hrs hour"),
        "day": ("86400", ""),
        "week": ("604800", ""),
    },
    "months": {"month": ("1", ""), "year": ("12", "yr yrs")},  # a month is no number of days
    "volume": {
        "ml": ("0.001", "milliliter millilitre"),
        "cl": ("0.01", "centiliter centilitre"),
        "l": ("1", "liter litre"),
    },
    "speed": {
        "m/s": ("3.6", "meters/s metres/s"),
        "km/h": ("1", "kph kmh kilometers/h kilometres/h"),
        "mph": ("1.609344", "mi/h miles/h"),
    },
    "dollars": {"$": ("1", "usd dollar"), "cent": ("0.01", "¢")},
    "euros": {"€": ("1", "eur euro")},
    "pounds sterling": {"£": ("1", "gbp")},
    "yen": {"¥": ("1", "jpy yen")},
    "rupees": {"₹": ("1", "inr rupee")},
    "ratio": {"%": ("0.01", "percent"), "ratio": ("1", "")},
    "angle": {"°": ("1", "degree")},
    "celsius": {"°c": ("1", "celsius")},  # one does not become the other by a factor
    "fahrenheit": {"°f": ("1", "fahrenheit")},
}


def unit_named(spelling: str) -> Unit | None:
    """Return the unit that a spelling means ("Kilometres", "cm^2", "$"), or None where it is not known."""
    if len(spelling) > 40:
        return None
    word = " ".join(caret_powers(spelling).casefold().replace("\\", "").strip(" .,;:!*").split())
    word = re.sub(r"\s?([/^])\s?", r"\1", word).replace(" per hour", "/h").replace(" per second", "/s")
    return _BY_SPELLING.get(word)


def in_base(value: str, unit: Unit) -> Fraction | None:
    """Return a canonical number of a unit in the dimension's base unit; None where it is too long for that."""
    if len(value) > _MAX_DIGITS or "e" in value:
        return None
    return Fraction(value) * unit.size


def _spellings() -> dict[str, Unit]:
    known: dict[str, Unit] = {}
    for dimension, units in _DIMENSIONS.items():
        for name, (size, words) in units.items():
            unit = Unit(name, dimension, Fraction(size))
            for word in (name, *words.split()):
                known[word] = unit
                if len(word) > 2 and word.isalpha() and not word.endswith("s"):
                    known["inches" if word == "inch" else word + "s"] = unit
    for name, (size, words) in _LENGTHS.items():
        for power, word in ((2, "square"), (3, "cubic")):
            unit = Unit(f"{name}^{power}", word + " length", Fraction(size) ** power)
            plural = "inches" if name == "inch" else ""
            known |= {f"{name}^{power}": unit, f"{name}^{{{power}}}": unit, f"{word} {name}": unit}
            for spelled in (*words.split(), *plural.split()):
                known |= {f"{word} {spelled}": unit, f"{word} {spelled}s": unit}

    return known


_BY_SPELLING = _spellings()
