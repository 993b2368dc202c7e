"""What an engine answers, streams and frees: with a model that says what the test wants, and with a real tiny one."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import CHAT_TEMPLATE, END, END_OF_TEXT

from edgetts import Answer, Budget, Cancellation, Message, SamplingParams
from edgetts.chat import ChatTemplate
from edgetts.control.success.model import Attempt
from edgetts.decoding.session import Branch, Logits
from edgetts.energy.state import Power
from edgetts.engine import Engine
from edgetts.errors import InvalidInput, InvalidLogits, OutOfMemory, PromptTooLong
from edgetts.interval import Interval
from edgetts.loading import open_engine
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DefaultBudget, DeviceProfile, PowerDraw, Processor
from edgetts.profiles.figure import Figure
from edgetts.tokenizer import Tokenizer
from edgetts.types import SPREAD_TEMPERATURE, Event, Finished, PlanMade, SampleDone, TextDelta

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def real(tiny_engine_bundle: Path) -> Iterator[Engine]:
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        yield engine


def run(tokenizer: Tokenizer, *scripts: bytes, stop: tuple[str, ...] = (), **budget: Any) -> list[Event]:
    session = ScriptedSession(scripts)
    engine = scripted_engine(tokenizer, session)
    sampling = SamplingParams(stop=stop, max_tokens=50)
    events = list(engine.stream("Hello", budget=Budget(samples=len(scripts), **budget), sampling=sampling))
    assert session.live == []
    return events


def answer_of(events: Sequence[Event]) -> Answer:
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Finished) for event in events) == 1
    return events[-1].answer


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# What is said


def test_one_sample_streams_plan_text_sample_and_answer_in_this_order(tiny_tokenizer: Tokenizer) -> None:
    events = run(tiny_tokenizer, b"42.")
    kinds = [type(event) for event in events]
    assert kinds == [PlanMade, TextDelta, TextDelta, TextDelta, TextDelta, SampleDone, Finished]
    answer = answer_of(events)
    assert answer.text == text_of(events) == " 42."
    assert (answer.answer, answer.confidence) == ("42", None)
    assert events[0] == PlanMade(answer.plan)
    assert events[-2] == SampleDone(answer.samples[0], 1, 1)


def test_of_several_samples_the_chosen_text_comes_once_at_the_end(tiny_tokenizer: Tokenizer) -> None:
    events = run(tiny_tokenizer, b"It is 5.", b"So it is 7.", b"That gives 7.")
    answer = answer_of(events)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert deltas == [TextDelta(answer.text, 1)]
    assert answer.text == " So it is 7."
    done = [event for event in events if isinstance(event, SampleDone)]
    assert [(event.done, event.planned) for event in done] == [(1, 3), (2, 3), (3, 3)]
    assert (answer.answer, answer.confidence) == ("7", pytest.approx(2 / 3))
    assert answer.confidence_source


def test_a_lone_sample_that_was_cut_has_only_an_answer_that_it_states(tiny_tokenizer: Tokenizer) -> None:
    for text, found in ((b"3 x 4 is 12 and then", None), (b"The answer is 12. Because", "12")):
        session = ScriptedSession([text + ENDLESS.replace(b"0", b"x")])
        answer = scripted_engine(tiny_tokenizer, session).answer(
            "Hello", sampling=SamplingParams(max_tokens=40)
        )
        assert answer.samples[0].finish_reason == "length"
        assert answer.answer == found


@QUIET
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    stop=st.lists(st.text(min_size=1, max_size=3), max_size=2),
)
def test_streamed_text_is_the_answer_whole_characters_cut_at_the_first_stop_string(
    tiny_tokenizer: Tokenizer, text: str, stop: list[str]
) -> None:
    session = ScriptedSession([text.encode()])
    events = list(
        scripted_engine(tiny_tokenizer, session).stream(
            "Hello", sampling=SamplingParams(stop=tuple(stop), max_tokens=500)
        )
    )
    answer = answer_of(events)
    whole = " " + text
    ends = [(whole.index(s) + len(s), whole.index(s)) for s in stop if s in whole]
    expected = whole[: min(ends)[1]] if ends else whole
    assert answer.text == text_of(events) == expected
    assert answer.samples[0].finish_reason == ("stop" if ends else "end")
    assert answer.stop_reason == "complete"
    assert session.live == []
    for event in events:
        if isinstance(event, TextDelta):
            assert event.text
            event.text.encode()


@pytest.mark.parametrize("stop", ["b", "bc", "c", "d!"])
def test_a_stop_string_ends_the_sample_and_is_not_part_of_it(tiny_tokenizer: Tokenizer, stop: str) -> None:
    answer = answer_of(run(tiny_tokenizer, b"abcd!efgh", stop=(stop,)))
    assert answer.text == " abcd!efgh".partition(stop)[0]
    assert answer.samples[0].finish_reason == "stop"
    # It ends with the token that completes the stop string: nothing is computed beyond it.
    assert len(answer.samples[0].tokens) == " abcd!efgh".index(stop) + len(stop)


def test_half_a_character_at_the_cap_becomes_a_replacement_character(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession(["é€".encode()])
    events = list(
        scripted_engine(tiny_tokenizer, session).stream("Hello", sampling=SamplingParams(max_tokens=4))
    )
    assert answer_of(events).text == text_of(events) == " é\N{REPLACEMENT CHARACTER}"


def test_a_stop_string_held_back_at_the_end_is_shown(tiny_tokenizer: Tokenizer) -> None:
    events = run(tiny_tokenizer, b"abc<", stop=("<<",))
    assert text_of(events) == answer_of(events).text == " abc<"
    assert answer_of(events).samples[0].finish_reason == "end"


def test_the_model_may_say_nothing_at_all(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b""])
    session.model.probabilities(())[ord(" ")] = 0.0  # type: ignore[index]
    session.model.probabilities(())[session.end] = 1.0  # type: ignore[index]
    answer = scripted_engine(tiny_tokenizer, session).answer("Hello")
    assert (answer.text, answer.samples[0].tokens, answer.stop_reason) == ("", (), "complete")
    assert answer.usage.time_to_first_token is None
    assert session.live == []


# How tokens are drawn


def test_without_a_temperature_one_sample_is_greedy_and_of_several_only_the_first(real: Engine) -> None:
    short = SamplingParams(max_tokens=12)
    alone = real.answer("Hi", sampling=short)
    several = real.answer("Hi", budget=Budget(samples=4), sampling=short)
    spread = real.answer(
        "Hi", budget=Budget(samples=4), sampling=SamplingParams(temperature=SPREAD_TEMPERATURE, max_tokens=12)
    )
    cold = real.answer("Hi", sampling=SamplingParams(temperature=0.0, max_tokens=12, seed=9))
    assert [s.greedy for s in alone.samples] == [True]
    assert [s.greedy for s in several.samples] == [True, False, False, False]
    assert several.samples[0].tokens == alone.samples[0].tokens == cold.samples[0].tokens
    assert len({s.tokens for s in several.samples}) == 4
    assert [s.tokens for s in spread.samples] == [s.tokens for s in several.samples]


def test_a_temperature_is_kept_for_a_lone_sample(real: Engine) -> None:
    warm = SamplingParams(temperature=1.5, max_tokens=12)
    answer = real.answer("Hi", sampling=warm)
    assert not answer.samples[0].greedy
    assert (
        answer.samples[0].tokens
        != real.answer("Hi", sampling=SamplingParams(max_tokens=12)).samples[0].tokens
    )


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(real: Engine) -> None:
    def samples(seed: int, count: int) -> list[tuple[int, ...]]:
        sampling = SamplingParams(temperature=1.0, max_tokens=12, seed=seed)
        return [s.tokens for s in real.answer("Hi", budget=Budget(samples=count), sampling=sampling).samples]

    assert samples(3, 4) == samples(3, 4)
    assert samples(3, 4)[1:] != samples(4, 4)[1:]
    # A sample is what its seed and number make it, however many there are.
    assert samples(3, 2) == samples(3, 4)[:2]


def test_log_probs_are_those_of_the_model_and_there_is_one_for_each_token(real: Engine) -> None:
    sample = real.answer("Hi", sampling=SamplingParams(max_tokens=6)).samples[0]
    assert len(sample.logprobs) == len(sample.tokens) == 6
    assert all(-20 < logprob < 0 for logprob in sample.logprobs)


# Limits


def test_an_empty_prompt_is_refused_at_the_call(real: Engine) -> None:
    for prompt in ("", " \n\t ", [], [Message("user", "  ")]):
        with pytest.raises(InvalidInput):
            real.stream(prompt)


def test_messages_that_are_none_are_refused_with_an_example(real: Engine) -> None:
    with pytest.raises(InvalidInput, match=r"Message\('user'"):
        real.stream([{"role": "user", "content": "Hello"}])  # type: ignore[list-item]


def test_a_prompt_longer_than_the_context_is_refused_at_the_call(real: Engine) -> None:
    context = real.session.info.context
    with pytest.raises(PromptTooLong, match=f"context holds {context}"):
        real.stream("x" * context)


def test_a_full_context_ends_a_sample(real: Engine) -> None:
    context = real.session.info.context
    template = len(real.tokenizer.encode("x", special=False))
    used = real.answer("x", sampling=SamplingParams(max_tokens=1)).usage.prompt_tokens - template
    for room in (1, 2, 5):
        answer = real.answer("x" * (context - used - room))
        assert answer.usage.prompt_tokens == context - room
        assert answer.plan.max_tokens == room
        [sample] = answer.samples
        if len(sample.tokens) == room:
            assert sample.finish_reason == "length"
        else:
            assert sample.finish_reason == "end"
    assert real.session.cache_bytes == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("samples", [1, 3])
def test_max_tokens_ends_samples(tiny_tokenizer: Tokenizer, samples: int) -> None:
    session = ScriptedSession([ENDLESS] * samples)
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "Hello", budget=Budget(samples=samples), sampling=SamplingParams(max_tokens=7)
    )
    assert {(len(s.tokens), s.finish_reason) for s in answer.samples} == {(7, "length")}
    assert answer.stop_reason == "complete"
    assert session.widths == [samples] * 6


def test_the_prompt_is_read_once_for_all_samples(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"5"] * 6)
    answer = scripted_engine(tiny_tokenizer, session).answer("Hello", budget=Budget(samples=6))
    assert answer.usage.samples == 6
    assert session.prefilled == answer.usage.prompt_tokens


def test_branches_stay_within_the_memory_allowed(tiny_tokenizer: Tokenizer) -> None:
    most = 0
    session = ScriptedSession([b"5" * (i + 1) for i in range(8)], context=400)

    def watch(passes: int) -> None:
        nonlocal most
        most = max(most, sum(b.length for b in session.live) * session.info.bytes_per_token)

    session.before_step = watch
    for megabytes in (0.006, 0.009, 0.02, 1):
        most = 0
        session._kept.clear()
        session._said.clear()
        limit = int(megabytes * 1e6)
        answer = scripted_engine(tiny_tokenizer, session).answer(
            "Hello",
            budget=Budget(samples=8, memory_bytes=limit),
            sampling=SamplingParams(max_tokens=300),
        )
        assert 0 < most <= limit
        assert answer.usage.samples == answer.plan.samples


# Interruptions


@pytest.mark.parametrize("samples", [1, 4])
def test_cancelling_keeps_what_there_is(tiny_tokenizer: Tokenizer, samples: int) -> None:
    session = ScriptedSession([ENDLESS] * samples)
    cancel = Cancellation()
    session.before_step = lambda passes: cancel.request() if passes == 9 else None
    events = list(
        scripted_engine(tiny_tokenizer, session).stream(
            "Hello", budget=Budget(samples=samples), cancel=cancel
        )
    )
    answer = answer_of(events)
    assert answer.stop_reason == "cancelled"
    # The pass under way is finished, and none comes after it.
    assert {(len(s.tokens), s.finish_reason) for s in answer.samples} == {(11, "cancelled")}
    assert answer.text == text_of(events) == " " + "0" * 10
    assert session.live == []


def test_what_was_cancelled_before_gives_an_empty_answer(tiny_tokenizer: Tokenizer, real: Engine) -> None:
    cancel = Cancellation()
    cancel.request()
    session = ScriptedSession([ENDLESS])
    for engine in (scripted_engine(tiny_tokenizer, session), real):
        answer = engine.answer("Hello", cancel=cancel)
        assert (answer.text, answer.samples, answer.stop_reason) == ("", (), "cancelled")
        json.dumps(answer.to_json(), allow_nan=False)
    assert session.live == []


class WaitingSession(ScriptedSession):
    """Reads a prompt until it is told to stop."""

    def prefill(self, tokens: Sequence[int], cancel: Any = None) -> tuple[Branch, Logits]:
        stopped = threading.Event()
        cancel.register(stopped.set)
        assert stopped.wait(30), "nobody stopped the prefill"
        cancel.unregister(stopped.set)
        return super().prefill(tokens, cancel)


def test_a_deadline_stops_the_reading_of_a_prompt(tiny_tokenizer: Tokenizer) -> None:
    session = WaitingSession([b"5"])
    answer = scripted_engine(tiny_tokenizer, session).answer("Hello", budget=Budget(seconds=0.01))
    assert (answer.stop_reason, answer.samples, session.live) == ("deadline", (), [])


def test_joules_stop_the_reading_of_a_prompt(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, WaitingSession([b"5"]))
    engine.know(device())
    answer = engine.answer("Hello", budget=Budget(joules=1.0))  # a twentieth of a second's
    assert (answer.stop_reason, answer.samples, answer.usage.generated_tokens) == ("joules", (), 0)


def test_cancelling_stops_the_reading_of_a_prompt(tiny_tokenizer: Tokenizer) -> None:
    session = WaitingSession([b"5"])
    cancel = Cancellation()
    timer = threading.Timer(0.01, cancel.request)
    timer.start()
    answer = scripted_engine(tiny_tokenizer, session).answer("Hello", cancel=cancel)
    assert (answer.stop_reason, answer.samples, session.live) == ("cancelled", (), [])
    timer.join()


def test_a_stream_closed_midway_frees_every_branch(tiny_tokenizer: Tokenizer) -> None:
    for wanted in range(12):
        session = ScriptedSession([b"5", ENDLESS, ENDLESS])
        stream = scripted_engine(tiny_tokenizer, session).stream(
            "Hello", budget=Budget(samples=3), sampling=SamplingParams(max_tokens=20)
        )
        for _ in range(wanted):
            next(stream, None)
        stream.close()  # type: ignore[attr-defined]
        assert session.live == []
    assert next(stream, None) is None


class BrokenSession(ScriptedSession):
    """Computes a wrong number in one logit of one row, at a given pass; pass -1 is the prompt's."""

    def __init__(self, scripts: Sequence[bytes], at: int, value: float) -> None:
        super().__init__(scripts)
        self.at, self.value = at, value

    def prefill(self, tokens: Sequence[int], cancel: Any = None) -> tuple[Branch, Logits]:
        branch, logits = super().prefill(tokens, cancel)
        if self.at < 0:
            logits[7] = self.value
        return branch, logits

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        logits = super().step(branches, tokens)
        if len(self.widths) > self.at:
            logits[-1, 7] = self.value
        return logits


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("at", [-1, 0, 5])
@pytest.mark.parametrize("samples", [1, 3])
def test_logits_that_are_no_numbers_are_an_error_and_free_every_branch(
    tiny_tokenizer: Tokenizer, samples: int, at: int, value: float
) -> None:
    session = BrokenSession([ENDLESS] * samples, at, value)
    with pytest.raises(InvalidLogits, match="export the model again"):
        scripted_engine(tiny_tokenizer, session).answer("Hello", budget=Budget(samples=samples))
    assert session.live == []


def test_after_an_error_the_next_call_is_as_if_nothing_had_been(real: Engine) -> None:
    before = real.answer("Hi", sampling=SamplingParams(max_tokens=8))
    with pytest.raises(PromptTooLong):
        real.answer("x" * 300)
    stream = real.stream("Hi", budget=Budget(samples=3))
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    after = real.answer("Hi", sampling=SamplingParams(max_tokens=8))
    assert after.samples == before.samples
    assert real.session.cache_bytes == 0  # type: ignore[attr-defined]


# The end of an engine


def maps(name: str) -> int:
    return Path("/proc/self/maps").read_text(encoding="utf-8").count(name)


def test_a_closed_engine_answers_nothing(tiny_engine_bundle: Path) -> None:
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        engine.answer("Hi", sampling=SamplingParams(max_tokens=2))
    with pytest.raises(InvalidInput, match="closed"):
        engine.answer("Hi")
    with pytest.raises(InvalidInput, match="closed"):
        engine.stream("Hi")
    engine.close()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_closing_an_engine_unmaps_the_weights(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.edge"
    copy.mkdir()
    for file in tiny_engine_bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    mark = f"{tmp_path.name}/copy.edge"
    engine = open_engine(copy, measure=False)
    engine.answer("Hi", sampling=SamplingParams(max_tokens=2))
    assert maps(mark) > 0
    engine.close()
    gc.collect()
    assert maps(mark) == 0


def test_an_engine_closed_during_an_answer_ends_it_with_an_error(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS])
    engine = scripted_engine(tiny_tokenizer, session)
    stream = engine.stream("Hello")
    next(stream)
    next(stream)
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        list(stream)


def test_a_stream_dropped_after_its_engine_was_closed_makes_no_noise(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([ENDLESS]))
    stream = engine.stream("Hello")
    next(stream)
    next(stream)
    engine.close()
    del stream  # an error in there would be a warning, and warnings are errors here
    gc.collect()


# What is reported


def test_an_answer_is_json_with_everything_that_was_promised(real: Engine) -> None:
    answer = real.answer("Hi", budget=Budget(samples=3, seconds=60), sampling=SamplingParams(max_tokens=5))
    body = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert {"text", "confidence", "samples", "plan", "usage", "stop_reason"} <= set(body)
    assert {
        "seconds",
        "prompt_tokens",
        "generated_tokens",
        "answer_tokens",
        "discarded_tokens",
        "time_to_first_token",
        "tokens_per_second",
        "peak_memory_bytes",
        "joules",
        "joules_source",
    } <= set(body["usage"])
    assert [len(s["tokens"]) for s in body["samples"]] == [len(s.tokens) for s in answer.samples]
    assert body["plan"]["samples"] == 3
    assert body["budget"] == {
        "seconds": 60,
        "samples": 3,
        "tokens": None,
        "memory_bytes": None,
        "joules": None,
    }
    assert body["model"] == "llama"


def test_usage_adds_up_on_a_clock_that_is_known(tiny_tokenizer: Tokenizer) -> None:
    clock = FakeClock()
    times = StepTimes((1, 8), (1.0, 1.0), 10.0, "measured")
    session = ScriptedSession([b"5" * 4, b"6" * 9, b"5" * 6], clock=clock, times=times)
    answer = scripted_engine(tiny_tokenizer, session, clock=clock, times=times).answer(
        "Hello", budget=Budget(samples=3)
    )
    usage = answer.usage
    assert usage.generated_tokens == sum(len(s.tokens) for s in answer.samples) == 5 + 10 + 7
    assert usage.answer_tokens + usage.discarded_tokens == usage.generated_tokens
    assert usage.time_to_first_token == pytest.approx(usage.prompt_tokens / 10)
    assert usage.seconds == pytest.approx(usage.prompt_tokens / 10 + 10)
    # Three tokens came with the first; the others in the ten passes after it.
    assert usage.tokens_per_second == pytest.approx((22 - 3) / 10)
    assert usage.peak_memory_bytes > 1_000_000
    assert (usage.joules, usage.joules_source) == (None, None)


def test_an_engine_learns_how_long_answers_are(tiny_tokenizer: Tokenizer) -> None:
    times = StepTimes((1, 8), (10.0, 80.0), 50.0, "measured")
    session = ScriptedSession([b"5"] * 200)
    engine = scripted_engine(tiny_tokenizer, session, times=times)
    budget = Budget(seconds=9000.0)
    first = engine.answer("Hello", budget=budget)
    for _ in range(8):
        later = engine.answer("Hello", budget=budget)
    assert later.plan.samples > first.plan.samples


def test_a_fork_that_does_not_fit_is_an_error_that_frees_the_prompt(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS] * 8, most_branches=4)
    with pytest.raises(OutOfMemory):
        scripted_engine(tiny_tokenizer, session).answer("Hello", budget=Budget(samples=8))
    assert session.live == []


# What the device and earlier answers say

WATTS = PowerDraw(Figure(2.0, "modelled"), Figure(12.0, "modelled"))
SLOW = StepTimes((1, 8), (10.0, 20.0), 50.0, "measured")


def device() -> DeviceProfile:
    table: dict[Any, Any] = {
        "balanced": {"mains": DefaultBudget(), "low": DefaultBudget(seconds=900.0, max_tokens=9)},
        "performance": {"mains": DefaultBudget(samples=4)},
        "saver": {"mains": DefaultBudget(joules=500.0)},
    }
    one = Figure(1e9, "modelled")
    return DeviceProfile("box", "A box", "modelled", one, Processor("box", 2, one, one), WATTS, None, table)


class Guess:
    """A success model that is surer of more samples, and notes what it was asked of."""

    task, provenance = "sums", "measured on 5 questions of sums"

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []

    def __call__(self, task: str | None, answer_format: str) -> Guess:
        self.asked.append((task, answer_format))
        return self

    def predict(self, attempt: Attempt) -> Interval:
        value = 0.6 if attempt.approach == "direct" else min(0.5 + 0.05 * attempt.samples, 0.9)
        return Interval(value, 0.0, 1.0, 0.9)


def informed(
    tokenizer: Tokenizer, *scripts: bytes, state: Any = "mains", template: str = CHAT_TEMPLATE
) -> tuple[Engine, ScriptedSession, Guess]:
    clock, guess = FakeClock(), Guess()
    session = ScriptedSession(scripts, clock=clock, times=SLOW)
    engine = Engine(
        session,
        tokenizer,
        ChatTemplate(template, bos_text=END_OF_TEXT, eos_text=END),
        times=SLOW,
        clock=clock,
        memory_free=lambda: 1 << 40,
        device=device(),
        success=guess,
        power=lambda: Power(state, "the test says so"),
    )
    return engine, session, guess


def test_without_limits_the_mode_and_the_state_of_the_device_say_what_may_be_spent(
    tiny_tokenizer: Tokenizer,
) -> None:
    engine, _, guess = informed(tiny_tokenizer, *[b"5"] * 20)
    usual = engine.answer("How many?")
    assert (usual.plan.samples, usual.plan.power) == (1, "balanced, mains: the test says so")
    assert guess.asked == []  # nothing to choose
    assert engine.answer("How many?", power="performance").plan.samples > 1
    low, _, _ = informed(tiny_tokenizer, ENDLESS, state="low")
    answer = low.answer("How many?")
    assert (answer.plan.max_tokens, answer.budget["seconds"]) == (9, 900.0)
    assert [(len(s.tokens), s.finish_reason) for s in answer.samples] == [(9, "length")]
    # Who sets a limit is not limited by the device's table.
    own = low.plan("How many?", budget=Budget(samples=3))
    assert (own.samples, own.max_tokens) == (3, 1024)


def test_joules_are_a_limit_where_the_watts_are_known(tiny_tokenizer: Tokenizer) -> None:
    engine, session, _ = informed(tiny_tokenizer, *[ENDLESS] * 20)
    answer = engine.answer("How many?", budget=Budget(joules=6000.0))
    assert answer.stop_reason == "joules"
    assert session.clock() - 1000.0 <= 6000 / 12 + 20
    assert answer.plan.joules is not None
    assert answer.plan.joules.high <= 6000
    saver = engine.plan("How many?", power="saver")
    assert saver.joules is not None
    assert saver.joules.high <= 500


def test_a_target_takes_as_many_samples_as_reach_it(tiny_tokenizer: Tokenizer) -> None:
    engine, _, guess = informed(tiny_tokenizer, *[b"5"] * 20)
    answer = engine.answer("How many?", target=0.7, task="sums", answer_format="number:km")
    # Costs are predicted over scenarios, in which one sample more may look as cheap.
    assert answer.plan.samples in (4, 5)
    assert answer.plan.success is not None
    assert 0.7 <= answer.plan.success.value < 0.8
    assert answer.plan.success_source == guess.provenance
    assert set(guess.asked) == {("sums", "number:km")}
    assert engine.plan("How many?", target=0.5).samples == 1


def test_what_cannot_be_aimed_for_is_refused_at_the_call(tiny_tokenizer: Tokenizer) -> None:
    engine, session, _ = informed(tiny_tokenizer, b"5")
    for wrong in (0.0, 1.0, -1.0, float("nan"), True, "much"):
        with pytest.raises(InvalidInput, match="target"):
            engine.stream("Hello", target=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no power mode 'full'"):
        engine.stream("Hello", power="full")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="task"):
        engine.stream("Hello", task=" ")
    plain = scripted_engine(tiny_tokenizer, ScriptedSession([b"5"]))
    with pytest.raises(InvalidInput, match="no device profile"):
        plain.stream("Hello", power="saver")
    assert session.prefilled == 0


def test_a_plan_is_what_an_answer_begins_with_and_computes_nothing(tiny_tokenizer: Tokenizer) -> None:
    engine, session, _ = informed(tiny_tokenizer, *[b"5"] * 20)
    asked: dict[str, Any] = {"budget": Budget(seconds=9000.0), "answer_format": "number"}
    plan = engine.plan("How many?", **asked)
    assert session.prefilled == 0
    [first, *_] = engine.stream("How many?", **asked)
    assert isinstance(first, PlanMade)
    assert (first.plan.samples, first.plan.width, first.plan.seconds) == (
        plan.samples,
        plan.width,
        plan.seconds,
    )
    assert len(plan.candidates) >= len(first.plan.candidates)
    engine.close()
    with pytest.raises(InvalidInput, match="closed"):
        engine.plan("How many?")


def test_a_thinking_model_in_a_hurry_is_asked_for_the_answer_alone(tiny_tokenizer: Tokenizer) -> None:
    thinking = CHAT_TEMPLATE + "{% if enable_thinking is defined and enable_thinking is false %}NO{% endif %}"
    first, _, _ = informed(tiny_tokenizer, *[b"5"] * 20, template=thinking)
    patient = first.answer("How many?", budget=Budget(seconds=1e6))
    assert patient.plan.approach == "reason"
    second, _, _ = informed(tiny_tokenizer, *[b"5"] * 20, template=thinking)
    hurried = second.answer("How many?", budget=Budget(seconds=400.0))
    assert hurried.plan.approach == "direct"
    more = hurried.usage.prompt_tokens - patient.usage.prompt_tokens
    assert more == len(tiny_tokenizer.encode("NO", special=False))
    assert "direct" in hurried.plan.candidates[0].what
    # A model that does not think, and was not measured so, is never asked for less.
    plain, _, _ = informed(tiny_tokenizer, b"5")
    assert plain.plan("How many?", budget=Budget(seconds=200.0)).approach == "reason"


def test_an_answer_tells_what_was_decided(tiny_tokenizer: Tokenizer) -> None:
    engine, _, _ = informed(tiny_tokenizer, b"5", b"6", b"7")
    answer = engine.answer("How many?", budget=Budget(samples=3))
    assert [one.kind for one in answer.decisions][:2] == ["plan", "start"]
    assert answer.decisions[-1].kind == "stop"
    assert [one.at for one in answer.decisions] == sorted(one.at for one in answer.decisions)
    json.dumps(answer.to_json(), allow_nan=False)


def test_a_plan_takes_the_arguments_of_an_answer(tiny_tokenizer: Tokenizer) -> None:
    engine, _, _ = informed(tiny_tokenizer, b"5")
    assert engine.plan("How many?", explain=False) == engine.plan("How many?")
