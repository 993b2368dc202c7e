"""Aggregators by name, with settings as text; knows their names and fields, not what they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.aggregation.auto import Auto
from edgetts.selection.aggregation.lengths import LengthFiltered, ShortestFew, ShortestMajority
from edgetts.selection.aggregation.majority import Majority
from edgetts.selection.aggregation.rpc import PerplexityConsistency
from edgetts.selection.aggregation.scored import BestOfMajority, BestOfN, WeightedBestOfN
from edgetts.selection.aggregation.verified import Verified
from edgetts.selection.aggregation.votes import Aggregator
from edgetts.selection.aggregation.weighted import (
    ConfidenceWeighted,
    LikelihoodWeighted,
    ProbabilityWeighted,
)


@dataclass(frozen=True, slots=True)
class AggregatorKind:
    """A dataclass of settings that is called with votes, and what it is for."""

    make: type[Any]
    purpose: str

    @property
    def settings(self) -> Mapping[str, Any]:
        """Names of its settings, with what they are by default."""
        return {setting.name: setting.default for setting in fields(self.make)}


AGGREGATORS: Mapping[str, AggregatorKind] = MappingProxyType(
    {
        "auto": AggregatorKind(Auto, "whichever of these suits what is known of the samples"),
        "majority": AggregatorKind(Majority, "most votes"),
        "probability": AggregatorKind(ProbabilityWeighted, "votes weighed by the mean probability of tokens"),
        "confidence": AggregatorKind(ConfidenceWeighted, "votes weighed by the softmax of scores"),
        "likelihood": AggregatorKind(LikelihoodWeighted, "votes weighed by the answer's probability"),
        "rpc": AggregatorKind(PerplexityConsistency, "sum of different texts' probabilities, pruned"),
        "shortest_majority": AggregatorKind(ShortestMajority, "votes over the log of the mean length"),
        "shortest_few": AggregatorKind(ShortestFew, "most votes among the shortest texts"),
        "length_filtered": AggregatorKind(LengthFiltered, "most votes where texts of like length agree"),
        "best_of_n": AggregatorKind(BestOfN, "highest score"),
        "weighted_best_of_n": AggregatorKind(WeightedBestOfN, "largest sum of scores"),
        "best_of_majority": AggregatorKind(BestOfMajority, "highest score among frequent answers"),
        "verified": AggregatorKind(Verified, "votes and a verifier's verdicts, by its error rates"),
    }
)
"""Every aggregator by its name."""

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def make_aggregator(value: str) -> Aggregator:
    """Make the aggregator that a text names: "majority", "rpc", "probability:temperature=0.5", "a:x=1,y=2".

    Errors: InvalidInput for a name or a setting there is not, or a value that does not fit.
    """
    name, colon, rest = (part.strip() for part in value.partition(":"))
    kind = AGGREGATORS.get(name.replace("-", "_"))
    if kind is None:
        raise InvalidInput(f"There is no aggregator {name!r}.", hint=near_miss(name, AGGREGATORS))
    settings: dict[str, Any] = {}
    for item in rest.split(",") if colon else ():
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            raise InvalidInput(
                f"The setting {item.strip()!r} of the aggregator {name!r} has no value.",
                hint="Write it as NAME=VALUE, several separated by commas.",
            )
        if key not in kind.settings:
            hint = near_miss(key, kind.settings) if kind.settings else "It has no settings."
            raise InvalidInput(f"The aggregator {name!r} has no setting {key!r}.", hint=hint)
        if key in settings:
            raise InvalidInput(f"The setting {key!r} of the aggregator {name!r} is given twice.")
        settings[key] = _parsed(name, key, text, kind.settings[key])
    made: Aggregator = kind.make(**settings)
    return made


def _parsed(aggregator: str, key: str, text: str, default: Any) -> Any:
    """Read a value of the same type as the default."""
    try:
        if isinstance(default, bool):
            return _BOOLS[text.casefold()]
        return type(default)(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise InvalidInput(
            f"The setting {key!r} of the aggregator {aggregator!r} is {text!r}, but it must be {wanted}."
        ) from None
