"""Look up what an answer may take by default in what the device is in; the tables are the profiles'."""

from __future__ import annotations

from edgetts.profiles.device import DefaultBudget, DeviceProfile, PowerMode, PowerState

_INSTEAD: dict[PowerState, tuple[PowerState, ...]] = {
    "mains": ("mains",),
    "battery": ("battery", "mains"),
    "low": ("low", "battery", "mains"),
    "throttled": ("throttled", "low", "battery", "mains"),
    "background": ("background", "battery", "mains"),
}
"""Where a table has no row for a state, the row of the nearest state that may take more."""


def default_budget(profile: DeviceProfile, mode: PowerMode, state: PowerState) -> DefaultBudget:
    """Return the profile's budget for a mode and a state, or the nearest it has; one sample where it has none."""
    modes: tuple[PowerMode, ...] = (mode, "balanced")
    for asked in modes:
        table = profile.budgets.get(asked, {})
        for one in _INSTEAD[state]:
            if one in table:
                return table[one]
    return DefaultBudget()
