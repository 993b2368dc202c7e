"""`edgetts export --to gguf`: what it writes and says, and what it never overwrites."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from exporting import export, refused
from tiny import tiny_architecture, write_tiny_gguf, write_tiny_hf

from edgetts.export.checkpoint import open_checkpoint

needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest checkpoint there is."""
    path = tmp_path_factory.mktemp("source") / "small"
    write_tiny_hf(path, arch=tiny_architecture(layers=2, context=64))
    return path


def test_floats_are_written_without_llamacpp_and_it_is_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    result = export(source, "--to", "gguf", "--quantize", "f16")
    assert (result.exit_code, result.stdout) == (0, "small-f16.gguf\n")
    assert "matrices: 16 F16" in result.stderr
    assert "edgetts[llamacpp]" in result.stderr
    before = Path("small-f16.gguf").read_bytes()

    refused(
        export(source, "--to", "gguf", "--quantize", "f16"), 2, "small-f16.gguf exists already", "--force"
    )
    refused(export(source, "--to", "gguf", "--quantize", "q4_0"), 7, "edgetts[llamacpp]")
    assert Path("small-f16.gguf").read_bytes() == before

    result = export(source, "--to", "gguf", "-o", "small-f16.gguf", "--force", "--json")
    body = json.loads(result.stdout)
    assert (body["gguf"], body["quantize"], body["matrices"]) == ("small-f16.gguf", "keep", {"F32": 16})
    assert (body["check"], body["perplexity"], body["pruned_layers"]) == (None, None, [])
    assert body["bytes"] == Path("small-f16.gguf").stat().st_size
    [note] = body["notes"]
    assert note in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small-f16.gguf"]


@needs_llama
def test_a_quantised_file_is_checked_and_its_loss_told(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    result = export(source, "--to", "gguf", "--quantize", "q8_0", "-o", output)
    assert (result.exit_code, result.stdout) == (0, f"{output}\n")
    assert "against the source in float32, 64 tokens: mean KL 0.0" in result.stderr
    assert "of the source" in result.stderr
    assert "as written" in result.stderr


@needs_llama
def test_leaving_layers_out_tells_the_perplexity_before_and_after(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(source, "--to", "gguf", "--prune-layers", "1", "--json")
    body = json.loads(result.stdout)
    assert (body["gguf"], body["pruned_layers"]) == ("small-pruned.gguf", [1])
    assert body["perplexity"]["source"] != body["perplexity"]["pruned"] == body["perplexity"]["written"]
    with open_checkpoint("small-pruned.gguf") as made:
        assert made.architecture.layers == 1
    result = export(source, "--to", "gguf", "--prune-layers", "0", "--force")
    assert "against the source without layer 0 in float32" in result.stderr
    assert "without the layers" in result.stderr


@needs_llama
def test_quantising_twice_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_gguf(tmp_path / "small.gguf", quant="Q8_0")
    result = export("small.gguf", "--to", "gguf", "--quantize", "q4_0", "--json")
    assert result.exit_code == 0
    [note] = json.loads(result.stdout)["notes"]
    assert "lose twice" in note
    assert note in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "onnx"), ("--to is 'onnx'", "bundle or gguf")),
        (("--to", "gguf", "--quantize", "int4"), ("'int4'",)),
        (("--to", "gguf", "--quantize", "q4_k"), ("Did you mean", "q4_k_m")),
        (("--to", "gguf", "--cuts", "1"), ("--cuts goes with --to bundle",)),
        (("--to", "gguf", "--context", "32"), ("--context goes with --to bundle",)),
        (("--prune-layers", "1"), ("--prune-layers goes with --to gguf",)),
        (("--imatrix-text", "text.txt"), ("--imatrix-text goes with --to gguf",)),
        (("--to", "gguf", "--prune-layers", "one"), ("--prune-layers is 'one'",)),
        (("--to", "gguf", "--prune-layers", "2"), ("layers are 0 to 1",)),
        (("--to", "gguf", "--quantize", "f16", "--imatrix-text", "text.txt"), ("changes nothing",)),
        (("--to", "gguf", "--quantize", "iq1_s"), ("--imatrix-text",)),
    ],
)
def test_options_that_cannot_be_are_refused_and_leave_nothing(
    source: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(export(source, "-o", tmp_path / "new.gguf", *arguments), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_gguf_file_is_never_replaced(source: Path, tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    refused(export(source, "--to", "gguf", "-o", thesis, "--force"), 2, "no GGUF file", "not replaced")
    refused(export(source, "--to", "gguf", "-o", source, "--force"), 2, "directory")
    assert thesis.read_text() == "years of work"


def test_sources_that_are_none_are_refused_and_leave_nothing(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out" / "new.gguf"
    refused(export(tmp_path / "nothing", "--to", "gguf", "-o", output), 3, "nothing")
    (tmp_path / "garbage.gguf").write_bytes(b"\x00" * 400)
    refused(export(tmp_path / "garbage.gguf", "--to", "gguf", "-o", output), 4, "garbage.gguf")
    (tmp_path / "empty").mkdir()
    refused(export(tmp_path / "empty", "--to", "gguf", "-o", output), 3, "config.json")
    assert list((tmp_path / "out").iterdir()) == []
