"""How the answer to one question is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.abstention import Abstention
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.search.scorers import Scorer
from edgetts.selection.strategies.strategy import Strategy
from edgetts.selection.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Choosing:
    """What was asked for, resolved. named: the strategy was asked for, not chosen for lack of another."""

    strategy: Strategy
    answer_format: AnswerFormat
    scorer: Scorer | None = None
    verifier: Verifier | None = None
    calibration: Calibration | None = None
    abstention: Abstention | None = None
    named: bool = False

    @property
    def steps(self) -> bool:
        """Whether partial answers are grown step by step, rather than whole samples drawn."""
        return self.strategy.splitter is not None
