"""Profiles on disk: what is put is got, what does not hold is said, and no disk and no kill makes it worse."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from profiles_cases import CURVE, DEVICE, FACTS, FULL, measured, speed

from edgetts.profiles.device import PowerDraw
from edgetts.profiles.fingerprint import mark_of
from edgetts.profiles.speed import Made, MemoryUse, Scope, SpeedProfile
from edgetts.profiles.store import ProfileStore
from edgetts.profiles.writing import write_speed

FIRST = speed("first-use")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> ProfileStore:
    return ProfileStore(tmp_path / "not" / "yet", said.append)


def file_of(store: ProfileStore, profile: SpeedProfile) -> Path:
    return store.root / "speeds" / f"{profile.mark}.toml"


def test_what_is_put_is_got_and_listed(store: ProfileStore, said: list[str]) -> None:
    other = speed("quick", facts=FACTS | {"version": "1.31"})
    assert store.get(FULL.mark) is None
    assert store.all() == []
    assert store.put(FULL) is None
    assert store.put(other) is None
    assert store.get(FULL.mark, FACTS) == FULL
    assert sorted(store.all(), key=lambda p: p.mark) == sorted([FULL, other], key=lambda p: p.mark)
    assert store.get("0" * 24) is None
    assert said == []


def test_a_calibration_beats_first_use_whichever_comes_first(store: ProfileStore) -> None:
    quick = speed("quick")
    assert store.put(FIRST) is None
    assert store.put(quick) is None
    assert store.get(FIRST.mark) == quick
    assert store.put(FIRST) is None
    assert store.get(FIRST.mark) == quick


def test_a_newer_measurement_of_the_same_kind_replaces_the_older(store: ProfileStore) -> None:
    for scope in ("first-use", "quick", "full"):
        again = speed(scope, times=replace(CURVE, opening=2.0))
        store.put(speed(scope))
        store.put(again)
        assert store.get(again.mark) == again


def test_a_quick_calibration_keeps_what_only_the_full_one_measured_with_its_day(store: ProfileStore) -> None:
    memory = MemoryUse(1, 2, 3)
    quick = speed("quick", made=Made("2026-12-24", "quick"), memory=memory)
    store.put(FULL)
    store.put(quick)
    found = store.get(FULL.mark)
    assert found is not None
    assert (found.memory, found.threads, found.power) == (memory, FULL.threads, FULL.power)
    assert found.made == Made(
        "2026-12-24",
        "quick",
        earlier=dict.fromkeys(("threads", "guessing", "sustained", "power"), "2026-11-28"),
    )
    store.put(replace(quick, made=Made("2026-12-31", "quick")))
    again = store.get(FULL.mark)
    assert again is not None
    assert again.made.earlier["threads"] == "2026-11-28", (
        "the day it was measured, not the day it was handed on"
    )


@pytest.mark.parametrize("days", ["1970-01-01", "9999-12-31"])
def test_a_clock_that_jumped_changes_nothing(store: ProfileStore, said: list[str], days: str) -> None:
    strange = speed("full", made=Made(days, "full"), times=replace(CURVE, date=days))
    assert store.put(strange) is None
    assert store.get(strange.mark, FACTS) == strange
    assert store.put(FULL) is None
    found = store.get(FULL.mark)
    assert found is not None
    assert found.made.date == "2026-11-28", "the last measurement counts, whatever its day"
    assert said == []


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"format = 1\n", b"{", b"x" * 5000])
def test_a_damaged_file_is_ignored_and_said_and_replaced(
    store: ProfileStore, said: list[str], damage: bytes
) -> None:
    store.put(FULL)
    file_of(store, FULL).write_bytes(damage)
    assert store.get(FULL.mark) is None
    assert len(said) == 1
    assert "not used" in said[0]
    assert "measured again" in said[0]
    assert store.all() == []
    assert store.put(FIRST) is None
    assert store.get(FIRST.mark) == FIRST


def test_every_truncation_is_the_old_profile_or_none_with_a_sentence(
    store: ProfileStore, said: list[str]
) -> None:
    store.put(FULL)
    whole = file_of(store, FULL).read_bytes()
    for size in range(0, len(whole), 7):
        file_of(store, FULL).write_bytes(whole[:size])
        said.clear()
        found = store.get(FULL.mark, FACTS)
        assert (found is None) == bool(said)
        assert found is None or found == FULL


def test_a_profile_of_another_machine_or_model_is_never_used_in_silence(
    store: ProfileStore, said: list[str]
) -> None:
    moved = replace(FULL, facts=FACTS | {"cpu": "another processor"})
    store.put(moved)
    assert store.get(FULL.mark) is None
    assert "another cpu" in said.pop()
    store.put(replace(FULL, facts=FACTS | {"weights": "1" * 64}))
    assert store.get(FULL.mark, FACTS) is None
    assert "another weights" in said.pop()


def test_a_copy_under_another_name_is_not_used(store: ProfileStore, said: list[str]) -> None:
    store.put(FULL)
    other = mark_of(FACTS | {"version": "2"})
    file_of(store, FULL).rename(store.root / "speeds" / f"{other}.toml")
    assert store.get(other) is None
    assert "another fingerprint" in said[0]


def test_a_newer_edgetts_profile_is_not_overwritten_by_first_use_but_by_a_calibration(
    store: ProfileStore, said: list[str]
) -> None:
    store.put(FULL)
    newer = write_speed(FULL).replace("format = 1", "format = 7")
    file_of(store, FULL).write_text(newer)
    assert store.get(FULL.mark) is None
    assert "newer edgetts" in said[0]
    refused = store.put(FIRST)
    assert refused is not None
    assert "newer edgetts" in refused
    assert file_of(store, FULL).read_text() == newer
    assert store.put(FULL) is None
    assert store.get(FULL.mark) == FULL


def test_what_changed_since_a_calibration_is_said(store: ProfileStore) -> None:
    now = FACTS | {"version": "1.31"}
    assert store.outdated(now) is None
    store.put(FIRST)
    assert store.outdated(now) is None, "a first use is measured again without a word"
    store.put(FULL)
    assert store.outdated(FACTS) is None
    said = store.outdated(now)
    assert said is not None
    assert "version 1.30 is now 1.31" in said
    assert store.outdated(FACTS | {"weights": "2"}) is None
    assert store.outdated(now | {"options": '{"threads": 1}'}) is None, "other options are another question"


@pytest.mark.parametrize("scope", ["first-use", "full"])
def test_a_home_that_cannot_be_written_is_said_and_nothing_raised(tmp_path: Path, scope: Scope) -> None:
    (tmp_path / "file").write_text("in the way")
    store = ProfileStore(tmp_path / "file")
    for refused in (store.put(speed(scope)), store.put_device(DEVICE)):
        assert refused is not None
        assert str(tmp_path / "file") in refused
    assert store.get(FULL.mark) is None
    assert store.device() is None
    assert store.all() == []


def test_a_full_disk_leaves_the_old_profile_and_no_draft(
    store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(FIRST)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    refused = store.put(FULL)
    assert refused is not None
    assert "No space left" in refused
    assert store.get(FIRST.mark) == FIRST
    assert os.listdir(store.root / "speeds") == [f"{FIRST.mark}.toml"]  # noqa: PTH208 - hidden files too


def test_a_profile_that_could_not_be_read_again_is_not_written(store: ProfileStore) -> None:
    store.put(FULL)
    for bad in (
        replace(FULL, times=replace(CURVE, seconds=(0.01, float("nan"), 0.02))),
        replace(FULL, times=replace(CURVE, seconds=(0.03, 0.02, 0.01))),
        replace(FULL, model="two\nlines"),
    ):
        refused = store.put(bad)
        assert refused is not None
        assert "could not be kept" in refused
    assert store.put(replace(FULL, mark="../x")) is not None
    assert store.get("../x") is None
    assert store.get(FULL.mark) == FULL


def test_abandoned_drafts_are_swept_and_live_ones_left(store: ProfileStore) -> None:
    store.put(FULL)
    folder = store.root / "speeds"
    for name, age in (("old", 3600.0), ("young", 0.0), ("future", -3600.0)):
        draft = folder / f".draft-{name}"
        draft.write_text("half")
        os.utime(draft, (time.time() - age,) * 2)
    assert store.all() == [FULL]
    store.put(FULL)
    assert {p.name for p in folder.iterdir()} == {".draft-young", f"{FULL.mark}.toml"}


def test_devices_keep_what_was_measured_before(store: ProfileStore, said: list[str]) -> None:
    assert store.device() is None
    assert store.put_device(DEVICE) is None
    assert store.device() == DEVICE
    modelled = replace(
        DEVICE,
        processor=replace(
            DEVICE.processor, bandwidth=replace(DEVICE.processor.bandwidth, provenance="vendor")
        ),
        power=PowerDraw(measured(6.0), measured(21.0)),
    )
    assert store.put_device(modelled) is None
    found = store.device()
    assert found is not None
    assert found.processor.bandwidth == DEVICE.processor.bandwidth
    assert found.power == modelled.power
    assert said == []


def test_a_device_of_another_machine_is_ignored_and_said(store: ProfileStore, said: list[str]) -> None:
    store.put_device(DEVICE)
    path = store.root / "device.toml"
    text = path.read_text()
    for changed in (
        text.replace('system = "', 'system = "Other'),
        text[: text.index("[facts]")] + text[text.index("[", text.index("[facts]") + 1) :]
        if text.find("[", text.index("[facts]") + 1) > 0
        else text[: text.index("[facts]")],
        text[:200],
    ):
        path.write_text(changed)
        said.clear()
        assert store.device() is None
        assert len(said) == 1


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
from profiles_cases import FULL, CURVE
from edgetts.profiles.store import ProfileStore
store = ProfileStore(Path({root!r}))
print("ready", flush=True)
n = 0
while n < {most}:
    n += 1
    refused = store.put({what})
    assert refused is None, refused
"""


def writer(root: Path, what: str, most: int = 1 << 60) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(Path(__file__).parent), root=str(root), what=what, most=most)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_kill_9_at_any_moment_leaves_a_whole_profile(store: ProfileStore, said: list[str]) -> None:
    store.put(FULL)
    for i in range(6):
        process = writer(store.root, "replace(FULL, times=replace(CURVE, opening=float(n)))")
        time.sleep(0.004 * i)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        found = store.get(FULL.mark, FACTS)
        assert found is not None
        assert replace(found, times=replace(found.times, opening=0.0)) == FULL
        assert said == []
    assert store.put(FULL) is None, "no lock outlives its process"


def test_two_processes_that_calibrate_lose_nothing(store: ProfileStore, said: list[str]) -> None:
    one = writer(store.root, "replace(FULL, memory=None, power=None, sustained=None)", most=15)
    two = writer(store.root, "replace(FULL, threads=(), guessing=())", most=15)
    for process in (one, two):
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
    found = store.get(FULL.mark, FACTS)
    assert found is not None
    assert replace(found, made=FULL.made) == FULL
    assert said == []
