"""Say how likely a text is right by what it shows: checked arithmetic, use of the question's numbers, log-probs, length.

Knows one text and its question, and neither votes nor prices.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from edgetts.errors import InvalidInput
from edgetts.selection.confidence.logistic import sigmoid
from edgetts.selection.search.tree import Node
from edgetts.selection.verification.arithmetic import ArithmeticVerifier
from edgetts.selection.verification.equations import find_equations
from edgetts.selection.verification.expressions import numbers
from edgetts.selection.verification.verifier import Work

LEAST_NUMBERS = 2
"""A question with fewer numbers asks for no arithmetic that can be checked against it."""
USUAL_TOKENS = 250
"""Length against which others are told; what it is changes nothing."""
DOUBTFUL = -20.0
"""Nats per token; what is less likely counts as this, so that sums stay finite."""

_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])\d+(?:\.\d+)?")
_SEARCHED_CHARS = 32_768
_ARITHMETIC = ArithmeticVerifier()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a text shows. passed: its equations hold, and it has some; covered: share of the question's numbers that
    they compute with; both None where the question asks for no arithmetic. logprob: mean, in nats a token. tokens: its length.
    """

    logprob: float
    passed: bool | None = None
    covered: float | None = None
    tokens: int = USUAL_TOKENS

    @property
    def brevity(self) -> float:
        """How many times shorter than usual it is, as a natural log."""
        return -math.log(max(1, self.tokens) / USUAL_TOKENS)


@lru_cache(maxsize=256)
def numbers_of(question: str) -> frozenset[Fraction]:
    """Return the numbers that a question names in digits."""
    found = _NUMBER.findall(question[-_SEARCHED_CHARS:])
    return frozenset(Fraction(one.replace(",", "")) for one in found if len(one) < 40)


def asks_arithmetic(question: str) -> bool:
    """Whether there are numbers enough in a question to compute with."""
    return len(numbers_of(question)) >= LEAST_NUMBERS


def shown(question: str, text: str, logprob: float, tokens: int, *, complete: bool = True) -> Shown:
    """Look at a text. logprob: the sum over its tokens, in nats."""
    mean = max(DOUBTFUL, logprob / tokens) if tokens else DOUBTFUL
    if not asks_arithmetic(question):
        return Shown(mean, tokens=tokens)
    passed = _ARITHMETIC.verify(Work(question, text, complete=complete)).passed is True
    given = numbers_of(question)
    used = {number.value for equation in find_equations(text) for number in numbers(equation.left)}
    return Shown(mean, passed, len(given & used) / len(given), tokens)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log-odds of a text being right, linear in what it shows; not calibrated for other models or tasks.

    passed, covered: gains of a text whose equations hold, and of one that also computes with all the question's numbers.
    logprob: for each nat a token. brevity: for each e-fold that it is shorter. None of them is negative, so that better
    evidence never counts against a text.
    plain, plain_logprob: intercept and slope where the question asks for no arithmetic.
    """

    intercept: float
    passed: float
    covered: float
    logprob: float
    brevity: float
    plain: float
    plain_logprob: float

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not math.isfinite(value) or abs(value) > 1e3:
                raise InvalidInput(f"{name} of the evidence is {value}, but it must be from -1000 to 1000.")
            if value < 0 and name not in ("intercept", "plain"):
                raise InvalidInput(f"{name} of the evidence is {value}, but evidence must not count against.")

    def probability(self, of: Shown) -> float:
        """Return P(right)."""
        if of.passed is None or of.covered is None:
            return self.plainly(of.logprob)
        checked = of.passed * (self.passed + self.covered * of.covered)
        odds = self.intercept + checked + self.logprob * max(DOUBTFUL, of.logprob) + self.brevity * of.brevity
        return sigmoid(odds)

    def plainly(self, logprob: float) -> float:
        """Return P(right) of a text of which only its mean log-prob is known."""
        return sigmoid(self.plain + self.plain_logprob * max(DOUBTFUL, logprob))


@dataclass(frozen=True, slots=True)
class EvidenceScore:
    """Score a text by its evidence."""

    evidence: Evidence

    @property
    def name(self) -> str:
        return "evidence"

    @property
    def judges(self) -> bool:
        return False

    def score(self, node: Node, question: str, judgement: float | None) -> float:
        del judgement
        return self.evidence.probability(
            shown(question, node.text, node.logprob, node.tokens, complete=node.complete)
        )
