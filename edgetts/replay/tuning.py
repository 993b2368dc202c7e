"""Tune one setting of a policy on one half of the problems, to be judged on the other; knows figures, not what is tuned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgetts.errors import InvalidInput
from edgetts.replay.averages import Average

Half = Literal["tune", "report"]
Price = Literal["tokens", "seconds", "joules"]
HALVES: tuple[Half, Half] = ("tune", "report")
MOST_VALUES = 200


@dataclass(frozen=True, slots=True)
class Tuned:
    """settings: by the half that was judged by it. found: every problem, by the setting chosen on the other half."""

    settings: dict[Half, str]
    found: list[Average]


def rows_of(half: Half, n: int) -> range:
    """Return the problems of a half: every other one, so that both have as many of each stretch of a record."""
    return range(HALVES.index(half), n, 2)


def parse_tune(text: str) -> tuple[str, tuple[str, ...]]:
    """Read "price=0.001,0.003": a setting's name, and its values. Errors: InvalidInput."""
    key, equals, values = (part.strip() for part in text.partition("="))
    found = tuple(dict.fromkeys(filter(None, (part.strip() for part in values.split(",")))))
    if not equals or not key.isidentifier() or len(found) < 2:
        raise InvalidInput(
            f"{text!r} does not say what to tune.", hint='Write for example "price=0.001,0.003,0.01".'
        )
    if len(found) > MOST_VALUES:
        raise InvalidInput(f"{key} is given {len(found)} values, but {MOST_VALUES} are tried at most.")
    return key, found


def family(spec: str, key: str, values: Sequence[str]) -> list[str]:
    """Return the policies of a template: each value in the place of {key}."""
    return [spec.replace(f"{{{key}}}", value) for value in values]


def with_setting(spec: str, key: str) -> str:
    """Give a policy a place for the setting: "adaptive@16" becomes "adaptive:price={price}@16"."""
    body, at, count = spec.rpartition("@")
    if not at:
        body, count = spec, ""
    return f"{body}{',' if ':' in body else ':'}{key}={{{key}}}{at}{count}"


def tune(
    specs: Sequence[str],
    tried: Sequence[Sequence[Average]],
    target: Sequence[Average],
    *,
    lose: float,
    price: Price,
) -> Tuned:
    """Judge each half by the setting that is the cheapest on the other one among those about as accurate as `target`.

    lose: share of answers that it may be less accurate there. Where none comes so near, the most accurate is taken,
    and among equals the cheapest. Errors: InvalidInput where no joules are known.
    """
    return _crossed(specs, tried, target, lambda rows: _cheapest(tried, target, rows, lose, price))


def afford(
    specs: Sequence[str],
    tried: Sequence[Sequence[Average]],
    target: Sequence[Average],
    *,
    price: Price,
) -> Tuned:
    """Judge each half by the setting that is the most accurate on the other one among those no dearer than `target`.

    Where all are dearer, the cheapest is taken. Errors: InvalidInput where no joules are known.
    """
    return _crossed(specs, tried, target, lambda rows: _most_accurate(tried, target, rows, price))


def _crossed(
    specs: Sequence[str],
    tried: Sequence[Sequence[Average]],
    target: Sequence[Average],
    choose: Callable[[range], int],
) -> Tuned:
    """Have each half judged by what is chosen on the other."""
    n = len(target)
    if n < 2:
        raise InvalidInput("To tune on one half and judge on the other takes two problems at least.")
    settings: dict[Half, str] = {}
    found: dict[int, Average] = {}
    for judged, tuned_on in zip(HALVES, reversed(HALVES), strict=True):
        rows = rows_of(tuned_on, n)
        best = choose(rows)
        settings[judged] = specs[best]
        found.update({row: tried[best][row] for row in rows_of(judged, n)})
    return Tuned(settings, [found[row] for row in range(n)])


def _cheapest(
    tried: Sequence[Sequence[Average]], target: Sequence[Average], rows: range, lose: float, price: Price
) -> int:
    least = _right(target, rows) - lose - 1e-9
    right = [_right(one, rows) for one in tried]
    costs = [_cost(one, rows, price) for one in tried]
    good = [at for at in range(len(tried)) if right[at] >= least]
    if good:
        return min(good, key=lambda at: (costs[at], -right[at], at))
    return min(range(len(tried)), key=lambda at: (-right[at], costs[at], at))


def _most_accurate(
    tried: Sequence[Sequence[Average]], target: Sequence[Average], rows: range, price: Price
) -> int:
    limit = _cost(target, rows, price) * (1 + 1e-9)
    right = [_right(one, rows) for one in tried]
    costs = [_cost(one, rows, price) for one in tried]
    good = [at for at in range(len(tried)) if costs[at] <= limit]
    return min(good or range(len(tried)), key=lambda at: (-right[at] if good else 0.0, costs[at], at))


def _right(found: Sequence[Average], rows: range) -> float:
    return math.fsum(found[row].right for row in rows) / len(rows)


def _cost(found: Sequence[Average], rows: range, price: Price) -> float:
    amounts = [getattr(found[row], price) for row in rows]
    if any(amount is None for amount in amounts):
        raise InvalidInput(
            "No joules are known, so nothing can be tuned by them.", hint="Name a --device with watts."
        )
    return math.fsum(amounts)
