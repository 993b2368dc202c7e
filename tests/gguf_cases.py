"""Models of every family to write as GGUF files, and what their tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_architecture, write_tiny_hf

from edgetts.architecture import Architecture, Family, RopeScaling

HAS_LLAMA = importlib.util.find_spec("llama_cpp") is not None
needs_llama = pytest.mark.skipif(not HAS_LLAMA, reason="llama-cpp-python is not installed")

FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "gemma3")
VARIANTS: dict[str, Architecture] = {
    **{family: tiny_architecture(family) for family in FAMILIES},
    "linear rope": tiny_architecture("llama", rope_scaling=RopeScaling("linear", 4.0)),
    "llama 3 rope": tiny_architecture("llama", rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 64)),
    "tied": tiny_architecture("llama", tied_embeddings=True),
    "mistral": tiny_architecture("llama", sliding_window=40, sliding_layers=(0, 1, 2, 3)),
    "gemma linear": tiny_architecture("gemma3", rope_scaling=RopeScaling("linear", 8.0)),
    "gemma short": tiny_architecture("gemma3", layers=3, sliding_layers=(0, 1, 2)),
}
# Logits of these models spread over about one unit. Gemma's activation is a table of half precision in llama.cpp.
LARGEST = {"f32": 1e-4, "f16": 0.05, "bf16": 0.4}
LARGEST_GEMMA = {"f32": 0.01, "f16": 0.05, "bf16": 0.4}
TEXT = " ".join(f"the {n} things and what is in them, said the other one;" for n in range(120))


def hide_llamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it missing, as it is for most people."""
    monkeypatch.setitem(sys.modules, "llama_cpp", None)


def hf(directory: Path, name: str, **options: Any) -> Path:
    write_tiny_hf(directory / "source", arch=VARIANTS[name], **options)
    return directory / "source"


def without_leftovers(directory: Path, *expected: str) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(expected)
