"""Turn what was asked for by name into what answers: strategy, verifier, scorer, calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgetts.answering.choosing import Choosing
from edgetts.decoding.session import Capabilities
from edgetts.errors import InvalidInput
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.abstention import Abstention
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.confidence.calibration_file import load_calibration
from edgetts.selection.need import Need
from edgetts.selection.search.scorers import SelfEvaluation
from edgetts.selection.strategies import Strategy, lacking, make_strategy, strategy_names
from edgetts.selection.strategies.best_of_n import BestOfN
from edgetts.selection.strategies.self_consistency import SelfConsistency
from edgetts.selection.verification.verifier import EXACT, Verdict, Verifier
from edgetts.types import DecodeParams, SamplingParams

_WHAT: dict[Need, str] = {
    "logprobs": "log-probs of its tokens",
    "score": "a scorer or a verifier",
    "verifier": "a verifier",
    "fork": "a runtime that forks branches",
    "several": "samples that differ, so a temperature above 0",
}


def can_run(capabilities: Capabilities) -> list[str]:
    """Return the strategies that a session can run without a verifier, ours and other packages'."""
    have: set[Need] = {"logprobs", "several"}
    if capabilities.fork:
        have.add("fork")
    if capabilities.fork and capabilities.extend:
        have.add("score")  # the model may judge itself
    found = []
    for name in strategy_names():
        try:
            missing = lacking(make_strategy(name), frozenset(have))
        except InvalidInput:  # another package's, which is broken
            continue
        if not missing:
            found.append(name)
    return found


def resolve(
    strategy: Strategy | str | None,
    verifier: Verifier | Callable[[str], bool | float | Verdict | None] | str | None,
    calibration: Calibration | str | Path | None,
    risk: float | None,
    answer_format: AnswerFormat,
    sampling: SamplingParams,
    decode: DecodeParams,
    capabilities: Capabilities,
) -> Choosing:
    """Make everything that was named, and check that it can run together.

    Errors: InvalidInput for a strategy that needs what is not there; what the files of a verifier or a calibration
    raise.
    """
    if isinstance(verifier, str):
        from edgetts.selection.verification.registry import make_verifier  # few questions need it

        verifier = make_verifier(verifier)
    elif verifier is not None and not isinstance(verifier, Verifier):
        from edgetts.selection.verification.callable import CallableVerifier

        if not callable(verifier):
            raise InvalidInput(
                f"{verifier!r} is no verifier.",
                hint="Name one, pass a function of a text, or an object with name, rates and verify.",
            )
        verifier = CallableVerifier(verifier, rates=EXACT)
    if isinstance(calibration, str | Path):
        calibration = load_calibration(Path(calibration))
    named = strategy is not None
    if strategy is None:
        strategy = SelfConsistency() if verifier is None else BestOfN()
    elif isinstance(strategy, str):
        strategy = make_strategy(strategy, verifier, calibration)
    if not isinstance(strategy, Strategy):
        raise InvalidInput(f"{strategy!r} is no strategy.", hint="Name one, or inherit from Strategy.")
    if strategy.name == "greedy" and sampling.temperature:
        raise InvalidInput(
            f"The strategy 'greedy' takes the likeliest tokens, but the temperature is {sampling.temperature:g}.",
            hint="Leave the temperature out.",
        )
    if strategy.splitter is not None and (
        decode.mode == "speculative" or decode.acceptance != "exact" or decode.early_exit is not None
    ):
        raise InvalidInput(
            f"The strategy {strategy.name!r} decodes plainly, since a step ends where its text does.",
            hint="Leave speculation and early exits out, or take a strategy of whole samples.",
        )
    scorer = strategy.scorer
    can_judge = capabilities.fork and capabilities.extend
    measured = frozenset() if calibration is None else calibration.measure().needs
    wants_score = "score" in measured or (
        named and "score" in strategy.needs and (verifier is None or "fork" in strategy.needs)
    )
    if scorer is None and wants_score and can_judge:
        scorer = SelfEvaluation()
    if "score" in measured and scorer is not None and scorer.name != SelfEvaluation().name:
        raise InvalidInput(
            f"The calibration is of self-evaluation, but {strategy.name!r} scores by {scorer.name}.",
            hint="Use the calibration with a strategy that scores so, or that scores nothing.",
        )
    have: set[Need] = {"logprobs"}
    if scorer is not None and (can_judge or not scorer.judges):
        have.add("score")
    if verifier is not None:
        have |= {"verifier", "score"}
    if capabilities.fork:
        have.add("fork")
    if sampling.temperature != 0:
        have.add("several")
    if named and (missing := lacking(strategy, frozenset(have))):
        raise InvalidInput(
            f"The strategy {strategy.name!r} needs {' and '.join(_WHAT[need] for need in missing)}."
        )
    if unmet := sorted(measured - have):
        raise InvalidInput(f"The calibration needs {' and '.join(_WHAT[need] for need in unmet)}.")
    source = "uncalibrated" if calibration is None else "calibrated"
    abstention = None if risk is None else Abstention.at_risk(risk, source)
    return Choosing(strategy, answer_format, scorer, verifier, calibration, abstention, named)
