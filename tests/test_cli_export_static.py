"""`edgetts export --target`: what it writes and says, what it refuses, and what it never overwrites."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exporting import export, refused
from tiny import tiny_architecture, tiny_weights, write_tiny_gguf

from edgetts.bundle import open_bundle, read_manifest
from edgetts.export.static import TARGETS

SIZES = ("--context", "48", "--chunk", "16")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.gguf"
    write_tiny_gguf(path, arch=tiny_architecture(layers=2, context=64))
    return path


def test_a_static_bundle_is_written_told_of_and_replaced_only_by_force(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(source, "--target", "generic-static", *SIZES)
    assert result.exit_code == 0, result.output
    assert result.stdout == "small-generic-static.edge\n"
    assert "MB in" in result.stderr
    assert "cut before layers 1" in result.stderr
    assert "first choice" not in result.stderr
    bundle = tmp_path / "small-generic-static.edge"
    manifest = open_bundle(bundle)
    assert manifest.static is not None
    assert (manifest.name, manifest.quantize, manifest.context) == ("small", "fp32", 48)
    assert manifest.static.widths == (1, 6, 16)

    refused(export(source, "--target", "generic-static", *SIZES), 2, "exists already", "--force")
    assert read_manifest(bundle) == manifest

    result = export(
        source, "--target", "generic-static", *SIZES, "--draft-width", "2", "--cuts", "1", "--force", "--json"
    )
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert (body["bundle"], body["target"], body["widths"]) == (bundle.name, "generic-static", [1, 3, 16])
    assert (body["quantize"], body["cuts"], body["context"]) == ("fp32", [1], 48)
    assert (body["precision"], body["compiled"], body["notes"]) == (None, [], [])
    assert body["bytes"] == sum(file.stat().st_size for file in bundle.iterdir())
    assert body["seconds"] > 0
    assert [path.name for path in tmp_path.iterdir()] == [bundle.name]


def test_what_rounding_cost_is_told(source: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "small.edge"
    result = export(source, "-o", bundle, "--target", "qnn-htp", *SIZES, "--agreement", "0.5")
    assert result.exit_code == 0, result.output
    manifest = open_bundle(bundle)
    assert manifest.static is not None
    note = manifest.static.precision
    assert note is not None
    assert note.wanted == 0.5
    assert f"512 tokens held out: same first choice {note.top1:.1%}" in result.stderr
    assert "more precisely" not in result.stderr
    assert "not reached" not in result.stderr

    arguments = ("--target", "qnn-htp", *SIZES, "--quantize", "int4", "--agreement", "1", "--force")
    result = export(source, "-o", bundle, *arguments)
    assert result.exit_code == 0, result.output
    manifest = open_bundle(bundle)
    assert manifest.static is not None
    note = manifest.static.precision
    assert note is not None
    assert manifest.quantize == "int4"
    assert (
        f"held more precisely than the rest, so that it is so: {len(note.raised)} matrices" in result.stderr
    )
    assert ("The agreement of 100.0% was not reached" in result.stderr) == (note.top1 < 1)

    result = export(source, "-o", bundle, "--target", "qnn-htp", *SIZES, "--force", "--json")
    body = json.loads(result.stdout)
    assert body["quantize"] == "int8"
    assert body["precision"]["positions"] == 512
    assert body["precision"]["wanted"] == 0.97 <= body["precision"]["top1"]
    assert isinstance(body["precision"]["raised"], list)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "qnn"), ("There is no target 'qnn'",)),
        (("--target", "generic-statik"), ("generic-statik", "generic-static")),
        (("--target", "generic-static", "--context", "0"), ("2 to 131072",)),
        (("--target", "generic-static", "--context", "-3"), ("2 to 131072",)),
        (("--target", "generic-static", "--context", "65"), ("context is 64",)),
        (("--target", "generic-static"), ("context is 64", "1024")),
        (("--target", "generic-static", *SIZES[:2], "--chunk", "49"), ("chunk of 49",)),
        (("--target", "generic-static", *SIZES[:2], "--chunk", "0"), ("chunk of 0",)),
        (("--target", "generic-static", *SIZES, "--draft-width", "16"), ("draft of 16",)),
        (("--target", "generic-static", *SIZES, "--draft-width", "-1"), ("draft of -1",)),
        (("--target", "generic-static", *SIZES, "--cuts", "2"), ("between layers 1 and 1",)),
        (("--target", "generic-static", *SIZES, "--cuts", "1,x"), ("--cuts is '1,x'",)),
        (("--target", "generic-static", *SIZES, "--agreement", "0.9"), ("Nothing is rounded",)),
        (("--target", "generic-static", *SIZES, "--quantize", "int8"), ("no matrices in 'int8'", "fp32")),
        (("--target", "qnn-htp", *SIZES, "--quantize", "q4_0"), ("no matrices in 'q4_0'", "int4")),
        (("--target", "qnn-htp", *SIZES, "--agreement", "97"), ("above 0 and up to 1",)),
        (("--target", "qnn-htp", *SIZES, "--agreement", "nan"), ("above 0 and up to 1",)),
        (("--target", "qnn-htp", *SIZES, "--soc", "sm0000"), ("sm0000",)),
        (("--target", "qnn-htp", *SIZES, "--compile-time", "60"), ("--compile-time goes with --soc",)),
        (("--chunk", "16"), ("--chunk goes with --target",)),
        (("--draft-width", "3"), ("--draft-width goes with --target",)),
        (("--agreement", "0.9"), ("--agreement goes with --target",)),
        (("--target", "qnn-htp", "--to", "gguf"), ("--target does not go with --to gguf",)),
        (("--target", "qnn-htp", "--via", "optimum"), ("--target does not go with --via",)),
        (("--target", "qnn-htp", "--draft"), ("--target does not go with --draft",)),
        (("--target", "qnn-htp", "--prune-layers", "1"), ("--prune-layers goes with --to gguf",)),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line_and_leave_nothing(
    source: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(export(source, "-o", tmp_path / "new.edge", *arguments), 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("--context", "1.5"), ("--chunk", "sixteen"), ("--draft-width", "2.0"), ("--agreement", "much")],
)
def test_numbers_that_are_none_are_refused(source: Path, tmp_path: Path, option: str, value: str) -> None:
    result = export(source, "-o", tmp_path / "new.edge", "--target", "generic-static", option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert value in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_bundle_that_was_there(source: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "small.edge"
    assert export(source, "-o", bundle, "--target", "coreml", *SIZES).exit_code == 0
    manifest = open_bundle(bundle)
    (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[:-1000])
    again = ("-o", bundle, "--target", "qnn-htp", "--force", *SIZES)
    refused(export(tmp_path / "cut.gguf", *again), 4, "cut.gguf")
    refused(export(tmp_path / "nothing.gguf", *again), 3, "nothing.gguf")
    refused(export(source, *again, "--cuts", "9"), 2, "between layers")
    arch = replace(tiny_architecture(layers=2, context=64))
    weights = tiny_weights(arch)
    weights["blk.0.ffn_down.weight"] *= np.float32(1e6)
    write_tiny_gguf(tmp_path / "large.gguf", arch=arch, weights=weights)
    refused(export(tmp_path / "large.gguf", *again), 4, "float16, which ends at 65,504")
    assert open_bundle(bundle) == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.gguf", "large.gguf", "small.edge"]
    # What may fail on a device only is written and said.
    result = export(tmp_path / "large.gguf", "-o", bundle, "--target", "coreml", "--force", *SIZES)
    assert result.exit_code == 0, result.output
    assert "in float16, which ends at 65,504, this model may fail" in result.stderr


def test_only_a_bundle_is_ever_replaced(source: Path, tmp_path: Path) -> None:
    directory = tmp_path / "precious"
    directory.mkdir()
    (directory / "thesis.txt").write_text("years of work")
    for name in TARGETS:
        refused(export(source, "-o", directory, "--target", name, "--force", *SIZES), 2, "not a bundle")
    assert (directory / "thesis.txt").read_text() == "years of work"
    refused(export(source, "-o", source, "--target", "coreml", "--force", *SIZES), 2, "not a bundle")
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "new.edge"
    refused(export(source, "-o", place, "--target", "coreml", *SIZES), 6, "could not be written")


def test_of_a_static_bundle_nothing_can_be_changed(source: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "small.edge"
    assert export(source, "-o", bundle, "--target", "generic-static", *SIZES).exit_code == 0
    manifest = open_bundle(bundle)
    for changed in (
        ("--context", "32"),
        ("--cuts", "1"),
        ("--quantize", "int8"),
        ("-o", tmp_path / "x.edge"),
    ):
        refused(export(bundle, *changed, "--soc", "sm8650"), 2, "static bundle already")
    for option, value in (
        ("--target", "coreml"),
        ("--chunk", "8"),
        ("--draft-width", "2"),
        ("--agreement", "1"),
    ):
        refused(export(bundle, option, value), 2, f"{option} cannot be changed")
    assert open_bundle(bundle) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["small.edge"]
