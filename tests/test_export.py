"""Conversion: whole or not at all, the same each time, in little memory, and honest in its manifest."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import pytest
import tokenizers
from conftest import TinyBundle, TinyModel
from numpy.typing import NDArray
from stored import canonical, placed, stored_matrices
from tiny import (
    CHAT_TEMPLATE,
    END,
    tiny_architecture,
    tiny_weights,
    token_id,
    write_tiny_gguf,
    write_tiny_hf,
)

from edgetts.bundle import MODEL, TOKENIZER, open_bundle, read_manifest
from edgetts.checksum import sha256_of
from edgetts.errors import (
    CorruptFile,
    EdgettsError,
    InvalidInput,
    ModelFileError,
    ModelNotFound,
    StorageError,
    UnsupportedModel,
)
from edgetts.export import convert
from edgetts.export.check import TEXT
from edgetts.export.convert import layer_cuts
from edgetts.export.weights import WeightsFile
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.reference import ReferenceSession

MODES = ("keep", "int4", "int8", "fp32")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


def contents(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def hashes(bundle: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in bundle.iterdir()}


# Whole or not at all

SLOW_CONVERSION = """
import sys, time
from pathlib import Path
from edgetts.export import convert
from edgetts.export.weights import WeightsFile

place, at = Path(sys.argv[2]), int(sys.argv[3])
written = 0
plain_write, plain_rename = WeightsFile._write, Path.rename

def stop():
    print("here", flush=True)
    time.sleep(600)

def write(self, data):
    global written
    plain_write(self, data)
    self._file.flush()
    written += len(data)
    if 0 <= at <= written:
        stop()

def rename(self, target):
    if at == -1:
        stop()
    found = plain_rename(self, target)
    if at == -2:
        stop()
    return found

WeightsFile._write, Path.rename = write, rename
convert(Path(sys.argv[1]), place, quantize="fp32")
"""


@pytest.mark.parametrize(
    ("moment", "at"),
    [("at the first byte", 0), ("half-way", 150_000), ("before the rename", -1), ("between renames", -2)],
)
@pytest.mark.parametrize("replaces", [False, True])
def test_kill_leaves_nothing_that_is_used(
    source: Path, tmp_path: Path, moment: str, at: int, replaces: bool
) -> None:
    destination = tmp_path / "model.edge"
    before = None
    if replaces:
        convert(source, destination, quantize="int8")
        before = hashes(destination)
    command = [sys.executable, "-c", SLOW_CONVERSION, str(source), str(destination), str(at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n", moment
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path != destination]
    assert all(path.name.startswith(".") for path in left), "what is left is hidden and has another name"
    if destination.exists():
        # Between renames, without an older bundle to move away, the new one is there, and whole.
        open_bundle(destination)
        assert before is None or hashes(destination) == before
    elif replaces:
        assert moment == "between renames"
        (old,) = (path for path in left if path.name.endswith(".old"))
        assert hashes(old) == before, "the older bundle is whole under another name"
    else:
        assert at != -2
    convert(source, destination, quantize="fp32")
    assert open_bundle(destination).quantize == "fp32"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    destination = tmp_path / "model.edge"
    convert(source, destination, quantize="int8")
    before = hashes(destination)
    plain, written = WeightsFile._write, [0]

    def write(self: WeightsFile, data: Any) -> None:
        written[0] += len(data)
        if written[0] > 100_000:
            raise OSError(code, os.strerror(code))
        plain(self, data)

    monkeypatch.setattr(WeightsFile, "_write", write)
    for place in (destination, tmp_path / "new.edge"):
        with pytest.raises(StorageError, match=r"disk is full.*Free some space"):
            convert(source, place, quantize="fp32")
    assert contents(tmp_path) == ["model.edge"]
    assert hashes(destination) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_device_is_told_as_such(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = WeightsFile.__init__

    def full(self: WeightsFile, directory: Path) -> None:
        plain(self, directory)
        self._file.close()
        self._file = Path("/dev/full").open("wb")  # noqa: SIM115 - closed by its owner

    monkeypatch.setattr(WeightsFile, "__init__", full)
    with pytest.raises(StorageError, match="disk is full"):
        convert(source, tmp_path / "model.edge")
    assert contents(tmp_path) == []


@pytest.mark.parametrize("failing", ["_write_graph", "write_manifest", "check_bundle", "_write_weights"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), CorruptFile("bad.")], ids=repr)
def test_whatever_stops_a_conversion_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["edgetts.export.convert"], failing, fail)
    with pytest.raises(type(error)):
        convert(source, tmp_path / "model.edge", quantize="fp32")
    assert contents(tmp_path) == []


def test_an_older_bundle_is_replaced(source: Path, tmp_path: Path) -> None:
    destination = convert(source, tmp_path / "model.edge", quantize="int8")
    (destination / "stray").touch()
    assert convert(source, destination, quantize="fp32") == destination
    assert contents(tmp_path) == ["model.edge"]
    assert "stray" not in contents(destination)
    assert open_bundle(destination).quantize == "fp32"


def test_an_older_bundle_comes_back_where_the_new_one_cannot_be_put(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = convert(source, tmp_path / "model.edge", quantize="int8")
    before = hashes(destination)
    plain = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError, match="could not be written: Input/output error"):
        convert(source, destination, quantize="fp32")
    assert contents(tmp_path) == ["model.edge"]
    assert hashes(destination) == before


def test_nothing_but_a_bundle_is_replaced(source: Path, tmp_path: Path) -> None:
    precious = tmp_path / "documents"
    precious.mkdir()
    (precious / "novel.txt").write_text("Call me Ishmael.")
    (tmp_path / "file").write_text("mine")
    for place in (precious, tmp_path / "file"):
        with pytest.raises(InvalidInput, match="is no bundle"):
            convert(source, place)
    assert (precious / "novel.txt").read_text() == "Call me Ishmael."
    assert (tmp_path / "file").read_text() == "mine"
    assert contents(tmp_path) == ["documents", "file"]


def test_places_that_cannot_be_written_are_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not be written"):
        convert(source, tmp_path / "file" / "model.edge")


def test_directories_on_the_way_are_made(source: Path, tmp_path: Path) -> None:
    assert open_bundle(convert(source, tmp_path / "a" / "b" / "model.edge", quantize="fp32"))


# What is asked for


@pytest.mark.parametrize(
    ("layers", "cuts", "expected"),
    [
        (30, None, (7, 15, 22)),
        (4, None, (1, 2, 3)),
        (3, None, (1, 2)),
        (2, None, (1,)),
        (1, None, ()),
        (10, [5, 2, 5], (2, 5)),
        (10, [], ()),
        (10, [1, 9], (1, 9)),
    ],
)
def test_cuts_lie_inside(layers: int, cuts: list[int] | None, expected: tuple[int, ...]) -> None:
    assert layer_cuts(layers, cuts) == expected


@pytest.mark.parametrize("cuts", [[0], [10], [-1], [3, 11]])
def test_cuts_outside_are_refused(cuts: list[int]) -> None:
    with pytest.raises(InvalidInput, match="between layers 1 and 9"):
        layer_cuts(10, cuts)


def test_cuts_become_segments(tiny_bundle: TinyBundle) -> None:
    model = tiny_bundle("gemma3", cuts=(2, 5))
    assert [(s.start, s.stop) for s in model.manifest.segments] == [(0, 2), (2, 5), (5, 6)]
    assert model.manifest.cuts == (2, 5)
    for segment in model.manifest.segments:
        graph = onnx.load(model.bundle / segment.file, load_external_data=False).graph
        layers = {int(i.name.split(".")[1]) for i in graph.input if i.name.startswith("past_key")}
        assert layers == set(range(segment.start, segment.stop))


@pytest.mark.parametrize("context", [1, 2, 64, 256])
def test_contexts_up_to_the_models_own(source: Path, tmp_path: Path, context: int) -> None:
    bundle = convert(source, tmp_path / "model.edge", quantize="fp32", context=context)
    session = OnnxSession.open(bundle, threads=1)
    assert session.info.context == context
    assert placed(bundle / MODEL)["rope_cos"].shape[0] == context
    assert np.isfinite(session.prefill([1] * context)[1]).all()


@pytest.mark.parametrize("context", [0, -1, 257])
def test_other_contexts_are_refused(source: Path, tmp_path: Path, context: int) -> None:
    with pytest.raises(InvalidInput, match="context is 256 tokens"):
        convert(source, tmp_path / "model.edge", context=context)
    assert contents(tmp_path) == []


def test_long_contexts_are_prepared_in_part(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "long.gguf", arch=tiny_architecture(context=131_072, layers=1))
    manifest = read_manifest(convert(tmp_path / "long.gguf", tmp_path / "long.edge", quantize="fp32"))
    assert manifest.context == 32_768
    assert manifest.architecture.context == 131_072


def test_unknown_quantisations_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no quantisation 'int3'.*keep, int4, int8, fp32"):
        convert(source, tmp_path / "model.edge", quantize="int3")
    assert contents(tmp_path) == []


def test_progress_goes_from_stage_to_stage(source: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    convert(
        source,
        tmp_path / "model.edge",
        quantize="fp32",
        progress=lambda stage, share: told.append((stage, share)),
    )
    for stage in ("weights", "check"):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


def test_the_name_is_the_directorys_unless_given(source: Path, tmp_path: Path) -> None:
    assert read_manifest(convert(source, tmp_path / "some.edge", quantize="fp32")).name == "some"
    named = convert(source, tmp_path / "other.edge", quantize="fp32", name="Mine", licence="MIT")
    assert (read_manifest(named).name, read_manifest(named).licence) == ("Mine", "MIT")


# The same each time


@pytest.mark.parametrize("mode", MODES)
def test_the_same_source_makes_the_same_bundle(tmp_path: Path, mode: str) -> None:
    write_tiny_gguf(tmp_path / "q.gguf", "qwen2", quant="F16")
    made = [convert(tmp_path / "q.gguf", tmp_path / str(i) / "model.edge", quantize=mode) for i in range(2)]
    assert hashes(made[0]) == hashes(made[1])


# The manifest tells the truth


@pytest.fixture(scope="module", params=MODES)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Convert a model of several types: one kept exactly, one rounded, one whose rows do not divide."""
    directory = tmp_path_factory.mktemp(request.param)
    source = directory / "mixed.gguf"
    arch = tiny_architecture("qwen3", hidden=64, intermediate=80)
    kinds = {f"blk.{n}.ffn_down.weight": "F16" for n in range(4)} | {"output.weight": "Q8_0"}
    kinds |= {f"blk.{n}.attn_v.weight": "Q4_1" for n in range(4)} | {"blk.2.attn_q.weight": "F32"}
    write_tiny_gguf(source, arch=arch, quant="Q4_0", quants=kinds)
    weights = {}
    for tensor in gguf.GGUFReader(source).tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        weights[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return TinyModel(arch, weights, source, convert(source, directory / "m.edge", quantize=request.param))


def test_losses_are_those_of_the_stored_weights(converted: TinyModel) -> None:
    matrices = canonical(converted.arch, stored_matrices(converted.bundle))
    notes = converted.manifest.tensors
    assert set(notes) == set(matrices) == {n for n, t in converted.weights.items() if t.ndim == 2}
    for name, note in notes.items():
        lost = matrices[name].astype(np.float64) - converted.weights[name]
        error = np.sqrt(np.square(lost).sum() / np.square(converted.weights[name], dtype=np.float64).sum())
        assert note.error == pytest.approx(error, rel=1e-3, abs=1e-7), name


def test_kinds_and_forms_are_those_of_the_files(converted: TinyModel) -> None:
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(converted.source).tensors}
    notes = converted.manifest.tensors
    assert {name: note.source for name, note in notes.items()} == {name: kinds[name] for name in notes}
    graph = onnx.load(converted.bundle / MODEL, load_external_data=False).graph
    bits = {}
    for node in graph.node:
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            attributes = {a.name: a.i for a in node.attribute}
            tensor = node.input[1 if node.op_type == "MatMulNBits" else 0]
            bits[re.sub(r"\.(codes|table)$", "", tensor)] = (attributes["bits"], attributes["block_size"])
    for name, note in notes.items():
        fused = name.removesuffix(".weight")
        fused = re.sub(r"attn_[qkv]$", "attn_qkv", fused)
        fused = re.sub(r"ffn_(gate|up)$", "ffn_gate_up", fused)
        found = next((bits[key] for key in (name, name.removesuffix(".weight"), fused) if key in bits), None)
        expected = "fp32" if found is None else f"int{found[0]}, block {found[1]}"
        assert note.stored == expected or note.stored.startswith(f"{expected}, "), name


def test_bytes_add_up(converted: TinyModel) -> None:
    tensors = placed(converted.bundle / MODEL)
    spans = {(t.offset, t.length) for name, t in tensors.items() if not re.search("norm|rope", name)}
    assert sum(note.bytes for note in converted.manifest.tensors.values()) == sum(n for _, n in spans)


def test_rows_that_do_not_divide_are_told(converted: TinyModel) -> None:
    dense = {name for name, note in converted.manifest.tensors.items() if note.stored == "fp32"}
    if converted.manifest.quantize == "fp32":
        assert dense == set(converted.manifest.tensors)
    else:
        assert dense == {f"blk.{n}.ffn_down.weight" for n in range(4)}, "rows of 80"
        (note,) = (note for note in converted.manifest.notes if "ffn_down" in note)
        assert all(name in note for name in dense)


def test_what_is_kept_is_kept(converted: TinyModel) -> None:
    if converted.manifest.quantize != "keep":
        return
    notes = converted.manifest.tensors
    exact = {name for name, note in notes.items() if note.error == 0}
    assert exact == set(notes) - {"blk.2.attn_q.weight"}
    assert notes["blk.2.attn_q.weight"].stored == "int8, block 32"
    assert 0 < notes["blk.2.attn_q.weight"].error < 0.01


def test_the_check_says_what_was_seen(converted: TinyModel) -> None:
    check = converted.manifest.check
    assert check is not None
    tokenizer = tokenizers.Tokenizer.from_file(str(converted.bundle / TOKENIZER))
    tokens = tokenizer.encode(TEXT, add_special_tokens=False).ids[: converted.manifest.context]
    assert check.tokens == len(tokens)
    reference = ReferenceSession(converted.arch, converted.weights.__getitem__, context=len(tokens))
    expected = logits_of(reference, tokens)
    # The passes of 32 tokens that the check runs: quantised kernels round each width otherwise.
    found = logits_of(OnnxSession.open(converted.bundle), tokens, step=32)
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (expected, found))
    assert check.mean_kl == pytest.approx(float((np.exp(p) * (p - q)).sum(-1).mean()), rel=0.02, abs=1e-6)
    assert check.top1 == pytest.approx(float((p.argmax(-1) == q.argmax(-1)).mean()), abs=0.01)
    assert check.largest == pytest.approx(float(np.abs(expected - found).max()), rel=0.02, abs=1e-4)
    if converted.manifest.quantize == "fp32":
        assert check.mean_kl < 1e-6
        assert check.top1 == 1.0
    else:
        assert check.mean_kl > 1e-6, "rounded activations show"


def logits_of(session: Any, tokens: list[int], step: int = 4096) -> NDArray[np.float64]:
    branch, first = session.prefill(tokens[:1])
    rows = [first[None].astype(np.float64)]
    for at in range(1, len(tokens), step):
        rows.append(session.extend(branch, tokens[at : at + step]).astype(np.float64))
    return np.concatenate(rows)


def test_the_origin_is_stated(tiny_bundle: TinyBundle) -> None:
    model = tiny_bundle("llama")
    assert model.manifest.source["sha256"] == sha256_of(model.source)
    assert model.manifest.source["kind"] == "gguf"
    assert model.manifest.licence == "apache-2.0"
    assert set(model.manifest.made_by) == {"edgetts", "onnx", "onnxruntime"}
    other = tiny_bundle("llama", source="hf")
    assert other.manifest.source["sha256"] == {
        "model.safetensors": sha256_of(other.source / "model.safetensors")
    }


@pytest.mark.parametrize("kind", ["gguf", "hf"])
def test_the_tokenizer_and_template_come_along(tiny_bundle: TinyBundle, kind: str) -> None:
    model = tiny_bundle("llama", source=kind)
    facts = model.manifest.tokenizer
    assert token_id(END) in facts.end_tokens
    assert facts.chat_template == CHAT_TEMPLATE
    assert (model.bundle / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE
    tokenizer = tokenizers.Tokenizer.from_file(str(model.bundle / TOKENIZER))
    assert tokenizer.decode(tokenizer.encode("Ein Fluß, 120 km.").ids) == "Ein Fluß, 120 km."


# What cannot be converted


def test_heads_that_the_attention_kernel_refuses_are_refused_first(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "odd.gguf", arch=tiny_architecture(head_dim=8, hidden=32))
    with pytest.raises(UnsupportedModel, match=r"heads have 8 dimensions.*multiples of 16"):
        convert(tmp_path / "odd.gguf", tmp_path / "odd.edge")


def test_unsupported_families_name_the_supported(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m.gguf", metadata={"general.architecture": "mamba"})
    with pytest.raises(UnsupportedModel, match=r"'mamba'.*llama, qwen2, qwen3, gemma3"):
        convert(tmp_path / "m.gguf", tmp_path / "m.edge")
    assert contents(tmp_path) == ["m.gguf"]


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        convert(tmp_path / "nowhere.gguf", tmp_path / "m.edge")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound):
        convert(tmp_path / "empty", tmp_path / "m.edge")
    assert contents(tmp_path) == ["empty"]


def test_damaged_sources_leave_nothing(source: Path, tmp_path: Path) -> None:
    whole = source.read_bytes()
    for i, size in enumerate((0, 3, 24, len(whole) // 3, len(whole) - 1)):
        bad = tmp_path / f"{i}.gguf"
        bad.write_bytes(whole[:size])
        with pytest.raises(ModelFileError):
            convert(bad, tmp_path / "m.edge")
        bad.unlink()
    assert contents(tmp_path) == []


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    arch = tiny_architecture()
    weights = tiny_weights(arch)
    weights["blk.1.ffn_up.weight"][5, 7] = np.nan
    write_tiny_gguf(tmp_path / "nan.gguf", arch=arch, weights=weights)
    for mode in MODES:
        with pytest.raises(CorruptFile, match=r"blk\.1\.ffn_up\.weight"):
            convert(tmp_path / "nan.gguf", tmp_path / "m.edge", quantize=mode)
    assert contents(tmp_path) == ["nan.gguf"]


@pytest.mark.parametrize("missing", ["tokenizer.json", "config.json", "model.safetensors"])
def test_incomplete_directories_say_what_is_missing(tmp_path: Path, missing: str) -> None:
    write_tiny_hf(tmp_path / "hf")
    (tmp_path / "hf" / missing).unlink()
    with pytest.raises(EdgettsError, match=missing) as error:
        convert(tmp_path / "hf", tmp_path / "m.edge", quantize="fp32")
    assert not isinstance(error.value, StorageError), "it is the source that lacks something, not the disk"
    assert contents(tmp_path) == ["hf"]


# Memory


@pytest.mark.parametrize("mode", ["keep", "fp32"])
def test_memory_stays_near_the_largest_tensor(tmp_path: Path, mode: str) -> None:
    # Less would be lost among the interpreter's own allocations.
    arch = tiny_architecture("qwen2", hidden=384, intermediate=1280, layers=8, heads=6, head_dim=64)
    write_tiny_gguf(tmp_path / "m.gguf", arch=arch, quant="Q8_0")
    largest = 2 * 1280 * 384 * 4  # gate and up, stored as one, in float32
    total = sum(int(np.prod(t.shape)) for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors) * 4
    assert total > 10 * largest
    tracemalloc.start()
    try:
        convert(tmp_path / "m.gguf", tmp_path / "m.edge", quantize=mode, context=32)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * largest, f"{peak / largest:.1f} times the largest tensor"
