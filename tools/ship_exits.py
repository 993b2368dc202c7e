"""Put guessers of a trained bundle among those that come with edgetts, and measure them as they will be.

    python tools/ship_exits.py BUNDLE [--exits CUT ...] [--tokens 18000]

Run after `edgetts exits train`, in the checkout. Networks are kept in 4 bits, so what they reach, how their
confidence is calibrated and what leaving early costs is measured anew, on text drawn for it. What is shipped
is keyed by the file that the bundle was converted from; commit the directory under profiles/exits/.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetts.bundle import read_manifest
from edgetts.export.exits.guessers import DEPTH, Task, try_out
from edgetts.export.exits.shipped import ship, shrunk, trained_networks
from edgetts.export.exits.tables import Tables
from edgetts.export.exits.train import Embedded, Trained, described, held_out_states
from edgetts.runtimes import open_guessers

SEED = 77


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--exits", type=int, nargs="*", default=[], help="cuts whose exits to ship")
    parser.add_argument("--tokens", type=int, default=18_000)
    arguments = parser.parse_args()
    bundle: Path = arguments.bundle
    manifest = read_manifest(bundle)
    assert manifest.exits is not None
    tests = held_out_states(bundle, arguments.tokens, SEED)
    tables = Tables(bundle)
    vocabulary = vocabulary_of(bundle)
    head = tables.head_rows(vocabulary, manifest.architecture.hidden)
    embeddings = Embedded(tables, tests.tokens)
    trained = []
    for note, networks in trained_networks(bundle):
        if note.kind == "parallel" or (note.kind == "exit" and note.cut not in arguments.exits):
            continue
        task = Task(note.kind, note.cut, DEPTH if note.kind == "recurrent" else 0)
        for label, network in (("as trained", networks[0]), ("in 4 bits", shrunk(networks[0]))):
            trial = try_out(task, network, tests, embeddings, head, vocabulary)
            print(f"{note.kind} {note.cut} {label}: {', '.join(f'{a:.1%}' for a in trial.agreement)}")
        trained.append(Trained(task, network, note.fitted, trial))
    told, made = described(trained, tests, manifest.architecture.layers)
    whole = replace(manifest.exits, positions=told.positions, leaving=told.leaving)
    sha256 = manifest.source["sha256"]
    place = Path(__file__).resolve().parents[1] / "profiles" / "exits" / sha256
    size = ship(whole, made, vocabulary, place)
    print(f"profiles/exits/{sha256}: {size / 1e6:.2f} MB")


def vocabulary_of(bundle: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    guessers = open_guessers("onnx", bundle)
    assert guessers is not None
    cuts = guessers.exits
    if cuts and (head := guessers.exit(min(cuts))) is not None:
        return head.vocabulary  # type: ignore[return-value]
    return guessers.recurrent.vocabulary  # type: ignore[union-attr, return-value]


if __name__ == "__main__":
    main()
