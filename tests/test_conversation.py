"""A chat with history: what joins it, what is dropped when the context is full, and the file it is kept in."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

import edgetts
from edgetts.budget import Budget
from edgetts.chat import Message
from edgetts.conversation import Conversation, History, Turn, TurnsDropped
from edgetts.decoding.session import Branch, Cancellation, Logits
from edgetts.errors import (
    BundleVersionError,
    CorruptFile,
    InvalidInput,
    InvalidLogits,
    ModelNotFound,
    PromptTooLong,
    StorageError,
)
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer, Finished, SamplingParams, TextDelta

Chat = Callable[..., Conversation]


@pytest.fixture
def chat(tiny_tokenizer: Tokenizer) -> Chat:
    """Make a conversation with a model that says what the test wants."""

    def make(*scripts: bytes, context: int = 200_000, **options: Any) -> Conversation:
        session = ScriptedSession(scripts, context=context)
        return Conversation(scripted_engine(tiny_tokenizer, session, clock=session.clock), **options)

    return make


def said(history: History) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in history.messages()]


# Turns


def test_what_was_said_joins_the_history_to_the_letter(chat: Chat) -> None:
    talk = chat(b" Five. \n", "  Grüße €\n\n".encode(), system="Be brief.")
    assert talk.answer("2 + 3?").text == "  Five. \n"
    assert talk.answer(" and now ").text == "   Grüße €\n\n"
    assert said(talk.history) == [
        ("system", "Be brief."),
        ("user", "2 + 3?"),
        ("assistant", "  Five. \n"),
        ("user", " and now "),
        ("assistant", "   Grüße €\n\n"),
    ]
    assert [turn.complete for turn in talk.turns] == [True, True]


def test_each_turn_is_asked_with_all_before_it(chat: Chat, tiny_tokenizer: Tokenizer) -> None:
    talk = chat(b"one", b"two", system="S")
    first = talk.answer("A").usage.prompt_tokens
    second = talk.answer("B").usage.prompt_tokens
    assert first == talk.engine.count([Message("system", "S"), Message("user", "A")])
    assert second == talk.engine.count(talk.history.messages()[:-1])
    assert second > first
    assert talk.count() > second


def test_a_real_model_reads_the_history_and_only_once(tiny_engine_bundle: Path) -> None:
    sampling = SamplingParams(max_tokens=9)
    with edgetts.load(tiny_engine_bundle, measure=False) as engine:
        talk = Conversation(engine)
        first, second = [talk.answer(text, sampling=sampling) for text in ("Hello", "Go on")]
    assert second.usage.prompt_tokens > second.usage.cached_tokens >= first.usage.prompt_tokens
    assert talk.turns[0].finish_reason == "length"
    turns = [Message("user", "Hello"), Message("assistant", first.text), Message("user", "Go on")]
    with edgetts.load(tiny_engine_bundle, measure=False) as engine:
        assert engine.answer(turns, sampling=sampling).text == second.text


def test_events_are_those_of_the_engine(chat: Chat) -> None:
    events = list(chat(b"It is 5.").say("Well?"))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == " It is 5."
    assert isinstance(events[-1], Finished)


def test_keywords_reach_the_engine(chat: Chat) -> None:
    talk = chat(b"It is 5.", b"It is 6.", b"It is 5.")
    answer = talk.answer("Well?", budget=Budget(samples=3), answer_format="number")
    assert len(answer.samples) == 3
    assert answer.answer == "5"
    assert talk.turns[0].answer == answer.text
    with pytest.raises(InvalidInput, match="one system message"):
        talk.say("Well?", system="S")


def test_a_cancelled_answer_is_kept_as_far_as_it_came(chat: Chat) -> None:
    talk, cancel = chat(ENDLESS), Cancellation()
    answer = None
    for event in talk.say("Count", cancel=cancel):
        if isinstance(event, TextDelta):
            cancel.request()
        if isinstance(event, Finished):
            answer = event.answer
    assert answer is not None
    assert answer.text
    assert talk.turns == (Turn("Count", answer.text, "cancelled"),)
    assert not talk.turns[0].complete


def test_an_answer_that_is_left_unread_is_kept_as_far_as_it_was_read(chat: Chat) -> None:
    talk = chat(ENDLESS, b"done")
    events, seen = talk.say("Count"), ""
    while len(seen) < 5:
        event = next(events)
        seen += event.text if isinstance(event, TextDelta) else ""
    events.close()  # type: ignore[attr-defined]
    assert talk.turns == (Turn("Count", seen, "cancelled"),)
    assert talk.answer("And?").text == " done"
    assert len(talk.turns) == 2


def test_one_cancelled_before_it_began_leaves_no_turn(chat: Chat) -> None:
    talk, cancel = chat(ENDLESS), Cancellation()
    cancel.request()
    assert talk.answer("Count", cancel=cancel).text == ""
    assert talk.turns == ()


def test_an_answer_that_fails_leaves_the_chat_as_it_was(tiny_tokenizer: Tokenizer) -> None:
    class Broken(ScriptedSession):
        def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
            logits = super().step(branches, tokens)
            if len(self.widths) > 20:
                logits[:] = float("nan")
            return logits

    session = Broken([b"fine", ENDLESS, ENDLESS])
    talk = Conversation(scripted_engine(tiny_tokenizer, session))
    talk.answer("A")
    before = talk.history
    for _ in range(2):  # and says so again: nothing is left under way
        with pytest.raises(InvalidLogits):
            talk.answer("B")
        assert talk.history is before


def test_one_message_at_a_time(chat: Chat) -> None:
    talk = chat(b"one", b"two", b"three")
    first, second = talk.say("A"), talk.say("B")
    next(first)
    for change in (talk.reset, talk.undo, lambda: setattr(talk, "system", "S")):
        with pytest.raises(InvalidInput):
            change()
    with pytest.raises(InvalidInput, match="went on"):
        next(second)
    assert isinstance(list(first)[-1], Finished)
    with pytest.raises(InvalidInput, match="went on"):
        next(talk_said_before(talk))
    assert [turn.question for turn in talk.turns] == ["A"]


def talk_said_before(talk: Conversation) -> Any:
    events = talk.say("C")
    talk.system = "Changed."
    return events


@pytest.mark.parametrize("text", ["", "  \n", "half \ud83d", 5, None])
def test_what_cannot_be_said_is_refused_at_once(chat: Chat, text: Any) -> None:
    talk = chat()
    with pytest.raises(InvalidInput, match="message"):
        talk.say(text)
    with pytest.raises(InvalidInput, match="system message"):
        chat(system="" if text is None else text)


def test_turns_are_taken_back_and_forgotten(chat: Chat) -> None:
    talk = chat(b"one", b"two", system="S")
    with pytest.raises(InvalidInput, match="no turn"):
        talk.undo()
    talk.answer("A")
    talk.answer("B")
    assert talk.undo() == Turn("B", " two")
    assert [turn.question for turn in talk.turns] == ["A"]
    talk.reset()
    assert said(talk.history) == [("system", "S")]
    assert talk.count() == 0


def test_another_model_goes_on_with_the_chat(chat: Chat) -> None:
    talk, other = chat(b"one"), chat(b"two")
    talk.answer("A")
    talk.engine = other.engine
    assert talk.answer("B").text == " two"
    assert talk.turns == (Turn("A", " one"), Turn("B", " two"))


def test_the_program_of_the_newcomers_page_runs(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "assistant.md"
    program = page.read_text(encoding="utf-8").split("```python\n")[1].partition("```")[0]
    assert "Conversation(" in program
    talk = chat(b"Rayleigh.", b"The same.")
    monkeypatch.setattr("edgetts.engine.load", lambda: talk.engine)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "assistant.md", "exec"), {})  # noqa: S102 - our own document
    told = capsys.readouterr().out
    assert "> Why is the sky blue?\n Rayleigh.\n(0 of " in told
    assert "> And at sunset?\n The same.\n(" in told
    talk.load("lesson.json")
    assert [turn.question for turn in talk.turns] == ["Why is the sky blue?", "And at sunset?"]


# Coroutines


def test_coroutines_get_the_same(chat: Chat) -> None:
    async def both() -> Conversation:
        talk = chat(b"one", b"two")
        assert (await talk.aanswer("A")).text == " one"
        events = [event async for event in talk.asay("B")]
        assert isinstance(events[-1], Finished)
        return talk

    assert asyncio.run(both()).turns == (Turn("A", " one"), Turn("B", " two"))


def test_a_coroutine_that_leaves_early_keeps_what_came(chat: Chat) -> None:
    async def leave() -> Conversation:
        talk = chat(ENDLESS, b"two")
        events = talk.asay("A")
        async for event in events:
            if isinstance(event, TextDelta) and "0" in event.text:  # the script has begun
                break
        await events.aclose()
        assert (await talk.aanswer("B")).text == " two"
        return talk

    first, second = asyncio.run(leave()).turns
    assert first.finish_reason == "cancelled"
    assert first.answer
    assert second.complete


def test_leaving_early_leaves_the_callers_cancellation_as_it_is(chat: Chat) -> None:
    cancel = Cancellation()

    async def leave() -> None:
        events = chat(ENDLESS).asay("A", cancel=cancel)
        async for event in events:
            if isinstance(event, TextDelta):
                break
        await events.aclose()

    asyncio.run(leave())
    assert not cancel.requested, "it may be that of other answers, too"


def test_a_requested_cancellation_ends_what_a_coroutine_reads(chat: Chat) -> None:
    cancel = Cancellation()

    async def read() -> Answer:
        last: object = None
        async for event in chat(ENDLESS).asay("A", cancel=cancel):
            if isinstance(event, TextDelta):
                cancel.request()
            last = event
        assert isinstance(last, Finished)
        return last.answer

    assert asyncio.run(read()).stop_reason == "cancelled"


# A full context


def filled(talk: Conversation, turns: int) -> list[TurnsDropped]:
    dropped = []
    for at in range(turns):
        dropped += [e for e in talk.say(f"Question {at}") if isinstance(e, TurnsDropped)]
    return dropped


def test_the_oldest_turns_are_dropped_with_slack_and_told(chat: Chat) -> None:
    talk = chat(*[b"an answer of some words"] * 12, context=400, system="Be brief.", room=40)
    dropped = filled(talk, 12)
    assert 1 < len(dropped) < 6  # not at every turn
    for event in dropped:
        assert event.count > 1
        assert event.context == 400
        assert event.tokens + 40 <= 300
    assert talk.history.dropped == sum(event.count for event in dropped)
    assert len(talk.turns) == 12  # the caller still has them
    shown = said(talk.history)
    assert shown[0] == ("system", "Be brief.")
    assert shown[1] == ("user", f"Question {talk.history.dropped}")
    assert shown[-2] == ("user", "Question 11")
    assert talk.count() <= 400


def test_no_more_turns_are_dropped_than_it_takes(chat: Chat) -> None:
    talk = chat(*[b"an answer of some words"] * 12, context=400, room=40)
    for at in range(12):
        before = talk.history
        for event in talk.say(f"Question {at}"):
            if isinstance(event, TurnsDropped):
                one_less = before.dropping(event.count - 1).messages(f"Question {at}")
                assert talk.engine.count(one_less) + 40 > 300
                assert event.tokens == talk.engine.count(
                    before.dropping(event.count).messages(f"Question {at}")
                )


def test_a_long_question_keeps_what_fits_though_there_is_no_slack(chat: Chat) -> None:
    talk = chat(*[b"answer"] * 4, context=400, room=20)
    filled(talk, 3)
    [event] = [e for e in talk.say("x" * 300) if isinstance(e, TurnsDropped)]
    assert event.tokens > 300
    assert event.tokens + 20 <= 400
    assert event.count < 3


def test_a_full_context_is_refused_where_nothing_may_be_dropped(chat: Chat) -> None:
    talk = chat(*[b"an answer of some words"] * 12, context=400, room=40, when_full="refuse")
    with pytest.raises(PromptTooLong, match=r"context is full: .* holds 400.* Begin anew"):
        filled(talk, 12)
    before = talk.history
    assert before.dropped == 0
    with pytest.raises(PromptTooLong):
        talk.say("Question")
    assert talk.history is before
    talk.reset()
    assert talk.answer("Question").text


@pytest.mark.parametrize("when_full", ["drop", "refuse"])
def test_a_message_too_long_by_itself_is_refused(chat: Chat, when_full: str) -> None:
    talk = chat(b"one", b"two", context=200, system="S", when_full=when_full)
    talk.answer("A")
    before = talk.history
    with pytest.raises(PromptTooLong, match=r"The message has \d+ tokens with the system message.*Shorten"):
        talk.say("x" * 190)
    assert talk.history is before
    assert talk.answer("B").text == " two"


def test_room_is_what_an_answer_may_have(chat: Chat) -> None:
    def fits(**options: Any) -> int:
        """Find the longest message that is taken."""
        talk = chat(context=400, **{k: v for k, v in options.items() if k == "room"})
        asked = {k: v for k, v in options.items() if k == "sampling"}
        length = 0
        for step in (256, 128, 64, 32, 16, 8, 4, 2, 1):
            try:
                talk.say("x" * (length + step), **asked)
            except PromptTooLong:
                continue
            length += step
        return length

    usual = fits()
    assert fits(room=100) == usual  # a quarter
    assert fits(room=10) == usual + 90
    assert fits(sampling=SamplingParams(max_tokens=10)) == usual + 90
    assert fits(sampling=SamplingParams(max_tokens=1000)) == usual
    for room in (0, -1, 400):
        with pytest.raises(InvalidInput, match="room"):
            chat(context=400, room=room)
    with pytest.raises(InvalidInput, match="when_full"):
        chat(when_full="forget")


# Files


def test_a_chat_is_saved_and_goes_on(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    talk = chat(*["Grüße\n".encode()] * 12, context=400, system="Be brief.", room=40)
    filled(talk, 12)
    talk.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["chat.json"]
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    other = chat(b"on", context=400)
    assert other.load(file) == talk.engine.model
    assert other.history == talk.history
    other.answer("Go on")
    other.save(file)  # in its own place
    talk.load(file)
    assert talk.history == other.history
    body = json.loads(file.read_text(encoding="utf-8"))
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


def body(**changes: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "a", "finish_reason": "end"},
    ]
    whole = {"format": "edgetts-chat", "version": 1, "model": "m", "dropped": 0, "messages": messages}
    return {**whole, **changes}


def messages(at: int, **changes: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = body()["messages"]
    made[at] = {**made[at], **changes}
    return made


def test_what_the_hostile_files_are_made_of_is_sound(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(body()), encoding="utf-8")
    talk = chat()
    assert talk.load(file) == "m"
    assert talk.turns == (Turn("A", "a"),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"format": "edgetts-chat", "version": 1',
        b"{}",
        json.dumps({"format": "else"}).encode(),
        *[
            json.dumps(changed).encode()
            for changed in (
                body(version=0),
                body(version="1"),
                body(version=True),
                body(version=None),
                body(more=1),
                body(model=None),
                body(model="m" * 2000),
                body(dropped=-1),
                body(dropped=2),
                body(dropped=True),
                body(dropped=1e300),
                body(messages={}),
                body(messages=[1]),
                body(messages=body()["messages"][:2]),
                body(messages=body()["messages"][::-1]),
                body(messages=body()["messages"][:1] * 3),
                body(messages=messages(0, role="user")),
                body(messages=messages(1, role="system")),
                body(messages=messages(1, role=["user"])),
                body(messages=messages(1, content=None)),
                body(messages=messages(1, content="")),
                body(messages=messages(1, content="half \ud83d")),
                body(messages=messages(1, name="x")),
                body(messages=messages(2, content=["text"])),
                body(messages=messages(2, finish_reason="tired")),
                body(messages=messages(2, finish_reason=[])),
                body(messages=body()["messages"][1:] * 60_000),
            )
        ],
        b'{"format": "edgetts-chat", "version": 1, "model": "m", "dropped": NaN, "messages": []}',
        b" " * (17 << 20),
    ],
)
def test_hostile_files_are_one_sentence(chat: Chat, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "chat.json"
    file.write_bytes(content)
    talk = chat(b"one")
    talk.answer("A")
    before = talk.history
    with pytest.raises(CorruptFile) as caught:
        talk.load(file)
    assert len(str(caught.value)) < 600
    assert caught.value.hint
    assert talk.history is before


def test_a_file_of_another_version_says_so(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps({**body(version=2), "more": 1}), encoding="utf-8")
    with pytest.raises(BundleVersionError, match="version 2.*Update edgetts"):
        chat().load(file)


def test_what_is_no_file_is_not_waited_for(chat: Chat, tmp_path: Path) -> None:
    talk = chat()
    with pytest.raises(ModelNotFound, match="no chat to read"):
        talk.load(tmp_path / "none.json")
    with pytest.raises(ModelNotFound):
        talk.load(tmp_path)
    with pytest.raises(ModelNotFound):
        talk.load("a\0b")
    with pytest.raises(ModelNotFound):
        talk.load("x" * 5000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ModelNotFound, match="is no file"):
            talk.load(tmp_path / "pipe")


def test_a_chat_that_cannot_be_written_leaves_nothing(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = chat(b"one")
    talk.answer("A")
    for path in (tmp_path / "none" / "chat.json", tmp_path, "a\0b"):
        with pytest.raises(StorageError, match="cannot be written"):
            talk.save(path)
    file = tmp_path / "chat.json"
    talk.save(file)
    before = file.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    talk.reset()
    with pytest.raises(StorageError, match="No space left"):
        talk.save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["chat.json"]
    monkeypatch.undo()
    talk.history = History(None, (Turn("A", "x" * (17 << 20)),))
    with pytest.raises(StorageError, match="too long"):
        talk.save(file)
    assert file.read_bytes() == before
