"""Profiles as TOML text, in the form that `reading` takes. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DefaultBudget, DeviceProfile, PowerDraw, Processor
from edgetts.profiles.figure import Figure
from edgetts.profiles.speed import SpeedProfile

FORMAT = 1
PARTS = ("memory", "threads", "guessing", "sustained", "power")
"""Of a speed profile: what need not have been measured."""
ANY = "any"
"""In place of a number of samples: no limit."""


def write_speed(profile: SpeedProfile) -> str:
    """Write one profile as a document of its own."""
    return _document("speed", speed_table(profile))


def write_device(profile: DeviceProfile, facts: Mapping[str, str] | None = None) -> str:
    """Write one device as a document of its own. facts: of the machine, where its figures hold for no other."""
    body = device_table(profile)
    return _document("device", body | ({"facts": dict(facts)} if facts else {}))


def write_export(device: DeviceProfile, speeds: Sequence[SpeedProfile]) -> str:
    """Write a device and what was measured of models on it, to be taken to another machine."""
    body: dict[str, Any] = {"device": device_table(device)}
    if speeds:
        body["speeds"] = [speed_table(speed) for speed in speeds]
    return _document("export", body)


def _document(kind: str, body: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps({"format": FORMAT, "document": kind, **body})


def speed_table(profile: SpeedProfile) -> dict[str, Any]:
    """Return a profile as TOML's types; what was not measured is left out."""
    body: dict[str, Any] = {"mark": profile.mark, "model": profile.model, "runtime": profile.runtime}
    if profile.run_threads:
        body["run_threads"] = profile.run_threads
    # So that a file that lost its end is not taken for one that never had these.
    body["parts"] = [name for name in PARTS if getattr(profile, name)]
    made = profile.made
    body["made"] = {"date": made.date, "scope": made.scope}
    if made.versions:
        body["made"]["versions"] = dict(made.versions)
    if made.earlier:
        body["made"]["earlier"] = dict(made.earlier)
    if made.doubt:
        body["made"]["doubt"] = made.doubt
    body["facts"] = dict(profile.facts)
    body["times"] = _times(profile.times)
    if profile.memory is not None:
        body["memory"] = asdict(profile.memory)
    if profile.sustained is not None:
        body["sustained"] = asdict(profile.sustained)
    if profile.power is not None:
        body["power"] = _power(profile.power)
    if profile.threads:
        body["threads"] = [{"threads": count, "seconds": seconds} for count, seconds in profile.threads]
    if profile.guessing:
        body["guessing"] = [asdict(one) for one in profile.guessing]
    return body


def _times(times: StepTimes) -> dict[str, Any]:
    body = asdict(times)
    body["widths"], body["seconds"] = list(times.widths), list(times.seconds)
    body["prompts"] = [{"tokens": tokens, "seconds": seconds} for tokens, seconds in times.prompts]
    return body


def device_table(profile: DeviceProfile) -> dict[str, Any]:
    """Return a device as TOML's types."""
    body: dict[str, Any] = {"name": profile.name, "title": profile.title, "kind": profile.kind}
    body["memory_bytes"] = _figure(profile.memory_bytes)
    body["processor"] = _processor(profile.processor)
    if profile.npu is not None:
        body["npu"] = _processor(profile.npu)
    body["power"] = _power(profile.power)
    if profile.budgets:
        body["budgets"] = {
            mode: {state: _budget(budget) for state, budget in states.items()}
            for mode, states in profile.budgets.items()
        }
    return body


def _processor(processor: Processor) -> dict[str, Any]:
    return {
        "name": processor.name,
        "cores": processor.cores,
        "bandwidth": _figure(processor.bandwidth),
        "operations": _figure(processor.operations),
        **({"provider": processor.provider} if processor.provider else {}),
    }


def _power(power: PowerDraw) -> dict[str, Any]:
    return {"idle_watts": _figure(power.idle_watts), "busy_watts": _figure(power.busy_watts)}


def _figure(figure: Figure) -> dict[str, Any]:
    body = asdict(figure)
    return {name: value for name, value in body.items() if value != ""}


def _budget(budget: DefaultBudget) -> dict[str, Any]:
    body = {name: value for name, value in asdict(budget).items() if value is not None}
    return {"samples": ANY, **body}
