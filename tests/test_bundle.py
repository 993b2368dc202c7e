"""Opening bundles: whatever was changed, cut, left out or made up is refused with a reason."""

from __future__ import annotations

import json
import os
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import TinyBundle, TinyModel, sealed_copy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetts import bundle as bundles
from edgetts.bundle import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    TrustRecord,
    open_bundle,
    read_manifest,
    write_manifest,
)
from edgetts.errors import (
    BundleVersionError,
    ChecksumMismatch,
    CorruptFile,
    EdgettsError,
    ModelNotFound,
    StorageError,
)


@pytest.fixture(scope="module")
def llama(tiny_bundle: TinyBundle) -> TinyModel:
    return tiny_bundle("llama")


@pytest.fixture
def copy(llama: TinyModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama.bundle, tmp_path / "copy.edge"))


def test_a_bundle_opens(llama: TinyModel) -> None:
    manifest = open_bundle(llama.bundle)
    assert (manifest.architecture.family, manifest.architecture.layers) == ("llama", 4)
    assert manifest.name == "llama"
    assert manifest.cuts == (1, 2, 3)
    assert manifest.context == 256
    assert set(manifest.files) == {path.name for path in llama.bundle.iterdir()} - {MANIFEST}


def test_a_manifest_says_the_same_after_writing_it_again(llama: TinyModel, tmp_path: Path) -> None:
    write_manifest(tmp_path, llama.manifest)
    assert read_manifest(tmp_path) == llama.manifest


# Changed, cut, left out


@pytest.mark.parametrize("change", ["flip", "cut", "grow", "empty"])
def test_every_changed_file_is_noticed(copy: Path, change: str) -> None:
    for name in sorted(path.name for path in copy.iterdir()):
        whole = (copy / name).read_bytes()
        half = len(whole) // 2
        bad = {
            "flip": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
            "cut": whole[:half],
            "grow": whole + b"\0",
            "empty": b"",
        }[change]
        (copy / name).write_bytes(bad)
        kinds = (ChecksumMismatch, CorruptFile) if name == MANIFEST else ChecksumMismatch
        with pytest.raises(kinds, match=r"copy\.edge") as error:
            open_bundle(copy)
        assert error.value.hint, name
        (copy / name).write_bytes(whole)
    open_bundle(copy)


def test_every_missing_file_is_named(copy: Path) -> None:
    for name in sorted(path.name for path in copy.iterdir() if path.name != MANIFEST):
        (copy / name).rename(copy / "aside")
        with pytest.raises(CorruptFile, match=name):
            open_bundle(copy)
        (copy / name).mkdir()
        with pytest.raises(CorruptFile, match=name):
            open_bundle(copy)
        (copy / name).rmdir()
        (copy / "aside").rename(copy / name)


def test_what_is_no_bundle_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(ModelNotFound, match="not a bundle"):
            open_bundle(place)


def test_what_cannot_be_read_is_a_storage_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        open_bundle(copy)


def test_files_that_fail_while_they_are_hashed_are_storage_errors(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(bundles, "sha256_of", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        open_bundle(copy)


# Other formats


def test_older_formats_are_told_from_damage(llama: TinyModel, tmp_path: Path) -> None:
    changed = sealed_copy(llama.bundle, tmp_path, lambda copy, body: body.update(format=FORMAT - 1))
    with pytest.raises(BundleVersionError, match="Export the model again"):
        read_manifest(changed)


@pytest.mark.parametrize("version", [FORMAT + 1, 10**6])
def test_newer_formats_are_told_from_damage(llama: TinyModel, tmp_path: Path, version: int) -> None:
    copy = sealed_copy(llama.bundle, tmp_path, lambda _, body: body.update(format=version, novelty=1))
    with pytest.raises(BundleVersionError, match=rf"format {version}.*reads up to {FORMAT}.*Update"):
        read_manifest(copy)


@pytest.mark.parametrize("version", [0, -1, None, "1", [], 1.5])
def test_formats_that_never_were_are_damage(llama: TinyModel, tmp_path: Path, version: Any) -> None:
    copy = sealed_copy(llama.bundle, tmp_path, lambda _, body: body.update(format=version))
    with pytest.raises(CorruptFile, match="format"):
        read_manifest(copy)


# Made up by somebody who knows how hashes are stated


def _set(path: str, value: Any) -> Any:
    """Return a change that puts a value at a dotted path of the manifest."""

    def change(directory: Path, body: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = body
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        if value is _GONE:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return change


class _Gone:
    """In place of a value: there is none. Its name is the same in every process, which tests are told apart by."""

    def __str__(self) -> str:
        return "gone"


_GONE = _Gone()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("context", 0),
        ("context", 257),
        ("context", "256"),
        ("context", 1e9),
        ("context", float("inf")),
        ("context", True),
        ("segments", []),
        ("segments", {}),
        ("segments.0.start", 1),
        ("segments.1.stop", 1),
        ("segments.3.stop", 5),
        ("segments.0.stop", "1"),
        ("segments.0.file", 7),
        ("segments.0.file", "other.onnx"),
        ("segments.0.more", 1),
        ("architecture.layers", 5),
        ("architecture.heads", -4),
        ("architecture.family", "abacus"),
        ("architecture", None),
        ("tokenizer.end_tokens", "no"),
        ("tokenizer.end_tokens", 3),
        ("tokenizer.more", 3),
        ("tokenizer", []),
        ("tensors", []),
        ("tensors.output", {"source": "F32"}),
        ("tensors", {"x": {"source": "F32", "stored": "fp32", "bytes": "many", "error": 0.0}}),
        ("files", []),
        ("files", {}),
        ("files.tokenizer\\.json", _GONE),
        ("files.extra", 3),
        ("files.extra", None),
        ("licence", 3),
        ("made_by", "me"),
        ("source", "there"),
        ("check", {}),
        ("check", {"reference": 1, "tokens": 1, "mean_kl": 0, "top1": 1, "largest": 0}),
        ("notes", "one"),
        ("notes", [1]),
        ("name", ["llama"]),
        ("quantize", None),
        ("novelty", 1),
        ("name", _GONE),
        ("licence", _GONE),
    ],
    ids=str,
)
def test_manifests_that_cannot_be_are_refused(
    llama: TinyModel, tmp_path: Path, path: str, value: Any
) -> None:
    if "\\" in path:
        copy = sealed_copy(llama.bundle, tmp_path, lambda _, body: body["files"].pop(TOKENIZER))
    else:
        copy = sealed_copy(llama.bundle, tmp_path, _set(path, value))
    with pytest.raises(CorruptFile) as error:
        read_manifest(copy)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "C:x", "nul\0byte", "x" * 300, "line\nbreak"],
)
def test_files_lie_in_the_bundle(llama: TinyModel, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    copy = sealed_copy(llama.bundle, tmp_path, lambda _, body: body["files"].update({name: "0" * 64}))
    with pytest.raises(CorruptFile, match="outside the bundle"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"format": 3}',
        b'{"format": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"format": 3, "sha256": NaN}',
        b'{"format": 3, "x": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_garbage_is_refused(copy: Path, text: bytes) -> None:
    (copy / MANIFEST).write_bytes(text)
    with pytest.raises((CorruptFile, ChecksumMismatch)):
        read_manifest(copy)


def test_a_huge_manifest_is_not_read(copy: Path) -> None:
    with (copy / MANIFEST).open("wb") as file:
        file.truncate(bundles._MANIFEST_LIMIT + 1)
    with pytest.raises(CorruptFile, match="too large"):
        read_manifest(copy)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += _places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            found += _places(value[i], (*path, i))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_manifest_opens_or_is_refused(
    llama: TinyModel, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Sealed by whoever changed it, so that nothing but its contents can be wrong."""
    body = json.loads((llama.bundle / MANIFEST).read_text(encoding="utf-8"))
    del body["sha256"]
    body["tensors"] = dict(list(body["tensors"].items())[:2])
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(_places(body)))
        place: Any = body
        for key in parents:
            place = place[key]
        action = data.draw(st.sampled_from(["replace", "remove", "add", "copy"]))
        if action == "replace":
            place[last] = data.draw(json_values)
        elif action == "remove":
            del place[last]
        elif action == "add" and isinstance(place, dict):
            place[data.draw(st.text(max_size=8))] = data.draw(json_values)
        else:
            place[last] = deepcopy(data.draw(st.sampled_from(list(body.values())))) if body else None
        if not body:
            break
    directory = tmp_path_factory.getbasetemp() / "fuzzed.edge"
    directory.mkdir(exist_ok=True)
    sealed = {**body, "sha256": bundles._digest(body)}
    (directory / MANIFEST).write_text(json.dumps(sealed), encoding="utf-8")
    try:
        manifest = read_manifest(directory)
    except EdgettsError as error:
        assert str(error)
        return
    # What was let in can be written and read again.
    write_manifest(directory, manifest)
    assert read_manifest(directory) == manifest


# Trust


def test_a_trusted_file_is_not_hashed_again(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    plain = bundles.sha256_of

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return plain(path)

    monkeypatch.setattr(bundles, "sha256_of", counted)
    trust = TrustRecord(tmp_path / "trust")
    open_bundle(copy, trust=trust)
    assert WEIGHTS in hashed
    first = sorted(hashed)
    hashed.clear()
    open_bundle(copy, trust=trust)
    assert sorted(hashed) == sorted(set(first) - {WEIGHTS}), "small files are hashed every time"
    hashed.clear()
    open_bundle(copy, trust=TrustRecord(tmp_path / "other"))
    assert WEIGHTS in hashed
    assert len(list((tmp_path / "trust").iterdir())) == 1


@pytest.mark.parametrize("change", ["bytes", "replaced", "longer", "touched and changed"])
def test_trust_ends_when_the_file_changes(copy: Path, tmp_path: Path, change: str) -> None:
    trust = TrustRecord(tmp_path / "trust")
    open_bundle(copy, trust=trust)
    weights = copy / WEIGHTS
    state, data = weights.stat(), bytearray(weights.read_bytes())
    data[100] ^= 255
    if change == "bytes":
        with weights.open("r+b") as file:
            file.write(data)
    elif change == "replaced":
        (copy / "new").write_bytes(data)
        os.utime(copy / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
        (copy / "new").replace(weights)
    elif change == "longer":
        with weights.open("ab") as file:
            file.write(b"\0")
    else:
        # The modification time is put back, but the time of the change of that is not.
        with weights.open("r+b") as file:
            file.write(data)
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ChecksumMismatch, match=WEIGHTS):
        open_bundle(copy, trust=trust)


def test_trust_is_in_one_hash(copy: Path, tmp_path: Path, llama: TinyModel) -> None:
    trust = TrustRecord(tmp_path / "trust")
    open_bundle(copy, trust=trust)
    assert trust.knows(copy / WEIGHTS, llama.manifest.files[WEIGHTS])
    assert not trust.knows(copy / WEIGHTS, "0" * 64)
    assert not trust.knows(llama.bundle / WEIGHTS, llama.manifest.files[WEIGHTS]), "another copy"


def test_a_file_that_changes_while_it_is_hashed_is_not_trusted(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = TrustRecord(tmp_path / "trust")
    plain = bundles.sha256_of

    def changing(path: Path) -> str:
        found = plain(path)
        if path.name == WEIGHTS:
            with path.open("ab") as file:
                file.write(b"\0")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(bundles, "sha256_of", changing)
        open_bundle(copy, trust=trust)
    with pytest.raises(ChecksumMismatch):
        open_bundle(copy, trust=trust)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\xff" * 40])
def test_damaged_records_only_cost_a_hash(copy: Path, tmp_path: Path, damage: bytes) -> None:
    trust = TrustRecord(tmp_path / "trust")
    open_bundle(copy, trust=trust)
    (entry,) = (tmp_path / "trust").iterdir()
    entry.write_bytes(damage)
    open_bundle(copy, trust=trust)
    assert entry.read_bytes() != damage
    (copy / WEIGHTS).write_bytes(b"changed")
    with pytest.raises(ChecksumMismatch):
        open_bundle(copy, trust=trust)


def test_a_record_that_cannot_be_kept_is_no_error(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    open_bundle(copy, trust=TrustRecord(tmp_path / "file" / "trust"))
