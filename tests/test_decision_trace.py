"""A trace of an answer, written while it is computed, leads the controller to the same decisions again."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes_engine import FakeClock, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.cli import main
from edgetts.decoding.session import Capabilities
from edgetts.engine import Engine
from edgetts.errors import EdgettsError, InvalidInput
from edgetts.profiles.curves import StepTimes
from edgetts.replay.checking import check
from edgetts.replay.trace import AnswerTrace
from edgetts.replay.trace_reading import read_traces
from edgetts.replay.tracing import DecisionTrace
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer, SamplingParams

TIMES = StepTimes((1, 4, 16), (0.01, 0.02, 0.05), 1000.0, "measured", "2026-11-28", spread=0.05)
MODEST = settings(
    max_examples=25,
    deadline=None,
    # What fails is an answer of hundreds of passes: to shrink it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def jitter(seed: int, *, slow_after: int = 1 << 30) -> Iterator[float]:
    """How many times longer than the curve each pass takes; twice as long from some pass on."""
    rng = random.Random(seed)  # noqa: S311
    passes = 0
    while True:
        passes += 1
        yield rng.uniform(0.9, 1.2) * (2.0 if passes > slow_after else 1.0)


def said(number: int, length: int) -> bytes:
    """A text of about so many tokens that states a number, which the first byte begins."""
    end = f" The answer is {number}.".encode()
    return b"x" * max(0, length - len(end)) + end


def engine(
    tokenizer: Tokenizer, scripts: list[bytes], load: Iterator[float] | None = None, **more: Any
) -> Engine:
    clock = FakeClock()
    session = ScriptedSession(scripts, clock=clock, times=TIMES, load=load, **more)
    return scripted_engine(tokenizer, session, clock=clock, times=TIMES)


def traced(model: Engine, path: Path, *, text: bool = False, **asked: Any) -> tuple[Answer, AnswerTrace]:
    trace = DecisionTrace(path, text=text)
    answer = model.answer("what?", watcher=trace, **asked)
    trace.close()
    assert trace.trouble is None
    return answer, read_traces(path)[-1]


@MODEST
@given(
    lengths=st.lists(st.integers(20, 150), min_size=16, max_size=16),
    answers=st.lists(st.integers(1, 3), min_size=16, max_size=16),
    budget=st.one_of(
        st.just({"samples": 6}),
        st.floats(0.4, 6.0).map(lambda seconds: {"seconds": seconds}),
        st.integers(30, 900).map(lambda tokens: {"tokens": tokens}),
        st.floats(0.4, 4.0).map(lambda seconds: {"seconds": seconds, "samples": 12}),
    ),
    strategy=st.sampled_from(
        [
            None,
            "self_consistency:stop=none",
            "self_consistency:stop=posterior:0.8",
            "self_consistency:prune=too-long:0.5",
            "adaptive",
        ]
    ),
    slow_after=st.sampled_from([5, 40, 1 << 30]),
    seed=st.integers(0, 1000),
)
def test_the_decisions_of_an_answer_are_made_again(
    tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    answers: list[int],
    budget: dict[str, Any],
    strategy: str | None,
    slow_after: int,
    seed: int,
) -> None:
    scripts = [said(n, length) for n, length in zip(answers, lengths, strict=True)]
    model = engine(tiny_tokenizer, scripts, jitter(seed, slow_after=slow_after))
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    answer, trace = traced(model, path, budget=Budget(**budget), strategy=strategy)
    assert trace.decisions == answer.decisions
    assert {one.kind for one in trace.decisions} >= {"plan"}
    again = check(trace)
    assert again.trouble == ""
    assert again.differs is None
    assert [
        (one.kind, one.at, one.samples, one.count, one.tokens, one.reason) for one in again.decisions
    ] == [(one.kind, one.at, one.samples, one.count, one.tokens, one.reason) for one in trace.decisions]
    assert again.stop == answer.stop_reason


def test_answers_of_one_file_are_checked_one_by_one(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for seconds in (0.5, 2.0):
        model = engine(tiny_tokenizer, [said(7, 60)] * 16, jitter(3))
        traced(model, path, budget=Budget(seconds=seconds))
    ran = CliRunner().invoke(main, ["replay", str(path)])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("decisions are the same") == 2


def test_a_trace_that_was_tampered_with_is_found_out(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    model = engine(tiny_tokenizer, [said(7, 120)] * 16, jitter(3, slow_after=20))
    traced(model, path, budget=Budget(seconds=1.5))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # Had the deadline been half as long, it would have been decided otherwise.
    lines[0]["budget"]["seconds"] = 0.75
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = CliRunner().invoke(main, ["replay", str(path), "--json"])
    assert ran.exit_code == 1, ran.output
    [found] = json.loads(ran.output)["answers"]
    assert not found["same"]
    assert found["differs"] is not None or found["trouble"]


def test_a_drafted_sample_is_replayed_by_the_tokens_of_each_pass(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    script = b"ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab"
    model = engine(tiny_tokenizer, [script], jitter(1), capabilities=Capabilities(tolerance=0.0))
    answer, trace = traced(model, tmp_path / "trace.jsonl", decode="speculative")
    assert any(one.drawn > 1 for one in trace.passes if one.width)
    assert len(trace.passes) < len(answer.samples[0].tokens)
    assert check(trace).same


@pytest.mark.parametrize("seconds", [1.0, 3.0, 9.0])
def test_a_deadline_that_cuts_a_drafted_sample_is_met_again(
    tiny_tokenizer: Tokenizer, tmp_path: Path, seconds: float
) -> None:
    draw = random.Random(3)  # noqa: S311
    script = bytes(draw.choice(b"abcdefgh") for _ in range(6000))
    model = engine(tiny_tokenizer, [script], jitter(1), capabilities=Capabilities(tolerance=0.0))
    budget = Budget(seconds=seconds, samples=1)
    answer, trace = traced(model, tmp_path / "trace.jsonl", decode="speculative", budget=budget)
    assert answer.stop_reason == "deadline"
    assert any(one.widest > 1 for one in trace.passes)
    assert check(trace).same


def test_stop_strings_and_limits_are_replayed(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = engine(tiny_tokenizer, [b"one STOP two", b"a" * 90, b"b" * 90, b"c STOP d"], jitter(1))
    sampling = SamplingParams(stop=("STOP",), max_tokens=30)
    answer, trace = traced(
        model, tmp_path / "trace.jsonl", budget=Budget(samples=4, tokens=200), sampling=sampling
    )
    assert {one.finish_reason for one in answer.samples} == {"stop", "length"}
    assert check(trace).same


def test_no_text_of_the_prompt_is_written_unless_it_is_asked_for(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    private = "the combination is four two nine"
    for text, name in ((False, "without.jsonl"), (True, "with.jsonl")):
        trace = DecisionTrace(tmp_path / name, text=text)
        engine(tiny_tokenizer, [said(7, 40)] * 2).answer(
            private, budget=Budget(samples=2), sampling=SamplingParams(stop=("combination",)), watcher=trace
        )
        trace.close()
        assert (private in (tmp_path / name).read_text()) is text
    assert "combination" not in (tmp_path / "without.jsonl").read_text()


def test_another_policy_is_shown_on_the_samples_of_a_trace(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    scripts = [said(n, 40) for n in (5, 7, 7, 5, 7, 7)]
    traced(
        engine(tiny_tokenizer, scripts), path, budget=Budget(samples=6), strategy="self_consistency:stop=none"
    )
    specs = ["self_consistency:stop=none@1", "self_consistency:stop=none@6", "self_consistency:stop=none@9"]
    arguments = [part for spec in specs for part in ("--policy", spec)]
    ran = CliRunner().invoke(main, ["replay", str(path), *arguments, "--json"])
    assert ran.exit_code == 0, ran.output
    [found] = json.loads(ran.output)["answers"]
    one, six, nine = found["outcomes"]
    assert (one["answer"], one["samples"]) == ("5", 1)
    assert (six["answer"], six["samples"], six["short"]) == ("7", 6, False)
    assert (nine["answer"], nine["samples"], nine["short"]) == ("7", 6, True)
    assert 0 < one["seconds"] < six["seconds"]


def test_what_a_killed_writer_left_is_read_and_gone_on_with(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "trace.jsonl"
    traced(engine(tiny_tokenizer, [said(7, 40)] * 4), path, budget=Budget(samples=4))
    whole = path.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole), 97):
        path.write_bytes(whole[:size])
        [trace] = read_traces(path)
        assert check(trace).same
    path.write_bytes(whole + whole[:50])
    traced(engine(tiny_tokenizer, [said(7, 40)] * 4), path, budget=Budget(samples=4))
    assert len(read_traces(path)) == 2


def test_another_file_is_not_written_to(tmp_path: Path) -> None:
    for content in (b"my diary, without a last line end", b'{"kind": "header"}\n'):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="no decision trace"):
            DecisionTrace(path)
        assert path.read_bytes() == content
    with pytest.raises(EdgettsError):
        DecisionTrace(tmp_path / "no" / "directory")


def test_a_disk_that_fails_ends_the_trace_and_not_the_answer(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    trace = DecisionTrace(tmp_path / "trace.jsonl")
    assert not trace.path.exists()
    # What cannot be opened when the answer begins: something took the name meanwhile.
    trace.path.mkdir()
    answer = engine(tiny_tokenizer, [said(7, 40)] * 2).answer(
        "what?", budget=Budget(samples=2), watcher=trace
    )
    assert answer.answer == "7"
    assert trace.trouble is not None
    assert "trace.jsonl" in str(trace.trouble)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_hostile_trace_is_refused_in_a_sentence_or_replayed(
    data: st.DataObject, tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "trace.jsonl"
    scripts = [said(7, 30), said(8, 60), said(7, 50), said(8, 40)]
    traced(engine(tiny_tokenizer, scripts), path, budget=Budget(samples=4, seconds=3.0))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    at = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["change", "inner", "drop", "double", "swap", "unknown", "rename"]))
    if how == "change":
        lines[at][data.draw(st.sampled_from(sorted(lines[at])))] = data.draw(JUNK)
    elif how == "inner":
        inner = [key for key, value in lines[at].items() if isinstance(value, dict | list) and value]
        if inner:
            body = lines[at][data.draw(st.sampled_from(inner))]
            where = data.draw(st.sampled_from(sorted(body) if isinstance(body, dict) else range(len(body))))
            body[where] = data.draw(JUNK)
    elif how == "drop":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    elif how == "swap":
        lines[at], lines[at - 1] = lines[at - 1], lines[at]
    elif how == "unknown":
        lines[at]["surprise"] = data.draw(JUNK)
    else:
        lines[at]["kind"] = data.draw(JUNK)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = CliRunner().invoke(main, ["replay", str(path)])
    assert ran.exit_code in (0, 1, 2), ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception


def test_options_that_say_nothing_of_a_trace_are_refused(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    traced(engine(tiny_tokenizer, [said(7, 40)] * 2), path, budget=Budget(samples=2))
    for words in (["--deadline", "1"], ["--load", "throttle"], ["--orders", "4"], ["--split", "tune"]):
        ran = CliRunner().invoke(main, ["replay", str(path), *words])
        assert (ran.exit_code, words[0] in ran.output) == (2, True), ran.output
