"""Ask ONNX Runtime which nodes of a graph each provider takes, and QNN why it does not.

A graph is opened as it would be to run, with the CPU for what the provider has not, so a provider that compiles does
compile. Knows graphs only as files.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgetts.errors import Unsupported
from edgetts.runtimes.providers.finding import Provider, open_graph, session_options

# Nothing is run, so the CPU need not arrange weights to its liking.
_ENTRIES = {"session.record_ep_graph_assignment_info": "1", "session.disable_prepacking": "1"}
_WEIGHTS_ELSEWHERE = "session.model_external_initializers_file_folder_path"
_QNN, _TRACE = "QNNExecutionProvider", "qnn_op_trace.json"
# QNN repeats the node's own name behind its reason.
_REPEATED = re.compile(r"\.[^\s.]* node `.*` will not be assigned to QNN EP\.?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """A node as ONNX Runtime reports it."""

    name: str
    type: str
    provider: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A graph's nodes after ONNX Runtime simplified it, and why the provider did not take some, by name."""

    nodes: tuple[Found, ...]
    reasons: Mapping[str, str]


def assignment(
    graph: Path | bytes,
    provider: Provider,
    options: Mapping[str, str],
    *,
    renamed: bytes | None = None,
    threads: int | None = None,
) -> Assignment:
    """Return which provider takes which node.

    graph: a file, its weights beside it, or a model that is whole. options: the provider's, as for `session_options`.
    renamed: what to open in place of the graph, with the graph's weights. Raises what `open_graph` raises, and
    Unsupported where ONNX Runtime is too old to say.
    """
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise Unsupported(
            f"ONNX Runtime {ort.__version__} does not say where operators run.",
            hint="Update it: pip install 'onnxruntime>=1.24'",
        )
    entries = dict(_ENTRIES)
    with tempfile.TemporaryDirectory(prefix="edgetts-", ignore_cleanup_errors=True) as directory:
        scratch = Path(directory)
        file = graph if isinstance(graph, Path) else scratch / "graph.onnx"
        model = graph if isinstance(graph, bytes) and renamed is None else renamed
        if model is not None:
            if isinstance(graph, Path):
                entries[_WEIGHTS_ELSEWHERE] = str(graph.absolute().parent)
            file = scratch / file.name
            file.write_bytes(model)
        traced = trace_options(scratch) if provider.name == _QNN else {}
        settings = session_options(
            provider, {**options, **traced}, fallback=True, threads=threads, entries=entries
        )
        session = open_graph(file, settings, provider)
        nodes = tuple(
            Found(node.name, node.op_type, subgraph.ep_name)
            for subgraph in session.get_provider_graph_assignment_info()
            for node in subgraph.get_nodes()
        )
        return Assignment(nodes, traced_reasons(scratch))


def trace_options(directory: Path) -> dict[str, str]:
    """Return options by which QNN writes into a directory what it does with each operator."""
    return {"enable_framework_op_trace": "1", "framework_op_trace_dir": str(directory)}


def traced_reasons(directory: Path) -> dict[str, str]:
    """Return why QNN did not take operators, by name; nothing where it wrote no trace."""
    try:
        trace = json.loads((directory / _TRACE).read_text(encoding="utf-8"))
        rows = [(row["node_name"], row["reason"]) for row in trace["unsupported_nodes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(name): _REPEATED.sub("", str(reason)).strip(" .") for name, reason in rows}
