"""Questions that share an engine: what was read is not read again, who waits is told, and coroutines give back what they hold."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)

from edgetts import Budget, Cancellation, Message, SamplingParams
from edgetts.answering.asynchronous import in_thread
from edgetts.chat import RawText
from edgetts.decoding.session import Branch, Logits
from edgetts.engine import Engine
from edgetts.errors import Busy, InvalidInput
from edgetts.loading import open_engine
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer, Finished, TextDelta

SHORT = SamplingParams(max_tokens=12)


@pytest.fixture
def keeping(tiny_engine_bundle: Path) -> Iterator[Engine]:
    with open_engine(tiny_engine_bundle, measure=False, kept_bytes=1 << 30, most_waiting=2) as engine:
        yield engine


# What was read before


def test_the_next_turn_of_a_chat_reads_only_what_is_new(keeping: Engine) -> None:
    turns = [Message("system", "Be kind."), Message("user", "Tell me of the one and the other, and why.")]
    first = keeping.answer(turns, sampling=SHORT)
    assert first.usage.cached_tokens == 0
    turns += [Message("assistant", first.text), Message("user", "Go on")]
    second = keeping.answer(turns, sampling=SHORT)
    assert second.usage.cached_tokens >= first.usage.prompt_tokens - 1
    assert keeping.traffic[0].cached == second.usage.cached_tokens


def test_answers_are_the_same_whether_their_prompt_was_there_already(
    keeping: Engine, tiny_engine_bundle: Path
) -> None:
    chat = [Message("user", "Tell me of the one and the other, and why it is."), Message("assistant", "So.")]
    with open_engine(tiny_engine_bundle, measure=False) as plain:
        for last in ("Go on", "And then?", "Why"):
            turns = [*chat, Message("user", last)]
            sampling = SamplingParams(temperature=1.0, seed=4, max_tokens=20)
            expected = plain.answer(turns, sampling=sampling, budget=Budget(samples=3))
            found = keeping.answer(turns, sampling=sampling, budget=Budget(samples=3))
            assert [s.tokens for s in found.samples] == [s.tokens for s in expected.samples]
    assert keeping.traffic[0].cached > 0


def test_an_engine_that_was_not_asked_to_keeps_nothing(tiny_engine_bundle: Path) -> None:
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        for _ in range(2):
            answer = engine.answer("Tell me of the one and the other, and why.", sampling=SHORT)
            assert answer.usage.cached_tokens == 0
        assert engine.session.cache_bytes == 0  # type: ignore[attr-defined]


# Who waits


class Held(ScriptedSession):
    """Its passes wait while the gate is shut."""

    def __init__(self, scripts: Sequence[bytes], **options: Any) -> None:
        super().__init__(scripts, **options)
        self.gate = threading.Event()

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        assert self.gate.wait(30)
        return super().step(branches, tokens)


def test_too_many_who_wait_are_refused(tiny_tokenizer: Tokenizer) -> None:
    session = Held([b"yes"] * 8)
    engine = scripted_engine(tiny_tokenizer, session, memory_free=3_000, most_waiting=1)
    asked = {"sampling": SamplingParams(max_tokens=200), "decode": "plain"}
    outcomes: list[Any] = []

    def ask() -> None:
        try:
            outcomes.append(engine.answer("Hi", **asked).text)  # type: ignore[arg-type]
        except Busy as error:
            outcomes.append(error)
            session.gate.set()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(str(outcome) for outcome in outcomes) == [
        " yes",
        " yes",
        "1 questions wait for the model already. Ask again later.",
    ]
    assert session.live == []


def test_a_deadline_ends_the_wait_for_a_place(tiny_tokenizer: Tokenizer) -> None:
    session = Held([b"yes"] * 8)
    engine = scripted_engine(tiny_tokenizer, session, memory_free=3_000, clock=time.perf_counter)
    first: list[Answer] = []
    sampling = SamplingParams(max_tokens=200)
    thread = threading.Thread(target=lambda: first.append(engine.answer("Hi", sampling=sampling)))
    thread.start()
    while not engine.traffic or not engine.traffic[0].branches:
        time.sleep(0.001)
    late = engine.answer("Hi", sampling=sampling, budget=Budget(seconds=0.05))
    assert late.stop_reason == "deadline"
    assert late.samples == ()
    session.gate.set()
    thread.join(30)
    assert first[0].text == " yes"


def test_a_wrong_priority_is_refused(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"yes"]))
    with pytest.raises(InvalidInput, match=r"There is no priority 'later'"):
        engine.answer("Hi", priority="later")  # type: ignore[arg-type]


# Several answers of their own


def test_independent_samples_are_streamed_each(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"one", b"two", b"three"])
    engine = scripted_engine(tiny_tokenizer, session)
    texts: dict[int, str] = {}
    sampling = SamplingParams(temperature=1.0)
    for event in engine.stream(
        "Hi", strategy="independent", budget=Budget(samples=3), sampling=sampling, decode="plain"
    ):
        if isinstance(event, TextDelta):
            texts[event.sample] = texts.get(event.sample, "") + event.text
        if isinstance(event, Finished):
            answer = event.answer
    assert texts == {0: " one", 1: " two", 2: " three"}
    assert [sample.text for sample in answer.samples] == [" one", " two", " three"]
    assert not any(sample.greedy for sample in answer.samples)
    assert answer.text in texts.values()
    assert session.prefilled == answer.usage.prompt_tokens, "one prefill for all"


def test_a_text_is_continued_as_it_stands(keeping: Engine) -> None:
    raw = keeping.answer(RawText("Once upon a time"), sampling=SHORT)
    assert raw.usage.prompt_tokens == len(keeping.tokenizer.encode("Once upon a time", special=False)) + (
        keeping.tokenizer.facts.bos is not None and keeping.tokenizer.facts.add_bos
    )
    with pytest.raises(InvalidInput, match="continued as it stands"):
        keeping.answer(RawText("Once"), system="Be kind.")


# Coroutines


def test_coroutines_share_the_engine_while_the_loop_goes_on(keeping: Engine) -> None:
    async def main() -> list[str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        answers = await asyncio.gather(*(keeping.aanswer(f"Say {i}", sampling=SHORT) for i in range(2)))
        ticking.cancel()
        assert ticks > 2
        return [answer.text for answer in answers]

    alone = [keeping.answer(f"Say {i}", sampling=SHORT).text for i in range(2)]
    assert asyncio.run(main()) == alone


def test_who_leaves_an_async_stream_frees_what_it_held(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS])
    engine = scripted_engine(tiny_tokenizer, session)
    cancel = Cancellation()

    async def main() -> None:
        async with aclosing(engine.astream("Hi", cancel=cancel)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break

    asyncio.run(main())
    assert not cancel.requested, "it may be that of other answers, which go on"
    assert session.live == []
    assert engine.traffic[0].foreground == 0


def test_what_was_asked_for_ends_by_the_cancellation_that_came_with_it(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([ENDLESS]))
    cancel = Cancellation()

    async def main() -> Answer:
        async for event in engine.astream("Hi", cancel=cancel):
            if isinstance(event, TextDelta):
                cancel.request()
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError

    assert asyncio.run(main()).stop_reason == "cancelled"


def test_who_does_not_read_keeps_no_place(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"0" * 300])
    engine = scripted_engine(tiny_tokenizer, session)

    async def main() -> None:
        async with aclosing(engine.astream("Hi", decode="plain")) as events:
            await anext(events)
            end = time.monotonic() + 30
            while not engine.traffic or engine.traffic[0].foreground or len(session.widths) < 300:
                assert time.monotonic() < end
                await asyncio.sleep(0.001)
            assert session.live == []

    asyncio.run(main())


class Slow(ScriptedSession):
    """Its passes take a moment, so that others wait meanwhile."""

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        time.sleep(0.002)
        return super().step(branches, tokens)


def test_what_is_behind_can_be_cancelled_though_what_is_ahead_goes_on(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, Slow([ENDLESS] * 3), clock=time.perf_counter)
    stop, cancel = Cancellation(), Cancellation()
    ahead = threading.Thread(target=lambda: engine.answer("Hi", cancel=stop, decode="plain"))
    answers: list[Answer] = []

    def ask() -> None:
        for event in engine.stream("Hi", priority="background", cancel=cancel, decode="plain"):
            if isinstance(event, TextDelta) and not ahead.is_alive():
                ahead.start()
            if isinstance(event, Finished):
                answers.append(event.answer)

    behind = threading.Thread(target=ask)
    behind.start()
    try:
        end = time.monotonic() + 30
        while not engine.traffic or engine.traffic[0].foreground < 1:
            assert time.monotonic() < end
            time.sleep(0.001)
        cancel.request()
        behind.join(30)
        assert not behind.is_alive()
        assert ahead.is_alive(), "it still goes on"
        assert answers[0].stop_reason == "cancelled"
        assert " 00000".startswith(answers[0].text[:6]), "what there was by then"
        assert answers[0].text
    finally:
        stop.request()
        ahead.join(30)
    assert engine.traffic[0].branches == 0


def test_a_cancelled_task_ends_its_answer(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS])
    engine = scripted_engine(tiny_tokenizer, session)

    async def main() -> None:
        task = asyncio.create_task(engine.aanswer("Hi"))
        while not session.live:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.live == []

    asyncio.run(main())


def test_an_error_is_raised_where_it_is_waited_for(keeping: Engine) -> None:
    async def main() -> None:
        with pytest.raises(InvalidInput, match=r"^The prompt is empty\."):
            await keeping.aanswer(" ")

    asyncio.run(main())


def test_a_slow_reader_holds_up_the_thread_and_not_the_memory() -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        for number in range(1000):
            made = number
            yield number

    async def main() -> None:
        async with aclosing(in_thread(count, Cancellation(), ahead=8)) as values:
            assert await anext(values) == 0
            await asyncio.sleep(0.05)
            assert made <= 12
            assert [await anext(values) for _ in range(20)] == list(range(1, 21))

    asyncio.run(main())


def test_a_plan_knows_what_need_not_be_read(keeping: Engine) -> None:
    question = "Tell me of the one and the other, and why they are what they are. " * 4
    before = keeping.plan(question, sampling=SHORT)
    keeping.answer(question, sampling=SHORT)
    after = keeping.plan(question, sampling=SHORT)
    assert before.seconds is not None
    assert after.seconds is not None
    assert after.seconds.value < before.seconds.value


def test_a_bias_for_a_token_that_is_not_there_is_refused_before_anything_is_read(keeping: Engine) -> None:
    vocab = keeping.session.info.vocab
    with pytest.raises(
        InvalidInput, match=rf"^logit_bias names the token {vocab}, but the model has {vocab}\."
    ):
        keeping.answer("Hi", sampling=SamplingParams(logit_bias=((vocab, 1.0),)))
    assert keeping.traffic == ()
