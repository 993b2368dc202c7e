"""`edgetts doctor`: everything a bug report needs, and what to do where something is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edgetts.cli import main
from edgetts.runtimes import RUNTIMES, Runtime


def doctor() -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(main, ["doctor", "--json"], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    report: dict[str, dict[str, Any]] = json.loads(result.stdout)
    return report


def test_it_names_versions_runtimes_processor_memory_and_cache() -> None:
    report = doctor()
    assert report["edgetts"]["version"] == version("edgetts")
    assert report["edgetts"]["python"] == platform.python_version()
    assert set(report["runtimes"]) == set(RUNTIMES)
    assert report["runtimes"]["onnx"] == f"ready, onnxruntime {version('onnxruntime')}"
    assert "CPUExecutionProvider" in report["providers"]
    assert isinstance(report["processor"]["features"], list)
    assert report["memory"]["total"].endswith(" GB")
    assert report["cache"]["directory"] == os.environ["EDGETTS_HOME"]
    assert "joules" in report["energy"]


def test_text_holds_what_json_holds() -> None:
    report = doctor()
    text = CliRunner().invoke(main, ["doctor"]).stdout
    for section, facts in report.items():
        assert f"\n{section}\n" in f"\n{text}"
        for name in facts:
            assert f"  {name}" in text


def test_a_cache_that_is_not_there_yet_is_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "not" / "yet"))
    cache = doctor()["cache"]
    assert (cache["size"], cache["models"]) == ("0.0 MB", [])
    assert cache["free on its disk"].endswith(" GB")
    assert not (tmp_path / "not").exists()


def test_what_is_missing_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_hub(name: str, package: str | None = None) -> Any:
        return None if name == "huggingface_hub" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_hub)
    assert doctor()["extras"]["huggingface_hub"].endswith("pip install 'edgetts[hub]'")


def test_a_runtime_that_cannot_be_loaded_is_told_and_does_not_stop_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Runtime("edgetts_no_such_package.session", "Session", "Options", "bundle", "json", "json")
    monkeypatch.setitem(RUNTIMES, "broken", broken)
    assert doctor()["runtimes"]["broken"].startswith("cannot be loaded: No module named")


def test_every_meter_is_told_with_why_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGETTS_METER", raising=False)
    energy = doctor()["energy"]
    assert set(energy) == {"joules", "zeus", "rapl", "battery", "model"}
    assert energy["joules"].startswith(("measured: ", "modelled: "))
    assert sum(said == "used" for said in energy.values()) >= 1
    monkeypatch.setenv("EDGETTS_METER", "none")
    assert doctor()["energy"] == {"joules": "not counted: EDGETTS_METER says none"}
    monkeypatch.setenv("EDGETTS_METER", "wattmeter")
    energy = doctor()["energy"]
    assert energy["joules"].startswith("not counted: There is no meter 'wattmeter'.")
    assert energy["model"] == "can be used"


def test_default_budgets_are_those_of_the_present_state(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetts.energy import state
    from edgetts.energy.budgets import default_budget
    from edgetts.profiles.devices import shipped
    from edgetts.profiles.wording import budget_words

    low = SimpleNamespace(percent=7, power_plugged=False)
    sources = state.Sources(lambda: low, lambda: None, lambda: None, lambda: 0)
    monkeypatch.setattr(state, "here", lambda: sources)
    monkeypatch.setenv("EDGETTS_DEVICE", "raspberry-pi-5")
    report = doctor()
    assert report["power"] == {"state": "low", "since": "battery at 7%", "battery": "7%"}
    pi = shipped("raspberry-pi-5")
    for mode in ("saver", "balanced", "performance"):
        words = budget_words(default_budget(pi, mode, "low"))  # type: ignore[arg-type]
        assert report["default budgets"][f"--power {mode}"] == f"{words} (in state low)"
    assert "raspberry-pi-5" in report["default budgets"]["from"]


def test_the_device_in_force_says_where_each_figure_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETTS_DEVICE", "laptop-x86")
    device = doctor()["device"]
    assert device["profile"].startswith("laptop-x86: ")
    assert device["kind"] == "modelled, not measured here: edgetts calibrate"
    assert all(
        any(mark in said for mark in ("(modelled", "(vendor", "(measured"))
        for name, said in device.items()
        if name not in ("profile", "kind")
    )
    monkeypatch.setenv("EDGETTS_DEVICE", "toaster")
    report = doctor()
    assert report["device"]["profile"].startswith(
        "EDGETTS_DEVICE is wrong. There is no device profile 'toaster'."
    )
    assert "default budgets" not in report


def test_calibrations_are_listed_or_the_way_to_make_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgetts.profiles.curves import StepTimes
    from edgetts.profiles.fingerprint import mark_of
    from edgetts.profiles.speed import Made, SpeedProfile
    from edgetts.profiles.store import ProfileStore

    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path))
    empty = doctor()["calibrations"]
    assert empty["speeds"].endswith("edgetts calibrate --model NAME")
    assert empty["success"].endswith("edgetts calibrate --model NAME --task FILE")
    facts = {"cpu": "none such", "runtime": "onnx"}
    profile = SpeedProfile(
        mark=mark_of(facts),
        model="tiny",
        runtime="onnx",
        facts=facts,
        made=Made("2026-11-27", "quick"),
        times=StepTimes((1, 8), (0.01, 0.02), 100.0, "measured", "2026-11-27"),
    )
    store = ProfileStore(tmp_path / "profiles")
    assert store.put(profile) is None
    found = doctor()["calibrations"]
    [said] = found["tiny on onnx"]
    assert said.startswith("speeds, quick, 2026-11-27, no longer holds: cpu was none such, is ")
    assert "speeds" not in found
    (tmp_path / "profiles" / "device.toml").write_text("format = \x00")
    assert len(doctor()["calibrations"]["not used"]) == 1
