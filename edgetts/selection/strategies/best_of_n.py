"""Several samples, of which a verifier or a scorer chooses."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.selection.aggregation import Aggregator, Auto
from edgetts.selection.need import Need
from edgetts.selection.search.scorers import Scorer
from edgetts.selection.search.tree import Task
from edgetts.selection.stopping.flaws import FirstPass
from edgetts.selection.stopping.rule import StoppingRule
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.strategies.whole import WholeSamples
from edgetts.selection.verification.verifier import ErrorRates

RELIABLE = 0.1
"""A verifier that passes at most this share of what is wrong is believed at once."""


@dataclass(frozen=True, slots=True)
class BestOfN(Strategy):
    """Choose by what a verifier or a scorer says of the samples.

    aggregator: None is `Auto` with the verifier's error rates: it takes verdicts where there are some, else scores; see
    there for why a score alone does not outvote a majority. stop: None stops at the first sample that passes where
    the verifier is known to be reliable, and otherwise draws all samples, since then votes correct what it misses.
    Source: "Training Verifiers to Solve Math Word Problems".
    """

    aggregator: Aggregator | None = None
    stop: StoppingRule | None = None
    scorer: Scorer | None = None

    @property
    def name(self) -> str:
        return "best_of_n"

    @property
    def needs(self) -> frozenset[Need]:
        own: frozenset[Need] = frozenset() if self.aggregator is None else self.aggregator.needs
        needs: set[Need] = {"score", "several", *own}
        return frozenset(needs - {"verifier"})

    @property
    def stops(self) -> str:
        return (
            "at the first that passes a reliable verifier"
            if self.stop is None
            else f"by the rule {self.stop.name}"
        )

    def start(self, task: Task) -> WholeSamples:
        rates = task.rates or ErrorRates(1.0, 0.0)
        auto = Auto(passes_right=rates.passes_right, passes_wrong=rates.passes_wrong)
        stop = self.stop
        if stop is None and task.rates is not None and task.rates.passes_wrong <= RELIABLE:
            stop = FirstPass()
        return WholeSamples(task, self.aggregator or auto, stop)
