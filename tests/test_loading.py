"""Loading a model by runtime: which forms of it are made, what is refused, and what `auto` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TinyBundle
from tiny import tiny_architecture, write_tiny_gguf

import edgetts
from edgetts import loading
from edgetts.errors import InvalidInput, MissingExtra, ModelFileError, UnsupportedModel
from edgetts.runtimes import RUNTIMES
from edgetts.store.listing import Stored, list_models, remove_model
from edgetts.store.names import inspect_path
from edgetts.types import SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
needs_llamacpp = pytest.mark.skipif(
    not RUNTIMES["llamacpp"].installed, reason="needs the extra llamacpp: make test-llamacpp"
)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path, arch=tiny_architecture("llama"))
    return path


def held(gguf: Path) -> list[Stored]:
    key = inspect_path(gguf).name
    return [stored for stored in list_models() if stored.key == key]


def without_llamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(RUNTIMES["llamacpp"], package="edgetts_no_such_package")
    monkeypatch.setitem(RUNTIMES, "llamacpp", absent)


def test_without_the_extra_it_is_named_when_it_is_asked_for(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_llamacpp(monkeypatch)
    with pytest.raises(MissingExtra, match=r"edgetts\[llamacpp\]"):
        edgetts.load(gguf, runtime="llamacpp")
    with edgetts.load(gguf) as engine:
        assert [host.runtime for host in engine.hosts] == ["onnx"]
        assert engine.answer("1 2 3", sampling=GREEDY).plan.considered == {}


def test_a_model_that_only_llamacpp_runs_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_llamacpp(monkeypatch)
    path = tmp_path / "odd.gguf"
    write_tiny_gguf(path, arch=tiny_architecture("llama"))
    path.write_bytes(path.read_bytes().replace(b"llama", b"plamo"))
    with pytest.raises(UnsupportedModel, match=r"edgetts\[llamacpp\]"):
        edgetts.load(path)


def test_wrong_names_are_refused_before_anything_is_made(gguf: Path) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'llamacpp'"):
        edgetts.load(gguf, runtime="llamacp")
    with pytest.raises(InvalidInput, match="Did you mean 'threads'"):
        edgetts.load(gguf, thread=2)
    assert held(gguf) == []


@needs_llamacpp
def test_llamacpp_runs_a_file_as_it_is(gguf: Path, tiny_bundle: TinyBundle) -> None:
    options = {"flash_attention": "off", "cache_type_k": "f32", "cache_type_v": "f32", "threads": 1}
    with edgetts.load(gguf, runtime="llamacpp", measure=False, **options) as engine:
        one = engine.answer("1 2 3", sampling=GREEDY)
        assert one.plan.runtime == "llamacpp"
        votes = engine.answer(
            "1 2 3", budget=edgetts.Budget(samples=3), sampling=SamplingParams(max_tokens=8)
        )
        assert len(votes.samples) == 3
        drafted = engine.answer("1 2 3", sampling=GREEDY, decode="speculative")
        assert drafted.samples[0].tokens == one.samples[0].tokens
        assert drafted.usage.speculation is not None
    assert [stored.state for stored in held(gguf)] == ["vocabulary"], "nothing was converted"
    with edgetts.load(gguf, runtime="onnx", measure=False, quantize="fp32", threads=1) as engine:
        assert engine.answer("1 2 3", sampling=GREEDY).samples[0].tokens == one.samples[0].tokens
    remove_model(held(gguf)[0].key)
    assert held(gguf) == []


@needs_llamacpp
def test_auto_measures_both_once_and_chooses(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "cores_busy_elsewhere", lambda: 0.0)
    said: list[str] = []
    with edgetts.load(gguf, notify=said.append, threads=1) as engine:
        assert {host.runtime for host in engine.hosts} == {"onnx", "llamacpp"}
        answer = engine.answer("1 2 3", sampling=GREEDY)
        assert set(answer.plan.considered) == {"onnx", "llamacpp"}
        best = min(answer.plan.considered, key=answer.plan.considered.__getitem__)
        assert answer.plan.runtime == best
    assert sum("Measuring" in sentence for sentence in said) == 2
    said.clear()
    with edgetts.load(gguf, notify=said.append, threads=1) as engine:
        assert len(engine.hosts) == 2
    assert not any("Measuring" in sentence for sentence in said)


def test_what_was_measured_on_a_busy_machine_is_not_kept(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for busy, measured in ((2.0, True), (2.0, True), (0.0, True), (0.0, False)):
        monkeypatch.setattr(loading, "cores_busy_elsewhere", lambda busy=busy: busy)
        said.clear()
        edgetts.load(gguf, runtime="onnx", notify=said.append, threads=1, spin=False).close()
        assert any("Measuring" in sentence for sentence in said) == measured
        assert any("keep the processor busy" in sentence for sentence in said) == (busy > 1)


@needs_llamacpp
def test_auto_leaves_out_who_does_not_know_an_option(gguf: Path) -> None:
    with edgetts.load(gguf, spin=False) as engine:
        assert [host.runtime for host in engine.hosts] == ["onnx"]
    with edgetts.load(gguf, cache_type_k="f32") as engine:
        assert [host.runtime for host in engine.hosts] == ["llamacpp"]
    with pytest.raises(InvalidInput, match="knows all of these options"):
        edgetts.load(gguf, spin=False, cache_type_k="f32")


@needs_llamacpp
def test_a_runtime_that_is_named_must_know_every_option(gguf: Path) -> None:
    with pytest.raises(InvalidInput, match="Take the runtime onnx"):
        edgetts.load(gguf, runtime="llamacpp", by_segment=True)
    with pytest.raises(InvalidInput, match="Take the runtime llamacpp"):
        edgetts.load(gguf, runtime="onnx", cache_type_k="f32")


@needs_llamacpp
def test_what_llamacpp_cannot_run_is_refused(gguf: Path, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a bundle"):
        edgetts.load(tiny_bundle("llama").bundle, runtime="llamacpp")
    with pytest.raises(InvalidInput, match="--to gguf"):
        edgetts.load(gguf, runtime="llamacpp", quantize="int4")
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(gguf.read_bytes()[:-4000])
    with pytest.raises(ModelFileError):
        edgetts.load(garbage, runtime="llamacpp")
