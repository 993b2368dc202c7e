"""Export or quantise one model in a process of its own, which takes torch, its memory and its talk with it.

Run as a script: it imports nothing of edgetts. A request is one JSON object on standard input; the answer is
one on standard output: {"done": {...}}, or {"refused": kind, "reason": text} for what is wrong with a model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_TASK = "text-generation-with-past"
_BLOCK = 32
# Activations rounded to 8 bits in blocks, as in the graphs of our own: several times as fast.
_INT8_ACTIVATIONS = 4


class Refused(Exception):
    """The model cannot be exported; `kind` is unsupported or damaged."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def main() -> None:
    """Answer the request on standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What libraries print goes where errors go.
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    # Nothing is imported from this script's own directory or from where the user happens to be.
    sys.path[:] = request["path"]
    try:
        answer: dict[str, Any] = {"done": _TASKS[request["task"]](request)}
    except Refused as error:
        answer = {"refused": error.kind, "reason": str(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _export(request: dict[str, Any]) -> dict[str, Any]:
    """Write model.onnx in float32; say what the configuration states of the model."""
    import torch
    from optimum.exporters.onnx import onnx_export_from_model

    torch.set_num_threads(request["threads"])
    source, output = request["source"], Path(request["output"])
    config = _config(source)
    model, unused = _model(source)
    onnx_export_from_model(model, output, task=_TASK, device="cpu", do_validation=False)
    _without_gemm(output / "model.onnx")
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "n_ctx")
    stated = (getattr(text, name, None) for name in names)
    return {
        "model_type": config.model_type,
        "hidden": getattr(text, "hidden_size", None),
        "context": next((length for length in stated if isinstance(length, int)), None),
        "unused": unused,
    }


def _config(source: str) -> Any:
    from optimum.exporters.tasks import TasksManager
    from transformers import AutoConfig
    from transformers import __version__ as version
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    stated = json.loads((Path(source) / "config.json").read_text(encoding="utf-8")).get("model_type", "")
    if not isinstance(stated, str) or stated not in CONFIG_MAPPING_NAMES:
        raise Refused(
            "unsupported", f"transformers {version} does not know its model_type {str(stated)[:60]!r}"
        )
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise Refused(
            "damaged", f"transformers cannot read its config.json ({_first_line(error)})"
        ) from error
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(
            config.model_type, "onnx", library_name="transformers"
        )
    except KeyError:
        tasks = {}
    if _TASK not in tasks or config.is_encoder_decoder:
        raise Refused(
            "unsupported",
            f"optimum's exporter knows no decoder with the model_type {config.model_type[:60]!r}",
        )
    return config


def _model(source: str) -> tuple[Any, list[str]]:
    """Load the model; return it with the tensors of the checkpoint that it has no place for."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise Refused("damaged", f"transformers cannot load its weights ({_first_line(error)})") from error
    # transformers would fill them with random numbers.
    if missing := sorted(info["missing_keys"]):
        raise Refused("damaged", f"its weights lack {missing[0][:100]}")
    return model, sorted(info["unexpected_keys"])


def _without_gemm(path: Path) -> None:
    """Split Gemm into MatMul and Add, which is all that ONNX Runtime quantises in blocks."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel

    if not any(node.op_type == "Gemm" for node in onnx.load(path, load_external_data=False).graph.node):
        return
    model = ONNXModel(onnx.load(path))
    model.replace_gemm_with_matmul()
    for old in (path, path.with_name("model.onnx_data")):
        old.unlink(missing_ok=True)
    model.save_model_to_file(str(path), True)


def _quantise(request: dict[str, Any]) -> dict[str, Any]:
    """Write the graph with its matrices in blocks of integers, by ONNX Runtime's own tool."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        onnx.load(request["source"]),
        bits=request["bits"],
        block_size=_BLOCK,
        is_symmetric=True,
        accuracy_level=_INT8_ACTIVATIONS,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    quantizer.model.save_model_to_file(request["output"], True)
    return {}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


_TASKS = {"export": _export, "quantise": _quantise}

if __name__ == "__main__":
    main()
