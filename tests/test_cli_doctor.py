"""`edgetts doctor`: everything a bug report needs, and what to do where something is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import TinyBundle

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


def refused(code: int, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["doctor", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (code, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("edgetts: ")
    return line


def test_every_provider_is_told_or_the_way_to_get_it() -> None:
    from edgetts.runtimes.providers.catalogue import all_entries

    providers = doctor()["providers"]
    assert {entry.provider for entry in all_entries()} <= set(providers)
    assert providers["CPUExecutionProvider"] == f"ready, {version('onnxruntime')} (the processor), cpu"
    missing = [said for said in providers.values() if said.startswith("missing (")]
    assert missing
    # What is missing, and then what to do about it.
    assert all(said.count(". ") >= 1 for said in missing)


def test_one_provider_is_told_with_what_its_options_come_to() -> None:
    result = CliRunner().invoke(main, ["doctor", "--provider", "cpu", "--json"], catch_exceptions=False)
    facts = json.loads(result.stdout)["provider"]
    assert (facts["name"], facts["state"], facts["version"]) == (
        "CPUExecutionProvider",
        "ready",
        version("onnxruntime"),
    )
    coreml = ["doctor", "--provider", "CoreML", "-o", "MLComputeUnits=CPUOnly"]
    text = CliRunner().invoke(main, coreml, catch_exceptions=False).stdout
    in_force = text.partition("options in force\n")[2].partition("options there are\n")[0]
    assert {tuple(line.split()) for line in in_force.splitlines()} == {
        ("MLComputeUnits", "CPUOnly"),
        ("ModelFormat", "MLProgram"),
        ("RequireStaticInputShapes", "1"),
    }


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_qnn") is not None, reason="the package is here")
def test_a_provider_whose_package_is_missing_is_told_with_the_way_to_get_it(tiny_bundle: TinyBundle) -> None:
    result = CliRunner().invoke(main, ["doctor", "--provider", "qnn", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["provider"]["state"].endswith("Install it with: pip install 'edgetts[npu]'")
    assert report["chips (--soc)"]["sm8650"].endswith("htp_arch=75, soc_model=57")
    bundle = str(tiny_bundle("llama").bundle)
    assert "'edgetts[npu]'" in refused(7, "--provider", "qnn", "--model", bundle)


def test_the_delegation_table_of_any_bundle_sums_to_the_whole(tiny_bundle: TinyBundle) -> None:
    model = tiny_bundle("llama")
    command = ["doctor", "--provider", "cpu", "--model", str(model.bundle)]
    lines = CliRunner().invoke(main, command, catch_exceptions=False).stdout.splitlines()
    assert lines[0] == f"{model.manifest.name}, a pass of any width"
    assert lines[1].split() == ["OPERATOR", "ON", "CPU", "FOLDED", "WEIGHTS", "MULTIPLIED"]
    assert "com.microsoft:GroupQueryAttention" in lines[-2]
    counts = [int(line.split()[1]) for line in lines[2:-2]]
    assert lines[-1] == (
        f"{sum(counts)} of {sum(counts)} operators, 100% of the weights and 100% of the multiplications run on "
        f"CPUExecutionProvider {version('onnxruntime')}"
    )
    report = json.loads(CliRunner().invoke(main, [*command, "--json"], catch_exceptions=False).stdout)
    [one] = report["passes"]
    assert (one["width"], one["graphs"], one["fixed_shapes"]) == (None, ["model.onnx"], False)
    assert sum(row["on_provider"] for row in one["operators"]) == sum(counts)
    assert one["share"]["weight_bytes"]["all"] == sum(row["weight_bytes"] for row in one["operators"]) > 0


def test_a_provider_that_takes_nothing_leaves_the_model_to_the_cpu(tiny_bundle: TinyBundle) -> None:
    import onnxruntime

    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no provider that takes nothing")
    bundle = str(tiny_bundle("llama").bundle)
    command = ["doctor", "--provider", "AzureExecutionProvider", "--model", bundle]
    lines = CliRunner().invoke(main, command, catch_exceptions=False).stdout.splitlines()
    assert lines[1].endswith("WHY ON THE CPU")
    rows = [line for line in lines if line.startswith("com.microsoft:GroupQueryAttention")]
    assert "not said (blk.0." in rows[0]
    assert any(line.startswith("The graphs' shapes are not fixed") for line in lines)
    assert lines[-1].startswith("0 of ")


def test_what_cannot_be_asked_of_a_provider_is_refused_in_one_sentence(tiny_bundle: TinyBundle) -> None:
    bundle = str(tiny_bundle("llama").bundle)
    assert "There is no provider 'cpy'. Did you mean 'cpu'?" in refused(2, "--provider", "cpy")
    assert "'cpy'" in refused(2, "--provider", "cpy", "--model", bundle)
    assert "-o 'burst' is no option" in refused(2, "--provider", "cpu", "-o", "burst")
    assert "'=1' is no option" in refused(2, "--provider", "cpu", "-o", "=1", "--model", bundle)
    assert "-o a is given twice" in refused(2, "--provider", "cpu", "-o", "a=1", "-o", "a=2")
    assert "has no option 'MLUnits'" in refused(2, "--provider", "coreml", "-o", "MLUnits=CPUOnly")
    assert "There is no chip 'sm86'" in refused(2, "--provider", "qnn", "--soc", "sm86")
    assert "sm8650 is for QNNExecutionProvider" in refused(2, "--provider", "cpu", "--soc", "sm8650")
    assert "-o is for a provider" in refused(2, "-o", "a=1")
    assert "--soc is for a provider" in refused(2, "--soc", "sm8650", "--model", bundle)
    assert "There is no model called 'nonesuch'" in refused(3, "--provider", "cpu", "--model", "nonesuch")
    assert "CUDAExecutionProvider" in refused(8, "--provider", "cuda", "--model", bundle)


def test_a_graph_changed_after_export_is_not_asked_about(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle = tmp_path / "changed.edge"
    shutil.copytree(tiny_bundle("llama").bundle, bundle)
    graph = bundle / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    assert "model.onnx in the bundle changed.edge was changed" in refused(
        4, "--provider", "cpu", "--model", str(bundle)
    )
