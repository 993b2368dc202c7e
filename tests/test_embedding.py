"""What an app that embeds an engine relies on: nothing is sent or written about it, it ends cleanly, a fork is told."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_engine import tiny_engine_bundle

import edgetts
from edgetts.errors import StorageError

START = """
import os, sys, threading
from pathlib import Path
from edgetts.loading import open_engine
from edgetts import SamplingParams
from edgetts.errors import InvalidInput
engine = open_engine(Path(sys.argv[1]), measure=False)
"""
UNDER_WAY = """
def ask():
    try:
        for event in engine.stream("Hi", sampling=SamplingParams(temperature=1.0, max_tokens=250)):
            begun.set()
    except InvalidInput:
        pass
begun = threading.Event()
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
begun.wait(30)
"""
FORKED = """
engine.answer("Hi", sampling=SamplingParams(max_tokens=2))
child = os.fork()
if child == 0:
    try:
        engine.answer("Hi")
    except InvalidInput as error:
        print(error)
    engine.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(len(engine.answer("Hi", sampling=SamplingParams(max_tokens=2)).samples))
engine.close()
"""


def run(code: str, bundle: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + code, str(bundle)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"HOME": str(home)},
    )


def test_a_program_may_end_while_answers_are_under_way(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    ran = run(UNDER_WAY, tiny_engine_bundle, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_told_and_can_end(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    ran = run(FORKED, tiny_engine_bundle, tmp_path)
    assert ran.returncode == 0, ran.stderr
    told, answered = ran.stdout.splitlines()
    assert told.startswith("The model was loaded before this process was forked")
    assert answered == "1"


def test_onnx_runtime_keeps_and_sends_no_record_of_its_use(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    ran = run('engine.answer("Hi", sampling=SamplingParams(max_tokens=2))', tiny_engine_bundle, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [
        path for path in tmp_path.rglob("*") if "microsoft" in str(path.relative_to(tmp_path)).lower()
    ] == []
    assert run("print(os.environ['ORT_DISABLE_TELEMETRY'])", tiny_engine_bundle, tmp_path).stdout == "1\n"


def test_what_the_file_system_refuses_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "trust"))

    monkeypatch.setattr("edgetts.loading.find_forms", refuse)
    with pytest.raises(StorageError, match=r"trust: Permission denied\.$"):
        edgetts.load(home=tmp_path)
