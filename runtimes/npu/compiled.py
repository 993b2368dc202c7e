"""Say whether graphs that were compiled ahead of time fit the provider that is here. Opens nothing."""

from __future__ import annotations

from edgetts.runtimes.providers.finding import Provider
from edgetts.static_form import CompiledNote


def misfit(compiled: CompiledNote, provider: Provider) -> str:
    """Return why a provider cannot open compiled graphs, as the end of a sentence; nothing where it can.

    Their files are whole, where `open_bundle` found them so. The last of these is no nicety: QNN's emulator, 2.7, does
    not refuse a binary with shared weights but calls a null pointer, which ends the process.
    """
    if compiled.provider != provider.name:
        return f"it was compiled by {compiled.provider}, and this is {provider.name}"
    if compiled.version != provider.version:
        return f"it was compiled by version {compiled.version} of {provider.name}, and {provider.version} is here"
    if compiled.shared and provider.emulated:
        return "its graphs share their weights, which chips can read and the emulator cannot"
    return ""
