"""GGUF files in llama.cpp: the source's logits, quantised forms, layers left out, failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_cases import LARGEST, LARGEST_GEMMA, TEXT, VARIANTS, hf, needs_llama, without_leftovers
from tiny import CHAT_TEMPLATE, tiny_architecture, tiny_weights, write_tiny_gguf, write_tiny_hf

from edgetts.architecture import Architecture
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput, ModelNotFound, RuntimeFailure
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.to_gguf import FORMS, to_gguf


@needs_llama
@pytest.mark.parametrize("name", VARIANTS)
def test_llamacpp_computes_what_the_source_does(name: str, tmp_path: Path) -> None:
    source = hf(tmp_path, name)
    for form in ("f32", "f16", "bf16") if name in ("llama", "gemma3") else ("f32", "f16"):
        written = to_gguf(source, tmp_path / "out.gguf", quantize=form)
        assert written.check is not None
        allowed = (LARGEST_GEMMA if "gemma" in name else LARGEST)[form]
        assert written.check.largest < allowed
        assert written.check.mean_kl < 1e-4 if form != "bf16" else 1e-3
        assert written.check.tokens == (40 if name == "mistral" else 256)
        assert written.check.same_tokens == written.check.lines > 50
    without_leftovers(tmp_path, "source", "out.gguf")


def wide(directory: Path) -> Path:
    """A model whose rows divide into the largest blocks."""
    arch = tiny_architecture("llama", hidden=256, intermediate=512, head_dim=64, layers=3)
    write_tiny_hf(directory / "wide", arch=arch)
    return directory / "wide"


@needs_llama
def test_forms_of_all_kinds_are_written_and_read_back(tmp_path: Path) -> None:
    source, text = wide(tmp_path), tmp_path / "text.txt"
    text.write_text(TEXT)
    distances = {}
    for name in ("q8_0", "q4_k_m", "iq1_s", "tq2_0"):
        form = FORMS[name]
        written = to_gguf(
            source,
            tmp_path / "out.gguf",
            quantize=name,
            imatrix_text=text if form.needs_importance else None,
        )
        assert written.check is not None
        distances[name] = written.check.mean_kl
        assert written.check.same_tokens == written.check.lines
        with open_checkpoint(tmp_path / "out.gguf") as made, open_checkpoint(source) as before:
            assert made.metadata["general.file_type"] == form.ftype
            assert made.metadata["tokenizer.chat_template"] == CHAT_TEMPLATE
            assert made.metadata["general.source.sha256"] == sha256_of(source / "model.safetensors")
            error = np.abs(made.load("blk.1.ffn_up.weight") - before.load("blk.1.ffn_up.weight"))
            # A quarter of a bit a weight of noise is far from what a wrong file would show.
            assert float(error.mean()) < 0.05
    assert distances["q8_0"] < distances["q4_k_m"] < distances["iq1_s"]


@needs_llama
def test_rows_that_do_not_divide_are_told_of(tmp_path: Path) -> None:
    written = to_gguf(hf(tmp_path, "qwen3"), tmp_path / "out.gguf", quantize="q4_k_m")
    [note] = written.notes
    assert "do not divide into blocks of 256" in note
    assert "Q4_K" not in written.kinds
    assert written.perplexity is not None
    assert written.perplexity.pruned is None


@needs_llama
def test_an_importance_matrix_is_made_of_a_text_and_used(tmp_path: Path) -> None:
    source, text = wide(tmp_path), tmp_path / "text.txt"
    text.write_text(TEXT)
    to_gguf(source, tmp_path / "plain.gguf", quantize="q4_k_s")
    weighted = to_gguf(source, tmp_path / "weighted.gguf", quantize="q4_k_s", imatrix_text=text)
    [note] = weighted.notes
    assert "tokens of the text" in note
    with open_checkpoint(tmp_path / "plain.gguf") as a, open_checkpoint(tmp_path / "weighted.gguf") as b:
        changed = [n for n in a.names if not np.array_equal(a.load(n), b.load(n))]
        # llama.cpp weighs every matrix of the layers; the embedding and the head are left alone.
        assert set(changed) == {n for n in a.names if n.startswith("blk.") and len(a.shape(n)) == 2}
    text.write_text("too short")
    with pytest.raises(InvalidInput, match="too few to tell"):
        to_gguf(source, tmp_path / "out.gguf", quantize="q4_0", imatrix_text=text)
    text.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="UTF-8"):
        to_gguf(source, tmp_path / "out.gguf", quantize="q4_0", imatrix_text=text)
    with pytest.raises(ModelNotFound, match=r"missing\.txt"):
        to_gguf(source, tmp_path / "out.gguf", quantize="q4_0", imatrix_text=tmp_path / "missing.txt")
    without_leftovers(tmp_path, "wide", "text.txt", "plain.gguf", "weighted.gguf")


@needs_llama
def test_a_quantised_source_that_is_quantised_again_loses_twice_and_it_is_said(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "small.gguf", quant="Q4_1", metadata={"general.license": "mit"})

    def notes(form: str) -> str:
        return " ".join(to_gguf(tmp_path / "small.gguf", tmp_path / f"{form}.gguf", quantize=form).notes)

    # llama.cpp keeps the head in more bits than the rest.
    assert "small.gguf was quantised already: 30 of 30 matrices were rounded a second time" in notes("q4_0")
    assert "lose twice" in notes("q8_0")
    assert notes("f32") == ""
    with open_checkpoint(tmp_path / "small.gguf") as a, open_checkpoint(tmp_path / "f32.gguf") as b:
        for name in a.names:
            np.testing.assert_allclose(b.load(name), a.load(name), rtol=1e-6)
        assert b.licence == "mit"
        assert b.metadata["general.source.file"] == "small.gguf"
        assert b.metadata["general.source.sha256"] == sha256_of(tmp_path / "small.gguf")


def pruned_source(arch: Architecture, layers: tuple[int, ...], directory: Path) -> Path:
    """Write the same model without some layers, by hand."""
    kept = [layer for layer in range(arch.layers) if layer not in layers]
    weights = {}
    for name, tensor in tiny_weights(arch).items():
        first, _, rest = name.partition(".")
        if first != "blk":
            weights[name] = tensor
        elif (layer := int(rest.partition(".")[0])) in kept:
            weights[f"blk.{kept.index(layer)}.{rest.partition('.')[2]}"] = tensor
    sliding = tuple(place for place, layer in enumerate(kept) if layer in arch.sliding_layers)
    write_tiny_hf(directory, arch=replace(arch, layers=len(kept), sliding_layers=sliding), weights=weights)
    return directory


@needs_llama
@pytest.mark.parametrize(
    ("name", "layers"), [("llama", (1, 3)), ("qwen2", (0,)), ("qwen3", (2,)), ("gemma deep", tuple(range(6)))]
)
def test_layers_are_left_out_and_what_it_costs_is_said(
    name: str, layers: tuple[int, ...], tmp_path: Path
) -> None:
    deep = tiny_architecture("gemma3", layers=12, sliding_layers=(0, 1, 2, 3, 4, 6, 7, 8, 9, 10))
    arch = deep if name == "gemma deep" else VARIANTS[name]
    write_tiny_hf(tmp_path / "source", arch=arch)
    written = to_gguf(tmp_path / "source", tmp_path / "out.gguf", prune=layers)
    assert written.pruned_layers == layers
    assert written.check is not None
    assert written.check.largest < (0.01 if arch.family == "gemma3" else 1e-4)
    cost = written.perplexity
    assert cost is not None
    assert cost.pruned == cost.written != cost.source
    by_hand = pruned_source(arch, layers, tmp_path / "by hand")
    with open_checkpoint(by_hand) as wanted, open_checkpoint(tmp_path / "out.gguf") as made:
        assert made.architecture.layers == wanted.architecture.layers == arch.layers - len(layers)
        assert made.architecture.sliding_layers == wanted.architecture.sliding_layers
        for tensor in wanted.names:
            np.testing.assert_array_equal(made.load(tensor), wanted.load(tensor))
        assert "edgetts.pruned_layers" in made.metadata


@needs_llama
def test_pruning_keeps_a_quantised_files_blocks_as_they_are(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "small.gguf", quant="Q4_1")
    written = to_gguf(tmp_path / "small.gguf", tmp_path / "out.gguf", prune=[2, 1])
    assert written.notes == ()
    with open_checkpoint(tmp_path / "small.gguf") as a, open_checkpoint(tmp_path / "out.gguf") as b:
        np.testing.assert_array_equal(b.load("blk.1.ffn_down.weight"), a.load("blk.3.ffn_down.weight"))
        assert b.kind("blk.1.ffn_down.weight") == "Q4_1"
        assert b.metadata["edgetts.pruned_layers"] == "1-2"
    both = to_gguf(tmp_path / "small.gguf", tmp_path / "out.gguf", prune=[1], quantize="q8_0")
    assert both.perplexity is not None
    assert None not in (both.perplexity.source, both.perplexity.pruned, both.perplexity.written)
    assert "23 of 23 matrices were rounded a second time" in both.notes[0]


@needs_llama
def test_layers_of_gemma_are_left_out_only_where_the_others_keep_their_windows(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="runs of 6 layers"):
        to_gguf(hf(tmp_path, "gemma3"), tmp_path / "out.gguf", prune=[2])
    without_leftovers(tmp_path, "source")


@needs_llama
def test_a_failure_of_llamacpp_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Our reader knows this file; llama.cpp wants a pre-tokenizer it knows.
    write_tiny_gguf(
        tmp_path / "small.gguf", metadata={"llama.rope.dimension_count": 16, "general.alignment": 32}
    )
    monkeypatch.setitem(FORMS, "q4_0", replace(FORMS["q4_0"], ftype=999))
    with pytest.raises(RuntimeFailure, match=r"llama\.cpp could not write the quantised file: .*999"):
        to_gguf(tmp_path / "small.gguf", tmp_path / "out.gguf", quantize="q4_0")
    without_leftovers(tmp_path, "small.gguf")


@needs_llama
def test_a_file_that_llamacpp_reads_differently_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(right: Any) -> Any:
        def swapped(*arguments: Any) -> Any:
            found, encoded = right(*arguments)
            return found[:, ::-1].copy(), encoded

        return swapped

    from edgetts.export.to_gguf import llamacpp

    monkeypatch.setattr(llamacpp, "logits_and_tokens", wrong(llamacpp.logits_and_tokens))
    with pytest.raises(RuntimeFailure, match="The file is wrong"):
        to_gguf(hf(tmp_path, "llama"), tmp_path / "out.gguf")
    without_leftovers(tmp_path, "source")
