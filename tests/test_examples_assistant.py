"""The assistant example: the right passage is found, the source is named, and what is not known is said to be."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from examples_loading import example
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from tiny import CHAT_TEMPLATE, END, END_OF_TEXT

from edgetts.chat import ChatTemplate
from edgetts.engine import Engine
from edgetts.errors import InvalidInput, MissingExtra
from edgetts.tokenizer import Tokenizer

assistant = example("assistant")

QUESTIONS = [
    ("How high is the lighthouse of Orrin Point?", "lighthouse.txt", "41"),
    ("When was the lighthouse of Orrin Point lit for the first time?", "lighthouse.txt", "1873"),
    ("What does a ticket of the ferry cost?", "ferry.txt", "7"),
    ("How many kinds of plants grow in the physic garden?", "garden.txt", "two hundred"),
    ("What did Ansel Ferreira discover?", "observatory.txt", "comet"),
]
MORE = [
    ("Who conducts the miners' choir?", "choir.txt"),
    ("Where is the spare toner?", "printer.txt"),
    ("How fast was Ivo Castellane?", "marathon.txt"),
    ("What are the cars of the cliff railway called?", "railway.txt"),
    ("When does Halloran's bakery open?", "bakery.txt"),
    ("How much honey does a hive give?", "beekeeping.txt"),
]
UNKNOWN = ["What is the capital of Mongolia?", "Who was the first person on the moon?", "the of and", "?!"]


@pytest.fixture(scope="module")
def library() -> object:
    return assistant.Library(assistant.read_folder(assistant.LIBRARY))


@pytest.fixture
def engine_that_says(tiny_tokenizer: Tokenizer) -> Callable[..., tuple[Engine, ScriptedSession]]:
    def make(*texts: str, kept_bytes: int = 0) -> tuple[Engine, ScriptedSession]:
        session = ScriptedSession([text.encode() for text in texts])
        template = ChatTemplate(CHAT_TEMPLATE, bos_text=END_OF_TEXT, eos_text=END)
        return (
            Engine(session, tiny_tokenizer, template, memory_free=lambda: 1 << 40, kept_bytes=kept_bytes),
            session,
        )

    return make


@pytest.mark.parametrize(("question", "file"), [*((q, file) for q, file, _ in QUESTIONS), *MORE])
def test_the_right_passage_is_found(library: object, question: str, file: str) -> None:
    found = library.find(question, 2)  # type: ignore[attr-defined]
    assert found[0].passage.file == file
    assert found[0].coverage >= assistant.LEAST_COVERAGE
    assert found[0].score == max(one.score for one in found)


@pytest.mark.parametrize("question", UNKNOWN)
def test_what_the_library_does_not_speak_of_is_not_asked(
    library: object, question: str, engine_that_says: Callable[..., tuple[Engine, ScriptedSession]]
) -> None:
    engine, session = engine_that_says("Ulan Bator")
    reply = assistant.Assistant(engine, library).ask(question)
    assert (reply.known, reply.answer, reply.sources) == (False, assistant.UNKNOWN, ())
    assert session.widths == []


def test_an_answer_names_its_source_and_quotes_it(
    library: object, engine_that_says: Callable[..., tuple[Engine, ScriptedSession]]
) -> None:
    engine, _ = engine_that_says("A ticket costs 7 crowns.")
    reply = assistant.Assistant(engine, library).ask("What does a ticket of the ferry cost?")
    assert reply.known
    assert reply.answer == "A ticket costs 7 crowns."
    assert reply.sources[0].passage.file == "ferry.txt"
    assert reply.quote.startswith("A ticket costs 7 crowns one way")
    shown = assistant.written(reply)
    assert "Source: ferry.txt" in shown
    assert "A ticket costs 7 crowns one way" in shown


@pytest.mark.parametrize("said", ["Zebras adore jazz.", "", "I cannot tell you that."])
def test_an_answer_that_is_not_from_the_texts_is_withheld(
    library: object, engine_that_says: Callable[..., tuple[Engine, ScriptedSession]], said: str
) -> None:
    engine, _ = engine_that_says(said)
    reply = assistant.Assistant(engine, library).ask("What does a ticket of the ferry cost?")
    assert not reply.known
    assert reply.answer.startswith(assistant.DOUBTFUL)
    assert "Nearest: ferry.txt" in assistant.written(reply)


def test_later_questions_read_less(
    library: object, engine_that_says: Callable[..., tuple[Engine, ScriptedSession]]
) -> None:
    engine, _ = engine_that_says(*["It is 41 metres high."] * 3, kept_bytes=1 << 30)
    asked = assistant.Assistant(engine, library)
    first, same, other = (asked.ask(QUESTIONS[at][0]).usage for at in (0, 1, 2))
    assert first.cached_tokens == 0
    # The instructions are shared at least, and the passage where it is the same; a tiny token is a byte or two.
    assert other.cached_tokens > len(assistant.SYSTEM) / 2
    assert same.cached_tokens > other.cached_tokens + 200
    assert same.prompt_tokens > same.cached_tokens


def test_texts_are_split_into_whole_paragraphs() -> None:
    text = "Title\n\n" + "\n\n".join(f"{name} " * 50 for name in ("one", "two", "three"))
    parts = assistant.passages_of("a.txt", text)
    assert [(part.title, part.text.split()[0], len(part.text.split())) for part in parts] == [
        ("Title", "one", 100),
        ("Title", "three", 50),
    ]
    assert [part.text for part in assistant.passages_of("a.txt", "just a line")] == ["just a line"]
    assert assistant.passages_of("a.txt", " \n \n") == []


@pytest.mark.parametrize("content", [None, b"", b"caf\xe9", b"x" * 1_000_001, b"the of and"])
def test_folders_without_texts_are_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "picture.png").write_bytes(b"\x00")
    with pytest.raises(InvalidInput):
        assistant.Library(assistant.read_folder(tmp_path))
    with pytest.raises(InvalidInput):
        assistant.read_folder(tmp_path / "nowhere")


def test_without_bm25s_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[search\]"):
        assistant.Library(assistant.read_folder(assistant.LIBRARY))


def test_questions_are_piped_and_replies_are_objects(
    engine_that_says: Callable[..., tuple[Engine, ScriptedSession]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine, _ = engine_that_says("It is 41 metres high.")
    monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: engine)
    monkeypatch.setattr("sys.argv", ["assistant.py", "--json"])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTIONS[0][0]}\n\n{UNKNOWN[0]}\n"))
    assistant.main()
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["known"] is True
    assert first["sources"][0]["passage"]["file"] == "lighthouse.txt"
    assert first["usage"]["prompt_tokens"] > 0
    assert (second["known"], second["sources"], second["usage"]) == (False, [], None)


def test_a_question_that_is_too_long_leaves_the_others_alone(
    tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"It is 41 metres high."], context=1500))
    monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: engine)
    monkeypatch.setattr("sys.argv", ["assistant.py"])
    question = QUESTIONS[0][0]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{question} {'lighthouse ' * 300}\n{question}\n"))
    with pytest.raises(SystemExit) as ended:
        assistant.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("Error: ")
    assert "It is 41 metres high." in said.out


def test_a_folder_that_is_not_there_is_refused_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: pytest.fail("it was loaded"))
    monkeypatch.setattr("sys.argv", ["assistant.py", "--folder", str(tmp_path / "nowhere"), "What?"])
    with pytest.raises(SystemExit) as ended:
        assistant.main()
    assert ended.value.code == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.real
def test_a_small_model_answers_from_the_library(smollm2_bundle: Path, library: object) -> None:
    import edgetts

    with edgetts.load(smollm2_bundle, measure=False) as engine:
        asked = assistant.Assistant(engine, library)
        replies = [asked.ask(question) for question, _, _ in QUESTIONS]
        unknown = asked.ask(UNKNOWN[0])
    right = 0
    for reply, (_, file, fact) in zip(replies, QUESTIONS, strict=True):
        sys.stdout.write(f"\n{assistant.written(reply)}")
        assert reply.sources[0].passage.file == file
        right += reply.known and fact in reply.answer
    assert right >= 3
    assert all(reply.usage.cached_tokens > 20 for reply in replies[1:])
    # The second question is about the same passage as the first.
    assert replies[1].usage.cached_tokens > replies[1].usage.prompt_tokens / 2
    assert not unknown.known
