"""`edgetts doctor`: everything a bug report needs, and what to do where something is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
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
