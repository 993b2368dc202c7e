"""Find stopping and pruning rules by name; knows no votes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.stopping.any_of import AnyOf, NeverStop
from edgetts.selection.stopping.certaindex import Certaindex
from edgetts.selection.stopping.confidence import Confidence
from edgetts.selection.stopping.flaws import FirstPass
from edgetts.selection.stopping.low_confidence import LowConfidence
from edgetts.selection.stopping.posterior import Posterior
from edgetts.selection.stopping.pruning import NeverPrune, PruneAny
from edgetts.selection.stopping.repetition import Repetition
from edgetts.selection.stopping.rule import Pruning, StoppingRule
from edgetts.selection.stopping.settings import read_settings
from edgetts.selection.stopping.too_long import TooLong
from edgetts.selection.stopping.value import ValueOfMore
from edgetts.selection.stopping.votes import VoteDecided
from edgetts.selection.stopping.wrong_step import WrongEquation

RULES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "none": NeverStop,
        "vote": VoteDecided,
        "posterior": Posterior,
        "certaindex": Certaindex,
        "confidence": Confidence,
        "value": ValueOfMore,
        "first-pass": FirstPass,
    }
)
PRUNINGS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "none": NeverPrune,
        "low-confidence": LowConfidence,
        "repetition": Repetition,
        "too-long": TooLong,
        "wrong-equation": WrongEquation,
    }
)


def make_rule(spec: str, *, calibration: Calibration | None = None) -> StoppingRule:
    """Make a rule of text such as "posterior:0.95", "certaindex:0.9,floor=0.1" or "posterior+value:300".

    A plus sign stops when either does. What a rule is called (`name`) makes it again, but for its calibration.
    calibration: for "confidence". Errors: InvalidInput for what is not known, and for a calibration nothing uses.
    """
    parts = spec.split("+")
    uses = [part.partition(":")[0].strip() == "confidence" for part in parts]
    if calibration is not None and not any(uses):
        raise InvalidInput(
            f"The stopping rule {spec!r} uses no calibration.", hint="Use 'confidence', or leave it out."
        )
    rules = tuple(
        cast(
            StoppingRule,
            _make(RULES, "stopping rule", part, {"calibration": calibration} if calibrated else {}),
        )
        for part, calibrated in zip(parts, uses, strict=True)
    )
    return rules[0] if len(rules) == 1 else AnyOf(rules)


def make_pruning(spec: str) -> Pruning:
    """Make a pruning rule of text such as "repetition", "low-confidence:90" or "repetition+too-long:0.9"."""
    prunings = tuple(cast(Pruning, _make(PRUNINGS, "pruning rule", part, {})) for part in spec.split("+"))
    return prunings[0] if len(prunings) == 1 else PruneAny(prunings)


def _make(known: Mapping[str, type[Any]], kind: str, spec: str, extra: Mapping[str, Any]) -> object:
    name, colon, settings = spec.strip().partition(":")
    if name not in known:
        raise InvalidInput(f"There is no {kind} {name!r}.", hint=near_miss(name, known))
    if colon and not settings.strip():
        raise InvalidInput(f"The {kind} {name!r} has a colon and no settings.", hint=f"Write {name!r} alone.")
    cls = known[name]
    return cls(**read_settings(name, cls, settings), **extra)
