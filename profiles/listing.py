"""Every profile that there is, a row each: measured here, described, imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgetts.errors import EdgettsError
from edgetts.profiles.devices import imported, imported_names, profiles_of, shipped, shipped_names
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import ProfileStore
from edgetts.profiles.validity import changes


@dataclass(frozen=True, slots=True)
class Row:
    """name: as `edgetts profile show` takes it. state: "holds", or what it lacks."""

    name: str
    kind: Literal["calibrated", "device", "shipped", "imported"]
    date: str = "-"
    scope: str = "-"
    model: str = "-"
    runtime: str = "-"
    state: str = "-"

    def to_json(self) -> dict[str, str | None]:
        return {name: None if value == "-" else value for name, value in asdict(self).items()}


def list_rows(home: Path, notify: Callable[[str], None]) -> list[Row]:
    """Return the rows. What cannot be read is said and left out."""
    store = ProfileStore(profiles_of(home), notify)
    rows = []
    if (device := store.device()) is not None:
        dates = (device.power.idle_watts.date, device.power.busy_watts.date)
        rows.append(Row("here", "device", date=max(dates) or "-", scope=device.kind, state="holds"))
    for profile in store.all():
        changed = changes(profile.facts)
        state = "holds" if not changed else f"no longer holds: {'; '.join(changed)}"
        rows.append(_speed_row(profile.mark, "calibrated", profile, state))
    for name in shipped_names():
        rows.append(Row(name, "shipped", scope=shipped(name).kind))
    for name in imported_names(home):
        try:
            brought = imported(name, home)
        except EdgettsError as error:
            notify(f"The imported profile {name!r} is left out: {error}")
            continue
        rows.append(Row(name, "imported", scope=brought.device.kind))
        rows += [_speed_row(f"{name}/{one.mark}", "imported", one, "-") for one in brought.speeds]
    return rows


def _speed_row(name: str, kind: Literal["calibrated", "imported"], profile: SpeedProfile, state: str) -> Row:
    made = profile.made
    if made.doubt:
        state = f"{state}, in doubt" if state != "-" else "in doubt"
    return Row(name, kind, made.date, made.scope, profile.model, profile.runtime, state)
