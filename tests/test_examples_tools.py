"""The example with tools: what the model calls is run, and the model sees what it returned."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from examples_loading import EXAMPLES, example
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from tiny import tiny_architecture, write_tiny_gguf

import edgetts
from edgetts.export import convert
from edgetts.tokenizer import Tokenizer

pytest.importorskip("llguidance")
tools = example("tools")


def noon() -> datetime:
    return datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)


def call(name: str, arguments: str) -> bytes:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'.encode()


def agent(tokenizer: Tokenizer, *scripts: bytes) -> tuple[object, list[str], ScriptedSession]:
    told: list[str] = []
    session = ScriptedSession(scripts)
    return tools.Agent(scripted_engine(tokenizer, session), now=noon, tell=told.append), told, session


def test_calls_are_run_and_the_answer_follows(tiny_tokenizer: Tokenizer) -> None:
    made, told, _ = agent(
        tiny_tokenizer,
        b"I compute. " + call("calculate", '{"expression": "17 * (23 + 1)"}'),
        b"And the time: " + call("current_time", '{"hours_ahead_of_utc": -3}'),
        b"It is 408, at 9.",
    )
    assert made.ask("How much, and when?", free=True) == "It is 408, at 9."  # type: ignore[attr-defined]
    assert told[0].startswith("note: ")
    assert told[1:] == [
        'calculate({"expression": "17 * (23 + 1)"}) -> 408',
        'current_time({"hours_ahead_of_utc": -3}) -> Saturday, 28 November 2026, 09:00',
    ]


def test_who_calls_for_ever_is_stopped(tiny_tokenizer: Tokenizer) -> None:
    same = b"again " + call("calculate", '{"expression": "1/0"}')
    made, told, _ = agent(tiny_tokenizer, same, same, b"I give up.")
    assert made.ask("?", free=True) == "I give up."  # type: ignore[attr-defined]
    assert told[1:] == ['calculate({"expression": "1/0"}) -> error: division by zero'] * 2
    others = [call("calculate", f'{{"expression": "{i}"}}') for i in range(3)]
    made, told, _ = agent(tiny_tokenizer, *others, b"Enough.")
    assert made.ask("?", free=True, rounds=3) == "Enough."  # type: ignore[attr-defined]


def test_a_models_own_calls_can_be_run_even_if_it_knows_nothing(tmp_path: Path) -> None:
    arch = tiny_architecture("llama", context=4096)
    write_tiny_gguf(tmp_path / "source.gguf", arch=arch)
    bundle = convert(tmp_path / "source.gguf", tmp_path / "tiny.edge", quantize="fp32", cuts=None)
    told: list[str] = []
    with edgetts.load(bundle) as engine:
        tools.Agent(engine, now=noon, tell=told.append).ask("1 + 1?", rounds=1)
    # Weights are random, and still it calls something that there is, with arguments that can be run.
    assert len(told) == 2
    assert told[1].startswith(("calculate(", "current_time("))


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1+2*3", "7"),
        ("-(2**3)/4", "-2"),
        ("2**0.5", "1.41421356237"),
        ("+5", "5"),
        ("9**9**9**9", "error: "),
        ("1/0", "error: "),
        ("(", "error: "),
        ("()", "error: "),
        ("", "error: "),
    ],
)
def test_the_calculator(expression: str, result: str) -> None:
    assert tools.calculate(expression).startswith(result)


def test_a_model_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "tools.py"), "--model", str(tmp_path / "no.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
