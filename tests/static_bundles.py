"""Tiny static bundles, made once, beside the dynamic ones of the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TinyBundle, TinyModel, sealed_copy

from edgetts.export.static.convert import convert_static
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.graph import StaticGraph, key_name, value_name
from edgetts.export.static.tensors import StoredTensors, folded
from edgetts.export.weights import WeightsFile
from edgetts.static_form import EMBEDDING

CONTEXT, CHUNK, DRAFT_WIDTH = 48, 16, 5
MASK = -1000.0


@dataclass(frozen=True, slots=True)
class StaticModel:
    """A tiny model with both of its bundles; cut before the same layers."""

    model: TinyModel
    bundle: Path


StaticBundle = Callable[..., StaticModel]


@pytest.fixture(scope="session")
def static_bundle(tiny_bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> StaticBundle:
    """Make (once) the static bundle of a tiny model: static_bundle("qwen2", target="coreml", draft_width=3)."""

    @cache
    def make(
        name: str = "llama",
        *,
        target: str = "generic-static",
        quantize: str = "fp32",
        cuts: tuple[int, ...] = (1, 3),
        context: int = CONTEXT,
        chunk: int = CHUNK,
        draft_width: int = DRAFT_WIDTH,
        **changes: Any,
    ) -> StaticModel:
        model = tiny_bundle(name, context=context, cuts=cuts, **changes)
        bundle = tmp_path_factory.mktemp(name) / f"{name}-static.edge"
        convert_static(
            model.source,
            bundle,
            target=target,
            quantize=quantize,
            context=context,
            chunk=chunk,
            draft_width=draft_width,
            cuts=cuts,
        )
        return StaticModel(model, bundle)

    return make


def rounded(static: StaticModel, directory: Path, halves: tuple[str, ...] = ()) -> Path:
    """Copy a static bundle so that its ports hold 16-bit integers, those of `halves` and the embedding float16.

    Ranges are wide enough for tiny models. `halves`: of "key" and "value".
    """
    arch = static.model.arch
    encodings = {"rotary": Encoding.covering(-1, 1), "mask": Encoding.covering(MASK, 0)}
    encodings |= {f"stream.{layer}": Encoding.covering(-24, 24) for layer in range(arch.layers + 1)}
    encodings |= {name: Encoding.covering(-12, 12) for name in ("features", "logits")}
    ports = {name: one for name, one in encodings.items() if name.partition(".")[0] != "blk"}
    held: list[str] = []
    for layer in range(arch.layers):
        for kind, name in (("key", key_name(layer)), ("value", value_name(arch, layer))):
            if kind in halves:
                held.append(name)
            else:
                encodings[name] = ports[f"{kind}.{layer}"] = Encoding.covering(-12, 12)

    def change(bundle: Path, body: dict[str, Any]) -> None:
        note = body["static"]
        note["mask"] = MASK
        note["ports"] = {name: {"scale": one.scale, "zero": one.zero} for name, one in ports.items()}
        with WeightsFile(bundle) as weights:
            tensors = StoredTensors(weights, folded(arch, static.model.weights.__getitem__), "float", {})
            for one in note["graphs"]:
                graph = StaticGraph(
                    arch,
                    tensors,
                    width=one["width"],
                    context=body["context"],
                    encodings=encodings,
                    halves=held,
                )
                head = one["start"] == one["stop"]
                model = graph.head() if head else graph.layers(one["start"], one["stop"])
                (bundle / one["file"]).write_bytes(model.SerializeToString())
        table = np.load(bundle / EMBEDDING).astype(np.float16)
        np.save(bundle / EMBEDDING, table)

    return sealed_copy(static.bundle, directory, change)
