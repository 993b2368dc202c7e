"""The table of models: checked when read, frozen after, and helpful about names it does not hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, ModelFileError, ModelNotFound
from edgetts.profiles.models import (
    HubSource,
    WheelSource,
    check_quantize,
    hub_entry,
    load_registry,
    parse_registry,
)

SHA = "ab" * 32


def table(**changes: Any) -> dict[str, Any]:
    """A right registry of one wheel model; None takes a field away."""
    entry = {
        "description": "a model",
        "family": "llama",
        "licence": "MIT",
        "quantize": "keep",
        "size": 5,
        "sha256": SHA,
        "wheel": {"member": "*.gguf", "parts": [{"requirement": "a-wheel==1.0", "size": 7}]},
    }
    entry = {name: value for name, value in (entry | changes).items() if value is not None}
    return {"format": 1, "default": "a-model", "models": {"a-model": entry}}


def test_the_shipped_table_is_right_and_its_default_is_pinned() -> None:
    registry = load_registry()
    default = registry.find(registry.default)
    assert default.name == "smollm2-135m-instruct"
    assert default.sha256
    for name, entry in registry.entries.items():
        assert entry.name == name
        assert entry.licence
        assert isinstance(entry.source, HubSource) or (entry.sha256 and entry.size)


def test_wheels_of_several_parts_keep_their_order() -> None:
    source = load_registry().find("qwen2.5-coder-0.5b-instruct").source
    assert isinstance(source, WheelSource)
    assert [part.requirement[-len("part1==0.9.0") :] for part in source.parts] == [
        f"part{number}==0.9.0" for number in range(1, 7)
    ]


def test_entries_cannot_be_changed() -> None:
    entry = load_registry().find("smollm2-135m-instruct")
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.size = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"licence": None}, "licence"),
        ({"licence": " "}, "licence"),
        ({"description": None}, "description"),
        ({"family": "mamba"}, "family 'mamba'"),
        ({"quantize": "int3"}, "int3"),
        ({"size": 0}, "size"),
        ({"size": True}, "size"),
        ({"size": None}, "size and sha256"),
        ({"sha256": None}, "size and sha256"),
        ({"sha256": "AB" * 32}, "sha256"),
        ({"sha256": "../" + "a" * 61}, "sha256"),
        ({"colour": "blue"}, "colour"),
        ({"wheel": None}, "exactly one"),
        ({"hub": {"repo": "a/b", "file": "c.gguf"}}, "exactly one"),
        ({"wheel": {"member": "*.gguf", "parts": []}}, "no parts"),
        ({"wheel": {"member": "", "parts": [{"requirement": "a==1", "size": 1}]}}, "member"),
        ({"wheel": {"member": "*", "parts": [{"requirement": "a>=1", "size": 1}]}}, "NAME==VERSION"),
        ({"wheel": {"member": "*", "parts": [{"requirement": "--pre==1", "size": 1}]}}, "NAME==VERSION"),
        ({"wheel": {"member": "*", "parts": [{"requirement": "a==1", "size": -1}]}}, "size"),
        ({"wheel": {"parts": [{"requirement": "a==1", "size": 1}]}}, "member"),
        ({"wheel": None, "hub": {"repo": "../b", "file": "c.gguf"}}, "OWNER/NAME"),
        ({"wheel": None, "hub": {"repo": "a/b", "file": "../c.gguf"}}, "relative path"),
        ({"wheel": None, "hub": {"repo": "a/b", "file": "c.bin"}}, "gguf"),
        ({"wheel": None, "hub": {"repo": "a/b", "file": "c.gguf", "revision": "a/../b"}}, "revision"),
        ({"wheel": None, "hub": {"repo": "a/b"}}, "file"),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        parse_registry(table(**changes))
    assert "a-model" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 2}, "format"),
        ({"default": "b-model"}, "b-model"),
        ({"models": {}}, "a-model"),
        ({"models": {"../a": {}}}, "../a"),
        ({"models": []}, "wrong"),
        ({"modles": {}}, "modles"),
    ],
)
def test_a_wrong_table_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        parse_registry(table() | change)


def test_a_table_that_is_no_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "models.toml"
    broken.write_bytes(b"\xff\xfe = [")
    for path in (broken, tmp_path / "none.toml"):
        with pytest.raises(ModelFileError, match="cannot be read"):
            load_registry(path)


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("smollm2-135m", "smollm2-135m-instruct"),
        ("SmolLM2-135M-Instruct", "smollm2-135m-instruct"),
        ("qwen2.5-coder", "qwen2.5-coder-0.5b-instruct"),
        ("zzz", "There are: "),
    ],
)
def test_an_unknown_name_gets_near_misses(asked: str, offered: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        load_registry().find(asked)
    assert repr(asked) in str(caught.value)
    assert offered in caught.value.hint


def test_quantisations_are_listed_when_one_is_unknown() -> None:
    assert check_quantize("int8") == "int8"
    with pytest.raises(InvalidInput, match="keep, int4, int8, fp32"):
        check_quantize("q4")


def test_hub_names_carry_repository_file_and_revision() -> None:
    entry = hub_entry("hf:owner/repo/sub/file.Q8_0.gguf@v1.0")
    assert entry.source == HubSource("owner/repo", "sub/file.Q8_0.gguf", "v1.0")
    assert hub_entry("hf:owner/repo/file.gguf").name == "hf:owner/repo/file.gguf@main"


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:owner",
        "hf:owner/repo",
        "hf:owner/repo/file.bin",
        "hf:owner/repo/../x.gguf",
        "hf:owner/../x.gguf",
        "hf:owner/repo//x.gguf",
        "hf:owner/repo/x.gguf@",
        "hf:owner/repo/x.gguf@../../etc",
        "hf:owner/repo/x.gguf@a b",
        "hf:owner/repo/x.gguf\n",
    ],
)
def test_a_hub_name_of_another_form_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"hf:owner/repo/file\.gguf@revision"):
        hub_entry(name)


@given(st.text(alphabet="ab./\\@:-_%~ \0", max_size=30))
def test_no_hub_name_leads_out_of_its_repository(tail: str) -> None:
    try:
        source = hub_entry(f"hf:{tail}.gguf").source
    except InvalidInput:
        return
    assert isinstance(source, HubSource)
    parts = [*source.repo.split("/"), *source.file.split("/")]
    assert not {"", ".", ".."} & set(parts)
    assert not any(sign in source.place.removeprefix("hf:") for sign in "\\%:~ \0")
    assert ".." not in source.revision
