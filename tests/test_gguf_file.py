from __future__ import annotations

import gc
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import random_blocks, vocabulary, write_tiny_gguf

from edgetts.errors import (
    CorruptFile,
    EdgettsError,
    InvalidInput,
    ModelNotFound,
    StorageError,
    UnsupportedModel,
)
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.gguf_file import GgufFile
from edgetts.export.gguf_header import READABLE_KINDS

U8, U32, BOOL, STRING, ARRAY, U64 = 0, 4, 7, 8, 9, 10
F32, Q4_0 = 0, 2


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(name: bytes, dims: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def container(
    *,
    entries: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: int = 4096,
    magic: bytes = b"GGUF",
    version: bytes = struct.pack("<I", 3),
    entry_count: int | None = None,
    tensor_count: int | None = None,
) -> bytes:
    entries, tensors = entries or [], tensors or []
    counts = struct.pack(
        "<QQ",
        len(tensors) if tensor_count is None else tensor_count,
        len(entries) if entry_count is None else entry_count,
    )
    header = magic + version + counts + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % 32) + bytes(data)


HUGE = 1 << 60
PLAIN = tensor(b"a", (8,))

CORRUPT: dict[str, tuple[bytes, str]] = {
    "wrong magic": (container(magic=b"GGML"), "no GGUF file"),
    "only a magic": (b"GGUF", "cut off"),
    "html": (b"<!doctype html><html></html>", "no GGUF file"),
    "absurd tensor count": (container(tensor_count=HUGE), f"claims {HUGE} tensors"),
    "more tensors than fit": (container(tensor_count=60_000), "claims 60000 tensors"),
    "absurd entry count": (container(entry_count=HUGE), f"claims {HUGE} metadata entries"),
    "absurd key length": (container(entries=[struct.pack("<Q", HUGE) + b"key"]), f"key has {HUGE} bytes"),
    "empty key": (container(entries=[entry(b"", U8, b"\1")]), "key has 0 bytes"),
    "key not UTF-8": (container(entries=[entry(b"\xff\xfe", U8, b"\1")]), "not UTF-8"),
    "key twice": (container(entries=[entry(b"k", U8, b"\1")] * 2), "'k' appears twice"),
    "unknown value type": (container(entries=[entry(b"k", 99, b"\1")]), "unknown type 99"),
    "absurd string length": (
        container(entries=[entry(b"k", STRING, struct.pack("<Q", HUGE))]),
        "cut off",
    ),
    "absurd number array": (container(entries=[entry(b"k", ARRAY, array(U8, HUGE, b""))]), f"claims {HUGE}"),
    "number array past the end": (
        container(entries=[entry(b"k", ARRAY, array(U64, 1 << 20, b""))]),
        "cut off",
    ),
    "absurd string array": (container(entries=[entry(b"k", ARRAY, array(STRING, HUGE, b""))]), "claims"),
    "string array past the end": (
        container(entries=[entry(b"k", ARRAY, array(STRING, 1 << 20, b""))]),
        "cut off",
    ),
    "string in an array past the end": (
        container(entries=[entry(b"k", ARRAY, array(STRING, 2, struct.pack("<Q", (1 << 64) - 1)))]),
        "cut off",
    ),
    "array of an unknown type": (container(entries=[entry(b"k", ARRAY, array(77, 1, b"\1"))]), "type 77"),
    "absurd nested array": (
        container(entries=[entry(b"k", ARRAY, array(ARRAY, 1 << 30, b""))]),
        "claims",
    ),
    "arrays nested deeply": (
        container(entries=[entry(b"k", ARRAY, array(ARRAY, 1, b"") * 9)]),
        "nested too deeply",
    ),
    "alignment zero": (
        container(entries=[entry(b"general.alignment", U32, struct.pack("<I", 0))], tensors=[PLAIN]),
        "alignment is 0",
    ),
    "alignment no power of two": (
        container(entries=[entry(b"general.alignment", U32, struct.pack("<I", 48))], tensors=[PLAIN]),
        "alignment is 48",
    ),
    "alignment absurd": (
        container(entries=[entry(b"general.alignment", U32, struct.pack("<I", 1 << 31))], tensors=[PLAIN]),
        "alignment is 2147483648",
    ),
    "alignment a string": (
        container(entries=[entry(b"general.alignment", STRING, text(b"32"))], tensors=[PLAIN]),
        "alignment is 32,",
    ),
    "tensor twice": (container(tensors=[PLAIN, PLAIN]), "'a' appears twice"),
    "tensor name not UTF-8": (container(tensors=[tensor(b"\xff", (8,))]), "not UTF-8"),
    "tensor without dimensions": (container(tensors=[tensor(b"aaaaaaaaa", ())]), "0 dimensions"),
    "tensor of five dimensions": (container(tensors=[tensor(b"a", (1, 1, 1, 1, 1))]), "5 dimensions"),
    "empty tensor": (container(tensors=[tensor(b"a", (0, 8))]), "is empty"),
    "dimensions that overflow": (container(tensors=[tensor(b"a", (1 << 32, 1 << 32))]), "outside the file"),
    "dimension of 2**64 - 1": (container(tensors=[tensor(b"a", ((1 << 64) - 1,))]), "outside the file"),
    "rows that do not fill blocks": (container(tensors=[tensor(b"a", (40, 2), Q4_0)]), "blocks of 32"),
    "offset misaligned": (container(tensors=[tensor(b"a", (8,), offset=8)]), "not aligned"),
    "offset outside": (container(tensors=[tensor(b"a", (8,), offset=4096)]), "outside the file"),
    "offset absurd": (container(tensors=[tensor(b"a", (8,), offset=1 << 63)]), "outside the file"),
    "last byte missing": (container(tensors=[tensor(b"a", (1024,))])[:-1], "outside the file"),
    "tensors overlap": (
        container(tensors=[tensor(b"a", (16,)), tensor(b"b", (8,), offset=32)]),
        "'a' and 'b' overlap",
    ),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_says_in_one_sentence_how_a_file_is_damaged(tmp_path: Path, case: str) -> None:
    data, expected = CORRUPT[case]
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(CorruptFile) as error:
        GgufFile.open(tmp_path / "bad.gguf")
    assert expected in str(error.value)
    assert str(error.value).startswith("bad.gguf ")
    assert error.value.hint


UNSUPPORTED: dict[str, tuple[bytes, str]] = {
    "big-endian": (container(version=struct.pack(">I", 3)), "big-endian"),
    "version 1": (container(version=struct.pack("<I", 1)), "version 1"),
    "version 4": (container(version=struct.pack("<I", 4)), "version 4"),
    "unknown tensor type": (container(tensors=[tensor(b"a", (8,), 999)]), "'a' as type 999"),
    "tensor of integers": (container(tensors=[tensor(b"a", (8,), 26)]), "'a' as type I32"),
    "tensor type that was withdrawn": (container(tensors=[tensor(b"a", (8,), 4)]), "'a' as type 4"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_says_what_it_does_not_read(tmp_path: Path, case: str) -> None:
    data, expected = UNSUPPORTED[case]
    (tmp_path / "odd.gguf").write_bytes(data)
    with pytest.raises(UnsupportedModel) as error:
        GgufFile.open(tmp_path / "odd.gguf")
    assert expected in str(error.value)
    assert "edgetts reads" in error.value.hint


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(CorruptFile, match=r"empty\.gguf is empty"):
        GgufFile.open(tmp_path / "empty.gguf")
    with pytest.raises(ModelNotFound, match="no file"):
        GgufFile.open(tmp_path / "missing.gguf")
    with pytest.raises(InvalidInput, match="not a regular file"):
        GgufFile.open(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be a file's name"):
        GgufFile.open("bad\0name.gguf")
    with pytest.raises(StorageError):
        GgufFile.open(tmp_path / "empty.gguf" / "below")


def test_reads_every_kind_of_metadata(tmp_path: Path) -> None:
    nested = array(ARRAY, 2, array(U8, 2, b"\1\2") + array(STRING, 1, text(b"x")))
    entries = [
        entry(b"u8", U8, b"\xff"),
        entry(b"i8", 1, b"\xff"),
        entry(b"f64", 12, struct.pack("<d", 0.1)),
        entry(b"yes", BOOL, b"\1"),
        entry(b"text", STRING, text("Grüße".encode())),
        entry(b"words", ARRAY, array(STRING, 3, text(b"a") + text(b"") + text("é".encode()))),
        entry(b"flags", ARRAY, array(BOOL, 2, b"\1\0")),
        entry(b"none", ARRAY, array(STRING, 0, b"")),
        entry(b"nested", ARRAY, nested),
        entry(b"odd", STRING, text(b"\xff")),
        entry(b"odd words", ARRAY, array(STRING, 2, text(b"a") + text(b"\xff"))),
        entry(b"maybe", BOOL, b"\2"),
    ]
    (tmp_path / "m.gguf").write_bytes(container(entries=entries, version=struct.pack("<I", 2)))
    with GgufFile.open(tmp_path / "m.gguf") as file:
        found: dict[str, Any] = {key: file.metadata[key] for key in list(file.metadata)[:9]}
        assert found == {
            "u8": 255,
            "i8": -1,
            "f64": 0.1,
            "yes": True,
            "text": "Grüße",
            "words": ["a", "", "é"],
            "flags": [True, False],
            "none": [],
            "nested": [[1, 2], ["x"]],
        }
        assert found["yes"] is True
        assert len(file.metadata) == 12
        for key in ("odd", "odd words"):
            with pytest.raises(CorruptFile, match=f"'{key}' is not UTF-8"):
                file.metadata[key]
        with pytest.raises(CorruptFile, match="neither true nor false"):
            file.metadata["maybe"]
        assert file.metadata.get("other") is None


def test_reads_what_ggufs_own_writer_wrote(tmp_path: Path) -> None:
    arch = write_tiny_gguf(tmp_path / "t.gguf", "llama", quant="Q8_0")
    reader = gguf.GGUFReader(tmp_path / "t.gguf")
    with GgufFile.open(tmp_path / "t.gguf") as file:
        assert file.metadata["tokenizer.ggml.tokens"] == list(vocabulary())
        for key, field in reader.fields.items():
            if not key.startswith("GGUF."):
                assert file.metadata[key] == field.contents(), key
        assert list(file.tensors) == [t.name for t in reader.tensors]
        for theirs in reader.tensors:
            ours = file.tensors[theirs.name]
            assert ours.shape == tuple(reversed(theirs.shape.tolist()))
            assert (ours.kind, ours.offset) == (theirs.tensor_type.name, theirs.data_offset)
            assert ours.nbytes == theirs.n_bytes
            assert file.raw(theirs.name).tobytes() == theirs.data.tobytes()
        assert file.tensors["token_embd.weight"].shape == (arch.vocab, arch.hidden)


def stored(kind: str, rows: int, cols: int) -> np.ndarray[Any, Any]:
    qtype = GGMLQuantizationType[kind]
    values = np.random.default_rng(5).standard_normal((rows, cols)).astype(np.float32)
    if kind in ("F32", "F16"):
        return values.astype({"F32": "<f4", "F16": "<f2"}[kind]).view(np.uint8)
    try:
        return gguf.quants.quantize(values, qtype)
    except NotImplementedError:
        pass
    if kind.startswith(("Q", "IQ4")):
        return random_blocks(kind, rows, cols, spread=1.0)
    elements, nbytes = GGML_QUANT_SIZES[qtype]
    # Bytes below 0x3c keep the float16 scales finite wherever they are.
    return np.random.default_rng(5).integers(0, 0x3C, (rows, cols // elements * nbytes), dtype=np.uint8)


@pytest.mark.parametrize("kind", READABLE_KINDS)
def test_dequantizes_every_kind_as_gguf_does_whole_or_by_rows(tmp_path: Path, kind: str) -> None:
    rows, cols = 40, 768
    qtype = GGMLQuantizationType[kind]
    data = stored(kind, rows, cols)
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    shape = None if data.shape[1] != cols * 4 else (rows, cols)
    writer.add_tensor("m", data if shape is None else data.view("<f4"), raw_dtype=qtype)
    writer.add_tensor("v", data[0] if shape is None else data[0].view("<f4"), raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = gguf.quants.dequantize(data, qtype).reshape(rows, cols)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    with GgufFile.open(tmp_path / "q.gguf") as file:
        assert file.tensors["m"].shape == (rows, cols)
        whole = file.dequantize("m")
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(file.dequantize("m", slice(7, 9)), expected[7:9])
        np.testing.assert_array_equal(file.dequantize("m", slice(-3, None)), expected[-3:])
        assert file.dequantize("m", slice(9, 9)).shape == (0, cols)
        np.testing.assert_array_equal(file.dequantize("v"), expected[0])
        np.testing.assert_array_equal(file.dequantize("v", slice(2, 5)), expected[0, 2:5])


def test_tensors_are_asked_for_by_name_and_in_ranges(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "t.gguf", "qwen2")
    with GgufFile.open(tmp_path / "t.gguf") as file:
        with pytest.raises(InvalidInput, match="no tensor 'nothing'"):
            file.dequantize("nothing")
        with pytest.raises(InvalidInput, match="step of 2"):
            file.dequantize("token_embd.weight", slice(None, None, 2))


def test_raw_bytes_are_a_read_only_view_that_outlives_the_file(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "t.gguf", "qwen2")
    with GgufFile.open(tmp_path / "t.gguf") as file:
        raw = file.raw("token_embd.weight")
        assert not raw.flags.owndata
        assert not raw.flags.writeable
        expected = raw.tobytes()
    with pytest.raises(InvalidInput, match="has been closed"):
        file.raw("token_embd.weight")
    del file
    gc.collect()
    assert raw.tobytes() == expected


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, int]:
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.gguf"
    write_tiny_gguf(path, "llama", quant="Q4_1", arch=None)
    with GgufFile.open(path) as file:
        start = min(t.offset for t in file.tensors.values())
    return path, path.read_bytes(), start


def everything(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        for key in checkpoint.metadata:
            assert checkpoint.metadata[key] is not None
        for name in checkpoint.names:
            assert checkpoint.load(name).shape == checkpoint.shape(name)
            checkpoint.blocks(name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patch=st.data())
def test_damaged_bytes_raise_only_our_errors(valid: tuple[Path, bytes, int], patch: st.DataObject) -> None:
    path, original, start = valid
    data = bytearray(original)
    # The header, where every byte has a meaning, twice as often as the rest.
    limits = st.sampled_from((400, start, len(data)))
    for _ in range(patch.draw(st.integers(1, 3))):
        at = patch.draw(limits.flatmap(lambda end: st.integers(0, end - 8)))
        change = patch.draw(
            st.one_of(
                st.binary(min_size=1, max_size=8), st.sampled_from((b"\xff" * 8, b"\0" * 8, b"\x7f\xff"))
            )
        )
        data[at : at + len(change)] = change
    path.write_bytes(bytes(data))
    with suppress(EdgettsError):
        everything(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0, 1, exclude_max=True), early=st.booleans())
def test_a_truncated_file_never_opens(valid: tuple[Path, bytes, int], fraction: float, early: bool) -> None:
    path, original, start = valid
    path.write_bytes(original[: int(fraction * (start if early else len(original) - 32))])
    with pytest.raises(CorruptFile):
        GgufFile.open(path)
