from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import write_safetensors

from edgetts.errors import CorruptFile, EdgettsError, InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.safetensors_file import SafetensorsFile, read_json

INDEX = "model.safetensors.index.json"


def container(header: Any, data: int = 16, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def one(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_reads_whole_tensors_and_rows(tmp_path: Path, dtype: str) -> None:
    # Values that each of the types holds exactly.
    matrix = (np.arange(24, dtype=np.float32) / 8 - 1).reshape(6, 4)
    vector = np.array([1.5, -2, 0], np.float32)
    scalar = np.float32(3.0).reshape(())
    write_safetensors(tmp_path / "a.safetensors", {"m": matrix, "v": vector, "s": scalar}, dtype)
    with SafetensorsFile.open(tmp_path / "a.safetensors") as file:
        assert {n: (t.shape, t.kind) for n, t in file.tensors.items()} == {
            "m": ((6, 4), dtype),
            "v": ((3,), dtype),
            "s": ((), dtype),
        }
        whole = file.dequantize("m")
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole, matrix)
        np.testing.assert_array_equal(file.dequantize("m", slice(2, 5)), matrix[2:5])
        np.testing.assert_array_equal(file.dequantize("v", slice(-2, None)), vector[-2:])
        np.testing.assert_array_equal(file.dequantize("s"), scalar)
        with pytest.raises(InvalidInput, match="no tensor 'x'"):
            file.dequantize("x")
    with pytest.raises(InvalidInput, match="has been closed"):
        file.dequantize("m")


def test_agrees_with_the_formats_own_extremes(tmp_path: Path) -> None:
    odd = np.array([np.inf, -np.inf, np.nan, -0.0, 2.0**-130], np.float32)
    write_safetensors(tmp_path / "a.safetensors", {"v": odd}, "BF16")
    with SafetensorsFile.open(tmp_path / "a.safetensors") as file:
        np.testing.assert_array_equal(file.dequantize("v"), odd)


DAMAGED: dict[str, tuple[bytes, str]] = {
    "no header": (b"1234", "cannot hold a header"),
    "absurd header length": (container(one(), length=1 << 60), "claims"),
    "header past the end": (container(one(), length=200), "claims 200 bytes"),
    "not JSON": (container(b"{'a': 1}"), "not hold valid JSON"),
    "not UTF-8": (container(b'{"\xff": 1}'), "not hold valid JSON"),
    "nested without end": (container(b"[" * 100_000), "not hold valid JSON"),
    "number without end": (container(b'{"a": ' + b"9" * 10_000 + b"}"), "not hold valid JSON"),
    "no object": (container([1]), "no object"),
    "a key twice": (container(b'{"a": 1, "a": 2}'), "twice"),
    "no description": (container({"a": 7}), "does not describe the tensor 'a'"),
    "a field missing": (container({"a": {"dtype": "F32", "shape": [4]}}), "does not describe"),
    "a negative dimension": (container(one(shape=[-2, -2])), "does not say where"),
    "a fractional dimension": (container(one(shape=[2.0, 2])), "does not say where"),
    "an absurd dimension": (container(one(shape=[1 << 40, 1 << 40])), "needs"),
    "too many dimensions": (container(one(shape=[1] * 9)), "does not say where"),
    "one offset": (container(one(data_offsets=[0])), "does not say where"),
    "offsets backwards": (container(one(data_offsets=[16, 0])), "has -16"),
    "size and shape differ": (container(one(data_offsets=[0, 12]), 12), "needs 16 bytes and has 12"),
    "outside the file": (container(one(), 15), "outside the file"),
    "overlap": (container(one() | {"b": one()["a"]}), "overlap"),
    "a hole": (container(one(data_offsets=[4, 20]), 20), "hole before the tensor 'a'"),
    "bytes left over": (container(one(), 17), "belong to nothing"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_says_in_one_sentence_how_a_file_is_damaged(tmp_path: Path, case: str) -> None:
    data, expected = DAMAGED[case]
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(CorruptFile) as error:
        SafetensorsFile.open(tmp_path / "bad.safetensors")
    assert expected in str(error.value)
    assert str(error.value).startswith("bad.safetensors ")


@pytest.mark.parametrize("dtype", ["F64", "I32", "F8_E4M3", ["F32"]])
def test_says_which_types_it_reads(tmp_path: Path, dtype: Any) -> None:
    (tmp_path / "odd.safetensors").write_bytes(container(one(dtype=dtype)))
    with pytest.raises(UnsupportedModel, match="F32, F16, BF16"):
        SafetensorsFile.open(tmp_path / "odd.safetensors")


def shard(directory: Path, index: dict[str, str], files: dict[str, list[str]]) -> None:
    directory.mkdir(exist_ok=True)
    for file, names in files.items():
        write_safetensors(directory / file, {n: np.full((2, 2), i, np.float32) for i, n in enumerate(names)})
    (directory / INDEX).write_text(json.dumps({"weight_map": index}))


def test_reads_shards_by_their_index(tmp_path: Path) -> None:
    shard(
        tmp_path,
        {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"},
        {"1.safetensors": ["a"], "2.safetensors": ["b", "c"]},
    )
    with SafetensorsFile.open(tmp_path) as file:
        assert set(file.tensors) == {"a", "b", "c"}
        np.testing.assert_array_equal(file.dequantize("c"), np.ones((2, 2)))


@pytest.mark.parametrize(
    "name",
    ["../1.safetensors", "/etc/1.safetensors", "x/1.safetensors", "x\\1.safetensors", "C:1.safetensors",
     "..", "", "1.bin", "1\n.safetensors"],
)  # fmt: skip
def test_an_index_names_only_files_beside_it(tmp_path: Path, name: str) -> None:
    write_safetensors(tmp_path / "1.safetensors", {"a": np.zeros((2, 2), np.float32)})
    shard(tmp_path / "model", {"a": name}, {})
    with pytest.raises(CorruptFile, match="no plain name"):
        SafetensorsFile.open(tmp_path / "model")


def test_an_index_and_its_files_must_agree(tmp_path: Path) -> None:
    shard(tmp_path / "gone", {"a": "1.safetensors"}, {})
    with pytest.raises(ModelNotFound, match=r"1\.safetensors"):
        SafetensorsFile.open(tmp_path / "gone")
    shard(tmp_path / "lacks", {"a": "1.safetensors", "b": "1.safetensors"}, {"1.safetensors": ["a"]})
    with pytest.raises(CorruptFile, match=r"'b' in 1\.safetensors, which lacks it"):
        SafetensorsFile.open(tmp_path / "lacks")
    shard(tmp_path / "extra", {"a": "1.safetensors"}, {"1.safetensors": ["a", "b"]})
    with pytest.raises(CorruptFile, match="does not list the tensor 'b'"):
        SafetensorsFile.open(tmp_path / "extra")
    files = {"1.safetensors": ["a", "b"], "2.safetensors": ["b"]}
    shard(tmp_path / "twice", {"a": "1.safetensors", "b": "2.safetensors"}, files)
    with pytest.raises(CorruptFile, match="'b', which another file holds too"):
        SafetensorsFile.open(tmp_path / "twice")
    (tmp_path / "none").mkdir()
    with pytest.raises(ModelNotFound, match="neither"):
        SafetensorsFile.open(tmp_path / "none")
    for content in ("{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": []}'):
        (tmp_path / "none" / INDEX).write_text(content)
        with pytest.raises(CorruptFile, match="no weight_map"):
            SafetensorsFile.open(tmp_path / "none")


def test_json_files_are_bounded(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(CorruptFile, match="far more than such a file needs"):
        read_json(tmp_path / "config.json")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patch=st.data())
def test_damaged_bytes_raise_only_our_errors(tmp_path: Path, patch: st.DataObject) -> None:
    path = tmp_path / "fuzz.safetensors"
    write_safetensors(path, {"a": np.ones((4, 4), np.float32), "b": np.ones(3, np.float32)}, "F16")
    data = bytearray(path.read_bytes())
    for _ in range(patch.draw(st.integers(1, 3))):
        at = patch.draw(st.integers(0, len(data) - 1))
        data[at : at + patch.draw(st.integers(0, 4))] = patch.draw(st.binary(max_size=4))
    path.write_bytes(bytes(data))
    with suppress(EdgettsError), SafetensorsFile.open(path) as file:
        for name, tensor in file.tensors.items():
            assert file.dequantize(name).shape == tensor.shape
