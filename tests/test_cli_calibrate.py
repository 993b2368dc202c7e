"""`edgetts calibrate`: what it prints and keeps, what it refuses, and what Ctrl-C and kill -9 leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import TinyBundle
from measured_device import CURVE, DAY, Device

from edgetts.cli import main
from edgetts.errors import OutOfMemory, StorageError
from edgetts.measuring import measuring_alone
from edgetts.profiles.store import ProfileStore
from edgetts.store.home import Home, find_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "home"))
    return find_home()


Calibrate = Callable[..., Result]


@pytest.fixture
def calibrate(home: Home, monkeypatch: pytest.MonkeyPatch) -> Calibrate:
    """Run the verb on devices that are not there; `devices` are the runtimes of one model."""

    def run(*arguments: str, devices: list[Device]) -> Result:
        names = ["onnx", "llamacpp"]
        subjects = [
            replace(device.subject(), runtime=name, mark=name * 3)
            for name, device in zip(names, devices, strict=False)
        ]

        def instruments(cancel: Any, notify: Any, progress: Any) -> Any:
            for device in devices:
                device.cancel, device.clock = cancel, devices[0].clock
            tools = devices[0].instruments()

            def resident() -> int:
                return sum(device.resident for device in devices)

            def show(stage: str, share: float) -> None:
                for device in devices:
                    device.shown.append((stage, share))
                progress(stage, share)

            return replace(tools, notify=notify, progress=show, cancel=cancel, resident=resident)

        monkeypatch.setattr("edgetts.cli.calibrate._forms", lambda *_: (None, None))
        monkeypatch.setattr("edgetts.measuring.subjects_of", lambda *_: subjects)
        monkeypatch.setattr("edgetts.measuring.instruments", instruments)
        return CliRunner().invoke(main, ["calibrate", *arguments], catch_exceptions=False)

    return run


def stored(home: Home) -> ProfileStore:
    return ProfileStore(home.root / "profiles")


def test_it_prints_a_table_and_keeps_the_profile(calibrate: Calibrate, home: Home) -> None:
    result = calibrate("--quick", devices=[Device()])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"toy on onnx, quick, measured {DAY} in ")
    assert any(line.split()[:2] == ["8", "20.00"] and line.endswith("400.0") for line in lines)
    for name in (
        "best width",
        "prompts",
        "memory",
        "threads",
        "guessing: ngram",
        "longer texts",
        "sustained",
        "power",
    ):
        assert any(line.startswith(name) for line in lines), name
    assert lines[-1] == f"kept in {home.root / 'profiles'}"
    profile = stored(home).get("onnx" * 3)
    assert profile is not None
    assert profile.times.at(8) == pytest.approx(CURVE.at(8))
    assert "takes up to" in result.stderr
    assert "onnx: prompts" in result.stderr.splitlines()


def test_json_is_one_object(calibrate: Calibrate, home: Home) -> None:
    body = json.loads(calibrate("--quick", "--json", devices=[Device()]).stdout)
    assert body["interrupted"] is False
    (one,) = body["profiles"]
    assert one["measured"]
    assert one["kept"]
    assert one["profile"]["times"]["widths"][0] == 1
    assert set(one["missing"]) == {"sustained", "power"}


def test_every_runtime_is_measured_while_the_other_is_closed(calibrate: Calibrate, home: Home) -> None:
    onnx, llamacpp = Device(), Device(replace(CURVE, seconds=tuple(2 * t for t in CURVE.seconds)))
    watched = []
    llamacpp.after_pass = lambda passes: watched.extend(s.closed for s in onnx.sessions)
    result = calibrate("--quick", devices=[onnx, llamacpp])
    assert result.exit_code == 0
    assert watched
    assert all(watched)
    found = [stored(home).get(name * 3) for name in ("onnx", "llamacpp")]
    assert [profile.times.at(1) for profile in found if profile] == pytest.approx([0.01, 0.02])


def test_a_runtime_that_cannot_run_the_model_is_told_and_the_other_measured(
    calibrate: Calibrate, home: Home
) -> None:
    broken = Device()
    broken.open = lambda threads: (_ for _ in ()).throw(OutOfMemory("There is no room."))  # type: ignore[method-assign]
    result = calibrate("--quick", devices=[broken, Device()])
    assert result.exit_code == 0
    assert "onnx: There is no room." in result.stderr
    assert stored(home).get("llamacpp" * 3) is not None
    alone = calibrate("--quick", "--force", devices=[broken])
    assert alone.exit_code == 8
    assert "There is no room." in alone.stderr


def test_what_was_calibrated_lately_is_not_measured_again(calibrate: Calibrate, home: Home) -> None:
    calibrate("--quick", devices=[Device()])
    again = Device()
    result = calibrate("--quick", devices=[again])
    assert result.exit_code == 0
    assert again.sessions == []
    assert f"was calibrated on {DAY} (quick)" in result.stderr
    (one,) = json.loads(calibrate("--quick", "--json", devices=[Device()]).stdout)["profiles"]
    assert one["measured"] is False
    assert one["profile"]["model"] == "toy"


@pytest.mark.parametrize("arguments", [["--force", "--quick"], []])
def test_it_is_measured_again_when_that_is_asked_for_or_more_is(
    calibrate: Calibrate, arguments: list[str]
) -> None:
    calibrate("--quick", devices=[Device()])
    again = Device()
    calibrate(*arguments, devices=[again])
    assert again.sessions


@pytest.mark.parametrize("day", ["2026-10-20", "2027-01-01"])
def test_what_is_old_or_of_a_day_to_come_is_measured_again(
    calibrate: Calibrate, home: Home, day: str
) -> None:
    calibrate("--quick", devices=[Device()])
    profile = stored(home).get("onnx" * 3)
    assert profile is not None
    stored(home).put(replace(profile, made=replace(profile.made, date=day)))
    again = Device()
    calibrate("--quick", devices=[again])
    assert again.sessions


def test_a_busy_device_is_refused_with_a_sentence(calibrate: Calibrate, home: Home) -> None:
    device = Device()
    device.busy = [3.0]
    result = calibrate("--quick", devices=[device])
    assert result.exit_code == 1
    assert "keep 3 of this device's cores busy" in result.stderr
    assert stored(home).all() == []


def test_what_was_measured_of_a_busy_device_is_in_doubt_until_it_is_measured_again(
    calibrate: Calibrate, home: Home
) -> None:
    busy = Device()
    busy.busy = [3.0, 0.0]
    assert calibrate("--quick", "--force", devices=[busy]).exit_code == 0
    [kept] = stored(home).all()
    assert "3 cores busy" in kept.made.doubt
    listed = CliRunner().invoke(main, ["profile", "list"]).stdout
    assert "in doubt" in listed
    quiet = Device()
    assert calibrate("--quick", devices=[quiet]).exit_code == 0
    assert quiet.sessions, "it is not taken for fresh"
    [kept] = stored(home).all()
    assert not kept.made.doubt


def test_interrupted_before_the_curve_nothing_is_kept(calibrate: Calibrate, home: Home) -> None:
    device = Device()
    device.after_pass = lambda passes: signal.raise_signal(signal.SIGINT) if passes == 100 else None
    result = calibrate("--quick", devices=[device])
    assert result.exit_code == 130
    assert "edgetts: interrupted; nothing was kept." in result.stderr
    assert stored(home).all() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupted_later_the_curve_is_kept(calibrate: Calibrate, home: Home) -> None:
    device = Device()
    done: list[int] = []

    def after(passes: int) -> None:
        if device.times.prefill(512) and len(done) == 0 and device.elapsed > 11:
            done.append(passes)
            signal.raise_signal(signal.SIGINT)

    device.after_pass = after
    result = calibrate("--quick", devices=[device, Device()])
    assert result.exit_code == 130
    assert "what was measured on onnx is kept" in result.stderr
    assert [profile.runtime for profile in stored(home).all()] == ["onnx"]


def test_what_was_cut_short_is_measured_again(calibrate: Calibrate, home: Home) -> None:
    device = Device()
    device.after_pass = lambda passes: (
        signal.raise_signal(signal.SIGINT)
        if device.shown[-1][0] == "onnx: prompts" and not device.cancel.requested
        else None
    )
    assert calibrate("--quick", devices=[device]).exit_code == 130
    assert [profile.memory for profile in stored(home).all()] == [None]
    again = Device()
    assert calibrate("--quick", devices=[again]).exit_code == 0
    assert again.sessions


def test_another_calibration_at_the_same_time_is_refused(calibrate: Calibrate, home: Home) -> None:
    with measuring_alone(home):
        device = Device()
        result = calibrate("--quick", devices=[device])
    assert result.exit_code == 6
    assert "Another process is calibrating" in result.stderr
    assert device.sessions == []
    assert calibrate("--quick", devices=[device]).exit_code == 0


def test_a_killed_calibration_holds_no_lock(home: Home) -> None:
    code = (
        "import time; from edgetts.measuring import measuring_alone; from edgetts.store.home import find_home\n"
        "with measuring_alone(find_home()):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match="Another process"), measuring_alone(home):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with measuring_alone(home):
        pass
    assert [path.name for path in home.root.rglob("*") if path.is_file()] == ["calibrating.lock"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_is_told_before_anything_is_measured(
    calibrate: Calibrate, home: Home
) -> None:
    home.root.mkdir(parents=True)
    home.root.chmod(0o500)
    device = Device()
    result = calibrate("--quick", devices=[device])
    assert result.exit_code == 6
    assert device.sessions == []


def test_a_home_that_is_a_file_is_told_before_anything_is_measured(calibrate: Calibrate, home: Home) -> None:
    home.root.write_text("in the way")
    device = Device()
    result = calibrate("--quick", devices=[device])
    assert result.exit_code == 6
    assert device.sessions == []


def test_what_cannot_be_kept_is_shown_all_the_same_and_fails(calibrate: Calibrate, home: Home) -> None:
    (home.root / "profiles").parent.mkdir(parents=True)
    (home.root / "profiles").write_text("in the way")
    result = calibrate("--quick", devices=[Device()])
    assert result.exit_code == 6
    assert "best width" in result.stdout
    assert "kept in" not in result.stdout
    assert "could not be kept" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "--threads is 0"),
        (["--runtime", "onx"], "Did you mean 'onnx'?"),
        (["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_wrong_input_is_one_sentence(home: Home, arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["calibrate", "--offline", *arguments], catch_exceptions=False)
    assert result.exit_code in (2, 3)
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr


def test_a_tiny_model_is_really_calibrated_and_then_loaded_with_what_was_found(
    tiny_bundle: TinyBundle, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetts.measuring._busy", lambda: 0.0)
    bundle = tiny_bundle("llama").bundle
    result = CliRunner().invoke(
        main,
        ["calibrate", "--quick", "--json", "--runtime", "onnx", "-m", str(bundle)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    (one,) = json.loads(result.stdout)["profiles"]
    assert one["profile"]["times"]["source"] == "measured"
    assert one["profile"]["memory"]["token"] > 0
    from edgetts.engine import load

    said: list[str] = []
    with load(bundle, runtime="onnx", notify=said.append) as engine:
        assert list(engine.hosts[0].times.widths) == one["profile"]["times"]["widths"]
    assert said == []


@pytest.mark.real
def test_smollm2_is_calibrated(smollm2_bundle: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick, and half of that: what is measured is a curve of a real model, and what it costs fits the time."""
    monkeypatch.setattr("edgetts.measuring._busy", lambda: 0.0)
    monkeypatch.setattr(
        "edgetts.profiles.measuring.plan._SECONDS",
        {"quick": {"threads": 2, "passes": 3, "prompts": 1, "longer": 1, "memory": 0.5, "guessing": 2}},
    )
    result = CliRunner().invoke(
        main,
        ["calibrate", "--quick", "--json", "--runtime", "onnx", "-m", str(smollm2_bundle)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    (one,) = json.loads(result.stdout)["profiles"]
    times = one["profile"]["times"]
    sys.stdout.write(f"\n{one}\n")
    assert times["widths"][0] == 1
    assert times["seconds"] == sorted(times["seconds"])
    assert 1e-4 < times["seconds"][0] < 2
    assert one["profile"]["memory"]["token"] >= 46_080
