"""Runtimes know token ids and tensors: no text, no budgets, no clocks.

A runtime is named here and imported when it is asked for, so that a missing package matters only
to those who want it.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.decoding.guessers import Guessers
    from edgetts.decoding.session import Session

RUNTIMES: dict[str, str] = {
    "onnx": "edgetts.runtimes.onnx:OnnxSession",
}


def check_runtime(runtime: str) -> None:
    """Raise InvalidInput for a name that is none."""
    if runtime not in RUNTIMES:
        near = difflib.get_close_matches(runtime, RUNTIMES, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(RUNTIMES)}."
        raise InvalidInput(f"There is no runtime {runtime!r}.", hint=hint)


def open_session(runtime: str, bundle: Path, **options: Any) -> Session:
    """Open a bundle with the runtime of that name. Raises InvalidInput for a name that is none."""
    check_runtime(runtime)
    module, attribute = RUNTIMES[runtime].split(":")
    session: Session = getattr(importlib.import_module(module), attribute).open(bundle, **options)
    return session


def open_guessers(runtime: str, bundle: Path, threads: int | None = None) -> Guessers | None:
    """Return the guessers of a bundle that was opened before; None where it, or the runtime, has none."""
    if runtime != "onnx":
        return None
    from edgetts.bundle import read_manifest

    manifest = read_manifest(bundle)
    if manifest.exits is None:
        return None
    from edgetts.runtimes.onnx.guesser import OnnxGuessers

    return OnnxGuessers(bundle, manifest, threads)
