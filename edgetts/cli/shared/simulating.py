"""What `replay` simulates and compares, made of its options before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.budget import Budget
    from edgetts.replay.playing import Setting
    from edgetts.replay.policies import Policy
    from edgetts.replay.simulation import Device
    from edgetts.selection.confidence.calibration import Calibration
    from edgetts.selection.verification.verifier import ErrorRates, Verifier


def make_setting(
    options: dict[str, Any], rates: ErrorRates | None = None, device: Device | None = None
) -> Setting:
    """Make what all answers have in common. device: another than the options name."""
    from edgetts.replay.load import make_load
    from edgetts.replay.playing import Setting
    from edgetts.selection.confidence.abstention import Abstention

    calibration = _calibration(options)
    risk, cap = options["risk"], options["max_tokens"]
    source = "uncalibrated" if calibration is None else "calibrated"
    if cap is not None and cap < 1:
        raise InvalidInput(f"--max-tokens is {cap}, but it must be greater than zero.")
    return Setting(
        device=device or device_of(options),
        budget=budget_of(options),
        load=make_load(options["load_spec"]),
        rates=rates,
        calibration=calibration,
        abstention=None if risk is None else Abstention.at_risk(risk, source),
        max_tokens=cap,
        seed=options["seed"],
    )


def budget_of(options: dict[str, Any]) -> Budget:
    from edgetts.budget import Budget

    return Budget(seconds=options["deadline"], tokens=options["tokens"], joules=options["energy"])


def device_of(options: dict[str, Any]) -> Device:
    from edgetts.replay.devices import find_device
    from edgetts.store.home import find_home

    return find_device(
        options["device"],
        find_home().root,
        model=options["model"],
        runtime=options["runtime"],
        notify=lambda sentence: click.echo(sentence, err=True),
    )


def policy_maker(options: dict[str, Any], verifier: Verifier | None) -> Callable[[str], Policy]:
    """Return what makes a policy of its text."""
    from edgetts.replay.policies import make_policy

    calibration = _calibration(options)
    return lambda spec: make_policy(spec, verifier, calibration)


def verifier_of(options: dict[str, Any]) -> Verifier | None:
    if options["verify"] is None:
        return None
    from edgetts.selection.verification.registry import make_verifier

    return make_verifier(options["verify"])


def _calibration(options: dict[str, Any]) -> Calibration | None:
    if options["calibration"] is None:
        return None
    from edgetts.selection.confidence.calibration_file import load_calibration

    return load_calibration(Path(options["calibration"]))
