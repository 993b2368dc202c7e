"""Load a file that nobody vouches for in a child process first: what kills that one kills nobody else.

llama.cpp ends the process where a file breaks one of its assertions; nothing can catch that.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from edgetts import errors
from edgetts.errors import CorruptFile, EdgettsError, InvalidInput, OutOfMemory, UnsupportedModel
from edgetts.runtimes.crashing import leave_no_core
from edgetts.runtimes.llamacpp.options import LlamaCppOptions

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from edgetts.runtimes.llamacpp.checked_load import child; child(*sys.argv[2:])"
)
_DAMAGED = "Fetch or convert it again."

# What may be given by mistake, by general.type.
_OTHER_KINDS = {
    "adapter": "a LoRA adapter, which changes a model and is none",
    "mmproj": "the vision or audio part of a model, which is none without the rest",
    "imatrix": "an importance matrix for quantisation",
    "vocab": "a vocabulary without weights",
}


def check_kind(file: Path) -> None:
    """Raise UnsupportedModel or CorruptFile for a GGUF file whose header says that it is no whole model."""
    # The only parser with bounds is export's. Only files that nobody vouches for come here.
    from edgetts.export.gguf_header import GgufHeader
    from edgetts.export.mapped_file import map_file

    with map_file(file) as data:
        try:
            metadata = GgufHeader(file.name, data).metadata
        except UnsupportedModel:
            return  # a type of tensors, or a version: llama.cpp may know it, and says so otherwise
        kind, architecture, parts = (
            metadata.get(key, otherwise)
            for key, otherwise in (
                ("general.type", "model"),
                ("general.architecture", ""),
                ("split.count", 1),
            )
        )
    if architecture == "clip":
        kind = "mmproj"
    if kind != "model":
        what = _OTHER_KINDS.get(kind, "no model") if isinstance(kind, str) else "no model"
        raise UnsupportedModel(f"{file.name} is {what}.", hint="Open the model's own GGUF file.")
    if isinstance(parts, int) and parts > 1:
        raise UnsupportedModel(
            f"{file.name} is one of {parts} parts of a model.",
            hint="Merge them: llama-gguf-split --merge FIRST_PART MODEL.gguf",
        )


def check_loads(file: Path, options: LlamaCppOptions, seconds: float | None = None) -> None:
    """Load a file and run one token in a child process. Raises what happened there, or CorruptFile.

    seconds: how long it may take; None is a minute, and a second for each 20 MB.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise InvalidInput(
            f"{file.name} cannot be tried in a process of its own: this program has no Python interpreter.",
            hint="Open it with trusted=True if you know where it comes from.",
        )
    limit = 60 + file.stat().st_size / 20e6 if seconds is None else seconds
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(file.resolve()), _to_text(options)]
    # Otherwise a failed assertion starts a debugger.
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONFAULTHANDLER": ""}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CorruptFile(
            f"llama.cpp did not load {file.name} within {limit:.0f} seconds.", hint=_DAMAGED
        ) from error
    if done.returncode == 0:
        return
    _raise(file.name, done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def child(file: str, options: str) -> None:
    """Do it, and write the error as JSON if there is one. Runs in the child."""
    leave_no_core()
    from edgetts.runtimes.llamacpp.session import LlamaCppSession

    try:
        session = LlamaCppSession.open(
            Path(file), options=LlamaCppOptions(**json.loads(options)), trusted=True
        )
        session.prefill([0])
        session.close()
    except EdgettsError as error:
        sys.stdout.write(json.dumps([type(error).__name__, str(error.args[0]), error.hint]))
        sys.stdout.flush()
        sys.exit(1)


def _raise(file: str, code: int, out: bytes, log: str) -> NoReturn:
    name = message = hint = None
    with suppress(ValueError):
        name, message, hint = json.loads(out)
    kind: Any = getattr(errors, str(name), None)
    if isinstance(kind, type) and issubclass(kind, EdgettsError):
        raise kind(str(message), hint=str(hint))
    if code < 0 and signal.Signals(-code) is getattr(signal, "SIGKILL", None):
        raise OutOfMemory(
            f"The process that tried to load {file} was killed, probably because memory ran out.",
            hint="Choose a smaller model.",
        )
    failed = re.search(r"GGML_ASSERT\(.*\) failed", log)
    last = [line for line in log.splitlines() if line.strip()][-1:]
    reason = failed[0] if failed else last[0][:200] if last else f"exit code {code}"
    raise CorruptFile(f"llama.cpp breaks down when it loads {file}: {reason}.", hint=_DAMAGED)


def _to_text(options: LlamaCppOptions) -> str:
    return json.dumps(asdict(options) | {"verbose": False})
