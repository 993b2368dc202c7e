"""Matrices are raised by measured error: those that hurt first, until held-out text is answered alike, and as noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import Weights, tiny_architecture, tiny_weights, write_tiny_gguf, write_tiny_hf

from edgetts.architecture import Architecture
from edgetts.bundle import TOKENIZER, Manifest, open_bundle, read_manifest
from edgetts.decoding.session import Logits
from edgetts.errors import UnsupportedModel
from edgetts.export.calibration import text_tokens
from edgetts.export.check import Divergence
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.static import convert_static
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.graph import cache_names
from edgetts.export.static.matrices import Matrix, encodings_for, matrices
from edgetts.export.static.precision import choose_forms
from edgetts.export.static.precision.costs import measured_costs
from edgetts.export.static.precision.layerwise import Layerwise
from edgetts.export.static.tensors import WeightForm, folded
from edgetts.runtimes.npu import StaticSession
from edgetts.runtimes.reference import ReferenceSession

WIDTH = 32
TEXTS = [[1, *((i * i * (n + 3) + 29 * i + n) % 300 for i in range(WIDTH - 1))] for n in range(12)]


@dataclass(frozen=True)
class Small:
    """A tiny model that precision is chosen for, without a checkpoint."""

    arch: Architecture
    weights: Weights

    def layerwise(self, scratch: Path, *forms: WeightForm) -> Layerwise:
        table = self.weights["token_embd.weight"] * np.float32(self.arch.embedding_scale or 1)
        return Layerwise(
            self.arch,
            folded(self.arch, self.weights.__getitem__),
            lambda tokens: table[np.asarray(tokens)],
            WIDTH,
            scratch,
            forms=forms,
            halves=cache_names(self.arch),
        )

    def reference(self, tokens: Sequence[int]) -> Logits:
        session = ReferenceSession(self.arch, self.weights.__getitem__, context=WIDTH)
        branch, first = session.prefill(tokens[:1])
        return np.concatenate([first[None], session.extend(branch, tokens[1:])])


def small(family: Any = "llama", **changes: Any) -> Small:
    arch = tiny_architecture(family, **({"layers": 3} | changes))
    return Small(arch, tiny_weights(arch))


def spoil(model: Small, layer: int) -> str:
    """Give a matrix a column that makes all steps of its rows coarse, and what it is multiplied by as much smaller.

    In floats nothing changes.
    """
    times = np.float32(64)
    model.weights[f"blk.{layer}.ffn_down.weight"][:, 7] *= times
    model.weights[f"blk.{layer}.ffn_up.weight"][7] /= times
    return f"blk.{layer}.ffn_down.weight"


# Running a model layer by layer


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3"])
def test_layer_by_layer_in_floats_is_the_model(family: str, tmp_path: Path) -> None:
    model = small(family, layers=6 if family == "gemma3" else 3)
    expected = model.reference(TEXTS[0])
    with model.layerwise(tmp_path / "scratch") as layers:
        window = layers.window(TEXTS[0])
        np.testing.assert_allclose(window.logits, expected, rtol=0, atol=1e-4)
        for layer in range(model.arch.layers + 1):
            logits = layers.finish(layer, window.streams[layer])
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        half = layers.narrower(WIDTH // 2)
        np.testing.assert_allclose(
            half.window(TEXTS[0][: WIDTH // 2]).logits, expected[: WIDTH // 2], rtol=0, atol=1e-4
        )
        assert layers.divergence(window, window.logits).kl == pytest.approx(0, abs=1e-6)


def test_divergence_in_pieces_is_that_of_the_whole(tmp_path: Path) -> None:
    model = small()
    rng = np.random.default_rng(0)
    with model.layerwise(tmp_path / "scratch") as layers:
        window = layers.window(TEXTS[0])
        other = window.logits + rng.standard_normal(window.logits.shape).astype(np.float32)
        found = layers.divergence(window, other)
    expected = Divergence.between(window.logits, other, window.tokens[1:])
    assert (found.positions, found.agreements) == (expected.positions, expected.agreements)
    for name in ("kl", "largest", "reference_nll", "tested_nll"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5)


def test_ranges_hold_all_that_is_computed_and_zero(tmp_path: Path) -> None:
    model = small("qwen2")
    with model.layerwise(tmp_path / "scratch") as layers:
        one, two = layers.ranges(TEXTS[:1]), layers.ranges(TEXTS[:3])
        window = layers.window(TEXTS[0])
    names = {name for m in matrices(model.arch) for name in (m.enters, m.leaves)}
    streams = {f"stream.{layer}" for layer in range(model.arch.layers + 1)}
    assert names | streams <= set(one) == set(two)
    for name, (low, high) in one.items():
        assert two[name][0] <= low <= 0 <= high <= two[name][1]
    for layer, stream in enumerate(window.streams):
        low, high = one[f"stream.{layer}"]
        assert (low, high) == pytest.approx((min(0, stream.min()), max(0, stream.max())), abs=1e-4)
    assert one["logits"] == pytest.approx((window.logits.min(), window.logits.max()), abs=1e-4)
    # Nothing is hidden from what is looked at but scores with the mask.
    assert not any(name.endswith(".masked") for name in one)


def test_what_lies_beyond_a_range_at_run_time_becomes_its_end(tmp_path: Path) -> None:
    # An integer that wrapped around would make the largest score the smallest.
    model = small()
    depth = model.arch.layers
    forms: dict[str, WeightForm] = {m.name: "int8" for m in matrices(model.arch)}
    with model.layerwise(tmp_path / "scratch", "int8") as layers:
        window = layers.window(TEXTS[0])
        ranges = layers.ranges(TEXTS[:1])
        plain = encodings_for(matrices(model.arch), forms, ranges)
        narrow = plain | {"logits": Encoding.covering(-0.5, 0.25)}
        exact = layers.rounded(depth, forms, plain)(window.streams[depth])
        cut = layers.rounded(depth, forms, narrow)(window.streams[depth])
        assert exact.max() > 1.0
        assert exact.min() < -1.0
        step = narrow["logits"].scale + plain["logits"].scale
        np.testing.assert_allclose(cut, np.clip(exact, -0.5, 0.25), rtol=0, atol=step)
        # In the middle of the model too, whatever comes in.
        for layer in range(depth):
            wild = layers.rounded(layer, forms, plain)(window.streams[layer] * np.float32(1e4))
            assert np.isfinite(wild).all()
            out = narrow[f"blk.{layer}.ffn_down.out"]
            other = narrow[f"blk.{layer}.attn_output.out"]
            ends = [abs(e.values(np.array([0, 65535]))).max() for e in (out, other)]
            assert np.abs(wild - window.streams[layer] * np.float32(1e4)).max() <= sum(ends) * 1.001 + 1.0


# Choosing


def test_the_matrix_whose_rounding_hurts_is_raised_first(tmp_path: Path) -> None:
    model = small()
    spoilt = spoil(model, 1)
    with model.layerwise(tmp_path / "scratch", "int8") as layers:
        ranges = layers.ranges(TEXTS[:8])
        costs = measured_costs(layers, matrices(model.arch), "int8", ranges, TEXTS[0], lambda share: None)
        assert max(costs, key=lambda name: costs[name]) == spoilt
        assert costs[spoilt] > 10 * sorted(costs.values())[-2]
        before = choose_forms(layers, "int8", ranges, TEXTS[0], TEXTS[8:], agreement=0.01)
        assert before.raised == ()
        found = before.held_out.agreements / before.held_out.positions
        shares: list[float] = []
        choice = choose_forms(
            layers,
            "int8",
            ranges,
            TEXTS[0],
            TEXTS[8:],
            agreement=found + 1 / before.held_out.positions,
            progress=shares.append,
        )
    # It is enough by itself, for what one more position wants.
    assert choice.raised == (f"{spoilt} float",)
    assert choice.forms == {m.name: "float" if m.name == spoilt else "int8" for m in matrices(model.arch)}
    assert choice.held_out.kl < before.held_out.kl / 5
    assert shares == sorted(shares)
    assert len(shares) > 15
    assert 0 < shares[0] < shares[-1] <= 1


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_an_agreement_that_cannot_be_ends_with_everything_raised(form: WeightForm, tmp_path: Path) -> None:
    model = small(layers=2)
    forms: tuple[WeightForm, ...] = ("int8",) if form == "int8" else ("int4", "int8")
    with model.layerwise(tmp_path / "scratch", *forms) as layers:
        ranges = layers.ranges(TEXTS[:8])
        choice = choose_forms(layers, form, ranges, TEXTS[0], TEXTS[8:], agreement=1.1)
        assert set(choice.forms.values()) == {"float"}
        assert set(choice.raised) == {f"{m.name} float" for m in matrices(model.arch)}
        assert choice.encodings == {}
        # What is left is the embedding and the cache, in float16.
        assert 0 < choice.held_out.kl / choice.held_out.positions < 1e-5


def test_no_more_is_raised_than_text_needs(tmp_path: Path) -> None:
    model = small()
    everything = matrices(model.arch)
    size = {m.name: m for m in everything}

    def nbytes(forms: dict[str, WeightForm]) -> float:
        return sum(size[name].nbytes(form) for name, form in forms.items())

    with model.layerwise(tmp_path / "scratch", "int4", "int8") as layers:
        ranges = layers.ranges(TEXTS[:8])
        wanted = (0.5, 0.97)
        choices = [
            choose_forms(layers, "int4", ranges, TEXTS[0], TEXTS[8:], agreement=agreement)
            for agreement in wanted
        ]
    for choice, agreement in zip(choices, wanted, strict=True):
        assert choice.held_out.agreements >= agreement * choice.held_out.positions
    sizes = [nbytes(choice.forms) for choice in choices]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] < nbytes(dict.fromkeys(size, "float"))


def test_costs_are_of_matrices_and_fall_with_bits(tmp_path: Path) -> None:
    model = small("gemma3", layers=6)
    everything = matrices(model.arch)
    with model.layerwise(tmp_path / "scratch", "int4", "int8") as layers:
        ranges = layers.ranges(TEXTS[:4])
        shares: list[float] = []
        fine = measured_costs(layers, everything, "int8", ranges, TEXTS[0], shares.append)
        coarse = measured_costs(layers, everything, "int4", ranges, TEXTS[0], lambda share: None)
    assert set(fine) == set(coarse) == {m.name for m in everything}
    assert all(cost >= 0 for cost in fine.values())
    assert sum(coarse.values()) > 20 * sum(fine.values())
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_matrix_takes_bytes_by_its_form() -> None:
    matrix = Matrix("m", 0, 6, 10, "in", "out")
    assert [matrix.nbytes(form) for form in ("int4", "int8", "float")] == [30, 60, 120]


# What the manifest says


def exported(directory: Path, arch: Architecture, weights: Weights, **asked: Any) -> tuple[Path, Manifest]:
    write_tiny_gguf(directory / "model.gguf", arch=arch, weights=weights)
    wanted: dict[str, Any] = {"context": 160, "chunk": 32, "draft_width": 5} | asked
    bundle = convert_static(directory / "model.gguf", directory / "model.edge", target="qnn-htp", **wanted)
    return bundle, open_bundle(bundle)


def held_out(source: Path, bundle: Path, arch: Architecture) -> list[list[int]]:
    """Return the windows that rounding is judged by: a third of 1536 tokens, each begun by the text's first."""
    width = min(128, arch.context)
    with open_checkpoint(source) as checkpoint:
        tokens = text_tokens(checkpoint, bundle / TOKENIZER)
    count = 1536 // width
    windows = [[tokens[0], *tokens[1 + n * (width - 1) :][: width - 1]] for n in range(count)]
    return windows[count - count // 3 :]


def judged(bundle: Path, reference: ReferenceSession, windows: list[list[int]]) -> Divergence:
    """Compare what a finished bundle says of windows, in passes as they come, with the reference."""
    session = StaticSession.open(bundle, provider="cpu", threads=1)
    total = Divergence()
    try:
        for tokens in windows:
            mine, first = session.prefill(tokens[:1])
            rows = np.concatenate([first[None], session.extend(mine, tokens[1:])])
            twin, exact = reference.prefill(tokens[:1])
            expected = np.concatenate([exact[None], reference.extend(twin, tokens[1:])])
            total += Divergence.between(expected, rows, np.asarray(tokens[1:]))
            session.free(mine)
    finally:
        session.close()
    return total


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("llama", {"agreement": 0.9}),
        ("qwen2", {}),
        ("qwen3", {"quantize": "int4", "agreement": 0.3}),
        ("gemma3", {"quantize": "int4", "agreement": 0.9}),
    ],
)
def test_what_is_noted_is_what_the_finished_graphs_do(
    family: Any, asked: dict[str, Any], tmp_path: Path
) -> None:
    arch = tiny_architecture(family)
    weights = tiny_weights(arch)
    bundle, manifest = exported(tmp_path, arch, weights, **asked)
    assert manifest.static is not None
    note = manifest.static.precision
    assert note is not None
    assert (note.tokens, note.positions, note.wanted) == (1024, 512, asked.get("agreement", 0.97))
    assert note.top1 >= note.wanted
    windows = held_out(tmp_path / "model.gguf", bundle, arch)
    found = judged(bundle, ReferenceSession(arch, weights.__getitem__, context=160), windows)
    assert found.positions == note.positions
    # Products are summed in another order there, so that a code here and there is the next one.
    assert abs(found.agreements - note.top1 * note.positions) <= 4
    assert found.kl / found.positions == pytest.approx(note.mean_kl, rel=0.03)
    ratio = np.exp((found.tested_nll - found.reference_nll) / (found.positions - len(windows)))
    assert ratio == pytest.approx(note.perplexity_ratio, abs=0.01 * max(note.mean_kl**0.5, 0.01))
    stored = {name: one.stored for name, one in manifest.tensors.items()}
    form = "int4 per channel" if asked.get("quantize") == "int4" else "int8 per channel"
    named = {"int8": "int8 per channel", "float": "float32"}
    raised = dict(one.split(" ") for one in note.raised)
    assert stored == {name: named[raised[name]] if name in raised else form for name in stored}


@pytest.mark.parametrize("context", [2, 9])
def test_models_of_tiny_contexts_are_judged_by_as_many_tokens(context: int, tmp_path: Path) -> None:
    arch = tiny_architecture(layers=2, context=context)
    bundle, manifest = exported(
        tmp_path, arch, tiny_weights(arch), context=context, chunk=2, draft_width=1, agreement=0.5
    )
    assert manifest.static is not None
    note = manifest.static.precision
    assert note is not None
    assert 1000 <= note.tokens <= 1030
    assert 500 <= note.positions <= 520
    reference = ReferenceSession(arch, tiny_weights(arch).__getitem__, context=context)
    session = StaticSession.open(bundle, provider="cpu", threads=1)
    assert np.abs(session.prefill([5, 6])[1] - reference.prefill([5, 6])[1]).max() < 0.2
    session.close()


def test_tokenizers_that_make_too_few_tokens_or_others_are_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    arch = tiny_architecture(layers=2)
    convert = partial(convert_static, tmp_path / "model", tmp_path / "new.edge", context=48, chunk=16)
    for size, said in ((arch.vocab, "makes 1 tokens of the text"), (6000, "makes token 5999")):
        # All that it does not know, a whole text too, is its last token.
        known = {f"word{n}": n for n in range(size - 1)} | {"[UNK]": size - 1}
        write_tiny_hf(tmp_path / "model", arch=arch, weights=tiny_weights(arch))
        Tokenizer(models.WordLevel(known, "[UNK]")).save(str(tmp_path / "model" / TOKENIZER))
        with pytest.raises(UnsupportedModel, match=said):
            convert(target="qnn-htp")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
    convert(target="generic-static")
    assert read_manifest(tmp_path / "new.edge").static is not None


def test_models_that_compute_no_numbers_are_refused(tmp_path: Path) -> None:
    arch = tiny_architecture(layers=2)
    weights = tiny_weights(arch)
    for part in ("ffn_gate", "ffn_up", "ffn_down"):
        weights[f"blk.0.{part}.weight"] *= np.float32(1e15)
    with pytest.raises(UnsupportedModel, match="no number"):
        exported(tmp_path, arch, weights)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
