"""`edgetts chat`: in a pipe, for programs, and in a terminal with a person at it."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts.cli import main
from edgetts.cli.chatting.lines import MOST_CHARS
from edgetts.errors import InvalidInput
from edgetts.tokenizer import Tokenizer

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX terminals and signals")
Models = Callable[..., list[ScriptedSession]]


def chat(*arguments: str, lines: str | bytes = "") -> Result:
    return CliRunner().invoke(main, ["chat", *arguments], input=lines)


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def closed(session: ScriptedSession) -> bool:
    try:
        session.prefill([1])
    except InvalidInput:
        return True
    return False


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Tokenizer) -> Models:
    """Have `chat` load models that say what the test wants, one after the other."""

    def prepare(*scripts: list[bytes], context: int = 200_000) -> list[ScriptedSession]:
        sessions = [ScriptedSession(script, context=context) for script in scripts]
        engines = iter([scripted_engine(tiny_tokenizer, one, clock=one.clock) for one in sessions])
        monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: next(engines))
        return sessions

    return prepare


# Piped


def test_each_line_is_answered_and_nothing_else_is_on_stdout(models: Models) -> None:
    models([b"one", "zwei €".encode(), b"three"])
    result = chat(lines=b"\xef\xbb\xbfA\r\n\n  \nB\n/stats\nC")
    assert result.exit_code == 0
    assert result.stdout == " one\n zwei €\n three\n"
    for part in (
        "since the start: 2 answers",
        "of 200000 tokens filled by 2 turns",
        "cached",
        "joules",
    ):
        assert part in result.stderr


def test_a_real_model_is_told_the_history(tiny_engine_bundle: Path) -> None:
    options = (str(tiny_engine_bundle), "--max-tokens", "9", "--json", "--seed", "3", "-t", "1")
    first, second = objects(chat(*options, lines="Hello\nGo on\n"))
    [alone] = objects(chat(*options, lines="Go on\n"))
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"] + 9
    assert second["text"] != alone["text"]
    assert second["context"]["of"] == 256
    assert second["context"]["filled"] > second["usage"]["prompt_tokens"]
    assert second["notices"] == ["cut off at its greatest length"]
    told = chat(*options[:3], lines="Hello\n/stats\n").stderr
    assert re.search(r"last answer: 9 tokens in [\d.]+ s; [\d.]+ tokens/s; first token after", told)
    assert objects(chat(*options, lines="Hello\nGo on\n"))[1]["text"] == second["text"]


def test_what_is_said_is_what_was_written(models: Models, tmp_path: Path) -> None:
    models([b"x"] * 5)
    file = tmp_path / "chat.json"
    chat("--save", str(file), lines='"""\nfirst\n\n /stats \n"""\n"""alone"""\na\\\nb\\\n\n//etc\nlast\\')
    written = json.loads(file.read_text(encoding="utf-8"))["messages"]
    assert [m["content"] for m in written if m["role"] == "user"] == [
        "first\n\n /stats ",
        "alone",
        "a\nb\n",
        "/etc",
        "last",
    ]


def test_a_message_with_a_bad_line_is_refused_whole(models: Models) -> None:
    models([b"one"])
    result = chat(lines=b'"""\nfirst\ncaf\xe9\nsecond\n"""\nA\n')
    assert (result.exit_code, result.stdout) == (0, " one\n")
    assert "not UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("lines", "code", "words"),
    [
        ("A\n/stat\n", 2, ("no command '/stat'", "Did you mean '/stats'?", "with two")),
        ("A\n/xyzzy\n", 2, ("/help lists them",)),
        ("A\n/quit now\n", 2, ("takes nothing",)),
        ("A\n/budget 5\n", 2, ("neither seconds, joules nor tokens", "/budget 5s")),
        ("A\n/budget 5s 6s\n", 2, ("limits seconds twice",)),
        ("A\n/budget 5parsecs\n", 2, ("parsecs",)),
        ("A\n/budget 0s\n", 2, ("greater than zero",)),
        ("A\n/budget nans\n", 2, ("nan",)),
        ("A\n/budget 99999999999999999999t\n", 2, ("more tokens than there are",)),
        ("A\n/samples 0\n", 2, ("samples is 0",)),
        ("A\n/samples ten\n", 2, ("no number of samples", "/samples 5")),
        ("A\n/strategy best\n", 2, ("best_of_n",)),
        ("A\n/load\n", 2, ("No file is named",)),
        ("A\n/save\n", 2, ("No file is named",)),
        ("A\n/load /none/chat.json\n", 3, ("no chat to read",)),
        ("A\n/save /none/chat.json\n", 6, ("no directory",)),
        ("/retry\n", 2, ("nothing to answer again",)),
        ('A\n"""\nB\n', 2, ("has no end",)),
        (b"A\ncaf\xe9\n", 2, ("not UTF-8 text (byte 3)",)),
    ],
)
def test_what_cannot_be_is_one_sentence_and_the_exit_code(
    models: Models, lines: str | bytes, code: int, words: tuple[str, ...]
) -> None:
    models([b"one", b"two", b"three"])
    result = chat(lines=lines)
    assert result.exit_code == code, result.output
    told = result.stderr.splitlines()[-1]
    assert told.startswith("edgetts: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in told
    # What fails is not the end, and the exit code is the last line's.
    models([b"one", b"two", b"three"])
    more = b"\nC\n" if isinstance(lines, bytes) else "\nC\n"
    if '"""' not in str(lines):
        again = chat(lines=lines + more)  # type: ignore[operator]
        assert again.exit_code == 0
        assert again.stdout.count("\n") == result.stdout.count("\n") + 1


def test_a_line_without_an_end_is_refused_and_skipped(models: Models) -> None:
    models([b"one"])
    result = chat(lines="x" * (2 * MOST_CHARS) + "\nA\n")
    assert (result.exit_code, result.stdout) == (0, " one\n")
    assert "longer than 4 MB" in result.stderr
    for begin, end in (('"""', '"""'), ("\\", "")):
        models([b"one"])
        long = ("x" * 1000 + begin[-1].replace('"', "") + "\n") * (2 * MOST_CHARS // 1000)
        result = chat(lines=f"{begin}\n{long}{end}\nA\n")
        assert (result.exit_code, result.stdout) == (0, " one\n")
        assert "longer than 4 MB" in result.stderr


def test_json_is_one_object_for_each_line(models: Models) -> None:
    models([b"It is 5.", b"It is 5.", b"It is 6.", b"two"])
    result = chat(
        "--json", "--answer", "number", lines="/samples 3\nA\n/nothing\n/help\n/samples off\nB\n/stats\n"
    )
    assert result.exit_code == 0
    samples, first, wrong, told, off, second, stats = objects(result)
    assert samples == {"command": "/samples", "notices": ["budget 3 samples"]}
    assert first["text"] == " It is 5."
    assert first["usage"]["samples"] == 3
    assert first["cached_tokens"] == first["usage"]["cached_tokens"]
    assert first["confidence"] == pytest.approx(2 / 3)
    assert wrong["kind"] == "InvalidInput"
    assert wrong["code"] == 2
    assert "/nothing" in wrong["error"]
    assert "/budget" in told["notices"][0]
    assert off["notices"] == ["budget off"]
    assert second["text"] == " two"
    assert "2 answers" in stats["notices"][0]


# Commands


def test_several_samples_are_shown_when_one_is_chosen_with_how_sure(models: Models) -> None:
    models([b"It is 5.", b"It is 6.", b"It is 5.", b"after"])
    result = chat("--answer", "number", "-n", "3", lines="A\n/samples off\nB\n")
    assert result.stdout == " It is 5.\n after\n"
    assert (
        "(chosen among 3 samples by self_consistency; 2 of 3 answers found are 5; confidence 0.67 by"
        in result.stderr
    )
    assert result.stderr.count("chosen among") == 1


def test_samples_apart_show_one(models: Models) -> None:
    models([b"red", b"blue", b"green"])
    result = chat("-n", "3", "--strategy", "independent", lines="A\n")
    assert result.stdout in (" red\n", " blue\n", " green\n")


def test_budgets_are_set_and_obeyed(models: Models) -> None:
    models([ENDLESS, b"short"])
    result = chat("--json", lines="/budget 20t 9min\nA\n/budget\n/budget off\nB\n/budget\n")
    limited, first, shown, off, second, none = objects(result)
    assert limited["notices"] == shown["notices"] == ["budget 540 s, 20 tokens"]
    assert first["usage"]["generated_tokens"] == 20
    assert first["stop_reason"] == "tokens"
    assert first["notices"] == ["cut off by the budget of tokens"]
    assert off["notices"] == none["notices"] == ["budget off"]
    assert second["stop_reason"] == "complete"


def test_a_setting_that_the_model_cannot_have_is_not_taken(models: Models) -> None:
    models([b"one"])
    result = chat("--json", lines="/strategy best_of_n\n/strategy greedy\n/strategy\nA\n/strategy off\n")
    assert result.exit_code == 0
    refused, taken, shown, answered, off = objects(result)
    assert refused["kind"] == "InvalidInput"
    assert taken["notices"] == ["budget off, strategy greedy"]
    assert shown["notices"][0].startswith("budget off, strategy greedy; there are greedy")
    assert answered["text"] == " one"
    assert off["notices"] == ["budget off"]


def test_the_system_message_reaches_the_model_and_outlives_a_reset(models: Models) -> None:
    models([b"x"] * 4)
    lines = "A\n/system Speak French.\n/reset\nA\n/system off\n/reset\nA\n"
    with_it, _, reset, french, _, _, without = objects(chat("--json", "--system", "Be brief.", lines=lines))
    sizes = [one["usage"]["prompt_tokens"] for one in (with_it, french, without)]
    assert sizes[1] > sizes[0] > sizes[2]
    assert reset["notices"] == ["the chat begins anew; the system message stays"]


def test_another_model_keeps_the_chat_and_a_missing_one_the_model(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = models([b"one", b"three"], [b"two"])
    result = chat("--json", lines="A\n/model other\nB\n/model\n")
    _, loaded, answered, _ = objects(result)
    assert "goes on with the chat so far (1 turn)" in loaded["notices"][0]
    assert answered["text"] == " two"
    assert closed(first)
    assert closed(second)  # at the end

    from edgetts import engine

    monkeypatch.undo()
    real = engine.load
    [only] = models([b"one", b"three"])
    fake = engine.load
    monkeypatch.setattr(
        "edgetts.engine.load", lambda name, **options: real(name, **options) if name else fake(name)
    )
    result = chat("--json", "--offline", lines="A\n/model smollm2-135m-instuct\nB\n")
    _, missing, answered = objects(result)
    assert missing["kind"] == "ModelNotFound"
    assert answered["text"] == " three"
    assert closed(only)


def test_retry_answers_again_in_place_of_the_last(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    result = chat(
        *(str(tiny_engine_bundle), "--max-tokens", "9", "--json", "--save", str(file)),
        lines="Hello\n/retry\n/retry\n",
    )
    texts = [one["text"] for one in objects(result)]
    assert len(set(texts)) == 3
    assert objects(result)[1]["notices"][0].startswith("another answer in place of the last: seed 1")
    written = json.loads(file.read_text(encoding="utf-8"))["messages"]
    assert [m["content"] for m in written] == ["Hello", texts[-1]]


@pytest.mark.parametrize("policy", ["drop", "refuse"])
def test_a_full_context_is_told(models: Models, policy: str) -> None:
    models([b"an answer of some words"] * 20, context=400)
    lines = "".join(f"Question {at}\n" for at in range(12))
    result = chat("--context-full", policy, "--max-tokens", "40", lines=lines)
    if policy == "drop":
        assert result.exit_code == 0
        assert result.stdout.count("\n") == 12
        assert re.search(
            r"\(the context is full: the \d+ oldest turns are dropped, and \d+ of 400", result.stderr
        )
    else:
        assert result.exit_code == 2
        assert 0 < result.stdout.count("\n") < 12
        assert "edgetts: The context is full" in result.stderr
        assert "/reset begins anew" in result.stderr
    models([b"one"] * 20, context=400)
    assert chat("--context-full", policy, lines="x" * 500 + "\n").exit_code == 2
    models([b"one"] * 20, context=400)
    result = chat("--context-full", policy, "--json", lines="A\n" + "x" * 500 + "\n/stats\n")
    assert objects(result)[1]["kind"] == "PromptTooLong"
    assert "by 1 turn;" in objects(result)[2]["notices"][0]


# Files


def test_a_chat_is_saved_loaded_and_goes_on(models: Models, tmp_path: Path) -> None:
    file, other = tmp_path / "chat.json", tmp_path / "other.json"
    models([b"one", b"two"])
    chat("--save", str(file), "--system", "S", lines="A\n")
    models([b"two", b"three"])
    result = chat("--load", str(file), "--save", str(file), "--json", lines=f"B\n/save {other}\nC\n")
    assert result.exit_code == 0
    assert objects(result)[0]["notices"] == [
        f"1 turn loaded from {file}; every further turn is saved to {file}"
    ]
    assert "2 turns saved to" in objects(result)[1]["notices"][0]
    assert len(json.loads(file.read_text())["messages"]) == 5
    assert len(json.loads(other.read_text())["messages"]) == 7
    models([b"four"])
    lines = f"/load {other}\n/load {file}\nD\n"
    assert chat(lines=lines).exit_code == 0
    assert len(json.loads(file.read_text())["messages"]) == 5  # nothing was to be saved


def test_loading_another_chat_leaves_the_first_in_its_file(models: Models, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    models([b"one"])
    chat("--save", str(first), lines="A\n")
    models([b"two", b"three"])
    chat("--save", str(second), lines=f"B\n/load {first}\nC\n")
    assert [m["content"] for m in json.loads(second.read_text())["messages"]] == ["B", " two"]
    assert [m["content"] for m in json.loads(first.read_text())["messages"]] == ["A", " one", "C", " three"]


def test_no_other_file_is_written_over(models: Models, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir")
    models([b"one"])
    result = chat("--save", str(letter), "no-such-model", lines="A\n")
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert result.stdout == ""
    result = chat("--json", lines=f"A\n/save {letter}\n/save {tmp_path / 'new.json'}\n/save\n")
    _, refused, new, again = objects(result)
    assert refused["kind"] == "InvalidInput"
    assert "command" in new
    assert "command" in again
    assert letter.read_text() == "Dear Sir"


def test_a_turn_is_saved_before_the_program_ends(models: Models, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    [session] = models([b"one", b"two"])
    seen = []

    def look(passes: int) -> None:
        seen.append(len(json.loads(file.read_text())["messages"]) if file.exists() else 0)

    session.before_step = look
    chat("--save", str(file), lines="A\nB\n")
    assert seen[0] == 0
    assert seen[-1] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--load", "/none/chat.json"), 3, "no chat to read"),
        (("--save", "/none/chat.json"), 6, "no directory"),
        (("--system", " "), 2, "system message is empty"),
        (("--deadline", "0"), 2, "seconds"),
        (("--samples", "0"), 2, "samples"),
        (("--temperature", "nan"), 2, "temperature"),
        (("--answer", "numbr"), 2, "Did you mean 'number'?"),
        (("--strategy", "best"), 2, "best_of_n"),
        (("--decode", "fast"), 2, "fast"),
        (("--target", "2"), 2, "target"),
        (("--context-full", "forget"), 2, "forget"),
        ((), 3, "no-such-model-at-all"),
    ],
)
def test_options_that_cannot_be_are_refused_before_a_model_is_loaded(
    arguments: tuple[str, ...], code: int, word: str
) -> None:
    result = chat("no-such-model-at-all", "--offline", *arguments, lines="A\n")
    assert result.exit_code == code, result.output
    assert word in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text('{"format": "edgetts-chat", "version": 9}')
    result = chat("no-such-model-at-all", "--load", str(file), lines="A\n")
    assert result.exit_code == 4
    assert "version 9" in result.stderr


def test_no_answer_at_that_risk_is_exit_9(models: Models, tmp_path: Path) -> None:
    models([b"It is 5.", b"It is 6.", b"It is 7."])
    result = chat("-n", "3", "--answer", "number", "--risk", "99", lines="A\n")
    assert (result.exit_code, result.stdout) == (9, "")
    assert "no answer is given" in result.stderr


# Terminals

_CHILD = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import edgetts.engine
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine
from edgetts.bundle import TOKENIZER, read_manifest
from edgetts.tokenizer import Tokenizer
bundle = Path({bundle!r})
tokenizer = Tokenizer.load(bundle / TOKENIZER, read_manifest(bundle).tokenizer)
session = ScriptedSession([ENDLESS, b"I am well.\\x1b[2J", b"Bye."])
edgetts.engine.load = lambda *arguments, **options: scripted_engine(tokenizer, session)
from edgetts.cli import main
main(prog_name="edgetts")
"""


class Terminal:
    """A program in a terminal of its own, whose keys are pressed here."""

    def __init__(self, command: list[str], home: Path, **pipes: Any) -> None:
        import fcntl
        import termios

        self._ours, theirs = os.openpty()

        def attach() -> None:
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            command,
            **{"stdin": theirs, "stdout": theirs, "stderr": theirs, **pipes},
            env={**os.environ, "EDGETTS_HOME": str(home), "TERM": "dumb", "PYTHONUTF8": "1"},
            preexec_fn=attach,
        )
        os.close(theirs)
        self.seen = ""
        self._read = 0

    def until(self, text: str, again: str = "") -> str:
        """Wait for a text after what was waited for last; return what came up to its end.

        again: pressed every second until then.
        """
        ends = time.monotonic() + 60
        while (at := self.seen.find(text, self._read)) < 0:
            assert time.monotonic() < ends, self.seen
            if not select.select([self._ours], [], [], 1)[0]:
                self.press(again)
                continue
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # Linux's way of telling that the other side is closed
                part = b""
            assert part, f"{text!r} never came: {self.seen}"
            self.seen += part.decode(errors="replace")
        came = self.seen[self._read : at + len(text)]
        self._read = at + len(text)
        return came

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait for the program's end; return its exit code."""
        while True:
            try:
                part = os.read(self._ours, 65536)
            except OSError:
                break
            if not part:
                break
            self.seen += part.decode(errors="replace")
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        os.close(self._ours)


@pytest.fixture
def terminal(tiny_engine_bundle: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened = []

    def start(*arguments: str, **pipes: Any) -> Terminal:
        code = _CHILD.format(tests=str(Path(__file__).parent), bundle=str(tiny_engine_bundle))
        opened.append(Terminal([sys.executable, "-c", code, "chat", *arguments], tmp_path / "home", **pipes))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


CTRL_C, CTRL_D = "\x03", "\x04"


@POSIX
def test_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    file = tmp_path / "chat.json"
    person = terminal("--save", str(file))
    person.until("/help lists the commands, Ctrl-D leaves.")
    person.until(">>> ")
    person.press("Count\r")
    person.until("00000")
    person.press(CTRL_C)
    person.until("stopped; what there is of the answer is kept")
    person.until(">>> ")
    person.press("How are you?\r")
    assert "\x1b[2J" not in person.until("I am well.\\x1b[2J")  # what a model says steers no terminal
    person.until(">>> ")
    person.press("half a thou" + CTRL_C)
    person.until("To leave, press Ctrl-D or type /quit.", CTRL_C)
    person.until(">>> ")
    person.press("/stat\r")
    person.until("Did you mean '/stats'?")
    person.until(">>> ")
    person.press(CTRL_D)
    assert person.end() == 0
    assert "Traceback" not in person.seen
    written = json.loads(file.read_text(encoding="utf-8"))["messages"]
    assert [m["content"] for m in written if m["role"] == "user"] == ["Count", "How are you?"]
    assert written[1]["finish_reason"] == "cancelled"
    assert written[1]["content"].startswith(" 00000")


@POSIX
def test_lines_are_edited_and_kept_for_their_owner_alone(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    pytest.importorskip("readline")
    kept = tmp_path / "home" / "chat-lines"
    person = terminal("--max-tokens", "5")
    person.until(">>> ")
    person.press("first message\r")
    person.until("00")
    person.until(">>> ")
    person.press("/qui\t\r")  # the tab key completes
    assert person.end() == 0
    assert kept.read_text(encoding="utf-8").splitlines()[0] == "first message"
    assert kept.stat().st_mode & 0o777 == 0o600
    person = terminal("--max-tokens", "5", "--no-history")
    person.until(">>> ")
    person.press("\x1b[A")  # up
    person.press("secret\r")
    person.until("00")
    person.until(">>> ")
    person.press("/quit\r")
    assert person.end() == 0
    assert "first message" not in person.seen
    assert "secret" not in kept.read_text(encoding="utf-8")
    person = terminal()
    person.until(">>> ")
    person.press("\x1b[A\x1b[A")
    person.until("first message")
    # Python notices a Ctrl-C only at the next one that comes while it works on a key.
    person.press(CTRL_C)
    person.until("To leave", CTRL_C)
    person.until(">>> ")
    person.press(CTRL_D)
    assert person.end() == 0


@POSIX
def test_answers_alone_go_to_a_file_that_a_person_writes(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    with (tmp_path / "out.txt").open("wb") as out:
        person = terminal("--max-tokens", "5", stdout=out)
    person.until(">>> ")
    person.press("Count\r")
    person.until(">>> ")
    person.press('"""a\r')
    person.until("... ")
    person.press('b"""\r')
    person.until(">>> ")
    person.press("/quit\r")
    assert person.end() == 0
    assert (tmp_path / "out.txt").read_text() == " 0000\n I am\n"


@POSIX
def test_ctrl_c_ends_what_is_piped_in_with_what_there_is(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    code = _CHILD.format(tests=str(Path(__file__).parent), bundle=str(tiny_engine_bundle))
    file = tmp_path / "chat.json"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "chat", "--save", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "EDGETTS_HOME": str(tmp_path / "home")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"Count\nNever asked\n")
    process.stdin.flush()
    said = process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (said + rest).decode().strip().strip("0") == ""
    assert b"stopped" in told
    assert b"Traceback" not in told
    assert len(json.loads(file.read_text())["messages"]) == 2
    assert not (tmp_path / "home").exists()


@POSIX
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_reader_that_went_away_is_no_traceback(tiny_engine_bundle: Path, flags: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [
            *(sys.executable, "-I", "-c", "from edgetts.cli import main; main(prog_name='edgetts')"),
            *("chat", str(tiny_engine_bundle), "--max-tokens", "9", *flags),
        ],
        input=b"Hello\nAgain\n",
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert ran.returncode == 1
    assert b"Traceback" not in ran.stderr
    assert b"Exception" not in ran.stderr


@POSIX
def test_a_closed_stdin_is_an_empty_chat(tiny_engine_bundle: Path) -> None:
    program = (sys.executable, "-I", "-c", "from edgetts.cli import main; main(prog_name='edgetts')")
    shell = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&-', *program, "chat", str(tiny_engine_bundle)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert shell.returncode == 0
    assert shell.stdout == b""
    assert b"Traceback" not in shell.stderr
