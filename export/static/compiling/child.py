"""Compile graphs in a process of its own, which takes the compiler's memory, its noise and its crashes with it.

Runs in the child, started by `bundles`. The request names a provider, its options, and groups of graphs; each group
becomes one binary whose graphs share their weights. Answers: {"graph": number} before each graph, {"width": tokens}
before each pass that is checked, and last {"done": {"peak_bytes": n, "difference": share or null}} or {"refused": {"kind": error, "message": text, "hint": text}}.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgetts.errors import EdgettsError
from edgetts.runtimes.crashing import leave_no_core
from edgetts.runtimes.providers.finding import Provider, find_provider, open_graph, session_options


def main() -> None:
    """Answer the request on standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What libraries print goes where errors go.
    os.dup2(2, 1)
    leave_no_core()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    difference = None
    try:
        provider = find_provider(request["provider"])
        _compile(request, provider, lambda number: tell({"graph": number}))
        peak = _peak_bytes()
        written = all(
            (Path(request["output"]) / file).is_file() for group in request["groups"] for file in group
        )
        if request["check"] and provider.emulated and written:
            from edgetts.export.static.compiling.checking import check_passes

            difference = check_passes(
                Path(request["bundle"]),
                provider=request["provider"],
                soc=request["soc"],
                options=request["given"],
                fallback=request["fallback"],
                tell=lambda width: tell({"width": width}),
            )
    except EdgettsError as error:
        message = str(error.args[0]) if error.args else type(error).__name__
        tell({"refused": {"kind": type(error).__name__, "message": message, "hint": error.hint}})
    else:
        tell({"done": {"peak_bytes": peak, "difference": difference}})


def _compile(request: dict[str, Any], provider: Provider, tell: Callable[[int], None]) -> None:
    number = 0
    for group in request["groups"]:
        for place, file in enumerate(group):
            number += 1
            tell(number)
            # All sessions of a group put their graphs into the first one's context; the last one writes it.
            sharing = {"ep.share_ep_contexts": "1"} if len(group) > 1 else {}
            if sharing and place == len(group) - 1:
                sharing["ep.stop_share_ep_contexts"] = "1"
            _compile_graph(request, provider, file, sharing)


def _compile_graph(
    request: dict[str, Any], provider: Provider, file: str, sharing: Mapping[str, str]
) -> None:
    bundle, output = Path(request["bundle"]), Path(request["output"])
    entries = {
        "ep.context_enable": "1",
        "ep.context_embed_mode": "0",
        "ep.context_file_path": str(output / file),
        **sharing,
    }
    settings = session_options(provider, request["options"], fallback=request["fallback"], entries=entries)
    open_graph(bundle / file, settings, provider)


def _end_with_parent() -> None:
    """End when standard input does: a parent that was killed could not end its child."""
    sys.stdin.read()
    os._exit(1)


def _peak_bytes() -> int:
    """Return the most memory that was ever resident, or 0 where the system does not say."""
    # Not getrusage: there a child begins with what its parent had.
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
