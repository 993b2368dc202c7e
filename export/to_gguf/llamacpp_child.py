"""Do one thing with llama.cpp in a process of its own: quantise a file, or run one over tokens.

llama.cpp ends the process where an assertion of it fails, and writes where it likes; here neither reaches
who asked. Run as a script: it imports nothing of edgetts. A request is one JSON object on standard input;
answers are JSON objects, one a line, on standard output: {"progress": share} and last {"done": {...}} or
{"error": text}.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

_ERROR, _CONTINUED = 4, 5
_STEP = re.compile(rb"^\[\s*(\d+)/\s*(\d+)\]")


class Failed(Exception):
    """llama.cpp said no."""


def main() -> None:
    """Answer the request on standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What C code prints goes where errors go.
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    # Nothing is imported from this script's own directory or from where the user happens to be.
    sys.path[:] = request["path"]

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    import llama_cpp

    said = Listener(lambda share: tell(progress=share))
    callback = llama_cpp.llama_log_callback(said)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    try:
        tell(done=_TASKS[request["task"]](llama_cpp, request))
    except Failed as error:
        tell(error=said.last_error or str(error))


class Listener:
    """Hear what llama.cpp logs: how far it is, and the last thing that went wrong."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self.last_error = ""

    def __call__(self, level: int, text: bytes, user_data: Any) -> None:  # noqa: ARG002 - llama.cpp's signature
        if step := _STEP.match(text):
            self._progress(int(step[1]) / int(step[2]))
        elif level == _ERROR and text.strip(b"\n =."):
            line = text.decode("utf-8", "replace").strip()
            self.last_error = line.partition("failed to quantize: ")[2] or line


def _quantise(llama_cpp: Any, request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = request["threads"]
    params.allow_requantize = True
    if request["ftype"] is None:
        params.only_copy = True
    else:
        params.ftype = request["ftype"]
    kept: list[Any] = []
    if request["prune"]:
        layers = [*request["prune"], -1]
        params.prune_layers = (ctypes.c_int32 * len(layers))(*layers)
    if request["importance"]:
        with np.load(request["importance"]) as file:
            kept = [(name.encode(), np.ascontiguousarray(file[name], np.float32)) for name in file.files]
        entries = (llama_cpp.llama_model_imatrix_data * (len(kept) + 1))()
        for entry, (name, values) in zip(entries, kept, strict=False):
            entry.name = name
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entry.size = values.size
        params.imatrix = entries
    overrides = (llama_cpp.llama_model_kv_override * (len(request["texts"]) + 1))()
    for override, (key, text) in zip(overrides, request["texts"].items(), strict=False):
        override.tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
        override.key = key.encode()
        override.value.val_str = text.encode()
    params.kv_overrides = overrides
    source, output = os.fsencode(request["source"]), os.fsencode(request["output"])
    if llama_cpp.llama_model_quantize(source, output, ctypes.byref(params)):
        raise Failed("no reason given")
    return {}


def _compare(llama_cpp: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Store the logits [T, V] of some tokens in a file, and encode some texts."""
    import numpy as np

    model = _load(llama_cpp, request["model"])
    np.save(request["output"], np.concatenate(list(_run(llama_cpp, model, request))))
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    encoded = []
    for text in request["texts"]:
        data = text.encode()
        room = len(data) + 8
        ids = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(vocabulary, data, len(data), ids, room, False, True)
        if count < 0:
            raise Failed("a text became more tokens than it has bytes")
        encoded.append(list(ids[:count]))
    return {"encoded": encoded}


def _losses(llama_cpp: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Return what tokens after the first cost each of some models, in nats, on average."""
    import numpy as np

    losses = []
    for path in request["models"]:
        model = _load(llama_cpp, path)
        following, loss = request["tokens"][1:], 0.0
        for logits in _run(llama_cpp, model, request):
            part, following = following[: len(logits)], following[len(logits) :]
            rows = np.arange(len(part))
            logits -= logits.max(axis=-1, keepdims=True)
            loss += float(np.log(np.exp(logits).sum(axis=-1))[rows].sum() - logits[rows, part].sum())
        llama_cpp.llama_model_free(model)
        losses.append(loss / (len(request["tokens"]) - 1))
    return {"losses": losses}


def _run(llama_cpp: Any, model: Any, request: dict[str, Any]) -> Iterator[Any]:
    """Yield the logits [t, V] of all tokens from an empty cache, a batch at a time."""
    import numpy as np

    tokens, size = request["tokens"], request["batch"]
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = len(tokens)
    params.n_batch = params.n_ubatch = size
    params.n_threads = params.n_threads_batch = request["threads"]
    # Nothing is rounded on the way that the weights do not round.
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise Failed("it could not make a context")
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(size, 0, 1)
    for begin in range(0, len(tokens), size):
        part = tokens[begin : begin + size]
        batch.n_tokens = len(part)
        for place, token in enumerate(part):
            batch.token[place], batch.pos[place] = token, begin + place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
        if llama_cpp.llama_decode(context, batch):
            raise Failed("it could not run a batch")
        flat = llama_cpp.llama_get_logits(context)
        yield np.ctypeslib.as_array(flat, (len(part), width)).copy()
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)


def _load(llama_cpp: Any, path: str) -> Any:
    params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise Failed("it could not load the file")
    return model


_TASKS = {"quantise": _quantise, "compare": _compare, "losses": _losses}

if __name__ == "__main__":
    main()
