"""Static bundles on Qualcomm's emulator, through the engine and the command line: its times are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime_qnn")

from click.testing import CliRunner
from static_bundles import StaticBundle, static_bundle  # noqa: F401 - one is a fixture

import edgetts
from edgetts.cli import main
from edgetts.profiles.store import ProfileStore
from edgetts.runtimes.npu import StaticSession
from edgetts.types import SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=6)


@pytest.fixture(scope="session")
def bundle(static_bundle: StaticBundle) -> Path:  # noqa: F811
    return static_bundle(target="qnn-htp").bundle


def test_an_answer_of_the_emulator_leaves_no_times_behind(bundle: Path, tmp_path: Path) -> None:
    said: list[str] = []
    where = {"device": "npu", "soc": "sm8650", "place": "cpu:0-1"}
    with edgetts.load(bundle, home=tmp_path, notify=said.append, **where) as engine:
        assert isinstance(engine.session, StaticSession)
        assert engine.session.emulated
        answer = engine.answer("1 2 3", sampling=GREEDY)
        drafted = engine.answer("1 2 3", sampling=GREEDY, decode="speculative")
        votes = engine.answer("1 2", budget=edgetts.Budget(samples=2), sampling=SamplingParams(max_tokens=3))
    assert len(answer.samples[0].tokens) == len(drafted.samples[0].tokens) > 0
    assert (len(votes.samples), votes.plan.width) == (2, 1)
    for one in (answer, drafted, votes):
        assert one.plan.seconds is None
        assert one.plan.source == "emulated"
    assert any("is emulated here" in sentence for sentence in said)
    assert not any("Measuring" in sentence for sentence in said)
    assert ProfileStore(tmp_path / "profiles").all() == []


def test_without_being_asked_nobody_waits_for_an_emulator(bundle: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with edgetts.load(bundle, home=tmp_path, measure=False, notify=said.append) as engine:
        assert isinstance(engine.session, StaticSession)
        assert not engine.session.emulated
    assert any("Ask for device npu" in sentence for sentence in said)


def test_an_emulator_is_not_calibrated(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path))
    result = CliRunner().invoke(main, ["calibrate", "-m", str(bundle), "--device", "npu", "--quick"])
    assert result.exit_code not in (0, 1)
    assert "emulator" in result.stderr.splitlines()[-1]
    plan = CliRunner().invoke(main, ["plan", "1", "-m", str(bundle), "--device", "npu"])
    assert plan.exit_code == 0
    assert "seconds  not known" in plan.stdout
