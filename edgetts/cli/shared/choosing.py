"""The options by which `ask` and `eval` choose answers, read before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--strategy",
        help="What samples are spent on: greedy, self_consistency, best_of_n, particle, rebase, a_star, beam; settings "
        "follow a colon: self_consistency:aggregator=rpc,stop=posterior:0.95. Default: a vote, or best_of_n with "
        "--verify.",
    ),
    click.option(
        "--verify",
        help="Check every sample: arithmetic, regex:PATTERN, schema:FILE, tests:FILE.py, examples, program; a plus "
        "sign joins several. Without --strategy, samples are drawn until one passes; arithmetic and program, which "
        "err more, weigh votes instead.",
    ),
    click.option(
        "--allow-unconfined",
        is_flag=True,
        help="Run programs that the model wrote even where this platform cannot confine them.",
    ),
    click.option(
        "--calibration",
        type=click.Path(dir_okay=False),
        help="A file of edgetts runs confidence --fit, which makes the confidence a probability of being right.",
    ),
    click.option(
        "--risk",
        type=float,
        help="What a wrong answer costs, where a right one is worth 1: give none where confidence is too low for it.",
    ),
)


def choosing_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_choosing(options: dict[str, Any]) -> dict[str, Any]:
    """Make the strategy, the verifier and the calibration that were named, as arguments of `Engine.answer`.

    So misspellings and files that are not there are said before a model is loaded.
    """
    strategy, verifier, calibration = options["strategy"], options["verify"], options["calibration"]
    if verifier is not None:
        from edgetts.selection.verification.registry import make_verifier

        verifier = make_verifier(verifier, unconfined=options["allow_unconfined"])
    if calibration is not None:
        from edgetts.selection.confidence.calibration_file import load_calibration

        calibration = load_calibration(Path(calibration))
    if strategy is not None:
        from edgetts.selection.strategies import make_strategy

        strategy = make_strategy(strategy, verifier, calibration)
    if options["risk"] is not None:
        from edgetts.selection.confidence.abstention import Abstention

        Abstention.at_risk(options["risk"])
    return {
        "strategy": strategy,
        "verifier": verifier,
        "calibration": calibration,
        "risk": options["risk"],
    }
