"""Ask optimum and ONNX Runtime's quantiser, in a process of its own. See `child`, which does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgetts.errors import CorruptFile, MissingExtra, RuntimeFailure, StorageError, UnsupportedModel
from edgetts.export.mapped_file import DAMAGED_HINT
from edgetts.runtimes.hardware import physical_cores

_CHILD = Path(__file__).with_name("child.py")
_DISTRIBUTIONS = ("optimum-onnx", "transformers", "torch", "onnx-ir")
# What optimum-onnx 0.1 was made for.
_TRANSFORMERS_BELOW = (4, 58)
_BRINGS = (
    "(torch, transformers and optimum: gigabytes, so name a CPU build of torch first), in an environment of "
    "its own: it needs transformers below 4.58 and huggingface_hub below 1, while edgetts[hub] and the newest "
    "model builder of onnxruntime-genai need newer ones."
)
# Models are files here: nothing is fetched, whatever they name.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What the configuration of an exported model states: None where it does not.

    unused: tensors of the checkpoint that transformers has no place for.
    """

    model_type: str
    hidden: int | None
    context: int | None
    unused: tuple[str, ...]


def need_optimum() -> None:
    """Raise MissingExtra, which names the extra and what it brings, unless all it needs is installed."""
    for name in _DISTRIBUTIONS:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise _missing(name) from None
        if name == "transformers" and _numbers(version) >= _TRANSFORMERS_BELOW:
            below = ".".join(map(str, _TRANSFORMERS_BELOW))
            raise _missing(f"transformers<{below}")


def export(source: Path, output: Path) -> Exported:
    """Write `output`/model.onnx, in float32, from a Hugging Face directory.

    Raises MissingExtra, UnsupportedModel, CorruptFile, RuntimeFailure, StorageError.
    """
    request = {"task": "export", "source": str(source.resolve()), "output": str(output.resolve())}
    done = _ask(source.name, "export", request, output.parent)
    return Exported(done["model_type"], done["hidden"], done["context"], tuple(done["unused"]))


def quantise(source: Path, output: Path, bits: int, name: str) -> None:
    """Write the graph `output` with the matrices of `source` in blocks of 32 integers."""
    request = {
        "task": "quantise",
        "source": str(source.resolve()),
        "output": str(output.resolve()),
        "bits": bits,
    }
    _ask(name, "quantise", request, output.parent)


def _ask(name: str, what: str, request: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    need_optimum()
    common = {"path": [entry for entry in sys.path if entry], "threads": physical_cores()}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.run(
            [sys.executable, str(_CHILD)],
            input=json.dumps({**common, **request}),
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            cwd=scratch,
            env={**os.environ, **_ENVIRONMENT},
            check=False,
        )
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    answer = json.loads(child.stdout) if child.returncode == 0 and child.stdout else {}
    if "done" in answer:
        return dict(answer["done"])
    if "refused" in answer:
        if answer["refused"] == "unsupported":
            raise UnsupportedModel(f"{name} cannot be exported: {answer['reason']}.")
        raise CorruptFile(f"{name} cannot be exported: {answer['reason']}.", hint=DAMAGED_HINT)
    reason = said[-1][:300].rstrip(".") if said else f"it ended with code {child.returncode}"
    if "No space left" in reason:
        raise StorageError(
            f"The disk is full: {name} could not be exported.",
            hint="Free some space; nothing half-written was left behind.",
        )
    if child.returncode < 0:
        reason = f"it was ended by signal {-child.returncode}, perhaps for want of memory"
    raise RuntimeFailure(f"optimum could not {what} {name}: {reason}.")


def _missing(package: str) -> MissingExtra:
    error = MissingExtra(package, "optimum")
    error.hint = f"{error.hint} {_BRINGS}"
    return error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
