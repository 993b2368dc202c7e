"""Do in a process of its own what could end this one, or what only ONNX Runtime's log explains.

A library that was damaged or is no provider's may do anything when it is loaded; and why a provider's backend does
not start stands nowhere but in the log, which goes to the standard error of the process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetts.errors import EdgettsError, RuntimeFailure
from edgetts.runtimes.crashing import leave_no_core
from edgetts.runtimes.providers.reasons import LOAD_ERRORS, plain, reason

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from edgetts.runtimes.providers.trial import child; child(*sys.argv[2:])"
)
_ERRORS: tuple[type[Exception], ...] = (*LOAD_ERRORS, UnicodeDecodeError, EdgettsError)
_ERROR_LINE = re.compile(r"\[E:onnxruntime[^\]]*\] (.*)")
LOAD_SECONDS = 60.0
OPEN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a provider did not take a graph. sentence: of the operators it has no place for.

    nothing: it took no operator at all. log: what it wrote first, where it wrote anything.
    """

    sentence: str
    nothing: bool
    log: str


def try_library(name: str, library: Path, seconds: float = LOAD_SECONDS) -> None:
    """Load a plug-in in a child process. Raises RuntimeFailure with what became of that one."""
    if not _possible():
        return  # a frozen program brings its own libraries
    ended = _run({"job": "load", "name": name, "library": str(library)}, seconds)
    if isinstance(ended, str):
        raise RuntimeFailure(
            f"{library.name} breaks down when it is loaded: {ended}.",
            hint="It is damaged, or for another system.",
        )
    if ended.answer.get("error"):
        from edgetts.runtimes.providers.plugins import not_loadable

        raise not_loadable(library, str(ended.answer["error"]))


def why_refused(
    graph: Path, name: str, library: Path | None, options: Mapping[str, str], seconds: float = OPEN_SECONDS
) -> Refusal | None:
    """Open a graph with the CPU for what the provider does not take, and see what that is. None where it cannot tell.

    library: of a plug-in. options: all that the provider is given.
    """
    if not _possible():
        return None
    request = {
        "job": "open",
        "graph": str(graph.absolute()),
        "name": name,
        "library": None if library is None else str(library),
        "options": dict(options),
    }
    ended = _run(request, seconds)
    if isinstance(ended, str) or "taken" not in ended.answer:
        return None
    lines = [found[1] for found in map(_ERROR_LINE.search, ended.log.splitlines()) if found]
    return Refusal(
        str(ended.answer.get("sentence", "")), not ended.answer["taken"], plain(lines[0]) if lines else ""
    )


@dataclass(frozen=True, slots=True)
class _Ended:
    """A child that came to its end: what it answered and what was logged."""

    answer: Mapping[str, Any]
    log: str


def _possible() -> bool:
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _run(request: Mapping[str, Any], seconds: float) -> _Ended | str:
    """Run a child; return its answer, or how it broke down."""
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), json.dumps(request)]
    # The answer goes to a file: libraries print to standard output as they like.
    with tempfile.TemporaryDirectory(prefix="edgetts-", ignore_cleanup_errors=True) as scratch:
        answer = Path(scratch) / "answer.json"
        try:
            done = subprocess.run(
                [*command, str(answer)],
                env={**os.environ, "PYTHONFAULTHANDLER": ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it did not end within {seconds:.0f} seconds"
        log = done.stderr.decode("utf-8", "replace")
        try:
            told = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = None
        if isinstance(told, dict) and done.returncode == 0:
            return _Ended(told, log)
    if done.returncode < 0:
        try:
            return f"it is ended by {signal.Signals(-done.returncode).name}"
        except ValueError:
            return f"it is ended by signal {-done.returncode}"
    last = [line for line in log.splitlines() if line.strip()][-1:]
    return plain(last[0]).rstrip(".") if last else f"it ends with code {done.returncode}"


def child(request: str, answer: str) -> None:
    """Do what a request says and write the answer as JSON. Runs in the child."""
    leave_no_core()
    asked = json.loads(request)
    told = _load(asked) if asked["job"] == "load" else _open(asked)
    Path(answer).write_text(json.dumps(told), encoding="utf-8")
    # Libraries that were loaded by name only are not asked to tidy up: some crash at it.
    sys.stderr.flush()
    os._exit(0)


def _load(asked: Mapping[str, Any]) -> dict[str, Any]:
    import onnxruntime as ort

    try:
        ort.register_execution_provider_library(asked["name"], asked["library"])
        ort.get_ep_devices()
    except _ERRORS as error:
        return {"error": reason(error)}
    return {}


def _open(asked: Mapping[str, Any]) -> dict[str, Any]:
    from edgetts.runtimes.delegation.assignment import assignment
    from edgetts.runtimes.delegation.table import Placed, without_place
    from edgetts.runtimes.providers.finding import find_provider
    from edgetts.runtimes.providers.opening import open_session, session_options

    graph, options = Path(asked["graph"]), asked["options"]
    try:
        provider = find_provider(asked["name"], None if asked["library"] is None else Path(asked["library"]))
        found = assignment(graph, provider, options)
        left = [node for node in found.nodes if node.provider != provider.name]
        if len(left) == len(found.nodes):
            # Once more, for the log.
            settings = session_options(provider, options, fallback=True)
            settings.log_severity_level = 3
            open_session(graph, settings, provider)
    except _ERRORS as error:
        return {"error": reason(error)}
    placed = [
        Placed(node.name or "without a name", node.type, node.provider, found.reasons.get(node.name, ""))
        for node in left
    ]
    return {
        "taken": len(found.nodes) - len(left),
        "sentence": without_place(provider.name, placed) if placed else "",
    }
