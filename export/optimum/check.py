"""Compare a finished bundle with the graph that optimum exported, in float32, on a fixed text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, Check
from edgetts.errors import RuntimeFailure, UnsupportedModel
from edgetts.export.check import TEXT, compare
from edgetts.runtimes.onnx import ConcatenatingSession
from edgetts.runtimes.onnx.graphs import LOAD_ERRORS, first_line
from edgetts.runtimes.onnx.past_graph import NotSuchAGraph, PastGraph

Floats = NDArray[np.float32]


def open_exported(graph: Path, name: str) -> PastGraph:
    """Load what optimum wrote. Raises UnsupportedModel for a graph that no session of ours can run."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    try:
        return PastGraph(ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"]))
    except NotSuchAGraph as error:
        raise UnsupportedModel(
            f"{name} cannot be used: of the graph that optimum exports, {error}."
        ) from error
    except LOAD_ERRORS as error:
        raise RuntimeFailure(
            f"ONNX Runtime cannot load what optimum exported of {name}: {first_line(error)}"
        ) from error


def text_tokens(directory: Path, context: int, vocab: int) -> list[int]:
    """Return the tokens of the text, as many as the context holds."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(directory / TOKENIZER))
    ids: list[int] = tokenizer.encode(TEXT, add_special_tokens=False).ids
    return [token for token in ids if token < vocab][:context]


def exported_logits(graph: PastGraph, tokens: list[int]) -> Floats:
    """Return logits [T, V] of a text, read in one pass."""
    found, _ = graph.run(graph.empty(), np.asarray([tokens], np.int64), ort.RunOptions())
    logits: Floats = found[0]
    return logits


def check_against(
    reference: Floats, tokens: list[int], directory: Path, progress: Callable[[float], None]
) -> Check:
    """Run the bundle over the text, in several passes, and compare."""
    session = ConcatenatingSession.open(directory)
    whose = "the graph that optimum exported in float32, on ONNX Runtime"
    return compare(session, tokens, reference, whose, progress)
