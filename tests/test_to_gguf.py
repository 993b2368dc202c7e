"""GGUF files made of checkpoints: what they hold, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_cases import TEXT, VARIANTS, hf, hide_llamacpp, without_leftovers
from tiny import tiny_weights, write_tiny_gguf, write_tiny_hf

from edgetts.architecture import rope_tables
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput, MissingExtra, ModelNotFound, StorageError, UnsupportedModel
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.to_gguf import Written, to_gguf


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama.cpp."""
    hide_llamacpp(monkeypatch)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", VARIANTS)
def test_our_own_reader_finds_the_same_weights_and_the_same_network(name: str, tmp_path: Path) -> None:
    source = hf(tmp_path, name)
    written = to_gguf(source, tmp_path / "out.gguf", quantize="f32")
    assert written.check is None
    assert [note for note in written.notes if "edgetts[llamacpp]" in note]
    with open_checkpoint(source) as before, open_checkpoint(tmp_path / "out.gguf") as after:
        old, new = before.architecture, after.architecture
        assert before.names == after.names
        for tensor in before.names:
            assert after.kind(tensor) == "F32"
            np.testing.assert_array_equal(after.load(tensor), before.load(tensor))
        for local in (False, True):
            for a, b in zip(rope_tables(old, 64, local), rope_tables(new, 64, local), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
        # Windows of llama's family and Llama 3's scaling have no keys: a shorter context and factors stand for them.
        if name == "mistral":
            assert (new.context, new.sliding_window) == (40, None)
            assert "40 tokens instead of 256" in " ".join(written.notes)
            old = replace(old, context=40, sliding_window=None, sliding_layers=())
        old = replace(old, rope_scaling=None) if name == "llama 3 rope" else old
        new = replace(new, rope_factors=None)
        floats = ("norm_eps", "rope_theta", "rope_theta_local", "attention_scale", "embedding_scale")
        for field in floats:
            assert (getattr(new, field) or 0) == pytest.approx(getattr(old, field) or 0, rel=1e-6)
        agreed = {field: getattr(old, field) for field in floats}
        assert replace(new, **agreed) == old
    without_leftovers(tmp_path, "source", "out.gguf")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("stored", "form", "kind"), [
    ("F32", "keep", "F32"), ("BF16", "keep", "BF16"), ("F16", "keep", "F16"),
    ("F32", "f16", "F16"), ("BF16", "f32", "F32"), ("F32", "bf16", "BF16"),
])  # fmt: skip
def test_matrices_take_the_form_and_all_else_stays_in_float32(
    stored: str, form: str, kind: str, tmp_path: Path
) -> None:
    source = hf(tmp_path, "gemma3", dtype=stored)
    written = to_gguf(source, tmp_path / "out.gguf", quantize=form)
    with open_checkpoint(source) as before, open_checkpoint(tmp_path / "out.gguf") as after:
        matrices = [name for name in after.names if len(after.shape(name)) == 2]
        assert written.kinds == {kind: len(matrices)}
        for name in after.names:
            assert after.kind(name) == (kind if name in matrices else "F32")
            tolerance = 0 if form == "keep" or kind == "F32" or name not in matrices else 2**-8
            np.testing.assert_allclose(
                after.load(name), before.load(name), rtol=tolerance, atol=1e-6 if tolerance else 0
            )
        assert after.metadata["general.file_type"] == {"F32": 0, "F16": 1, "BF16": 32}[kind]


@pytest.mark.usefixtures("alone")
def test_name_licence_and_source_are_carried_over(tmp_path: Path) -> None:
    source = hf(tmp_path, "llama", shards=2)
    (source / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    to_gguf(source, tmp_path / "out.gguf")
    with open_checkpoint(tmp_path / "out.gguf") as written:
        told = written.metadata
        assert (written.source_name, written.licence) == ("source", "mit")
    shards = sorted(source.glob("*.safetensors"))
    assert told["general.source.file"] == ",".join(shard.name for shard in shards)
    assert told["general.source.sha256"] == ",".join(map(sha256_of, shards))
    to_gguf(source, tmp_path / "out.gguf", licence="apache-2.0")
    with open_checkpoint(tmp_path / "out.gguf") as written:
        assert written.licence == "apache-2.0"


@pytest.mark.usefixtures("alone")
def test_what_f16_cannot_hold_is_said(tmp_path: Path) -> None:
    weights = tiny_weights(VARIANTS["llama"])
    weights["blk.1.ffn_up.weight"][0, 0] = 1e5
    source = hf(tmp_path, "llama", weights=weights)
    with pytest.raises(InvalidInput, match=r"blk\.1\.ffn_up\.weight .*bf16"):
        to_gguf(source, tmp_path / "out.gguf", quantize="f16")
    without_leftovers(tmp_path, "source")
    assert to_gguf(source, tmp_path / "out.gguf", quantize="bf16").kinds == {"BF16": 30}


@pytest.mark.usefixtures("alone")
def test_what_gguf_cannot_say_of_gemma_is_refused(tmp_path: Path) -> None:
    scaled = replace(VARIANTS["gemma3"], attention_scale=0.5)
    write_tiny_hf(tmp_path / "scaled", arch=scaled)
    with pytest.raises(UnsupportedModel, match="scaled"):
        to_gguf(tmp_path / "scaled", tmp_path / "out.gguf")
    kinds = ["sliding_attention", "full_attention", "full_attention", *["sliding_attention"] * 3]
    write_tiny_hf(tmp_path / "mixed", arch=VARIANTS["gemma3"], config={"layer_types": kinds})
    with pytest.raises(UnsupportedModel, match="window"):
        to_gguf(tmp_path / "mixed", tmp_path / "out.gguf")
    without_leftovers(tmp_path, "scaled", "mixed")


@pytest.mark.usefixtures("alone")
def test_without_llamacpp_the_extra_is_named(tmp_path: Path) -> None:
    source, output = hf(tmp_path, "llama"), tmp_path / "out.gguf"
    write_tiny_gguf(tmp_path / "small.gguf")
    asked: list[tuple[Path, dict[str, Any]]] = [
        (source, {"quantize": "q4_0"}),
        (source, {"prune": [1]}),
        (tmp_path / "small.gguf", {"quantize": "f16"}),
    ]
    for path, options in asked:
        with pytest.raises(MissingExtra, match=r"edgetts\[llamacpp\]"):
            to_gguf(path, output, **options)
    without_leftovers(tmp_path, "source", "small.gguf")


@pytest.mark.usefixtures("alone")
def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    source, output, text = hf(tmp_path, "llama"), tmp_path / "out.gguf", tmp_path / "text.txt"
    text.write_text(TEXT)
    write_tiny_gguf(tmp_path / "small.gguf")
    for words, options in {
        "Did you mean 'q4_k_s' or 'q4_k_m'": {"quantize": "q4_k_n"},
        "There are: f32": {"quantize": "zzz"},
        "changes nothing about f16": {"quantize": "f16", "imatrix_text": text},
        "too few bits": {"quantize": "iq2_xs"},
        "layers are 0 to 3": {"prune": [4]},
        "layers are 0 to": {"prune": [-1]},
        "every layer": {"prune": [0, 1, 2, 3]},
    }.items():
        with pytest.raises(InvalidInput, match=words):
            to_gguf(source, output, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="such a file already"):
        to_gguf(tmp_path / "small.gguf", output)
    with pytest.raises(InvalidInput, match="directory"):
        to_gguf(source, source)
    with pytest.raises(InvalidInput, match="the source itself"):
        to_gguf(tmp_path / "small.gguf", tmp_path / "small.gguf", quantize="q4_0")
    with pytest.raises(InvalidInput, match="no GGUF file, so it is not replaced"):
        to_gguf(source, text)
    with pytest.raises(ModelNotFound):
        to_gguf(tmp_path / "nothing", output)
    with pytest.raises(StorageError, match="could not be written"):
        to_gguf(source, text / "out.gguf")
    assert text.read_text() == TEXT
    without_leftovers(tmp_path, "source", "small.gguf", "text.txt")


def test_an_interrupted_conversion_leaves_the_older_file_whole(tmp_path: Path) -> None:
    source, output = hf(tmp_path, "llama"), tmp_path / "out.gguf"
    to_gguf(source, output)
    before = output.read_bytes()

    def interrupt(stage: str, share: float) -> None:
        if stage == "weights" and share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_gguf(source, output, quantize="f16", progress=interrupt)
    assert output.read_bytes() == before
    without_leftovers(tmp_path, "source", "out.gguf")


def test_the_result_says_what_was_written(tmp_path: Path) -> None:
    stages: list[str] = []
    written = to_gguf(
        hf(tmp_path, "qwen2"),
        tmp_path / "deep" / "out.gguf",
        progress=lambda stage, share: stages.append(stage),
    )
    assert isinstance(written, Written)
    assert written.path == tmp_path / "deep" / "out.gguf"
    assert written.path.is_file()
    assert (written.quantize, written.pruned_layers, written.perplexity) == ("keep", (), None)
    assert stages[0] == "weights"
