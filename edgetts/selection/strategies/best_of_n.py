"""Several samples, of which a verifier or a scorer chooses."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgetts.selection.aggregation import Aggregator, Auto
from edgetts.selection.need import Need
from edgetts.selection.search.scorers import Scorer
from edgetts.selection.search.tree import Task
from edgetts.selection.stopping.flaws import FirstPass
from edgetts.selection.stopping.rule import StoppingRule
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.strategies.whole import WholeSamples
from edgetts.selection.verification.verifier import ErrorRates


@dataclass(frozen=True, slots=True)
class BestOfN(Strategy):
    """Choose by what a verifier or a scorer says of the samples, and stop at the first that passes the verifier.

    aggregator: None is `Auto` with the verifier's error rates: it takes verdicts where there are some, else scores; see
    there for why a score alone does not outvote a majority. Source: "Training Verifiers to Solve Math Word Problems".
    """

    aggregator: Aggregator | None = None
    stop: StoppingRule | None = field(default_factory=FirstPass)
    scorer: Scorer | None = None

    @property
    def name(self) -> str:
        return "best_of_n"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"score", "several"}) | (
            frozenset() if self.aggregator is None else self.aggregator.needs - {"verifier"}
        )

    @property
    def stops(self) -> str:
        return "when all samples are there" if self.stop is None else f"by the rule {self.stop.name}"

    def start(self, task: Task) -> WholeSamples:
        rates = task.rates or ErrorRates(1.0, 0.0)
        auto = Auto(passes_right=rates.passes_right, passes_wrong=rates.passes_wrong)
        return WholeSamples(task, self.aggregator or auto, self.stop)
