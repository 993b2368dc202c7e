"""Several threads share one engine: each gets what it would get alone, and stops without disturbing the others."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts import Budget, Cancellation, SamplingParams
from edgetts.engine import Engine
from edgetts.errors import InvalidInput
from edgetts.loading import open_engine
from edgetts.tokenizer import Tokenizer
from edgetts.types import Finished, SampleDone, TextDelta

QUESTIONS = ("Hi", "What is it?", "x" * 60, "the one and the other, and then again", "1 + 1", "Why")


@pytest.fixture(scope="module")
def shared(tiny_engine_bundle: Path) -> Iterator[Engine]:
    with open_engine(tiny_engine_bundle, measure=False) as engine:
        yield engine


def draw(engine: Engine, question: str, samples: int) -> list[tuple[tuple[int, ...], str]]:
    sampling = SamplingParams(temperature=1.0, max_tokens=20, seed=len(question))
    answer = engine.answer(question, budget=Budget(samples=samples), sampling=sampling, answer_format="none")
    return [(sample.tokens, sample.text) for sample in answer.samples]


@pytest.mark.parametrize("samples", [1, 3])
def test_threads_get_the_same_answers_as_alone(shared: Engine, samples: int) -> None:
    alone = {question: draw(shared, question, samples) for question in QUESTIONS}
    begin = threading.Barrier(len(QUESTIONS))

    def work(question: str) -> list[tuple[tuple[int, ...], str]]:
        begin.wait(30)
        return draw(shared, question, samples)

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        for _ in range(2):
            together = dict(zip(QUESTIONS, pool.map(work, QUESTIONS), strict=True))
            assert together == alone
    assert shared.session.cache_bytes == 0  # type: ignore[attr-defined]


def test_streams_taken_in_turns_by_one_thread_do_not_mix(shared: Engine) -> None:
    short = SamplingParams(max_tokens=10)
    alone = {question: shared.answer(question, sampling=short).text for question in QUESTIONS[:3]}
    streams = {question: shared.stream(question, sampling=short) for question in alone}
    texts = dict.fromkeys(alone, "")
    answers = {}
    while streams:
        for question, stream in list(streams.items()):
            event = next(stream)
            if isinstance(event, TextDelta):
                texts[question] += event.text
            if isinstance(event, Finished):
                answers[question] = event.answer.text
                del streams[question]
    assert texts == answers == alone


def test_another_thread_cancels(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS, b"5", ENDLESS])
    cancel = Cancellation()
    first_is_done = threading.Event()

    def wait_and_cancel() -> None:
        first_is_done.wait(30)
        cancel.request()

    thread = threading.Thread(target=wait_and_cancel)
    thread.start()
    engine = scripted_engine(tiny_tokenizer, session)
    # Were it never cancelled, it would end at the cap and say so.
    sampling = SamplingParams(max_tokens=100_000)
    for event in engine.stream("Hello", budget=Budget(samples=3), sampling=sampling, cancel=cancel):
        if isinstance(event, SampleDone) and event.done == 1:
            first_is_done.set()
            thread.join()
        if isinstance(event, Finished):
            answer = event.answer
    assert answer.stop_reason == "cancelled"
    assert [s.finish_reason for s in answer.samples] == ["cancelled", "end", "cancelled"]
    assert answer.answer == "5"
    assert session.live == []


def test_cancelling_one_answer_leaves_the_others(shared: Engine) -> None:
    alone = draw(shared, "Hi", 3)
    cancel = Cancellation()
    stream = shared.stream("What is it?", budget=Budget(samples=3), cancel=cancel)
    next(stream)
    cancel.request()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(draw, shared, "Hi", 3)
        *_, last = stream
        assert other.result(30) == alone
    assert isinstance(last, Finished)
    assert last.answer.stop_reason == "cancelled"


def test_one_cancellation_may_stop_several_answers(shared: Engine) -> None:
    cancel = Cancellation()
    streams = [shared.stream(question, cancel=cancel) for question in QUESTIONS]
    for stream in streams:
        next(stream)
    cancel.request()
    for stream in streams:
        *_, last = stream
        assert isinstance(last, Finished)
        assert last.answer.stop_reason == "cancelled"


def test_an_error_in_one_thread_is_its_own(shared: Engine) -> None:
    alone = draw(shared, "Hi", 3)
    with ThreadPoolExecutor(3) as pool:
        wrong = [pool.submit(draw, shared, question, 3) for question in ("", "x" * 400)]
        right = pool.submit(draw, shared, "Hi", 3)
        for future in wrong:
            assert isinstance(future.exception(30), InvalidInput)
        assert right.result(30) == alone


def test_closing_while_others_answer_ends_them_with_an_error_and_no_crash(tiny_engine_bundle: Path) -> None:
    engine = open_engine(tiny_engine_bundle, measure=False)
    begun = threading.Barrier(4)
    outcomes: list[BaseException | None] = []

    def work() -> None:
        try:
            for number, _ in enumerate(
                engine.stream("Hi", sampling=SamplingParams(max_tokens=200, temperature=1.0))
            ):
                if number == 1:
                    begun.wait(30)
        except InvalidInput as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    engine.close()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 3
    assert all(error is None or "closed" in str(error) for error in outcomes)
