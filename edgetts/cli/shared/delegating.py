"""Ask a provider about the graphs of a bundle: which of their operators it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgetts.bundle import Manifest
    from edgetts.runtimes.delegation.table import Delegation
    from edgetts.runtimes.providers.finding import Provider


@dataclass(frozen=True, slots=True)
class Delegated:
    """What a provider takes of a bundle's graphs. passes: by width in tokens; None where any width is possible."""

    model: str
    provider: Provider
    options: Mapping[str, str]
    passes: Mapping[int | None, tuple[tuple[str, ...], Delegation]]


def delegate(
    model: str, provider: str, given: Mapping[str, str], soc: str | None, *, every_width: bool
) -> Delegated:
    """Ask a provider about a bundle: about passes of one token, or of every width. Checks what is given first."""
    from edgetts.bundle import TrustRecord, open_bundle
    from edgetts.runtimes.delegation.table import delegation, together
    from edgetts.runtimes.providers.catalogue import find_soc
    from edgetts.runtimes.providers.finding import find_provider
    from edgetts.runtimes.providers.options import provider_options
    from edgetts.store import resolve
    from edgetts.store.home import find_home
    from edgetts.store.progress import ProgressLine

    chip = None if soc is None else find_soc(soc)
    found = find_provider(provider)
    # What cannot be is refused before a model is looked for; sessions add the defaults of the device that there is.
    provider_options(found.name, soc=chip, given=given)
    options = {**(chip.options if chip is not None else {}), **given}
    line = ProgressLine(sys.stderr)
    try:
        bundle = resolve(model, offline=True, progress=line, notify=lambda said: click.echo(said, err=True))
        manifest = open_bundle(bundle, trust=TrustRecord(find_home().root / "trust"))
        widths = _graphs(manifest)
        if not every_width:
            widths = dict([next(iter(widths.items()))])
        asked, whole = 0, sum(map(len, widths.values()))
        passes = {}
        for width, files in widths.items():
            parts = []
            for file in files:
                line(f"asking {found.name} about {file}", asked / whole)
                parts.append(delegation(bundle / file, found, options))
                asked += 1
            passes[width] = (files, together(parts))
    finally:
        line.close()
    return Delegated(manifest.name, found, options, passes)


def _graphs(manifest: Manifest) -> dict[int | None, tuple[str, ...]]:
    """Return the graphs that passes of each width go through, the narrowest first."""
    from edgetts.bundle import MODEL

    note = manifest.static
    if note is None:
        return {None: (MODEL,)}
    widths = sorted({graph.width for graph in note.graphs})
    return {width: tuple(graph.file for graph in note.graphs if graph.width == width) for width in widths}
