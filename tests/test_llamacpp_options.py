"""What of the llama.cpp runtime needs no llama.cpp: options, the missing extra, files of other kinds, memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import write_tiny_gguf

from edgetts.errors import (
    CorruptFile,
    InvalidInput,
    ModelNotFound,
    OutOfMemory,
    StorageError,
    UnsupportedModel,
)
from edgetts.runtimes.llamacpp import LlamaCppOptions
from edgetts.runtimes.llamacpp.checked_load import check_kind
from edgetts.runtimes.llamacpp.memory import ContextSize, MemoryModel
from edgetts.runtimes.llamacpp.prefix_file import Origin, read_prefix, write_prefix

ORIGIN = Origin("ab" * 32, 1000, "llama-cpp-python 0.3.36", "keys f16, values f16, flash attention auto")
STATE = np.arange(500, dtype=np.uint8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads_batch": 2000}, "threads_batch is 2000"),
        ({"context": 0}, "context is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"gpu_layers": -2}, "gpu_layers is -2"),
        ({"memory_bytes": 0}, "memory_bytes is 0"),
        ({"flash_attention": "yes"}, "flash_attention is 'yes'.*auto, off, on"),
        ({"cache_type_k": "int8"}, "cache_type_k is 'int8'.*q8_0"),
        ({"cache_type_v": "q3_k"}, "cache_type_v is 'q3_k'"),
        ({"cache_type_v": "q8_0", "flash_attention": "off"}, "need flash attention"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        LlamaCppOptions(**changes)


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from pathlib import Path; from edgetts.errors import MissingExtra\n"
        "from edgetts.runtimes.llamacpp import LlamaCppSession\n"
        "try: LlamaCppSession.open(Path('model.gguf'))\n"
        "except MissingExtra as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "'edgetts[llamacpp]'" in ran.stdout, ran.stderr


def test_importing_the_runtime_does_not_load_the_library() -> None:
    code = "import sys, edgetts.runtimes.llamacpp; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert {name for name in ran.stdout.split() if name.startswith(("llama_cpp", "edgetts.export"))} == set()


# Files of other kinds


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"general.type": "adapter"}, "is a LoRA adapter"),
        ({"general.type": "imatrix"}, "is an importance matrix"),
        ({"general.type": "mmproj"}, "vision or audio part"),
        ({"general.type": "surprise"}, "is no model"),
        ({"general.type": 7}, "is no model"),
        ({"general.architecture": "clip"}, "vision or audio part"),
        ({"split.count": 3}, "is one of 3 parts.*Merge"),
    ],
)
def test_a_file_that_is_no_whole_model_is_called_what_it_is(
    tmp_path: Path, metadata: dict[str, Any], said: str
) -> None:
    file = tmp_path / "given.gguf"
    write_tiny_gguf(file, metadata=metadata)
    with pytest.raises(UnsupportedModel, match=said):
        check_kind(file)


def test_a_model_is_one(tmp_path: Path) -> None:
    for i, metadata in enumerate(({}, {"general.type": None}, {"split.count": 1})):
        write_tiny_gguf(tmp_path / f"{i}.gguf", metadata=metadata)
        check_kind(tmp_path / f"{i}.gguf")


def test_a_damaged_header_is_refused_before_llama_cpp_sees_it(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_tiny_gguf(file)
    whole = file.read_bytes()
    for damaged in (b"", b"hello" * 100, whole[:200], whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(CorruptFile):
            check_kind(file)
    with pytest.raises(ModelNotFound):
        check_kind(tmp_path / "absent.gguf")


# Memory


MODEL = MemoryModel(per_token=1000, per_sequence=0, vocab=100, hidden=10, heads=0)


def size(cells: int) -> ContextSize:
    return ContextSize(cells, sequences=8, batch=16, outputs=8)


def test_what_fits_the_limit_is_let_through_and_the_largest_that_does_is_named() -> None:
    MODEL.check(size(512), allowed=512_000, available=10**9)
    with pytest.raises(
        OutOfMemory, match=r"768 tokens needs 0.768 MB, but 0.6 MB are allowed, which hold 512"
    ):
        MODEL.check(size(768), allowed=600_000, available=10**9)
    assert MODEL.most_cells(size(1), 600_000, 10**9) == 512


def test_free_memory_counts_what_a_pass_works_with_too() -> None:
    needed = MODEL.cache(size(512)) + MODEL.working(size(512))
    assert needed > 512_000
    MODEL.check(size(512), allowed=None, available=needed)
    with pytest.raises(OutOfMemory, match="are free, which hold 256"):
        MODEL.check(size(512), allowed=None, available=needed - 1)


def test_states_of_sequences_count() -> None:
    recurrent = MemoryModel(per_token=0, per_sequence=1000, vocab=100, hidden=10, heads=0)
    recurrent.check(size(1 << 20), allowed=8000, available=10**9)
    with pytest.raises(OutOfMemory):
        recurrent.check(size(256), allowed=7999, available=10**9)


# Saved prefixes


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "prefix"
    write_prefix(path, ORIGIN, [5, 6, 7], STATE)
    return path


def test_a_saved_prefix_is_read_again(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tokens, state = read_prefix(path, ORIGIN)
    assert tokens == [5, 6, 7]
    np.testing.assert_array_equal(state, STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["prefix"]
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o077 == 0


def test_every_changed_or_missing_byte_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises((CorruptFile, InvalidInput)):
                read_prefix(path, ORIGIN)
    path.write_bytes(whole + b"more")
    with pytest.raises(CorruptFile, match="bytes and not"):
        read_prefix(path, ORIGIN)


@pytest.mark.parametrize(
    "header", [[], {}, {"tokens": 1 << 60}, {"tokens": True}, {"state_bytes": "1"}, "[" * 9000]
)
def test_hostile_headers_are_refused(tmp_path: Path, header: Any) -> None:
    body = header if isinstance(header, str) else None
    if isinstance(header, dict):
        header = ORIGIN.to_json() | {"tokens": 3, "state_bytes": 500, "sha256": 3} | header
    text = (body or json.dumps(header)).encode()
    path = tmp_path / "prefix"
    path.write_bytes(b"edgetts prefix 1\n" + struct.pack("<I", len(text)) + text + bytes(512))
    with pytest.raises(CorruptFile):
        read_prefix(path, ORIGIN)


@pytest.mark.parametrize(
    ("field", "error", "said"),
    [
        ("model_sha256", CorruptFile, "another model"),
        ("library", CorruptFile, "saved by"),
        ("cache", InvalidInput, "another kind of cache"),
    ],
)
def test_a_prefix_of_something_else_is_refused(
    tmp_path: Path, field: str, error: type[Exception], said: str
) -> None:
    other = Origin(**{**ORIGIN.to_json(), field: "other"})
    with pytest.raises(error, match=said):
        read_prefix(saved(tmp_path), other)


def test_a_place_that_cannot_be_written_or_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_prefix(tmp_path / "absent" / "prefix", ORIGIN, [1], STATE)
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError):
        write_prefix(tmp_path / "taken", ORIGIN, [1], STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(ModelNotFound):
        read_prefix(tmp_path / "absent", ORIGIN)
