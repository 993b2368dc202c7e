"""Say what there is to know of ONNX Runtime's providers: of all in a line each, or of one. Opens no graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetts.runtimes.providers.discovery import Sighting
    from edgetts.runtimes.providers.entry import ProviderEntry
    from edgetts.runtimes.providers.finding import Provider


def provider_states() -> dict[str, str]:
    """Return the state of each provider that edgetts knows or that this onnxruntime has, by ONNX Runtime's name."""
    try:
        import onnxruntime
    except ImportError as error:
        return {"none": f"onnxruntime cannot be loaded: {error}. Reinstall it: pip install onnxruntime"}
    from edgetts.runtimes.providers.discovery import discover

    states = {one.provider: _state(one) for one in discover()}
    others = dict.fromkeys(
        onnxruntime.get_available_providers(), "in this onnxruntime; edgetts knows no more of it"
    )
    return states | {name: said for name, said in others.items() if name not in states}


def provider_report(name: str, given: Mapping[str, str], soc: str | None) -> dict[str, dict[str, Any]]:
    """Return what there is to know of one provider, in sections of names and values.

    given: options, of which the report says what they come to. Raises InvalidInput for a provider, a chip or an
    option that nobody knows.
    """
    from edgetts.runtimes.providers.catalogue import all_socs, find_entry, find_soc
    from edgetts.runtimes.providers.options import provider_options

    chip = None if soc is None else find_soc(soc)
    entry = find_entry(name)
    facts, found = _facts(name, entry)
    provider = facts["name"]
    kind = None
    if found is not None and found.devices:
        kind = "npu" if found.emulated else found.devices[0].device.type.name.casefold()
    report: dict[str, dict[str, Any]] = {"provider": facts}
    if options := provider_options(provider, kind=kind, soc=chip, given=given):
        report["options in force"] = options
    if entry is not None and entry.values is not None:
        report["options there are"] = {option: _values(values) for option, values in entry.values.items()}
    chips = {
        one.name: f"{one.title}: {_pairs(one.options)}" for one in all_socs() if one.provider == provider
    }
    return report | ({"chips (--soc)": chips} if chips else {})


def _facts(name: str, entry: ProviderEntry | None) -> tuple[dict[str, str], Provider | None]:
    from edgetts.errors import MissingExtra, RuntimeFailure
    from edgetts.runtimes.providers.finding import find_provider

    facts = {} if entry is None else {"name": entry.provider, "short name": entry.name, "title": entry.title}
    try:
        found = find_provider(name)
    except (MissingExtra, RuntimeFailure) as error:
        return {**facts, "state": str(error), **_asked(entry)}, None
    facts = {"name": found.name, **facts, "state": "ready", "version": found.version}
    facts |= {} if found.library is None else {"library": str(found.library)}
    devices = [f"{one.device.type.name.casefold()} {one.device.vendor}".strip() for one in found.devices]
    facts |= {"devices": ", ".join(devices)} if devices else {}
    if found.emulated:
        facts["emulated"] = "yes: what it computes holds for an NPU, how long it takes does not"
    return {**facts, **_asked(entry)}, found


def _asked(entry: ProviderEntry | None) -> dict[str, str]:
    if entry is None:
        return {}
    needs = [f"{entry.distribution} {entry.version} or newer"] if entry.in_package else []
    needs += [f"onnxruntime {entry.onnxruntime} or newer"] if entry.onnxruntime else []
    return {
        **({"needs": ", ".join(needs)} if entry.in_package else {}),
        "how to get it": entry.get,
        "source": entry.source,
    }


def _state(one: Sighting) -> str:
    if one.state != "ready":
        return f"{one.state} ({one.title}): {one.why} {one.get}".rstrip()
    devices = f", {', '.join(one.devices)}" if one.devices else ""
    return f"ready, {one.version} ({one.title}){devices}{', which emulates an NPU' if one.emulated else ''}"


def _values(values: tuple[str, ...]) -> str:
    from edgetts.runtimes.providers.entry import TEXT, WHOLE

    if values == (WHOLE,):
        return "a whole number"
    return "any text" if values == (TEXT,) else ", ".join(values)


def _pairs(options: Mapping[str, str]) -> str:
    return ", ".join(f"{option}={value}" for option, value in options.items())
