"""Check that a text matches a regular expression; knows nothing of what it means."""

from __future__ import annotations

import re

from edgetts.selection.answers.patterns import REGEX_CHARS, compile_pattern
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

_LOOKS_AHEAD = re.compile(r"\(\?[!=]|\$|\\Z")
"""What may match now and no longer when the text goes on."""


class PatternVerifier:
    r"""Pass a text in whose last `REGEX_CHARS` characters a regular expression matches.

    It may match anywhere: anchor it (\A, \Z) where the whole text must match. Of a text that is not
    complete a match passes too, unless it touches the cut, and nothing is told without one.
    Errors: InvalidInput for a pattern that is invalid, or that could take exponential time.
    """

    def __init__(self, pattern: str, *, rates: ErrorRates | None = None, name: str = "regex") -> None:
        self.name = name
        self._pattern = compile_pattern(pattern)
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Look for the pattern in a text."""
        start = max(0, len(work.text) - REGEX_CHARS)
        text = work.text[
            start:
        ]  # a slice, so that \A is the beginning of what is searched only if it is the text's
        if start and self._pattern.pattern.startswith(("^", "\\A")):
            return Verdict(None, f"the text is longer than the {REGEX_CHARS} characters that are searched")
        match = self._pattern.search(text)
        if work.complete:
            return Verdict(True, "it matches") if match else Verdict(False, "it does not match")
        if match and match.end() < len(text) and not _LOOKS_AHEAD.search(self._pattern.pattern):
            return Verdict(True, "it matches")
        return Verdict(None, "the text is not complete")
