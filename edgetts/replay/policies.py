"""What is compared: a strategy with its settings, and how many samples it may have."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.strategies import Strategy, make_strategy
from edgetts.selection.verification.verifier import Verifier

MOST_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """spec: as it was written. samples: None is as many as a plan gives it."""

    spec: str
    strategy: Strategy
    samples: int | None = None


def make_policy(
    spec: str, verifier: Verifier | None = None, calibration: Calibration | None = None
) -> Policy:
    """Make the policy that a text names: "self_consistency:stop=none@8" is a strategy, and 8 samples at most.

    calibration: for the stopping rule "confidence". Errors: InvalidInput.
    """
    text, at, count = spec.rpartition("@")
    samples = None
    if not at:
        text = spec
    else:
        samples = int(count) if count.isascii() and count.isdigit() and len(count) < 6 else 0
        if not 1 <= samples <= MOST_SAMPLES:
            raise InvalidInput(
                f"The policy {spec!r} has {count!r} samples, but it must be 1 to {MOST_SAMPLES}.",
                hint="Write for example self_consistency:stop=none@8.",
            )
    strategy = make_strategy(text, verifier, calibration)
    if strategy.splitter is not None:
        raise InvalidInput(
            f"The strategy {strategy.name!r} grows answers step by step, which recorded samples cannot.",
            hint="Take one of whole samples, such as self_consistency.",
        )
    if samples is not None and strategy.most is not None and samples > strategy.most:
        raise InvalidInput(
            f"The strategy {strategy.name!r} uses at most {strategy.most} of the {samples} samples asked for."
        )
    return Policy(spec, strategy, samples)
