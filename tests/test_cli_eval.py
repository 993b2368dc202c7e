"""`edgetts eval` and `edgetts runs`: what is printed, recorded, gone on with, and refused in one sentence."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts.cli import main
from edgetts.decoding.session import Branch, Logits
from edgetts.evaluation import load_run
from edgetts.selection.confidence import load_calibration
from edgetts.tokenizer import Tokenizer

Loads = Callable[..., ScriptedSession]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, code: int, *words: str) -> None:
    """Check that a run ended with one sentence on stderr and an exit code, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    [line] = result.stderr.splitlines()[-1:]
    assert line.startswith("edgetts: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in line


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Tokenizer) -> Loads:
    """Have `eval` load a model that says what the test wants, sample by sample."""

    def prepare(*scripts: bytes, session: ScriptedSession | None = None) -> ScriptedSession:
        session = session or ScriptedSession(scripts)
        engine = scripted_engine(tiny_tokenizer, session, clock=session.clock)
        monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: engine)
        return session

    return prepare


@pytest.fixture
def never_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("edgetts.engine.load", load)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """A task of four sums, whose answers are 2, 3, 4 and 5."""
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is 1 + {n}?", "answer": n + 1} for n in range(1, 5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SAID = (b"The answer is 2.", b"The answer is 7.", b"The answer is 4.", b"I do not know")
"""Two right answers of four."""


def test_figures_are_on_stdout_and_progress_on_stderr(loads: Loads, sums: Path) -> None:
    loads(*SAID)
    result = run("eval", sums)
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.stdout
    assert "50.0% (15.0% to 85.0%)" in result.stdout
    assert "not measured" in result.stdout
    assert "problem 2 of 4: wrong" in result.stderr
    loads(*SAID)
    body = json.loads(run("eval", sums, "--json").stdout)
    assert body["accuracy"]["value"] == 0.5
    assert (body["graded"], body["interrupted"], body["header"]["task"]) == (4, False, "file:sums.jsonl")
    assert body["tokens"]["total"] > 0
    assert body["joules"] is None


def test_votes_of_several_samples_have_a_confidence(loads: Loads, sums: Path) -> None:
    loads(*[b"The answer is 2."] * 2, *[b"The answer is 3.", b"The answer is 9."])
    body = json.loads(run("eval", sums, "--size", "2", "--samples", "2", "--json").stdout)
    assert body["confidence"]["n"] == 2
    assert body["samples"] == 2
    assert body["pass_at_k"]["without_greedy"] == 2


def test_a_record_holds_tokens_log_probs_and_times(loads: Loads, sums: Path, tmp_path: Path) -> None:
    record, report = tmp_path / "run.jsonl", tmp_path / "run.html"
    loads(*SAID)
    options = ("--record", record, "--report", report, "--max-tokens", "50", "--seed", "3")
    assert run("eval", sums, *options).exit_code == 0
    header = json.loads(record.read_text().splitlines()[0])
    assert (header["kind"], header["format"], header["task"]) == ("header", 1, "file:sums.jsonl")
    assert header["sampling"]["max_tokens"] == 50
    assert {"edgetts", "started", "model", "budget", "strategy"} <= set(header)
    told = load_run(record)
    assert [one.right for one in told.problems] == [True, False, True, False]
    assert [one.answer for one in told.problems] == ["2", "7", "4", "i do not know"]
    for one, said in zip(told.problems, SAID, strict=True):
        [sample] = one.samples
        assert sample.text.strip() == said.decode()
        assert len(sample.tokens) == len(sample.logprobs) == one.tokens > 0
        assert sample.seconds is not None
        assert one.prompt_tokens > 0
        assert one.chosen == 0
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_record_is_gone_on_with_from_where_it_was(
    loads: Loads, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, whole = tmp_path / "run.jsonl", tmp_path / "whole.jsonl"
    loads(*SAID)
    assert run("eval", sums, "--record", whole).exit_code == 0
    loads(*SAID[:1])
    assert run("eval", sums, "--record", record, "--limit", "1").exit_code == 0
    with record.open("ab") as file:
        file.write(b'{"kind": "problem", "id": "1", "torn')
    session = loads(*SAID[1:])
    result = run("eval", sums, "--record", record)
    assert result.exit_code == 0
    assert "1 of 4 problems are done already." in result.stderr
    assert "50.0%" in result.stdout
    assert [one.answer for one in load_run(record).problems] == [
        one.answer for one in load_run(whole).problems
    ]
    assert len(session._kept) == 3
    monkeypatch.setattr("edgetts.engine.load", None)  # there is nothing left to do
    again = run("eval", sums, "--record", record)
    assert again.exit_code == 0
    assert again.stdout == result.stdout


def test_a_record_of_other_settings_is_refused_first(
    loads: Loads, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "run.jsonl"
    loads(*SAID)
    assert run("eval", sums, "--record", record, "--limit", "1").exit_code == 0
    before = record.read_bytes()
    monkeypatch.setattr("edgetts.engine.load", None)
    refused(run("eval", sums, "--record", record, "--samples", "3"), 2, "budget samples null, not 3")
    refused(run("eval", sums, "--record", record, "-t", "1"), 2, "sampling temperature")
    refused(run("eval", sums, "--record", record, "--system", "Be brief."), 2, "system")
    refused(run("eval", sums, "--record", record, "-m", "other"), 2, "model source")
    refused(run("eval", sums, "--record", sums), 2, "no record")
    sums.write_text(sums.read_text(encoding="utf-8").replace("1 + 1", "one and one"), encoding="utf-8")
    refused(run("eval", sums, "--record", record), 2, "another problem '0'")
    assert record.read_bytes() == before


def test_ctrl_c_keeps_what_is_done_and_drops_what_is_not(loads: Loads, sums: Path, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    session = ScriptedSession([*SAID[:1], ENDLESS])
    session.before_step = lambda passes: signal.raise_signal(signal.SIGINT) if passes == 40 else None
    loads(session=session)
    result = run("eval", sums, "--record", record)
    assert result.exit_code == 130
    assert "interrupted after 1 of 4 problems. Go on with the same command" in result.stderr
    assert "100.0%" in result.stdout
    assert [one.id for one in load_run(record).problems] == ["0"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    loads(*SAID[1:])
    assert run("eval", sums, "--record", record).exit_code == 0
    assert len(load_run(record).problems) == 4


def test_ctrl_c_before_anything_is_done_says_so(loads: Loads, sums: Path) -> None:
    session = ScriptedSession([ENDLESS])
    session.before_step = lambda passes: signal.raise_signal(signal.SIGINT) if passes == 3 else None
    loads(session=session)
    result = run("eval", sums)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "interrupted after 0 of 4 problems." in result.stderr


def test_a_problem_that_fails_does_not_end_the_run(loads: Loads, sums: Path, tmp_path: Path) -> None:
    rows = sums.read_text(encoding="utf-8").splitlines()
    rows[1] = json.dumps({"question": "x" * 3000, "answer": "3"})
    sums.write_text("\n".join(rows) + "\n", encoding="utf-8")
    record = tmp_path / "run.jsonl"
    loads(session=ScriptedSession([SAID[0], *SAID[2:]], context=2000))
    result = run("eval", sums, "--record", record)
    assert result.exit_code == 0
    assert "problem 2 of 4: failed" in result.stderr
    assert "PromptTooLong" in result.stderr
    assert "4, 1 failed" in result.stdout
    told = load_run(record).problems
    assert [one.right for one in told] == [True, False, True, False]
    assert told[1].error is not None
    assert "3000" in told[1].error or "tokens" in told[1].error


def test_logits_that_are_no_numbers_fail_their_problem_alone(loads: Loads, sums: Path) -> None:
    class Broken(ScriptedSession):
        def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
            logits = super().step(branches, tokens)
            if len(self._kept) == 2:
                logits[0, 0] = np.nan
            return logits

    loads(session=Broken(SAID))
    result = run("eval", sums, "--json")
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert (body["errors"], body["accuracy"]["value"]) == (1, 0.5)


def test_every_problem_draws_with_a_seed_of_its_own(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    task = tmp_path / "same.jsonl"
    rows = [{"question": "Say something.", "answer": "1", "id": str(n)} for n in range(2)]
    task.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ("-m", tiny_engine_bundle, "--max-tokens", "12", "-t", "1.5")
    for record, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        path = tmp_path / f"{record}.jsonl"
        assert run("eval", task, *options, "--seed", seed, "--record", path).exit_code == 0
    drawn = {
        name: [one.samples[0].tokens for one in load_run(tmp_path / f"{name}.jsonl").problems]
        for name in "abc"
    }
    assert drawn["a"] == drawn["b"]
    assert drawn["a"][0] != drawn["a"][1]
    assert drawn["c"][0] == drawn["a"][1]


def test_a_budget_is_written_in_one_or_by_its_options(loads: Loads, sums: Path) -> None:
    bodies = []
    for options in (
        ("--budget", "seconds=20,tokens=4000, samples=2,memory=1.5"),
        ("--deadline", "20", "--tokens", "4000", "--samples", "2", "--memory", "1.5"),
        ("--budget", "seconds=20,tokens=4000", "--samples", "2", "--memory", "1.5"),
    ):
        loads(*[b"The answer is 2."] * 8)
        bodies.append(
            json.loads(run("eval", sums, "--limit", "1", "--json", *options).stdout)["header"]["budget"]
        )
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0] == {
        "seconds": 20,
        "tokens": 4000,
        "samples": 2,
        "memory_bytes": 1_500_000,
        "joules": None,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--budget", "second=20"), "no limit 'second=20'"),
        (("--budget", "seconds"), "no limit 'seconds'"),
        (("--budget", "seconds=soon"), "'soon', which is no number"),
        (("--budget", "samples=1.5"), "'1.5', which is no number"),
        (("--budget", "seconds=nan"), "seconds is nan"),
        (("--budget", "samples=2", "--samples", "2"), "samples is given twice"),
        (("--deadline", "0"), "seconds is 0"),
        (("--samples", "-1"), "samples is -1"),
        (("--memory", "nan"), "memory is nan"),
        (("--memory", "1e305"), "memory"),
        (("--max-tokens", "0"), "max_tokens"),
        (("--temperature", "-1"), "temperature"),
        (("--seed", "-1"), "seed"),
        (("--size", "0"), "size is 0"),
        (("--task-seed", "-1"), "seed is -1"),
        (("--limit", "0"), "limit is 0"),
        (("--answer", "numbr"), "Did you mean 'number'?"),
        (("--strategy", "gredy"), "Did you mean 'greedy'?"),
        (("--risk", "-1"), "risk is -1"),
    ],
)
def test_options_that_cannot_be_are_refused_before_a_model_is_loaded(
    never_loads: None, sums: Path, options: tuple[str, ...], words: str
) -> None:
    refused(run("eval", sums, *options), 2, words)


def test_places_that_cannot_be_written_to_are_refused_first(
    never_loads: None, sums: Path, tmp_path: Path
) -> None:
    for option in ("--record", "--report"):
        refused(run("eval", sums, option, tmp_path / "nowhere" / "file"), 6, "There is no directory")


def test_tasks_that_are_none_are_refused_first(never_loads: None, tmp_path: Path) -> None:
    refused(run("eval", tmp_path / "nothing.jsonl"), 6, "No such file")
    (tmp_path / "bad.jsonl").write_text('{"question": "q"}\n', encoding="utf-8")
    refused(run("eval", tmp_path / "bad.jsonl"), 2, "line 1 has no 'answer'")
    pytest.importorskip("reasoning_gym")
    refused(run("eval", "gsm_symbolik"), 2, "Did you mean 'gsm_symbolic'?")


def test_a_task_and_its_strategy_reach_the_engine(loads: Loads, sums: Path) -> None:
    loads(*SAID)
    body = json.loads(run("eval", sums, "--strategy", "greedy", "--json").stdout)
    assert (body["strategy"], body["accuracy"]["value"], body["samples"]) == ("greedy", 0.5, 1)


def test_the_system_message_and_the_format_of_a_file_reach_the_engine(loads: Loads, tmp_path: Path) -> None:
    task = tmp_path / "letters.jsonl"
    row = {"question": "Which?", "answer": "B", "format": "choice", "system": "Think of " + "x" * 200}
    task.write_text(json.dumps(row) + "\n", encoding="utf-8")
    prompts = []
    for extra in ((), ("--system", "Short.")):
        loads(b"12 says nothing, so the correct option is B.")
        record = tmp_path / f"{len(extra)}.jsonl"
        assert run("eval", task, "--record", record, *extra).exit_code == 0
        [one] = load_run(record).problems
        assert (one.answer, one.right, one.answer_format) == ("B", True, "choice")
        prompts.append(one.prompt_tokens)
    assert prompts[0] > prompts[1]


# runs


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Older records of forty problems with four samples, one in four of a model that is better."""
    for name, better in (("first", 0), ("second", 1)):
        lines: list[dict[str, Any]] = [{"kind": "header", "task": "sums", "model": name}]
        for index in range(40):
            agree = min(4, index % 4 + 1 + better)
            right = (index // 4) % 4 < agree
            answers = [5 if right else 4] * agree + [100 + at for at in range(4 - agree)]
            samples = [
                {
                    "tokens": [1, 2],
                    "logprobs": [-0.1, -0.3],
                    "finished": True,
                    "text": f"The answer is {answer}.",
                }
                for answer in answers
            ]
            lines.append(
                {
                    "kind": "problem",
                    "id": str(index),
                    "index": index,
                    "question": f"<b>{index}</b>",
                    "answer": "5",
                }
                | {"samples": samples}
            )
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_a_report_is_figures_json_or_a_page(records: Path) -> None:
    page = records / "page.html"
    result = run("runs", "report", records / "first.jsonl", "--html", page)
    assert result.exit_code == 0
    assert "pass@2" in result.stdout
    assert "&lt;b&gt;7&lt;/b&gt;" in page.read_text(encoding="utf-8")
    assert "<b>" not in page.read_text(encoding="utf-8")
    body = json.loads(run("runs", "report", records / "first.jsonl", "--json").stdout)
    assert body["header"]["model"] == "first"
    assert f"{body['accuracy']['value']:.1%}" in result.stdout


def test_two_runs_are_compared(records: Path) -> None:
    first, second = records / "first.jsonl", records / "second.jsonl"
    result = run("runs", "compare", first, second)
    assert result.exit_code == 0
    assert "40 shared" in result.stdout
    assert "McNemar" in result.stdout
    body = json.loads(run("runs", "compare", first, second, "--json").stdout)
    assert body["difference"]["value"] > 0
    assert body["second"]["value"] - body["first"]["value"] == pytest.approx(body["difference"]["value"])
    text = second.read_text(encoding="utf-8").replace('"task": "sums"', '"task": "other"')
    second.write_text(text, encoding="utf-8")
    refused(run("runs", "compare", first, second), 2, "different tasks")


def test_confidence_is_told_for_every_signal(records: Path) -> None:
    record = records / "first.jsonl"
    result = run("runs", "confidence", record)
    assert result.exit_code == 0
    for word in (
        "ECE",
        "Brier",
        "AUROC",
        "selective accuracy",
        "reliability",
        "vote-share",
        "sample-logprob",
    ):
        assert word in result.stdout
    body = json.loads(run("runs", "confidence", record, "--json", "--signal", "vote-share").stdout)
    [one] = body["signals"]
    assert one["n"] == sum(bar["count"] for bar in one["reliability"]) == 40
    assert one["selective"][-1]["coverage"] == 1


def test_a_calibration_is_fitted_on_one_half_and_saved(records: Path) -> None:
    saved = records / "cal.json"
    result = run("runs", "confidence", records / "first.jsonl", "--fit", saved)
    assert result.exit_code == 0
    assert "before" in result.stdout
    assert "held out: 20 problems" in result.stdout
    made = load_calibration(saved)
    assert (made.signal, len(made.split.fitted)) == ("vote-share", 20)
    other = run(
        "runs", "confidence", records / "first.jsonl", "--fit", saved, "--seed", "5", "--method", "isotonic"
    )
    assert other.exit_code == 0
    assert load_calibration(saved).method == "isotonic"
    assert load_calibration(saved).split != made.split


def test_a_saved_calibration_is_what_an_evaluation_goes_by(loads: Loads, sums: Path, records: Path) -> None:
    saved = records / "cal.json"
    assert run("runs", "confidence", records / "first.jsonl", "--fit", saved).exit_code == 0
    loads(*[b"The answer is 2."] * 4)
    result = run("eval", sums, "--limit", "1", "--samples", "4", "--calibration", saved, "--json")
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert "platt" in body["confidence_source"]


def test_a_record_is_graded_by_its_task(sums: Path, tmp_path: Path) -> None:
    bare, graded = tmp_path / "bare.jsonl", tmp_path / "graded.jsonl"
    texts = (("The answer is 2.", "The answer is 2.", "The answer is 9."), ("The answer is 2.",) * 3)
    lines: list[dict[str, Any]] = [{"kind": "header", "task": "sums"}]
    for index, said in enumerate(texts):
        samples = [{"tokens": [1], "logprobs": [-0.1], "finished": True, "text": text} for text in said]
        row = {"id": str(index), "index": index, "question": f"What is 1 + {index + 1}?", "answer": None}
        lines.append({"kind": "problem", **row, "samples": samples})
    bare.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert "not graded" in run("runs", "report", bare).stdout
    result = run("runs", "grade", bare, graded, "--task", sums)
    assert (result.exit_code, result.stdout) == (0, f"1 of 2 right; written to {graded}\n")
    told = load_run(graded)
    assert [one.right for one in told.problems] == [True, False]
    assert [one.right for one in told.problems[0].samples] == [True, True, False]
    assert told.problems[0].reference == "2"
    refused(run("runs", "grade", bare, graded, "--task", sums), 2, "is there already")
    other = tmp_path / "other.jsonl"
    other.write_text('{"question": "What else?", "answer": 1}\n', encoding="utf-8")
    refused(run("runs", "grade", bare, tmp_path / "new.jsonl", "--task", other), 2, "another problem '0'")
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.parametrize("verb", [("report",), ("confidence",)])
def test_a_record_that_is_none_is_refused_in_a_sentence(tmp_path: Path, verb: tuple[str, ...]) -> None:
    bad = tmp_path / "bad.jsonl"
    refused(run("runs", *verb, bad), 6, "No such file")
    bad.write_bytes(b"\xff\n")
    refused(run("runs", *verb, bad), 2, "line 1 is not UTF-8")
    bad.write_bytes(b"[" * 100_000 + b"\n")
    refused(run("runs", *verb, bad), 2, "nested too deeply")


def test_signals_and_fits_that_cannot_be_are_refused(records: Path) -> None:
    record = records / "first.jsonl"
    refused(run("runs", "confidence", record, "--signal", "vote-shar"), 2, "Did you mean 'vote-share'?")
    refused(run("runs", "confidence", record, "--signal", "self-evaluation"), 2, "no graded answer")
    refused(
        run("runs", "confidence", record, "--signal", "recorded", "--fit", records / "c.json"),
        2,
        "Choose one",
    )
    refused(run("runs", "confidence", record, "--aggregator", "majorty"), 2, "Did you mean 'majority'?")
    assert not (records / "c.json").exists()


def test_an_output_never_takes_the_place_of_the_record(records: Path, sums: Path, loads: Loads) -> None:
    record = records / "first.jsonl"
    before = record.read_bytes()
    for verb in (("report", record, "--html", record), ("confidence", record, "--fit", record)):
        refused(run("runs", *verb), 2, "is the record itself")
    refused(run("eval", sums, "--record", record, "--report", record), 2, "is the record itself")
    assert record.read_bytes() == before


def test_a_report_that_cannot_be_written_does_not_lose_the_figures(records: Path) -> None:
    result = CliRunner().invoke(
        main, ["runs", "report", str(records / "first.jsonl"), "--html", str(records / "nowhere" / "x.html")]
    )
    assert result.exit_code == 6
    assert "accuracy" in result.stdout


def test_control_characters_of_a_record_do_not_reach_the_terminal(records: Path) -> None:
    record = records / "first.jsonl"
    lines = record.read_text(encoding="utf-8").splitlines()
    hostile = [json.loads(line) for line in lines]
    for one in hostile[1:]:
        one["stop_reason"] = "complete\x1b[2J"
    record.write_text("".join(json.dumps(one) + "\n" for one in hostile), encoding="utf-8")
    result = run("runs", "report", record)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\\x1b" in result.stdout


def test_a_method_without_a_file_to_fit_is_refused(records: Path) -> None:
    refused(run("runs", "confidence", records / "first.jsonl", "--method", "platt"), 2, "--fit")
