"""Find ONNX Runtime's execution providers, built in or as plug-ins, and open graphs with them.

Knows graphs only as files. What there is to know of each provider is data: `edgetts.runtimes.npu.catalogue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that is there: registered where it is a plug-in, and with a device to run on.

    devices: OrtEpDevices of a plug-in, none of one that is built in. version: of the package that brings it, or of
    ONNX Runtime. emulated: it computes on a processor what an NPU would, so its times say nothing.
    """

    name: str
    version: str
    devices: tuple[Any, ...] = ()
    library: Path | None = None
    emulated: bool = False


def find_provider(name: str, library: Path | None = None) -> Provider:
    """Return a provider by ONNX Runtime's name or the catalogue's short one; register its library once.

    Raises InvalidInput for a name that nobody knows, MissingExtra where its package is missing, RuntimeFailure
    where its library cannot be loaded, is of another ABI, or finds no device; each with the way to get it.
    """
    raise NotImplementedError


def session_options(
    provider: Provider,
    options: Mapping[str, str],
    *,
    fallback: bool = False,
    threads: int | None = None,
    entries: Mapping[str, str] | None = None,
) -> ort.SessionOptions:
    """Return options for a session with a provider.

    options: the provider's own, over the catalogue's defaults. fallback: whether the CPU takes what the provider
    has not. entries: session configuration entries.
    """
    raise NotImplementedError


def open_graph(path: Path, settings: ort.SessionOptions, provider: Provider) -> ort.InferenceSession:
    """Open a graph. Raises Unsupported where operators have no place, RuntimeFailure or CorruptFile otherwise."""
    raise NotImplementedError
