"""Runtimes know token ids and tensors: no text, no budgets, no clocks.

A runtime is named here and imported when it is asked for, so that a missing package matters only
to those who want it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

if TYPE_CHECKING:
    from edgetts.decoding.guessers import Guessers
    from edgetts.decoding.session import Session

AUTO = "auto"
"""In place of a runtime's name: whichever is faster at what is asked."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a runtime's code is, what it opens, the package it needs, and the extra that brings it, if any."""

    module: str
    session: str
    options: str
    opens: Literal["bundle", "static", "gguf"]
    package: str
    distribution: str
    extra: str | None = None
    purpose: str = ""

    @property
    def installed(self) -> bool:
        """Whether its package is there; nothing is loaded."""
        return importlib.util.find_spec(self.package) is not None


RUNTIMES: dict[str, Runtime] = {
    "onnx": Runtime(
        "edgetts.runtimes.onnx", "AnyOnnxSession", "OnnxOptions", "bundle", "onnxruntime", "onnxruntime"
    ),
    "npu": Runtime(
        "edgetts.runtimes.npu", "StaticSession", "NpuOptions", "static", "onnxruntime", "onnxruntime"
    ),
    "llamacpp": Runtime(
        "edgetts.runtimes.llamacpp",
        "LlamaCppSession",
        "LlamaCppOptions",
        "gguf",
        "llama_cpp",
        "llama-cpp-python",
        extra="llamacpp",
        purpose="GGUF files as they are, of any architecture llama.cpp knows, and its GPUs",
    ),
}


def check_runtime(runtime: str) -> None:
    """Raise InvalidInput for a name that is none."""
    if runtime not in RUNTIMES and runtime != AUTO:
        raise InvalidInput(f"There is no runtime {runtime!r}.", hint=near_miss(runtime, [AUTO, *RUNTIMES]))


def understands(runtime: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a runtime has all options of these names. Imports it."""
    known = {field.name for field in fields(_attribute(runtime, RUNTIMES[runtime].options))}
    return set(options) <= known


def check_options(options: Mapping[str, Any]) -> None:
    """Raise InvalidInput for an option that no installed runtime has."""
    known = {
        field.name
        for name, runtime in RUNTIMES.items()
        if runtime.installed
        for field in fields(_attribute(name, runtime.options))
    }
    for option in sorted(set(options) - known):
        raise InvalidInput(f"No runtime has an option {option!r}.", hint=near_miss(option, sorted(known)))


def open_session(runtime: str, model: Path, **options: Any) -> Session:
    """Open a bundle, a static one or a GGUF file with the runtime of that name. Raises InvalidInput for a name that is none."""
    check_runtime(runtime)
    session: Session = _attribute(runtime, RUNTIMES[runtime].session).open(model, **options)
    return session


def open_guessers(bundle: Path, threads: int | None = None) -> Guessers | None:
    """Return the guessers of a bundle that was opened before; None where it has none."""
    from edgetts.bundle import read_manifest

    manifest = read_manifest(bundle)
    if manifest.exits is None:
        return None
    from edgetts.runtimes.onnx.guesser import OnnxGuessers

    return OnnxGuessers(bundle, manifest, threads)


def _attribute(runtime: str, name: str) -> Any:
    return getattr(importlib.import_module(RUNTIMES[runtime].module), name)
