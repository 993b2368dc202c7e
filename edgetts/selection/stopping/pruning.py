"""Several pruning rules as one, and the rule that never prunes; knows nothing of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.stopping.rule import Pruning, Running


@dataclass(frozen=True, slots=True)
class NeverPrune:
    """Let every sample run."""

    @property
    def name(self) -> str:
        return "none"

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:  # noqa: ARG002  # the protocol's
        return frozenset()


@dataclass(frozen=True, slots=True)
class PruneAny:
    """End what one of `prunings` would."""

    prunings: tuple[Pruning, ...]

    def __post_init__(self) -> None:
        if not self.prunings:
            raise InvalidInput("There are no rules to prune by.", hint="Use 'none' to let all samples run.")

    @property
    def name(self) -> str:
        return "+".join(pruning.name for pruning in self.prunings)

    def prune(self, running: Sequence[Running], ended: Sequence[Running]) -> frozenset[int]:
        return frozenset().union(*(pruning.prune(running, ended) for pruning in self.prunings))
