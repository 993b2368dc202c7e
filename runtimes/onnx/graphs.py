"""Load the graphs of a bundle and check that they are what its manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edgetts.bundle import Manifest
from edgetts.decoding.session import Cancellation, Cancelled
from edgetts.errors import CorruptFile
from edgetts.runtimes.onnx.options import OnnxOptions, session_options

# ONNX Runtime's exceptions have no base of their own.
LOAD_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in vars(ort_state).values() if isinstance(e, type) and issubclass(e, Exception)),
)
"""What it may raise while it loads a graph."""


def open_graphs(
    bundle: Path,
    manifest: Manifest,
    files: Sequence[str],
    options: OnnxOptions,
    cancel: Cancellation | None = None,
) -> list[ort.InferenceSession]:
    """Load graphs of ours and check their ports. Raises as `load_graphs` does."""
    graphs = load_graphs(bundle, files, options, cancel)
    if set().union(*map(_ports, graphs)) != _expected_ports(manifest, options.by_segment):
        raise CorruptFile(
            f"The graphs of the bundle {bundle.name} are not those of its manifest's architecture.",
            hint="Remove it and export the model again.",
        )
    return graphs


def load_graphs(
    bundle: Path, files: Sequence[str], options: OnnxOptions, cancel: Cancellation | None = None
) -> list[ort.InferenceSession]:
    """Load graphs. Raises CorruptFile, or Cancelled soon after `cancel` is requested."""
    settings = session_options(options)

    def terminate() -> None:
        settings.set_load_cancellation_flag(True)

    providers = [(p, {}) if isinstance(p, str) else (p[0], dict(p[1])) for p in options.providers]
    if cancel is not None:
        cancel.register(terminate)
    try:
        return [ort.InferenceSession(bundle / file, settings, providers=providers) for file in files]
    except LOAD_ERRORS as error:
        if cancel is not None and cancel.requested:
            raise Cancelled from error
        raise CorruptFile(
            f"ONNX Runtime cannot load the bundle {bundle.name}: {first_line(error)}",
            hint="Remove it and export the model again.",
        ) from error
    finally:
        if cancel is not None:
            cancel.unregister(terminate)


def _ports(graph: ort.InferenceSession) -> set[str]:
    return {node.name for node in (*graph.get_inputs(), *graph.get_outputs())}


def _expected_ports(manifest: Manifest, by_segment: bool) -> set[str]:
    """Name the inputs and outputs that the graphs of a manifest's model have together."""
    names = {"input_ids", "seqlens", "total_length", "positions", "logits", "features"}
    if by_segment and manifest.cuts:
        names |= {"hidden", "hidden.out"}
    for layer in range(manifest.architecture.layers):
        names |= {f"{when}_{part}.{layer}" for when in ("past", "present") for part in ("key", "value")}
    return names


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
