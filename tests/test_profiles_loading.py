"""What is measured when a model is loaded, what is kept of it, and when it is used again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TinyBundle

import edgetts
from edgetts import loading
from edgetts.decoding.session import Session
from edgetts.engine import Engine
from edgetts.profiles.speed import Made, MemoryUse, SpeedProfile
from edgetts.profiles.store import ProfileStore

Loader = Callable[..., Engine]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the options with which sessions were opened."""
    calls: list[dict[str, Any]] = []
    real = loading.open_session

    def recorded(runtime: str, model: Path, **options: Any) -> Session:
        calls.append({name: value for name, value in options.items() if name != "trust"})
        return real(runtime, model, **options)

    monkeypatch.setattr(loading, "open_session", recorded)
    monkeypatch.setattr(loading, "cores_busy_elsewhere", lambda: 0.0)
    return calls


@pytest.fixture
def load(tiny_bundle: TinyBundle, tmp_path: Path, said: list[str], opened: list[dict[str, Any]]) -> Loader:
    bundle = tiny_bundle("llama").bundle

    def loaded(**options: Any) -> Engine:
        said.clear()
        opened.clear()
        return edgetts.load(bundle, home=tmp_path / "home", notify=said.append, **options)

    return loaded


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "home" / "profiles")


def measured_once(said: list[str]) -> bool:
    return any("Measuring how fast" in sentence for sentence in said)


def test_first_use_is_measured_kept_and_used_again(
    load: Loader, said: list[str], store: ProfileStore
) -> None:
    with load() as engine:
        first = engine.hosts[0].speed
        assert measured_once(said)
        assert first is not None
        assert first.made.scope == "first-use"
        assert first.times == engine.times
        assert first.times.opening > 0
        assert set(first.made.versions) == {"edgetts", "python", "onnxruntime"}
    assert store.all() == [first]
    with load() as engine:
        assert not said
        assert engine.hosts[0].speed == first
        assert engine.times == first.times
    with load(threads=1) as engine:
        assert measured_once(said), "other options are measured for themselves"
        assert engine.hosts[0].speed != first


def test_without_measuring_nothing_is_known_and_nothing_written(load: Loader, store: ProfileStore) -> None:
    with load(measure=False) as engine:
        assert engine.hosts[0].speed is None
        assert engine.times.source == "default"
    assert not store.root.exists()


def test_a_calibration_is_used_with_all_that_it_knows(load: Loader, store: ProfileStore) -> None:
    with load() as engine:
        first = engine.hosts[0].speed
    assert first is not None
    full = replace(first, made=Made("2026-11-28", "full"), memory=MemoryUse(1, 2, 3))
    assert store.put(full) is None
    with load() as engine:
        assert engine.hosts[0].speed == full


def test_threads_that_measuring_chose_are_used_unless_the_user_names_some(
    load: Loader, store: ProfileStore, opened: list[dict[str, Any]]
) -> None:
    with load() as engine:
        first = engine.hosts[0].speed
        assert opened == [{}]
    assert first is not None
    assert store.put(replace(first, made=Made("2026-11-28", "quick"), run_threads=1)) is None
    with load():
        assert opened == [{"threads": 1}]
    with load(threads=2):
        assert opened == [{"threads": 2}]


@pytest.mark.parametrize("damage", ["cut", "moved", "format"])
def test_a_profile_that_does_not_hold_is_said_and_measured_again(
    load: Loader, said: list[str], store: ProfileStore, damage: str
) -> None:
    with load():
        pass
    [path] = (store.root / "speeds").iterdir()
    text = path.read_text()
    path.write_text(
        {
            "cut": text[: len(text) // 2],
            "moved": text.replace('cpu = "', 'cpu = "not '),
            "format": text.replace("format = 1", "format = 9"),
        }[damage]
    )
    with load() as engine:
        assert any("not used" in sentence and "measured again" in sentence for sentence in said)
        assert measured_once(said)
        assert engine.times.source == "measured"


def test_a_calibration_by_another_version_is_said_to_be_out_of_date(
    load: Loader, said: list[str], store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load() as engine:
        first = engine.hosts[0].speed
    assert first is not None
    store.put(replace(first, made=Made("2026-11-28", "full")))
    monkeypatch.setattr(loading, "version", lambda name: "99.0")
    with load():
        assert any("2026-11-28 does not hold any more: version" in sentence for sentence in said)
        assert measured_once(said)


def test_what_is_measured_beside_other_programs_is_not_kept(
    load: Loader, said: list[str], store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "cores_busy_elsewhere", lambda: 2.0)
    with load() as engine:
        assert engine.times.source == "measured"
        assert any("again next time" in sentence for sentence in said)
    assert store.all() == []


def test_a_home_that_cannot_be_written_still_answers(
    load: Loader, store: ProfileStore, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    store.root.write_text("in the way")
    with load() as engine:
        assert engine.times.source == "measured"
        speed: SpeedProfile | None = engine.hosts[0].speed
        assert speed is not None
