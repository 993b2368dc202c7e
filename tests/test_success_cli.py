"""`edgetts calibrate --task` and `--from`: what is recorded, gone on with, fitted, kept and refused."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from success_cases import simulated_run

from edgetts.answering.adapting import find_progress
from edgetts.bundle import read_manifest
from edgetts.cli import INTERRUPTED, main
from edgetts.cli.shared.calibrating import calibrate_task, fit_record
from edgetts.control.success.model import Attempt
from edgetts.control.success.profile import SuccessProfile
from edgetts.control.success.store import find_success, profiles_of
from edgetts.decoding.session import Cancellation
from edgetts.errors import InvalidInput
from edgetts.evaluation import load_run
from edgetts.evaluation.recording import write_run
from edgetts.selection.strategies.adaptive import Adaptive
from edgetts.tokenizer import Tokenizer

Loads = Callable[..., ScriptedSession]

SAID = (b"The answer is 2.", b"The answer is 7.", b"The answer is 2.", b"I do not know")
"""One greedy sample and three others, of every question."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Tokenizer) -> list[ScriptedSession]:
    """Have a model loaded, anew each time, that says `SAID`; the list has what was loaded."""
    made: list[ScriptedSession] = []

    def load(*arguments: object, **options: object) -> object:
        made.append(ScriptedSession(SAID * 6))  # sample by sample, question by question
        return scripted_engine(tiny_tokenizer, made[-1], clock=made[-1].clock)

    monkeypatch.setattr("edgetts.engine.load", load)
    return made


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [
        {"question": f"What is {n} - {n - 2}?", "answer": 2 + n % 2, "format": "number"} for n in range(2, 8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)])


def test_a_task_is_recorded_and_fitted(home: Path, loads: list[ScriptedSession], sums: Path) -> None:
    result = run("--task", sums, "--samples", 4)
    assert result.exit_code == 0, result.output
    assert "file:sums.jsonl" in result.stdout
    assert "majority" in result.stdout
    [record] = (home / "profiles" / "recordings").glob("*.jsonl")
    recorded = load_run(record)
    assert [len(problem.samples) for problem in recorded.problems] == [4] * 6
    found = find_success(home, recorded.model, task="sums")
    assert isinstance(found, SuccessProfile)
    # Three of six questions have the answer 2, which the greedy sample and the vote give.
    assert found.predict(Attempt(1, 512)).value == pytest.approx(0.5)
    assert found.predict(Attempt(4, 512)).value == pytest.approx(0.5)
    assert find_success(home, recorded.model, answer_format="number") == found
    assert len(loads) == 1
    # What the adaptive strategy goes by is kept beside it, and used where the task is named.
    assert "--task sums" in result.stdout
    progress = find_progress(home, found)
    assert progress is not None
    assert "18 samples" in progress.source
    assert progress != Adaptive().progress


def test_what_was_interrupted_is_gone_on_with(home: Path, loads: list[ScriptedSession], sums: Path) -> None:
    first = run("--task", sums, "--samples", 4, "--limit", 2)
    assert first.exit_code == 0
    assert "2 of 6 questions are done" in first.stderr
    assert first.stdout == ""
    assert not list((home / "profiles").glob("success/*.toml"))
    cancel = Cancellation()
    cancel.request()
    half = calibrate_task(None, str(sums), samples=4, home=home, cancel=cancel)
    assert (half.profile, half.done, half.of, half.interrupted) == (None, 2, 6, True)
    last = run("--task", sums, "--samples", 4)
    assert last.exit_code == 0
    assert "2 of 6 questions are done already" in last.stderr
    # Everything is there: nothing needs to be loaded.
    before = len(loads)
    again = run("--task", sums, "--samples", 4, "--json")
    assert len(loads) == before
    profile = json.loads(again.stdout)["profile"]
    assert profile["task"] == "file:sums.jsonl"
    assert profile["drawings"][0]["questions"] == 6


def test_ctrl_c_keeps_what_is_recorded(
    home: Path, loads: list[ScriptedSession], sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    ended = 0

    def progress(self: object, stage: str, fraction: float) -> None:
        nonlocal ended
        ended += fraction >= 2 / 6
        if ended == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("edgetts.store.progress.ProgressLine.__call__", progress)
    result = run("--task", sums, "--samples", 4)
    assert result.exit_code == INTERRUPTED
    assert "of 6 questions are done" in result.stderr
    [record] = (home / "profiles" / "recordings").glob("*.jsonl")
    assert 1 <= len(load_run(record).problems) < 6


def test_other_settings_have_another_record(home: Path, loads: list[ScriptedSession], sums: Path) -> None:
    for options in (("--samples", 4), ("--samples", 3), ("--samples", 4, "--temperature", 0.5)):
        assert run("--task", sums, *options).exit_code == 0
    assert len(list((home / "profiles" / "recordings").glob("*.jsonl"))) == 3
    [profile] = profiles_of(home, load_run(next((home / "profiles" / "recordings").iterdir())).model)
    assert [one.temperature for one in profile.drawings] == [0.5, 0.7]


def test_a_record_is_fitted_without_a_model(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetts.engine.load", None)
    path = tmp_path / "record.jsonl"
    write_run(path, simulated_run(12, 4))
    result = run("--from", path)
    assert result.exit_code == 0, result.output
    assert isinstance(find_success(home, "tiny", task="sums"), SuccessProfile)
    named = run("--from", path, "--model", "other", "--approach", "direct", "--temperature", 0.3)
    assert named.exit_code == 0
    other = find_success(home, "other", task="sums")
    assert isinstance(other, SuccessProfile)
    assert [(one.approach, one.temperature) for one in other.drawings] == [("direct", 0.3)]
    # The table of the other is not touched.
    assert find_success(home, "tiny", task="sums").predict(Attempt(4, 128, approach="direct")) is None


def test_records_are_taken_together_under_a_name(home: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for seed, path in enumerate(paths):
        write_run(path, simulated_run(6, 4, seed))
    result = run("--from", paths[0], "--from", paths[1], "--task", "both")
    assert result.exit_code == 0, result.output
    found = find_success(home, "tiny", task="both")
    assert isinstance(found, SuccessProfile)
    assert found.drawings[0].questions == 12
    hot = simulated_run(6, 4)
    write_run(tmp_path / "hot.jsonl", replace(hot, header={**hot.header, "sampling": {"temperature": 1.5}}))
    refused = run("--from", paths[0], "--from", tmp_path / "hot.jsonl")
    assert refused.exit_code == 2
    assert "different settings (temperature: 0.7, 1.5)" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "4"), "without a task"),
        (("--record", "x.jsonl"), "without a task"),
        (("--task", "sums.jsonl", "--quick"), "--quick says nothing with --task"),
        (("--task", "sums.jsonl", "--approach", "direct"), "--approach says nothing with --task"),
        (("--from", "x.jsonl", "--samples", "4"), "--samples says nothing with --from"),
        (("--from", "x.jsonl", "--threads", "2"), "--threads says nothing with --from"),
        (("--from", "x.jsonl"), "x.jsonl"),
        (("--task", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_mistakes_are_one_sentence(home: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code not in (0, 1)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert words in result.stderr.splitlines()[-1]


def test_numbers_that_cannot_be_are_refused_before_anything_is_loaded(
    home: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetts.engine.load", None)
    for options in (
        ("--samples", 1),
        ("--limit", 0),
        ("--size", 0),
        ("--max-tokens", 0),
        ("--temperature", -1),
    ):
        result = run("--task", sums, *options)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert not (home / "profiles").exists()


def test_a_record_of_an_unnamed_model_needs_a_name(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    made = simulated_run(5, 4)
    made.header.pop("model")  # type: ignore[attr-defined]
    write_run(path, made)
    with pytest.raises(InvalidInput, match="--model"):
        fit_record(path, home=home)
    assert fit_record(path, home=home, model="tiny").model == "tiny"


def test_a_model_named_by_its_directory_is_kept_by_its_own_name(
    home: Path, tmp_path: Path, tiny_engine_bundle: Path
) -> None:
    path = tmp_path / "record.jsonl"
    write_run(path, simulated_run(12, 4))
    fitted = fit_record(path, home=home, model=str(tiny_engine_bundle))
    assert fitted.model == read_manifest(tiny_engine_bundle).name
    assert isinstance(find_success(home, fitted.model, task="sums"), SuccessProfile)
