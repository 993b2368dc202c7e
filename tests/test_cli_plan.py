"""`edgetts plan` explains what `ask` would do, from files alone; units on the command line; what was predicted and came."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from fakes_engine import FakeClock, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from edgetts.bundle import WEIGHTS
from edgetts.cli import main
from edgetts.cli.shared.explaining import compared_lines
from edgetts.cli.shared.quantities import JOULES, MEGABYTES, SECONDS, Quantity
from edgetts.interval import Interval
from edgetts.profiles.curves import StepTimes
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGETTS_DEVICE", raising=False)
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def refused(result: Result, *words: str) -> None:
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    [line] = result.stderr.splitlines()[-1:]
    assert "Traceback" not in result.output
    for word in words:
        assert word in line


# The plan


def test_a_plan_is_a_table_with_the_best_first_and_reasons_for_the_others(tiny_engine_bundle: Path) -> None:
    result = run("plan", "Hi", "-m", str(tiny_engine_bundle), "--deadline", "60s", "--all")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("plan       ")
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["plan", "seconds"])
    assert lines[head + 1].startswith("->")
    rows = lines[head + 2 :]
    assert rows
    starts = [line.index("onnx:") for line in rows]
    assert len(set(starts)) == 1
    # Every other says why it was not taken, and no row is of the same plan as another.
    assert all(len(line.split("cap ")[1].split()) > 3 for line in rows)
    assert len({line[starts[0] : line.index("cap ") + 8] for line in rows}) == len(rows)
    for words in ("seconds", "joules", "tokens", "memory", "modelled", "a prior: nothing was measured"):
        assert words in result.stdout


def test_a_plan_needs_no_weights(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.edge"
    shutil.copytree(tiny_engine_bundle, copy, ignore=shutil.ignore_patterns("*.bin", "*.onnx"))
    assert not (copy / WEIGHTS).exists()
    result = run("plan", "Hi", "-m", str(copy), "--deadline", "9")
    assert result.exit_code == 0, result.output
    assert "->" in result.stdout


def test_a_plan_as_json_is_the_engines_plan(tiny_engine_bundle: Path) -> None:
    result = run(
        "plan",
        "Hi",
        "-m",
        str(tiny_engine_bundle),
        "--energy",
        "1kJ",
        "-n",
        "3",
        "--device-profile",
        "raspberry-pi-5",
        "--json",
    )
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert (body["samples"], body["source"]) == (3, "modelled")
    assert body["joules"]["high"] <= 1000
    assert body["candidates"][0]["reason"] == ""
    assert body["power"].startswith("balanced, mains")


def test_a_slower_device_takes_longer(tiny_engine_bundle: Path) -> None:
    def seconds(device: str) -> float:
        result = run("plan", "Hi", "-m", str(tiny_engine_bundle), "--device-profile", device, "--json")
        assert result.exit_code == 0, result.output
        return float(json.loads(result.stdout)["seconds"]["value"])

    assert seconds("raspberry-pi-5") > seconds("apple-laptop")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device-profile", "raspbery-pi-5"), ("no device profile", "raspberry-pi-5")),
        (("--target", "1.5"), ("target", "probability")),
        (("--threads", "0"), ("threads is 0", "between 1 and 1024")),
        (("--target", "nan"), ("target", "probability")),
        (("--task", " "), ("task",)),
        (("--deadline", "0s"), ("seconds", "greater than zero")),
        (("--energy", "-3"), ("joules", "greater than zero")),
        (("--energy", "inf"), ("joules", "infinite")),
        (("--memory", "0GB"), ("--memory",)),
        (("--strategy", "nothing"), ("no strategy",)),
        (("--runtime", "cuda"), ("cuda",)),
        (("--decode", "fast"), ("no decoding 'fast'",)),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    tiny_engine_bundle: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(run("plan", "Hi", "-m", str(tiny_engine_bundle), *arguments), *words)


def test_a_model_that_is_not_here_is_not_fetched() -> None:
    refused(run("plan", "Hi", "-m", "smollm2-135m-instruct"), "edgetts pull")
    refused(run("plan"), "prompt is empty")


# Units


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SECONDS, "5", 5.0),
        (SECONDS, "5s", 5.0),
        (SECONDS, " 500 ms ", 0.5),
        (SECONDS, "1.5min", 90.0),
        (JOULES, "20J", 20.0),
        (JOULES, "1.5kJ", 1500.0),
        (JOULES, "0.001Wh", 3.6),
        (MEGABYTES, "500", 500.0),
        (MEGABYTES, "2GB", 2000.0),
        (MEGABYTES, "1GiB", 1073.741824),
        (MEGABYTES, "1e3", 1000.0),
    ],
)
def test_quantities_have_units(kind: Quantity, text: str, value: float) -> None:
    assert kind.convert(text, None, None) == pytest.approx(value)


@given(text=st.text(max_size=80), kind=st.sampled_from([SECONDS, JOULES, MEGABYTES]))
def test_whatever_is_written_is_a_number_or_a_usage_error(text: str, kind: Quantity) -> None:
    try:
        assert isinstance(kind.convert(text, None, None), float)
    except click.BadParameter as error:
        assert len(error.message) < 300


@pytest.mark.parametrize(
    ("option", "value"), [("--deadline", "5J"), ("--energy", "5s"), ("--memory", "2 gold")]
)
def test_a_unit_of_something_else_is_a_usage_error_that_names_those_there_are(
    option: str, value: str
) -> None:
    result = run("ask", "Hi", option, value)
    assert result.exit_code == 2
    assert f"'{option}'" in result.stderr
    assert "known are" in result.stderr


# Predicted and actual


def test_ask_explains_what_was_predicted_and_what_came(
    tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, clock = StepTimes((1, 8), (0.1, 0.2), 100.0, "measured"), FakeClock()
    session = ScriptedSession([b"5", b"6", b"5"], clock=clock, times=times)
    engine = scripted_engine(tiny_tokenizer, session, clock=clock, times=times)
    monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: engine)
    result = run("ask", "Hello", "-n", "3", "--explain")
    assert result.exit_code == 0, result.output
    for words in ("predicted", "actual", "decided", "plan 3: 3 samples were asked for", "revised 0 times"):
        assert words in result.stderr
    [tokens] = [line for line in result.stderr.splitlines() if line.startswith("tokens")]
    assert tokens.split()[-2:] == ["6", "below"]


def test_inside_means_within_the_bounds_that_are_printed(tiny_tokenizer: Tokenizer) -> None:
    from dataclasses import replace

    answer: Answer = scripted_engine(tiny_tokenizer, ScriptedSession([b"5"])).answer("Hello")

    def said(low: float, high: float, actual: float) -> str:
        plan = replace(answer.plan, seconds=Interval((low + high) / 2, low, high, 0.9))
        made = replace(answer, plan=plan, usage=replace(answer.usage, seconds=actual))
        return next(line for line in compared_lines(made) if line.startswith("seconds")).split()[-1]

    assert said(1.0, 2.0, 1.5) == said(1.0, 2.0, 2.001) == "inside"
    assert said(1.0, 2.0, 0.9) == "below"
    assert said(1.0, 2.0, 2.1) == "above"
