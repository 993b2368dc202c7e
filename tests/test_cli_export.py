"""`edgetts export`: what it writes and says, and what it never overwrites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exporting import export, refused
from tiny import tiny_architecture, write_tiny_gguf

from edgetts.bundle import read_manifest


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest checkpoint there is."""
    path = tmp_path_factory.mktemp("source") / "small.gguf"
    write_tiny_gguf(path, arch=tiny_architecture(layers=2, context=64))
    return path


def test_a_bundle_is_written_told_of_and_replaced_only_by_force(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(source, "--quantize", "fp32", "--context", "32")
    assert result.exit_code == 0
    assert result.stdout == "small.edge\n"
    assert "same first choice 100.0%" in result.stderr
    manifest = read_manifest(tmp_path / "small.edge")
    assert (manifest.name, manifest.quantize, manifest.context, manifest.cuts) == ("small", "fp32", 32, (1,))

    refused(export(source), 2, "small.edge exists already", "--force")
    assert read_manifest(tmp_path / "small.edge") == manifest

    result = export(source, "--force", "--json", "--cuts", "1", "--quantize", "int8")
    body = json.loads(result.stdout)
    assert (body["bundle"], body["quantize"], body["cuts"]) == ("small.edge", "int8", [1])
    assert body["bytes"] == sum(f.stat().st_size for f in Path("small.edge").iterdir())
    assert body["check"]["tokens"] > 0
    assert read_manifest(tmp_path / "small.edge").quantize == "int8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.edge"]


def test_only_a_bundle_is_ever_replaced(source: Path, tmp_path: Path) -> None:
    directory = tmp_path / "precious"
    directory.mkdir()
    (directory / "thesis.txt").write_text("years of work")
    refused(export(source, "-o", directory, "--force"), 2, "not a bundle", "not replaced")
    refused(export(source, "-o", source, "--force"), 2, "not a bundle")
    refused(export(directory, "-o", directory, "--force"), 2, "not a bundle")
    assert (directory / "thesis.txt").read_text() == "years of work"
    assert source.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--quantize", "q4"), ("q4", "keep, int4, int8, fp32")),
        (("--cuts", "one"), ("--cuts is 'one'",)),
        (("--cuts", ""), ("--cuts",)),
        (("--cuts", "2"), ("between layers 1 and 1",)),
        (("--cuts", "0"), ("between layers 1 and 1",)),
        (("--context", "65"), ("context is 64",)),
        (("--context", "0"), ("context",)),
        (("--context", "-1"), ("context",)),
    ],
)
def test_options_that_cannot_be_are_refused_and_leave_nothing(
    source: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(export(source, "-o", tmp_path / "new.edge", *arguments), 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_sources_that_are_none_are_refused_and_leave_nothing(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out" / "new.edge"
    refused(export(tmp_path / "nothing.gguf", "-o", output), 3, "nothing.gguf")
    (tmp_path / "garbage.gguf").write_bytes(b"\x00" * 400)
    refused(export(tmp_path / "garbage.gguf", "-o", output), 4, "garbage.gguf")
    (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[:-1000])
    refused(export(tmp_path / "cut.gguf", "-o", output), 4, "cut.gguf")
    write_tiny_gguf(tmp_path / "mamba.gguf", metadata={"general.architecture": "mamba"})
    refused(export(tmp_path / "mamba.gguf", "-o", output), 4, "mamba", "llama")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error_of_storage(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(export(source, "-o", tmp_path / "file" / "new.edge"), 6, "could not be written")
