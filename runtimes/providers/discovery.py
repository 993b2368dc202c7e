"""Look which providers of the catalogue are here, for people who want to know. Opens no graph."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import onnxruntime as ort

from edgetts.errors import EdgettsError
from edgetts.runtimes.providers.catalogue import all_entries
from edgetts.runtimes.providers.entry import ProviderEntry
from edgetts.runtimes.providers.finding import Provider, find_provider

State = Literal["ready", "missing", "unusable"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found of one provider.

    state: ready; missing, where neither a package nor this onnxruntime has it; unusable, where it is there but does
    not load or finds no device. devices: kind and maker of each. why: what keeps it from being ready; get: what to
    do about that.
    """

    name: str
    provider: str
    title: str
    state: State
    version: str = ""
    devices: tuple[str, ...] = ()
    emulated: bool = False
    why: str = ""
    get: str = ""


def discover() -> tuple[Sighting, ...]:
    """Look for every provider of the catalogue, in its order. Registers the plug-ins whose packages are here."""
    return tuple(_look(entry) for entry in all_entries())


def _look(entry: ProviderEntry) -> Sighting:
    try:
        found = find_provider(entry.name)
    except EdgettsError as error:
        there = (entry.in_package and importlib.util.find_spec(entry.module) is not None) or (
            entry.provider in ort.get_available_providers()
        )
        return Sighting(
            entry.name,
            entry.provider,
            entry.title,
            "unusable" if there else "missing",
            why=str(error.args[0]),
            get=error.hint or entry.get,
        )
    return Sighting(
        entry.name,
        entry.provider,
        entry.title,
        "ready",
        version=found.version,
        devices=_devices(found, entry),
        emulated=found.emulated,
    )


def _devices(found: Provider, entry: ProviderEntry) -> tuple[str, ...]:
    """Name a plug-in's devices; of one that is built in, nobody knows which of its kinds there are."""
    if not found.devices:
        return entry.devices if len(entry.devices) == 1 else ()
    return tuple(f"{one.device.type.name.casefold()} {one.device.vendor}".strip() for one in found.devices)
