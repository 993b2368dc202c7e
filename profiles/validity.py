"""Whether what was measured still holds: its facts against this machine and what is installed now."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from edgetts.profiles.fingerprint import describe


def changes(facts: Mapping[str, str]) -> list[str]:
    """Say what is not as it was when the facts were noted; empty where they hold, as far as can be seen without the model."""
    now = _now(facts.get("runtime", ""))
    return [
        f"{name} was {facts[name]}, is {now[name]}"
        for name in now
        if name in facts and facts[name] != now[name]
    ]


@cache
def _now(runtime: str) -> dict[str, str]:
    from edgetts.runtimes import RUNTIMES
    from edgetts.runtimes.hardware import physical_cores

    if runtime not in RUNTIMES:
        return describe(cores=physical_cores())
    try:
        installed = version(RUNTIMES[runtime].distribution)
    except PackageNotFoundError:
        installed = "not installed"
    return describe(cores=physical_cores(), version=installed)
