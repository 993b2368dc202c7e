"""Say how likely it is that a partial answer leads to a right one; what asks a model is left to who calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgetts.errors import InvalidInput
from edgetts.selection.search.tree import Node, Scorer
from edgetts.selection.verification.verifier import Verifier, Work

__all__ = ["CallableScore", "LogProbScore", "Product", "Scorer", "SelfEvaluation", "VerifierScore"]


@dataclass(frozen=True, slots=True)
class SelfEvaluation:
    """The model's own judgement of the text: the probability of a yes when it is asked whether all is right.

    "Language Models (Mostly) Know What They Know". Untuned small models judge badly: measure before use.
    """

    @property
    def name(self) -> str:
        return "self-evaluation"

    @property
    def judges(self) -> bool:
        return True

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        """Return the judgement. Errors: InvalidInput where there is none."""
        del node, question
        if judgement is None:
            raise InvalidInput("Self-evaluation needs the model's judgement of the text.")
        return _probability(judgement, "The model's judgement")


@dataclass(frozen=True, slots=True)
class LogProbScore:
    """The geometric mean of the model's token probabilities, over the last step or the whole path."""

    of: Literal["step", "path"] = "step"

    def __post_init__(self) -> None:
        if self.of not in ("step", "path"):
            raise InvalidInput(f"Log-probs are of the last step or the path, not of {self.of!r}.")

    @property
    def name(self) -> str:
        return "logprob" if self.of == "step" else "logprob:path"

    @property
    def judges(self) -> bool:
        return False

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        """Return exp(sum of log-probs / tokens); 1 where there are no tokens, of which none is doubtful."""
        del question, judgement
        sums = (node.step_logprob, node.step_tokens) if self.of == "step" else (node.logprob, node.tokens)
        return math.exp(min(0.0, sums[0] / sums[1])) if sums[1] else 1.0


@dataclass(frozen=True, slots=True)
class VerifierScore:
    """What a verifier says of the work so far, as the probability that it is right.

    With known error rates, by Bayes' theorem from `prior`: a pass of a verifier that passes a of what is right
    and b of what is wrong makes it prior * a / (prior * a + (1 - prior) * b). Without, it is the share
    of the checks that passed, or 1 or 0. Where the verifier cannot tell, it is `prior`.
    Never below `least`, so that one wrong verdict is not the end of a path.
    """

    verifier: Verifier
    prior: float = 0.5
    least: float = 0.01

    def __post_init__(self) -> None:
        for name in ("prior", "least"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}, but it must be at least 0 and below 1.")

    @property
    def name(self) -> str:
        return f"verifier:{self.verifier.name}"

    @property
    def judges(self) -> bool:
        return False

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        del judgement
        verdict = self.verifier.verify(
            Work(question=question, text=node.text, answer=node.answer, complete=node.ended)
        )
        if verdict.passed is None:
            found = self.prior if verdict.share is None else verdict.share
        elif self.verifier.rates is not None:
            right, wrong = self.verifier.rates.passes_right, self.verifier.rates.passes_wrong
            if not verdict.passed:
                right, wrong = 1 - right, 1 - wrong
            both = self.prior * right + (1 - self.prior) * wrong
            # A verdict that its rates rule out tells nothing.
            found = self.prior * right / both if both > 0 else self.prior
        else:
            found = float(verdict.passed) if verdict.share is None else verdict.share
        return max(self.least, _probability(found, f"The share of {self.verifier.name}"))


@dataclass(frozen=True, slots=True)
class CallableScore:
    """Whatever you have: a function of the question and the text so far, such as a reward model.

    It returns a probability from 0 to 1, and is called from the thread that answers.
    """

    function: Callable[[str, str], float]
    name: str = "callable"

    @property
    def judges(self) -> bool:
        return False

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        """Errors: InvalidInput for what is no probability; what the function raises passes through."""
        del judgement
        return _probability(self.function(question, node.text), f"The scorer {self.name!r}")


@dataclass(frozen=True, slots=True)
class Product:
    """A product of scores, each raised to its exponent: exponents that sum to 1 make a geometric mean."""

    scorers: tuple[Scorer, ...]
    exponents: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.scorers or (self.exponents and len(self.exponents) != len(self.scorers)):
            raise InvalidInput("A product has one scorer at least, and no exponents or one for each.")
        if any(not math.isfinite(exponent) or exponent < 0 for exponent in self.exponents):
            raise InvalidInput(f"Exponents are zero or greater, not {self.exponents}.")

    @classmethod
    def guided(cls, lm_weight: float = 0.5) -> Product:
        """The step score of self-evaluation guided search: p_LM^l * p("right")^(1 - l).

        "Self-Evaluation Guided Beam Search for Reasoning"; its beam search here weighs the log-probs itself.
        """
        if not 0 <= lm_weight <= 1:
            raise InvalidInput(f"The weight of log-probs is {lm_weight}, but it must be from 0 to 1.")
        return cls((LogProbScore(), SelfEvaluation()), (lm_weight, 1 - lm_weight))

    @property
    def name(self) -> str:
        return "*".join(scorer.name for scorer in self.scorers)

    @property
    def judges(self) -> bool:
        return any(scorer.judges for scorer in self.scorers)

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        powers = self.exponents or (1.0,) * len(self.scorers)
        total: float = math.prod(
            scorer.score(node, question, judgement if scorer.judges else None) ** power
            for scorer, power in zip(self.scorers, powers, strict=True)
        )
        return total


def _probability(value: float, who: str) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidInput(
            f"{who} is {value!r}, but a score is a probability from 0 to 1.",
            hint="Map a reward to one, for example by 1 / (1 + exp(-reward)).",
        )
    return float(value)
