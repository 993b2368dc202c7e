"""Strategies by name, imported when they are asked for; others may register theirs as entry points."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.aggregation import make_aggregator
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.need import Need
from edgetts.selection.search.scorer_names import make_scorer
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.stopping.progress_file import load_progress
from edgetts.selection.stopping.registry import make_pruning, make_rule
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.verification.verifier import Verifier

STRATEGIES: Mapping[str, str] = {
    "greedy": "edgetts.selection.strategies.greedy:Greedy",
    "self_consistency": "edgetts.selection.strategies.self_consistency:SelfConsistency",
    "independent": "edgetts.selection.strategies.independent:Independent",
    "adaptive": "edgetts.selection.strategies.adaptive:Adaptive",
    "best_of_n": "edgetts.selection.strategies.best_of_n:BestOfN",
    "particle": "edgetts.selection.strategies.particle:Particle",
    "rebase": "edgetts.selection.strategies.rebase:Rebase",
    "a_star": "edgetts.selection.strategies.a_star:AStar",
    "beam": "edgetts.selection.strategies.beam:Beam",
}
"""Name to module:class. Each is a frozen dataclass of settings, all with defaults."""

ENTRY_POINTS = "edgetts.strategies"
"""The group in which a package names strategies of its own: NAME = "module:Class"."""


def strategy_names() -> list[str]:
    """Return every name `make_strategy` knows, ours first."""
    return [*STRATEGIES, *sorted(set(entry_points(group=ENTRY_POINTS).names) - set(STRATEGIES))]


def make_strategy(
    text: str, verifier: Verifier | None = None, calibration: Calibration | None = None
) -> Strategy:
    """Make the strategy that a text names: "particle", or with settings "self_consistency:aggregator=rpc,stop=none".

    Settings are the fields of its dataclass; a scorer, aggregator, stopping rule, pruning rule or splitter is
    given by its own name. Within one, write ";" for the commas of its own settings. verifier: what the scorer
    "verifier" asks. calibration: for the stopping rule "confidence". Errors: InvalidInput for what there is not or does not fit.
    """
    name, _, rest = (part.strip() for part in text.partition(":"))
    kind = _find(name.replace("-", "_"))
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        known = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
        if not equals or key not in known:
            raise InvalidInput(
                f"The strategy {name!r} has no setting {key!r}."
                if equals
                else f"The setting {key!r} of the strategy {name!r} has no value.",
                hint=near_miss(key, sorted(known)) if known else "It has none.",
            )
        if key in given:
            raise InvalidInput(f"The setting {key!r} of the strategy {name!r} is given twice.")
        value = value.replace(";", ",")
        if key == "stop":
            of = calibration if value.startswith("confidence") else None
            given[key] = make_rule(value, calibration=of)
        else:
            given[key] = _setting(kind, name, key, value, verifier)
    try:
        made = kind(**given)
    except TypeError as error:
        raise InvalidInput(
            f"The strategy {name!r} cannot be made of its name and settings: {error}."
        ) from error
    if not isinstance(made, Strategy):
        raise InvalidInput(f"What is registered as the strategy {name!r} is none.")
    return made


def lacking(strategy: Strategy, have: frozenset[Need]) -> list[Need]:
    """Return what a strategy needs and is not there."""
    return sorted(strategy.needs - have)


def _find(name: str) -> Any:
    if name in STRATEGIES:
        module, _, attribute = STRATEGIES[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name.replace("-", "_") == name:
            return _load(entry)
    raise InvalidInput(f"There is no strategy {name!r}.", hint=near_miss(name, strategy_names()))


def _load(entry: EntryPoint) -> Any:
    try:
        kind = entry.load()
    except Exception as error:
        raise InvalidInput(
            f"The strategy {entry.name!r} of another package cannot be loaded: {error or type(error).__name__}.",
            hint=f"It is {entry.value} of {entry.dist.name if entry.dist else 'an unnamed package'}.",
        ) from error
    if not isinstance(kind, type):
        raise InvalidInput(f"The strategy {entry.name!r} of another package, {entry.value}, is no class.")
    return kind


def _setting(kind: Any, strategy: str, key: str, value: str, verifier: Verifier | None) -> Any:
    """Read a setting by its field's name or type."""
    if key in ("aggregator", "vote"):
        return make_aggregator(value)
    if key == "prune":
        return make_pruning(value)
    if key == "scorer":
        return make_scorer(value, verifier)
    if key == "splitter":
        return StepSplitter.parse(value)
    if key == "progress":
        return load_progress(Path(value).expanduser())
    hint = typing.get_type_hints(kind).get(key)
    if hint == (float | None):
        hint = float
    wanted: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number"}
    try:
        if hint is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[value.casefold()]
        return hint(value) if hint in (int, float) else value
    except (KeyError, ValueError):
        raise InvalidInput(
            f"The setting {key!r} of the strategy {strategy!r} is {value!r}, but it must be {wanted[hint]}."
        ) from None
