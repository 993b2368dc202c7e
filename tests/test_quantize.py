"""Laws of the quantisers: never worse than rounding, exact where they can be, and the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from tiny import Weights, tiny_architecture, tiny_weights, token_id, write_tiny_gguf

from edgetts.architecture import FAMILIES, Architecture
from edgetts.errors import CorruptFile
from edgetts.export.blocks import Affine
from edgetts.export.calibration import CalibrationPass, calibration_tokens
from edgetts.export.check import Divergence
from edgetts.export.checkpoint import Checkpoint, open_checkpoint
from edgetts.export.int4 import Int4Scheme
from edgetts.export.quantize import compensated, fitted, inputs_seen, nearest, relative_error
from edgetts.export.schemes import Stored
from edgetts.export.tokenizer import tokenizer_from_gguf
from edgetts.runtimes.reference import ReferenceSession

Floats = NDArray[np.float32]

BLOCK = 32


def random_matrix(seed: int, rows: int = 24, cols: int = 96) -> Floats:
    """Draw weights with heavy tails, so that ranges matter."""
    rng = np.random.default_rng(seed)
    return (rng.standard_t(4, (rows, cols)) / 16).astype(np.float32)


def correlated_inputs(seed: int, cols: int, tokens: int = 400) -> Floats:
    """Draw inputs that live near a few directions, as a network's do."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((cols // 8, cols)) * rng.lognormal(0, 1, cols)
    common = rng.standard_normal((tokens, cols // 8)) @ directions
    return (common + 0.3 * rng.standard_normal((tokens, cols))).astype(np.float32)


def lost_products(weights: Floats, affine: Affine, inputs: Floats) -> float:
    return float(np.square(inputs @ (affine.dequantize() - weights).T).sum())


def block_errors(weights: Floats, affine: Affine, importance: Floats) -> Floats:
    lost = np.subtract(affine.dequantize(), weights, dtype=np.float64)
    squares = np.asarray(lost * lost * importance)
    return np.asarray(squares.reshape(len(weights), -1, BLOCK).sum(axis=-1))


matrices = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.sampled_from([32, 64, 96])),
    elements=st.floats(-1e4, 1e4, width=32),
)
seeds = st.integers(0, 2**32 - 1)


# Rounding to nearest


@given(matrices, st.sampled_from([4, 8]))
def test_nearest_is_within_half_a_step_but_at_the_short_end(weights: Floats, bits: int) -> None:
    affine = nearest(weights, bits, BLOCK)
    assert affine.codes.max() < 2**bits
    step: Floats = np.abs(np.repeat(affine.scales, BLOCK, axis=1))
    lost: Floats = np.abs(affine.dequantize() - weights)
    at_the_end = affine.codes == 2**bits - 1
    # Subnormal steps have no precise inverse; they are far below anything a sum would notice.
    assert (lost <= step * np.where(at_the_end, 1.001, 0.501) + 1e-36).all()


# Fitting


@given(matrices, seeds)
def test_fitted_blocks_are_never_worse_than_nearest_ones(weights: Floats, seed: int) -> None:
    importance = np.exp(np.random.default_rng(seed).standard_normal(weights.shape[1], np.float32))
    ours = block_errors(weights, fitted(weights, BLOCK, importance), importance)
    plain = block_errors(weights, nearest(weights, 4, BLOCK), importance)
    # float32 sums decide between grids that are equally good to six digits.
    assert (ours <= plain * 1.001 + 1e-30).all()


def test_fitting_pays() -> None:
    weights = random_matrix(1, rows=200)
    assert relative_error(weights, fitted(weights, BLOCK)) < 0.9 * relative_error(
        weights, nearest(weights, 4, BLOCK)
    )


@given(matrices)
def test_fitted_codes_and_zero_points_fit_into_4_bits(weights: Floats) -> None:
    affine = fitted(weights, BLOCK)
    assert affine.bits == 4
    assert affine.zeros is not None
    assert max(affine.codes.max(), affine.zeros.max()) <= 15
    assert np.isfinite(affine.dequantize()).all()


@given(seeds, st.sampled_from([1.0, 2.0**-10, 2.0**10]))
def test_fitting_reproduces_what_4_bits_with_a_zero_point_can_hold(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, (8, 2, BLOCK))
    codes[..., 0], codes[..., 1] = 0, 15
    weights = ((codes - rng.integers(0, 16, (8, 2, 1))) * scale).astype(np.float32).reshape(8, -1)
    np.testing.assert_allclose(fitted(weights, BLOCK).dequantize(), weights, rtol=1e-6)


def test_blocks_of_zeros_stay_zeros() -> None:
    weights = random_matrix(2)
    weights[:, BLOCK : 2 * BLOCK] = 0
    weights[5] = 0
    inputs = correlated_inputs(2, weights.shape[1])
    for affine in (nearest(weights, 4, BLOCK), nearest(weights, 8, BLOCK), fitted(weights, BLOCK)):
        assert not affine.dequantize()[weights == 0].any()
    # What is lost elsewhere may be made up for anywhere but in a row that loses nothing.
    assert not compensated(weights, BLOCK, inputs_seen(inputs, BLOCK)).dequantize()[5].any()


# Compensating


@settings(max_examples=25)
@given(seeds)
def test_compensated_products_lose_less(seed: int) -> None:
    weights, inputs = random_matrix(seed), correlated_inputs(seed, 96)
    ours = lost_products(weights, compensated(weights, BLOCK, inputs_seen(inputs, BLOCK)), inputs)
    importance = np.square(inputs).mean(axis=0)
    assert ours < 0.9 * lost_products(weights, fitted(weights, BLOCK, importance), inputs)
    assert ours < 0.6 * lost_products(weights, nearest(weights, 4, BLOCK), inputs)


def test_compensation_holds_for_inputs_it_was_not_made_with() -> None:
    weights, inputs = random_matrix(3), correlated_inputs(3, 96, tokens=800)
    affine = compensated(weights, BLOCK, inputs_seen(inputs[:400], BLOCK))
    assert lost_products(weights, affine, inputs[400:]) < 0.7 * lost_products(
        weights, nearest(weights, 4, BLOCK), inputs[400:]
    )


@given(seeds)
def test_independent_inputs_leave_nothing_to_compensate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = random_matrix(seed, rows=6, cols=64)
    inputs = np.diag(rng.uniform(0.5, 2, 64)).astype(np.float32)
    [seen] = inputs_seen(inputs, BLOCK)
    ours = compensated(weights, BLOCK, [seen])
    plain = fitted(weights, BLOCK, seen.importance)
    np.testing.assert_array_equal(ours.codes, plain.codes)
    np.testing.assert_array_equal(ours.scales, plain.scales)


@given(seeds, st.sampled_from([32, 96, 160, 288]))
def test_factors_multiply_to_the_second_moments(seed: int, cols: int) -> None:
    inputs = correlated_inputs(seed, cols, tokens=50)
    [seen] = inputs_seen(inputs, BLOCK)
    assert seen.feedback is not None
    np.testing.assert_array_equal(np.tril(seen.feedback), np.eye(cols, dtype=np.float32))
    moments = inputs.T @ inputs / len(inputs)
    product = (seen.feedback * seen.importance) @ seen.feedback.T
    apart = ~np.eye(cols, dtype=bool)
    np.testing.assert_allclose(product[apart], moments[apart], atol=1e-4 * float(moments.max()))
    # The diagonal is raised, as a text knows it only roughly.
    assert (product.diagonal() > 1.5 * moments.diagonal()).all()


def test_wide_matrices_are_compensated_in_ranges_that_cover_them() -> None:
    inputs = correlated_inputs(4, 4864, tokens=20)
    seen = inputs_seen(inputs, BLOCK)
    assert [part.columns.start for part in seen[1:]] == [part.columns.stop for part in seen[:-1]]
    assert (seen[0].columns.start, seen[-1].columns.stop) == (0, 4864)
    assert all((part.columns.stop - part.columns.start) % BLOCK == 0 for part in seen)


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weights, inputs = random_matrix(5), correlated_inputs(5, 96)
    inputs[:, 10:50] = 0
    for seen in (inputs, np.zeros_like(inputs)):
        assert relative_error(weights, compensated(weights, BLOCK, inputs_seen(seen, BLOCK))) < 0.5


def test_the_same_input_gives_the_same_codes() -> None:
    weights, inputs = random_matrix(6, rows=9000, cols=64), correlated_inputs(6, 64)
    once, again = (compensated(weights, BLOCK, inputs_seen(inputs, BLOCK)) for _ in range(2))
    for name in ("codes", "scales", "zeros"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))


def test_relative_error_is_that_of_the_root_mean_squares() -> None:
    weights = random_matrix(7)
    affine = nearest(weights, 4, BLOCK)
    lost = np.sqrt(np.mean(np.square(affine.dequantize() - weights)) / np.mean(np.square(weights)))
    assert relative_error(weights, affine) == pytest.approx(float(lost), rel=1e-5)
    assert relative_error(np.zeros_like(weights), nearest(np.zeros_like(weights), 4, BLOCK)) == 0


# The scheme, on a whole model


def checkpoint_of(
    directory: Path, arch: Architecture, weights: Weights | None = None, quant: str = "F32"
) -> tuple[Checkpoint, Path]:
    write_tiny_gguf(directory / "tiny.gguf", arch=arch, weights=weights, quant=quant)
    checkpoint = open_checkpoint(directory / "tiny.gguf")
    tokenizer = directory / "tokenizer.json"
    tokenizer_from_gguf(checkpoint.metadata).save(str(tokenizer))
    return checkpoint, tokenizer


def stored_by(checkpoint: Checkpoint, tokenizer: Path) -> tuple[dict[str, Stored], Int4Scheme]:
    scheme = Int4Scheme(checkpoint, tokenizer, lambda share: None)
    names = [name for name in checkpoint.names if len(checkpoint.shape(name)) == 2]
    # Layers first, as conversion asks for them.
    names.sort(key=lambda name: not name.startswith("blk."))
    return {name: scheme.quantize(name) for name in names}, scheme


def logits(arch: Architecture, weights: Weights) -> Floats:
    session = ReferenceSession(arch, weights.__getitem__, context=128)
    branch, first = session.prefill([token_id("A")])
    rest = session.extend(branch, np.random.default_rng(0).integers(0, 256, 100).tolist())
    return np.concatenate([first[None], rest])


def mean_kl(reference: Floats, tested: Floats) -> float:
    divergence = Divergence.between(reference, tested, np.zeros(0, np.int64))
    return divergence.kl / divergence.positions


@pytest.mark.parametrize("arch", [tiny_architecture(f) for f in FAMILIES], ids=lambda a: a.family)
def test_int4_is_nearer_than_rounding_for_no_more_than_a_tenth_more_bytes(
    tmp_path: Path, arch: Architecture
) -> None:
    checkpoint, tokenizer = checkpoint_of(tmp_path, arch)
    with checkpoint:
        stored, _ = stored_by(checkpoint, tokenizer)
        exact = {name: checkpoint.load(name) for name in checkpoint.names}
    reference = logits(arch, exact)
    plain = {name: nearest(exact[name], 4, BLOCK) for name in stored}
    ours = {name: s.matrix.dequantize() for name, s in stored.items() if isinstance(s.matrix, Affine)}
    assert set(ours) == set(plain)
    ours_kl = mean_kl(reference, logits(arch, exact | ours))
    plain_kl = mean_kl(reference, logits(arch, exact | {n: a.dequantize() for n, a in plain.items()}))
    # Random weights have neither outliers nor correlated inputs, so less is gained than with a real model.
    assert ours_kl < 0.95 * plain_kl
    plain_bytes = sum(affine.stored_bytes for affine in plain.values())
    assert sum(s.note.bytes for s in stored.values()) <= 1.1 * plain_bytes
    assert all(0 < s.note.error < 0.2 for s in stored.values())


def test_what_a_file_holds_in_4_bits_without_offsets_is_kept(tmp_path: Path) -> None:
    checkpoint, tokenizer = checkpoint_of(tmp_path, tiny_architecture(), quant="Q4_0")
    with checkpoint:
        stored, scheme = stored_by(checkpoint, tokenizer)
        for name, matrix in stored.items():
            assert isinstance(matrix.matrix, Affine)
            np.testing.assert_array_equal(matrix.matrix.dequantize(), checkpoint.load(name))
            assert matrix.note.error == 0
    assert any(f"kept as the source has them, in 4 bits: {len(stored)} matrices" in n for n in scheme.notes)


def test_rows_that_do_not_divide_into_blocks_are_stored_in_float32_and_said_so(tmp_path: Path) -> None:
    checkpoint, tokenizer = checkpoint_of(tmp_path, tiny_architecture(intermediate=80))
    with checkpoint:
        stored, scheme = stored_by(checkpoint, tokenizer)
    assert stored["blk.1.ffn_down.weight"].note.stored == "fp32"
    assert any("blk.1.ffn_down.weight" in note and "fp32" in note for note in scheme.notes)


def test_a_matrix_whose_inputs_one_token_dominates_gets_8_bits(tmp_path: Path) -> None:
    arch = tiny_architecture(intermediate=96)
    weights = tiny_weights(arch)
    # One direction of the stream, which only one token has, drives one unit of the second layer.
    direction = np.zeros(arch.hidden, np.float32)
    direction[7] = 1
    embedding = weights["token_embd.weight"]
    embedding -= np.outer(embedding @ direction, direction)
    embedding[token_id("A")] = 40 * direction
    for part in ("gate", "up"):
        weights[f"blk.1.ffn_{part}.weight"] *= 0.1
        weights[f"blk.1.ffn_{part}.weight"][3] = 30 * direction
    checkpoint, tokenizer = checkpoint_of(tmp_path, arch, weights)
    with checkpoint:
        stored, scheme = stored_by(checkpoint, tokenizer)
    assert stored["blk.1.ffn_down.weight"].note.stored.startswith("int8")
    assert stored["blk.2.ffn_down.weight"].note.stored.startswith("int4")
    assert any("dominate" in note and "blk.1.ffn_down.weight" in note for note in scheme.notes)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_weights_that_blow_up_are_refused(tmp_path: Path) -> None:
    arch = tiny_architecture()
    weights = tiny_weights(arch)
    weights["blk.2.ffn_gate.weight"] *= 1e30
    checkpoint, tokenizer = checkpoint_of(tmp_path, arch, weights)
    with checkpoint, pytest.raises(CorruptFile, match=r"Layer 2 .* not finite"):
        stored_by(checkpoint, tokenizer)


# Calibration


def test_calibration_text_begins_as_the_model_expects_and_fits_its_context(tmp_path: Path) -> None:
    arch = replace(tiny_architecture(), context=48)
    bos = token_id("<|endoftext|>")
    write_tiny_gguf(tmp_path / "tiny.gguf", arch=arch, metadata={"tokenizer.ggml.add_bos_token": True})
    with open_checkpoint(tmp_path / "tiny.gguf") as checkpoint:
        tokenizer = tmp_path / "tokenizer.json"
        tokenizer_from_gguf(checkpoint.metadata).save(str(tokenizer))
        tokens = calibration_tokens(checkpoint, tokenizer, 1000)
        assert tokens[0] == bos
        assert len(tokens) == 48
        assert len(calibration_tokens(checkpoint, tokenizer, 20)) == 20


def test_a_pass_goes_on_with_what_replaced_a_matrix(tmp_path: Path) -> None:
    arch = tiny_architecture(layers=2)
    checkpoint, tokenizer = checkpoint_of(tmp_path, arch)
    with checkpoint:
        tokens = calibration_tokens(checkpoint, tokenizer, 16)
        seen: list[tuple[str, Floats]] = []

        def silence(group: str, inputs: Floats, weights: Weights) -> None:
            seen.append((group, inputs))
            for part in ("attn_output", "ffn_down"):
                weights[f"{part}.weight"] = np.zeros_like(weights[f"{part}.weight"])

        walk = CalibrationPass(checkpoint, tokens)
        assert [walk.advance(silence), walk.advance(silence)] == [0, 1]
        groups = ["attn_qkv", "attn_output", "ffn_gate_up", "ffn_down"]
        assert [group for group, _ in seen] == groups * 2
        # Layers that add nothing leave the embeddings as they are.
        x = checkpoint.load("token_embd.weight")[tokens]
        normed = x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + arch.norm_eps)
        for at, name in ((0, "blk.0.attn_norm"), (6, "blk.1.ffn_norm")):
            expected = normed * checkpoint.load(f"{name}.weight")
            np.testing.assert_allclose(seen[at][1], expected, rtol=1e-5, atol=1e-6)
        expected = normed * checkpoint.load("output_norm.weight")
        np.testing.assert_allclose(walk.head_inputs(), expected, rtol=1e-5, atol=1e-6)
