"""Ask llama.cpp, in a process of its own, to quantise, to encode and to run. Knows no checkpoints.

See `llamacpp_child`, which does it.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import MissingExtra, RuntimeFailure, StorageError
from edgetts.runtimes.hardware import physical_cores

Floats = NDArray[np.float32]
Progress = Callable[[float], None]

_CHILD = Path(__file__).with_name("llamacpp_child.py")
_BATCH = 256
_LONGEST_TEXT = 127
"""Bytes that llama.cpp takes of a text it shall add to a file."""


def available() -> bool:
    """Say whether llama-cpp-python is installed."""
    return importlib.util.find_spec("llama_cpp") is not None


def need_llamacpp() -> None:
    """Raise MissingExtra, which names the extra, unless llama-cpp-python is installed."""
    if not available():
        raise MissingExtra("llama-cpp-python", "llamacpp")


def quantise(
    source: Path,
    output: Path,
    ftype: int | None,
    *,
    prune: Sequence[int] = (),
    importance: Path | None = None,
    texts: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write `output` from the GGUF file `source`; ftype None copies matrices as they are.

    prune: layers to leave out. importance: an .npz of importances by matrix. texts: keys to set; long
    ones are cut. Raises MissingExtra, RuntimeFailure, StorageError.
    """
    cut = {
        key: text.encode()[:_LONGEST_TEXT].decode("utf-8", "ignore") for key, text in (texts or {}).items()
    }
    request = {
        "task": "quantise",
        "source": str(source),
        "output": str(output),
        "ftype": ftype,
        # llama.cpp counts on the first being the smallest.
        "prune": sorted(prune),
        "importance": None if importance is None else str(importance),
        "texts": cut,
    }
    _ask("write the quantised file", request, progress)


def logits_and_tokens(
    model: Path, tokens: Sequence[int], texts: Sequence[str]
) -> tuple[Floats, list[list[int]]]:
    """Return logits [T, vocab] of tokens, with a cache in float32, and the token ids of texts.

    The ids are what llama.cpp's own tokenizer makes of the file's vocabulary.
    """
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "logits.npy"
        request = {"task": "compare", "model": str(model), "output": str(output), "texts": list(texts)}
        answer = _ask(f"run {model.name}", {**request, "tokens": list(tokens), "batch": _BATCH})
        found: Floats = np.load(output)
    return found, list(answer["encoded"])


def mean_losses(models: Sequence[Path], tokens: Sequence[int]) -> list[float]:
    """Return each model's mean negative log-likelihood of a text's tokens after the first, in nats."""
    request = {"task": "losses", "models": list(map(str, models)), "tokens": list(tokens), "batch": _BATCH}
    return list(_ask(f"run {models[-1].name}", request)["losses"])


def _ask(what: str, request: Mapping[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    need_llamacpp()
    common = {"path": [entry for entry in sys.path if entry], "threads": physical_cores()}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        )
        answer: dict[str, Any] = {}
        with child:
            try:
                assert child.stdin is not None  # noqa: S101 - both are pipes
                assert child.stdout is not None  # noqa: S101
                try:
                    child.stdin.write(json.dumps({**common, **request}))
                    child.stdin.close()
                except BrokenPipeError:
                    pass  # it ended at once, and what it said is told below
                for line in child.stdout:
                    answer = json.loads(line)
                    if progress is not None and "progress" in answer:
                        progress(answer["progress"])
            except BaseException:
                child.kill()
                raise
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()
    if "done" in answer:
        return dict(answer["done"])
    reason = str(answer.get("error") or _last_words(child.returncode, said))
    if "iostream error" in reason:
        raise StorageError(
            "llama.cpp could not write its file: the disk may be full.", hint="Free some space."
        )
    raise RuntimeFailure(f"llama.cpp could not {what}: {reason[:300].rstrip('.')}.")


def _last_words(code: int, said: Sequence[str]) -> str:
    last = next((line.strip() for line in reversed(said) if line.strip()), "")
    if code < 0:
        last = f"it was ended by {signal.Signals(-code).name}" + (f" ({last})" if last else "")
    return last or f"it ended with {code}"
