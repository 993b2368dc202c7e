"""Scorers by name."""

from __future__ import annotations

from collections.abc import Callable

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.selection.search.scorers import LogProbScore, Product, SelfEvaluation, VerifierScore
from edgetts.selection.search.tree import Scorer
from edgetts.selection.verification.verifier import Verifier

SCORERS: dict[str, tuple[str, Callable[[], Scorer]]] = {
    "self-evaluation": ("the model's own judgement of the text so far", SelfEvaluation),
    "logprob": ("mean token probability of the last step", LogProbScore),
    "logprob:path": ("mean token probability of the whole text", lambda: LogProbScore("path")),
    "guided": ("geometric mean of logprob and self-evaluation", Product.guided),
}
"""What `make_scorer` knows without a verifier: what each is, and how it is made."""


def make_scorer(name: str, verifier: Verifier | None = None) -> Scorer:
    """Make the scorer of a name in SCORERS, or "verifier" of the verifier given.

    Errors: InvalidInput for an unknown name, with the nearest, and for "verifier" without one.
    """
    name = name.strip().casefold().replace("_", "-")
    if name == "verifier":
        if verifier is None:
            raise InvalidInput("The scorer 'verifier' needs a verifier.", hint="Name one with --verify.")
        return VerifierScore(verifier)
    if name not in SCORERS:
        raise InvalidInput(f"There is no scorer {name!r}.", hint=near_miss(name, (*SCORERS, "verifier")))
    return SCORERS[name][1]()
