"""The desktop example: frames go on whatever the model does, and keys, scripts and Ctrl-C do what they should."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from examples_loading import EXAMPLES, example
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts.errors import InvalidInput, ModelNotFound
from edgetts.tokenizer import Tokenizer

desktop = example("desktop")
PATIENCE = 60


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; what hangs fails."""
    asyncio.run(asyncio.wait_for(work, PATIENCE))


def nobody(lines: Sequence[str]) -> None:
    """See no frame."""


def is_closed(session: ScriptedSession) -> bool:
    try:
        session.prefill([1])
    except InvalidInput:
        return True
    return False


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_several_questions_are_answered_each_by_its_own(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"The answer is 1."] * 3)
    seen: list[list[str]] = []

    async def go() -> None:
        app = desktop.App(60)
        await desktop.run(
            app,
            lambda: scripted_engine(tiny_tokenizer, session),
            lambda lines: seen.append(list(lines)),
            ["ask one", "ask two", "esc", "ask three", "wait"],
        )
        assert [turn.question for turn in app.turns] == ["one", "two", "three"]
        assert [turn.under_way for turn in app.turns] == [False] * 3
        assert app.turns[0].text.strip() == app.turns[2].text.strip() == "The answer is 1."
        assert app.turns[1].state.startswith("cancelled")
        assert any("> three" in line for line in app.lines(80, 24))

    run(go())
    assert seen
    assert is_closed(session)


def test_frames_go_on_while_the_model_loads_and_while_it_answers(tiny_tokenizer: Tokenizer) -> None:
    """Loading, and every pass, waits until two more frames were drawn: on a blocked loop neither would end."""
    session = ScriptedSession([b"42"])
    drawn = threading.Semaphore(0)

    def two_frames(passes: int = 0) -> None:
        for _ in range(2):
            assert drawn.acquire(timeout=PATIENCE)

    session.before_step = two_frames

    def load() -> object:
        two_frames()
        return scripted_engine(tiny_tokenizer, session)

    async def go() -> None:
        app = desktop.App(60)
        await desktop.run(app, load, lambda lines: drawn.release(), ["ask one"])
        assert app.turns[0].text.strip() == "42"
        assert app.frames.longest["loading"] > 0 < app.frames.longest["answering"]

    run(go())


def test_escape_stops_the_newest_answer_and_ctrl_c_all_then_the_app(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([ENDLESS] * 2)

    async def go() -> None:
        app = desktop.App(100_000)
        running = asyncio.create_task(
            desktop.run(app, lambda: scripted_engine(tiny_tokenizer, session), nobody, ())
        )
        app.press("first\r")
        app.press("second\r")
        first, second = app.turns
        await until(lambda: first.text and second.text)
        app.press("\x1b")
        await until(lambda: not second.under_way)
        assert first.under_way
        assert second.text
        app.interrupted()
        await until(lambda: not first.under_way)
        assert not app.leaving.is_set()
        app.interrupted()
        await running

    run(go())
    assert is_closed(session)


def test_keys_make_a_question() -> None:
    async def go() -> None:
        app = desktop.App(60)
        app.press("Häx\x7f\x1b")
        app.press("\x1b[A")
        app.press("us\t\x00")
        assert app.typed == "Häus"
        app.press("\r")
        app.press("  \n")
        assert [turn.question for turn in app.turns] == ["Häus"]
        assert app.typed == ""
        app.press("x\x04")
        assert not app.leaving.is_set()
        app.press("\x7f\x04")
        assert app.leaving.is_set()

    run(go())


def test_a_window_has_its_size_and_no_control_characters() -> None:
    async def go() -> None:
        app = desktop.App(60)
        app.turns.append(desktop.Turn("What?", text="\x1b[31mred\x07 \x9b0m\n" + "word " * 100))
        app.typed = "typed " * 30
        for width, height in ((80, 24), (20, 5), (1, 1), (7, 2)):
            lines = app.lines(width, height)
            assert len(lines) == max(2, height)
            assert all(len(line) <= width for line in lines)
            assert "".join(lines).isprintable()

    run(go())


def test_what_fails_to_load_is_raised_and_ends_the_app() -> None:
    def load() -> object:
        raise ModelNotFound("There is no model 'x'.")

    with pytest.raises(ModelNotFound):
        run(desktop.run(desktop.App(60), load, nobody, ["ask one", "wait"]))


def test_what_fails_to_draw_ends_the_app(tiny_tokenizer: Tokenizer) -> None:
    def show(lines: Sequence[str]) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="gone"):
        run(
            desktop.run(
                desktop.App(60), lambda: scripted_engine(tiny_tokenizer, ScriptedSession([b""])), show, ()
            )
        )


def test_a_question_that_cannot_be_answered_says_why(tiny_tokenizer: Tokenizer) -> None:
    async def go() -> None:
        app = desktop.App(60)
        session = ScriptedSession([b"42"], context=64)
        await desktop.run(
            app, lambda: scripted_engine(tiny_tokenizer, session), nobody, ["ask " + "x" * 99, "wait"]
        )
        assert app.turns[0].state.startswith("failed: ")

    run(go())


@pytest.mark.parametrize("line", ["say hello", "ask", "ask  ", "wait -1", "wait nan", "wait 1 2", "esc now"])
def test_a_script_that_nobody_understands_is_refused(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.txt"
    script.write_text(f"ask one\n{line}\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["desktop.py", "--script", str(script)])
    with pytest.raises(SystemExit) as ended:
        desktop.main()
    assert ended.value.code == 2
    assert line.strip() in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"ask \xff"])
def test_a_script_that_cannot_be_read_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.txt"
    if content is not None:
        script.write_bytes(content)
    monkeypatch.setattr("sys.argv", ["desktop.py", "--script", str(script)])
    with pytest.raises(SystemExit) as ended:
        desktop.main()
    assert ended.value.code == 2
    assert str(script) in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_it_runs_in_a_terminal_and_puts_it_back(tiny_engine_bundle: Path) -> None:
    """Type a question at a pseudo-terminal, see it answered, and leave by Ctrl-C."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [
            sys.executable,
            str(EXAMPLES / "desktop.py"),
            *("--model", str(tiny_engine_bundle), "--max-tokens", "5"),
        ],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "80", "LINES": "24", "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    shown = b""

    def read_until(mark: bytes) -> None:
        nonlocal shown
        while mark not in shown:
            shown += os.read(ours, 65536)

    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        read_until(b"\x1b[?1049h")
        os.write(ours, b"Hi\r")
        read_until(b"tokens in")
        os.write(ours, b"\x03")
        read_until(b"longest gap between two: ")
        assert process.wait(PATIENCE) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert b"\x1b[?1049l" in shown


def _take_terminal() -> None:
    """Make standard input the terminal whose Ctrl-C a new session hears."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
