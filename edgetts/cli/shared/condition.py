"""What doctor says of energy, power and profiles: each figure with where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgetts.errors import EdgettsError

if TYPE_CHECKING:
    from edgetts.energy.finding import Meters
    from edgetts.profiles.device import DeviceProfile


def condition(home: Path, models: list[str]) -> dict[str, dict[str, Any]]:
    """Return the sections device, energy, power, default budgets and calibrations. home: the cache.

    models: names that success profiles may be of. Whatever cannot be read is told in its place.
    """
    ignored: list[str] = []
    device, facts = _device(home, ignored.append)
    report = {"device": facts, "energy": _energy(device), **_power(device)}
    report["calibrations"] = _calibrations(home, models, ignored.append)
    if ignored:
        report["calibrations"]["not used"] = list(dict.fromkeys(ignored))
    return report


def _device(home: Path, notify: Callable[[str], None]) -> tuple[DeviceProfile | None, dict[str, Any]]:
    from edgetts.profiles.device_figures import figures_of
    from edgetts.profiles.devices import device_here
    from edgetts.profiles.wording import figure_words, unit_of

    try:
        device = device_here(home, notify)
    except EdgettsError as error:
        return None, {"profile": str(error)}
    figures = figures_of(device)
    date = max((figure.date for figure in figures.values() if figure.provenance == "measured"), default="")
    measured = f"measured, {date}" if date else "measured"
    facts: dict[str, Any] = {
        "profile": f"{device.name}: {device.title}",
        "kind": measured if device.kind == "measured" else "modelled, not measured here: edgetts calibrate",
    }
    return device, facts | {name: figure_words(figure, unit_of(name)) for name, figure in figures.items()}


def _energy(device: DeviceProfile | None) -> dict[str, str]:
    from edgetts.energy.finding import VARIABLE, find_meter, look

    power = None if device is None else device.power
    try:
        meters = find_meter(power)
    except EdgettsError as error:
        found = {one.name: one.reason or "can be used" for one in look(power)}
        return {"joules": f"not counted: {error}", **found}
    joules = meters.stated if meters.ledgers else f"{meters.stated}: {_uncounted(meters, VARIABLE)}"
    return {"joules": joules, **_meters(meters)}


def _uncounted(meters: Meters, variable: str) -> str:
    return "there is no meter here" if meters.looked else f"{variable} says none"


def _meters(meters: Meters) -> dict[str, str]:
    used = [ledger.counter for ledger in meters.ledgers]
    found = {}
    for one in meters.looked:
        if one.counter is not None and one.counter in used:
            place = used.index(one.counter)
            found[one.name] = "used" if place == 0 else f"stands in where {meters.name} cannot tell"
        else:
            found[one.name] = one.reason or f"can be used; {meters.name} comes first"
    return found


def _power(device: DeviceProfile | None) -> dict[str, dict[str, Any]]:
    from edgetts.energy.budgets import default_budget
    from edgetts.energy.state import power_state
    from edgetts.profiles.device import PowerMode
    from edgetts.profiles.wording import budget_words

    power = power_state(patience=2.0)
    facts: dict[str, Any] = {"state": power.state, "since": power.reason}
    if power.percent is not None:
        facts["battery"] = f"{power.percent:.0f}%"
    if device is None:
        return {"power": facts}
    budgets: dict[str, Any] = {
        f"--power {mode}": f"{budget_words(default_budget(device, mode, power.state))} (in state {power.state})"
        for mode in get_args(PowerMode)
    }
    return {
        "power": facts,
        "default budgets": {**budgets, "from": f"the profile {device.name}, chosen by hand"},
    }


def _calibrations(home: Path, models: list[str], notify: Callable[[str], None]) -> dict[str, Any]:
    from edgetts.control.success.store import profiles_of as successes_of
    from edgetts.profiles.devices import profiles_of
    from edgetts.profiles.store import ProfileStore
    from edgetts.profiles.validity import changes

    speeds = ProfileStore(profiles_of(home), notify).all()
    found: dict[str, Any] = {}
    for speed in speeds:
        changed = changes(speed.facts)
        holds = f"no longer holds: {'; '.join(changed)}" if changed else "holds"
        made = f"speeds, {speed.made.scope}, {speed.made.date}"
        if speed.made.doubt:
            holds += f", in doubt: {speed.made.doubt}"
        found.setdefault(f"{speed.model} on {speed.runtime}", []).append(f"{made}, {holds}")
    if not any(speed.made.scope in ("quick", "full") for speed in speeds):
        found["speeds"] = "no model is calibrated here: edgetts calibrate --model NAME"
    names = sorted({*models, *(speed.model for speed in speeds)})
    known = [one for name in names for one in successes_of(home, name, notify)]
    for one in known:
        found[f"{one.model} at {one.task}"] = f"success, {one.provenance}"
    if not known:
        found["success"] = "no task is calibrated: edgetts calibrate --model NAME --task FILE"
    return found
