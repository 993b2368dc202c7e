"""Make one verifier of several; knows nothing of what they check.

Error rates are composed as if verifiers erred independently of each other, given that a text is right, or
that it is wrong. Two that look at the same thing do not; then measure the composed one (`rates`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edgetts.errors import InvalidInput
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Verifier, Work


class _Several:
    """Verifiers in order, and the name of the way they are put together."""

    word = ""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        if not verifiers:
            raise InvalidInput(
                f"There is nothing to compose with {self.word!r}.", hint="Give at least one verifier."
            )
        self._verifiers = tuple(verifiers)

    @property
    def name(self) -> str:
        return f"{self.word}({', '.join(verifier.name for verifier in self._verifiers)})"

    def _known_rates(self) -> list[ErrorRates] | None:
        """Those of all, None where one's are not known."""
        known = [rates for verifier in self._verifiers if (rates := verifier.rates) is not None]
        return known if len(known) == len(self._verifiers) else None

    def _verdicts(self, work: Work) -> Iterator[tuple[Verifier, Verdict]]:
        """One after the other, so that a later and costlier one runs only if it is asked for."""
        for verifier in self._verifiers:
            yield verifier, verifier.verify(work)

    def _source(self, known: Sequence[ErrorRates], rule: str) -> str:
        return f"{rule}: {', '.join(dict.fromkeys(rates.source for rates in known))}"


INDEPENDENT = "composed as independent"


class AllOf(_Several):
    """Pass what every verifier passes.

    False where one fails, whatever others cannot tell; else None where one cannot tell. Later ones are not
    asked once one failed: put the cheap ones first. `share` is the lowest of those asked.
    Its rates are the products of theirs.
    """

    word = "all"

    @property
    def rates(self) -> ErrorRates | None:
        known = self._known_rates()
        return (
            None
            if known is None
            else ErrorRates(
                math.prod(rates.passes_right for rates in known),
                math.prod(rates.passes_wrong for rates in known),
                self._source(known, INDEPENDENT),
            )
        )

    def verify(self, work: Work) -> Verdict:
        """Ask each until one fails."""
        return _first_of(self._verdicts(work), deciding=False)


class AnyOf(_Several):
    """Pass what one verifier passes.

    True where one passes, whatever others cannot tell; else None where one cannot tell. Later ones are not
    asked once one passed. `share` is the highest of those asked. It fails what all fail: so 1 minus
    the product of what each fails is its rate.
    """

    word = "any"

    @property
    def rates(self) -> ErrorRates | None:
        known = self._known_rates()
        return (
            None
            if known is None
            else ErrorRates(
                1 - math.prod(1 - rates.passes_right for rates in known),
                1 - math.prod(1 - rates.passes_wrong for rates in known),
                self._source(known, INDEPENDENT),
            )
        )

    def verify(self, work: Work) -> Verdict:
        """Ask each until one passes."""
        return _first_of(self._verdicts(work), deciding=True)


class FirstOf(_Several):
    """Let the first that can tell decide.

    A text is judged by one of them, and nobody knows how often by which: the rates are the worst of
    theirs, the lowest for right texts and the highest for wrong ones.
    """

    word = "first"

    @property
    def rates(self) -> ErrorRates | None:
        known = self._known_rates()
        return (
            None
            if known is None
            else ErrorRates(
                min(rates.passes_right for rates in known),
                max(rates.passes_wrong for rates in known),
                self._source(known, "the worst of"),
            )
        )

    def verify(self, work: Work) -> Verdict:
        """Ask each until one can tell."""
        untold: list[str] = []
        for verifier, verdict in self._verdicts(work):
            if verdict.passed is not None:
                return Verdict(verdict.passed, f"{verifier.name}: {verdict.reason}", verdict.share)
            untold.append(f"{verifier.name}: {verdict.reason}")
        return Verdict(None, "; ".join(untold))


class Not:
    """Pass what a verifier fails, fail what it passes, and tell nothing where it does not."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    @property
    def name(self) -> str:
        return f"not({self._verifier.name})"

    @property
    def rates(self) -> ErrorRates | None:
        rates = self._verifier.rates
        return rates and ErrorRates(1 - rates.passes_right, 1 - rates.passes_wrong, rates.source)

    def verify(self, work: Work) -> Verdict:
        """Ask it, and turn the verdict round."""
        verdict = self._verifier.verify(work)
        passed = None if verdict.passed is None else not verdict.passed
        share = None if verdict.share is None else 1 - verdict.share
        return Verdict(passed, f"not: {verdict.reason}", share)


def _first_of(verdicts: Iterator[tuple[Verifier, Verdict]], *, deciding: bool) -> Verdict:
    """The first verdict that decides; else None if one is None; else the opposite."""
    reasons: list[str] = []
    shares: list[float] = []
    untold = False
    extreme = max if deciding else min
    for verifier, verdict in verdicts:
        if verdict.share is not None:
            shares.append(verdict.share)
        share = extreme(shares, default=None)
        if verdict.passed is deciding:
            return Verdict(deciding, f"{verifier.name}: {verdict.reason}", share)
        untold = untold or verdict.passed is None
        reasons.append(f"{verifier.name}: {verdict.reason}")
    return Verdict(None if untold else not deciding, "; ".join(reasons), extreme(shares, default=None))
