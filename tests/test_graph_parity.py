"""Exported graphs against the NumPy reference and transformers' logits; what the weights file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import pytest
from conftest import TinyBundle, TinyModel, sealed_copy
from golden import GOLDEN, POSITIONS, TINY_MODELS, TOKENS
from numpy.typing import NDArray
from stored import Placed, canonical, placed, stored_matrices
from tiny import interleave, write_tiny_gguf

from edgetts.bundle import MODEL, PROMPT, WEIGHTS
from edgetts.export import convert
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.reference import ReferenceSession

# GGUF's integer types, all kept exactly.
KEPT = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
# Root mean square of the logits' difference over that of the logits, from activations rounded to
# 8 bits in blocks; 0.007 to 0.028 were seen.
INT8_ACTIVATIONS = 0.05


def opened(bundle: Path, **options: Any) -> OnnxSession:
    return OnnxSession.open(bundle, threads=1, **options)


def all_logits(session: Any, tokens: Sequence[int] = TOKENS) -> NDArray[np.float32]:
    branch, first = session.prefill(tokens[:1])
    logits = np.concatenate([first[None], session.extend(branch, tokens[1:])])
    session.free(branch)
    return logits


def relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


# Every family, in fp32


@pytest.mark.parametrize("source", ["gguf", "hf"])
@pytest.mark.parametrize("name", TINY_MODELS)
def test_logits_are_those_of_transformers(tiny_bundle: TinyBundle, name: str, source: str) -> None:
    with np.load(GOLDEN) as golden:
        expected = golden[name]
    logits = all_logits(opened(tiny_bundle(name, source=source).bundle))
    np.testing.assert_allclose(logits[POSITIONS], expected, atol=1e-4)


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("name", TINY_MODELS)
def test_prefill_steps_and_batches_equal_the_reference(
    tiny_bundle: TinyBundle, name: str, chunk: int
) -> None:
    model = tiny_bundle(name)
    session, reference = opened(model.bundle, chunk=chunk), model.reference()
    lengths = (33, 1, 12)  # beyond, far below and just above the sliding windows
    pairs = []
    for length in lengths:
        (branch, logits), (twin, expected) = (s.prefill(TOKENS[:length]) for s in (session, reference))
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        pairs.append((branch, twin))
    for i in range(12):
        tokens = [(17 * i + 5 * j) % 300 for j in range(len(lengths))]
        logits = session.step([branch for branch, _ in pairs], tokens)
        np.testing.assert_allclose(logits, reference.step([twin for _, twin in pairs], tokens), atol=1e-4)
    for branch, twin in pairs:
        logits = session.extend(branch, TOKENS[:20])
        np.testing.assert_allclose(logits, reference.extend(twin, TOKENS[:20]), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stored"),
    [(name, {}) for name in TINY_MODELS]
    + [("llama-tied", {"quantize": "keep", "quant": "Q4_1"}), ("gemma3", {"quantize": "int8"})],
)
def test_segments_in_turn_are_the_whole_model(
    tiny_bundle: TinyBundle, name: str, stored: dict[str, Any]
) -> None:
    model = tiny_bundle(name, **stored)
    whole, cut = (opened(model.bundle, chunk=16, by_segment=by) for by in (False, True))
    assert len(cut._graphs) == len(model.manifest.segments) == 4
    branches = [s.prefill(TOKENS) for s in (whole, cut)]
    np.testing.assert_array_equal(branches[0][1], branches[1][1])
    pairs = list(zip((whole, cut), branches, strict=True))
    rows = [s.step([*s.fork(branch, 2), branch], [1, 2, 3]) for s, (branch, _) in pairs]
    np.testing.assert_array_equal(*rows)
    rows = [s.extend(branch, [4, 5, 6]) for s, (branch, _) in pairs]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2, 3)])
def test_any_cuts_are_the_whole_model(tiny_bundle: TinyBundle, cuts: tuple[int, ...]) -> None:
    model = tiny_bundle("llama", cuts=cuts)
    session = opened(model.bundle, by_segment=True)
    assert session.info.cuts == session.capabilities.exits == cuts
    np.testing.assert_allclose(all_logits(session), all_logits(model.reference()), atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 1},
        {"heads": 4, "kv_heads": 4},
        {"heads": 4, "kv_heads": 1},
        {"head_dim": 48, "hidden": 48, "intermediate": 80},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_other_sizes_equal_the_reference(tiny_bundle: TinyBundle, name: str, changes: dict[str, Any]) -> None:
    model = tiny_bundle(name, **changes)
    np.testing.assert_allclose(all_logits(opened(model.bundle)), all_logits(model.reference()), atol=1e-4)


# Integers kept


@pytest.fixture(scope="module", params=KEPT)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Convert a model stored in one of GGUF's types; its weights are what gguf dequantises."""
    directory = tmp_path_factory.mktemp(request.param)
    source = directory / "source.gguf"
    # Of the family qwen2, whose rows GGUF leaves where they are.
    arch = write_tiny_gguf(source, "qwen2", quant=request.param)
    weights = {}
    for tensor in gguf.GGUFReader(source).tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        weights[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return TinyModel(arch, weights, source, convert(source, directory / "kept.edge", quantize="keep"))


def test_kept_integers_are_the_files_own(kept: TinyModel) -> None:
    matrices = canonical(kept.arch, stored_matrices(kept.bundle))
    assert set(matrices) == {name for name, tensor in kept.weights.items() if tensor.ndim == 2}
    for name, matrix in matrices.items():
        # Only the sum that makes an offset rounds, in float32, and only where there are offsets.
        largest = float(np.abs(kept.weights[name]).max())
        np.testing.assert_allclose(matrix, kept.weights[name], rtol=0, atol=1e-6 * largest, err_msg=name)
        assert kept.manifest.tensors[name].error == 0


def test_kept_integers_are_multiplied_exactly(kept: TinyModel, tmp_path: Path) -> None:
    """Told not to round activations, the same graph computes what the file's weights do."""

    def exactly(directory: Path, body: dict[str, Any]) -> None:
        model = onnx.load(directory / MODEL, load_external_data=False)
        levels = [a for node in model.graph.node for a in node.attribute if a.name == "accuracy_level"]
        assert levels
        for level in levels:
            level.i = 1  # float32 throughout
        (directory / MODEL).write_bytes(model.SerializeToString())

    session = opened(sealed_copy(kept.bundle, tmp_path, exactly))
    np.testing.assert_allclose(all_logits(session), all_logits(kept.reference()), atol=1e-4)


def test_kept_integers_run_within_what_their_activations_lose(kept: TinyModel) -> None:
    expected = all_logits(kept.reference())
    found = all_logits(opened(kept.bundle))
    assert relative(found, expected) < INT8_ACTIVATIONS
    by_step = opened(kept.bundle)
    branch, _ = by_step.prefill(TOKENS[:40])
    rows = [by_step.step([branch], [token])[0].copy() for token in TOKENS[40:]]
    assert relative(np.stack(rows), expected[40:]) < INT8_ACTIVATIONS


def test_interleaved_rows_are_put_in_order(tiny_bundle: TinyBundle) -> None:
    """GGUF's llama family stores rotary pairs side by side: in every form, rows change their places."""
    model = tiny_bundle("llama", quantize="keep", quant="Q8_0")
    matrices = canonical(model.arch, stored_matrices(model.bundle))
    stored = {t.name: t for t in gguf.GGUFReader(model.source).tensors}
    for part, heads in (("q", model.arch.heads), ("k", model.arch.kv_heads)):
        tensor = stored[f"blk.2.attn_{part}.weight"]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(interleave(matrices[tensor.name], heads), expected)


@pytest.mark.parametrize("quantize", ["fp32", "int8", "int4", "keep"])
def test_graphs_run_what_their_weights_file_holds(tiny_bundle: TinyBundle, quantize: str) -> None:
    """Whatever the quantiser chose, the graph multiplies by just that."""
    model = tiny_bundle("qwen3", quantize=quantize, quant="F16")
    matrices = canonical(model.arch, stored_matrices(model.bundle))
    others = {name: tensor for name, tensor in model.weights.items() if tensor.ndim == 1}
    assert set(matrices | others) == set(model.weights)
    stored = ReferenceSession(model.arch, (matrices | others).__getitem__, context=64)
    limit = 1e-5 if quantize == "fp32" else INT8_ACTIVATIONS
    assert relative(all_logits(opened(model.bundle)), all_logits(stored)) < limit


# The weights file


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("llama", {}),
        ("gemma3", {}),
        ("qwen2", {"quantize": "keep", "quant": "Q4_1"}),
        ("qwen3", {"quantize": "int4"}),
        ("llama-tied", {"quantize": "int8"}),
    ],
    ids=str,
)
def test_every_tensor_is_stored_once_and_shared(
    tiny_bundle: TinyBundle, name: str, stored: dict[str, Any]
) -> None:
    model = tiny_bundle(name, **stored)
    graphs = [MODEL, *(segment.file for segment in model.manifest.segments)]
    whole = placed(model.bundle / MODEL)
    parts: dict[str, Placed] = {}
    for graph in graphs[1:]:
        for tensor in placed(model.bundle / graph).values():
            assert parts.setdefault(tensor.name, tensor) == tensor
    assert parts == whole, "segments and the whole model use the same tensors at the same places"
    if PROMPT in model.manifest.files:
        assert placed(model.bundle / PROMPT) == whole
    assert {tensor.file for tensor in whole.values()} == {WEIGHTS}
    spans = {(tensor.offset, tensor.length) for tensor in whole.values()}
    for (a, m), (b, n) in combinations(sorted(spans), 2):
        assert a + m <= b, f"{m} bytes at {a} and {n} at {b} overlap"
    # Nothing else is in the file, but for the gaps that align tensors to pages.
    size = (model.bundle / WEIGHTS).stat().st_size
    assert sum(length for _, length in spans) <= size <= sum(-(-length // 4096) * 4096 for _, length in spans)
    assert all(offset % 4096 == 0 for offset, _ in spans)
    distinct = {(tensor.offset, tensor.length): tensor for tensor in whole.values()}.values()
    contents = [hashlib.sha256(tensor.load(model.bundle).tobytes()).digest() for tensor in distinct]
    assert len(set(contents)) == len(contents), "no tensor lies in the file twice"


def test_graphs_hold_no_weights_themselves(tiny_bundle: TinyBundle) -> None:
    model = tiny_bundle("gemma3")
    for graph in model.bundle.glob("*.onnx"):
        inside = onnx.load(graph, load_external_data=False).graph.initializer
        small = [t for t in inside if t.data_location != onnx.TensorProto.EXTERNAL]
        assert all(int(np.prod(t.dims, initial=1)) <= 4 for t in small)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_both_sources_make_the_same_weights(tiny_bundle: TinyBundle, name: str) -> None:
    files = [tiny_bundle(name, source=source).manifest.files for source in ("gguf", "hf")]
    same = {WEIGHTS: True, MODEL: True}
    if name == "llama3":
        # GGUF states its frequencies in float32, so the rotary tables differ in the last digit.
        same = {WEIGHTS: False, MODEL: True}
    assert {key: files[0][key] == files[1][key] for key in same} == same
