"""Several stopping rules as one, and the rule that never stops; knows nothing of votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.selection.aggregation.votes import Vote
from edgetts.selection.need import Need
from edgetts.selection.stopping.rule import StoppingRule


@dataclass(frozen=True, slots=True)
class NeverStop:
    """Draw every sample the budget allows."""

    @property
    def name(self) -> str:
        return "none"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:  # noqa: ARG002  # the protocol's
        return None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Stop when one of `rules` would; the first of them gives the reason."""

    rules: tuple[StoppingRule, ...]

    def __post_init__(self) -> None:
        if not self.rules:
            raise InvalidInput(
                "There are no rules to stop by.", hint="Use the rule 'none' to draw all samples."
            )

    @property
    def name(self) -> str:
        return "+".join(rule.name for rule in self.rules)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset().union(*(rule.needs for rule in self.rules))

    def stop(self, votes: Sequence[Vote], remaining: int) -> str | None:
        for rule in self.rules:
            if reason := rule.stop(votes, remaining):
                return reason
        return None
