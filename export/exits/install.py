"""Put guessers into a bundle: at every moment it is whole, with the old ones or the new."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import EXITS, ExitsNote, GuesserNote, Manifest
from edgetts.export.exits.network import Floats, Network, network_graph
from edgetts.export.exits.tables import Tables
from edgetts.export.writing import replace_manifest


def install(
    bundle: Path,
    manifest: Manifest,
    note: ExitsNote,
    guessers: Sequence[tuple[GuesserNote, Sequence[Network]]],
    tables: Tables,
    head: Floats,
    vocabulary: NDArray[np.int64],
) -> ExitsNote:
    """Write a graph for each guesser, then a manifest that names them, then remove what it no longer names."""
    hashes: dict[str, str] = {}
    notes = []
    directory = bundle / EXITS
    directory.mkdir(exist_ok=True)
    for one, networks in guessers:
        graph = network_graph(networks, tables, head, vocabulary)
        digest = hashlib.sha256(graph).hexdigest()
        file = f"{EXITS}/{one.kind}-{one.cut}-{digest[:12]}.onnx"
        draft = directory / f".{digest[:12]}.{os.getpid()}.partial"
        try:
            draft.write_bytes(graph)
            draft.replace(bundle / file)
        finally:
            draft.unlink(missing_ok=True)
        hashes[file] = digest
        notes.append(replace(one, file=file))
    complete = replace(note, guessers=tuple(notes))
    kept = {name: sha for name, sha in manifest.files.items() if not name.startswith(f"{EXITS}/")}
    replace_manifest(bundle, replace(manifest, exits=complete, files={**kept, **hashes}))
    for path in directory.glob("*.onnx"):
        if f"{EXITS}/{path.name}" not in hashes:
            path.unlink(missing_ok=True)
    return complete
