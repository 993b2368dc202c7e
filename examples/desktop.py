"""Answer in an app whose window stays responsive: it is drawn 30 times a second while a model loads and answers.

python examples/desktop.py                   type questions; Esc stops the newest answer, Ctrl-C all of them, then the app
python examples/desktop.py --demo            ask three at once, with nobody at the keyboard
python examples/desktop.py --script FILE     play what FILE says: lines of `ask QUESTION`, `wait [SECONDS]` and `esc`

The window is text, since not every machine has a toolkit for more; what matters is the same with any toolkit that has
an event loop: everything that takes long happens in threads of edgetts, and the loop gets events. The longest
gap between two frames shows whether that holds.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import importlib.util
import os
import re
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import edgetts

FRAME = 1 / 30
DEMO = (
    "ask Name a river in France.",
    "ask Why is the sky blue?",
    "ask What is bread made of?",
    "wait",
)
ESCAPE, BACKSPACE, LEAVE = "\x1b", "\x7f\b", "\x04"  # as terminals send them; Ctrl-D leaves

Show = Callable[[Sequence[str]], None]


@dataclass
class Turn:
    """A question, and what is there of its answer."""

    question: str
    cancel: edgetts.Cancellation = field(default_factory=lambda: edgetts.Cancellation())
    text: str = ""
    state: str = "waits"
    under_way: bool = True


@dataclass
class Frames:
    """The longest gap between two frames, in seconds, before the model was there and since."""

    last: float | None = None
    count: int = 0
    longest: dict[str, float] = field(default_factory=lambda: {"loading": 0.0, "answering": 0.0})

    def drawn(self, now: float, phase: str) -> None:
        if self.last is not None:
            self.longest[phase] = max(self.longest[phase], now - self.last)
        self.last = now
        self.count += 1

    def __str__(self) -> str:
        return ", ".join(f"{gap * 1000:.0f} ms {phase}" for phase, gap in self.longest.items())


class App:
    """The state of the window. Lives on the event loop: nothing here needs a lock."""

    def __init__(self, max_tokens: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.engine: edgetts.Engine | None = None
        self.turns: list[Turn] = []
        self.typed = ""
        self.frames = Frames()
        self.leaving = asyncio.Event()
        self._sampling = edgetts.SamplingParams(max_tokens=max_tokens)
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()

    def loaded(self, engine: edgetts.Engine) -> None:
        self.engine = engine
        self._ready.set()

    def ask(self, question: str) -> None:
        turn = Turn(question)
        self.turns.append(turn)
        task = asyncio.create_task(self._answer(turn))
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, turn: Turn) -> None:
        try:
            await self._ready.wait()
            assert self.engine is not None  # noqa: S101 - it is there when it is ready
            turn.state = "reads"
            events = self.engine.astream(
                turn.question, sampling=self._sampling, cancel=turn.cancel, priority="foreground"
            )
            async for event in events:
                if isinstance(event, edgetts.TextDelta):
                    turn.text, turn.state = turn.text + event.text, "answers"
                elif isinstance(event, edgetts.Finished):
                    usage = event.answer.usage
                    turn.text = event.answer.text
                    turn.state = f"{event.answer.stop_reason}, {usage.generated_tokens} tokens in {usage.seconds:.1f} s"
        except edgetts.EdgettsError as error:
            turn.state = f"failed: {error}"
        finally:
            turn.under_way = False

    def stop(self, everything: bool = False) -> bool:
        """Stop the newest answer under way, or all. Return whether there was one."""
        running = [turn for turn in self.turns if turn.under_way]
        for turn in running if everything else running[-1:]:
            turn.cancel.request()
        return bool(running)

    def interrupted(self) -> None:
        """Stop the answers; with none under way, the app."""
        if not self.stop(everything=True):
            self.leaving.set()

    async def answered(self) -> None:
        await asyncio.gather(*self._tasks)

    def press(self, keys: str) -> None:
        """Take what was typed, as it comes from the terminal: a lone Esc, or text that may hold line ends."""
        if keys == ESCAPE:
            self.stop()
        elif not keys.startswith(ESCAPE):  # arrows and their like
            for key in keys:
                if key == LEAVE and not self.typed:
                    self.leaving.set()
                elif key in "\r\n":
                    if question := self.typed.strip():
                        self.ask(question)
                    self.typed = ""
                elif key in BACKSPACE:
                    self.typed = self.typed[:-1]
                elif key.isprintable():
                    self.typed += key

    def lines(self, width: int, height: int) -> list[str]:
        """Return the window, as lines of at most `width` characters, the newest turns at the bottom."""
        spinner = "|/-\\"[self.frames.count // 3 % 4]
        body: list[str] = []
        for turn in self.turns:
            mark = spinner if turn.under_way else " "
            body += ["", *wrapped(f"> {turn.question}", width), *wrapped(turn.text, width)]
            body += wrapped(f"{mark} {turn.state}", width)
        model = "loads the model" if self.engine is None else self.engine.model
        head = f"{spinner} {model} - longest gap between frames: {self.frames}"
        room = max(0, height - 2)
        body = body[-room:] if room else []
        return [head[:width], *body, *[""] * (room - len(body)), f"? {self.typed}"[-width:]]

    async def draw(self, show: Show) -> None:
        """Show a frame every `FRAME` seconds, until the task is cancelled."""
        due = self._clock()
        while True:
            self.frames.drawn(self._clock(), "loading" if self.engine is None else "answering")
            show(self.lines(*shutil.get_terminal_size()))
            due = max(due + FRAME, self._clock())
            await asyncio.sleep(due - self._clock())


def cleaned(text: str) -> list[str]:
    """Return a text's lines without control characters: what a model says must not steer the terminal."""
    return ["".join(letter if letter.isprintable() else " " for letter in line) for line in text.splitlines()]


def wrapped(text: str, width: int) -> list[str]:
    return [part for line in cleaned(text) for part in textwrap.wrap(line, max(1, width))]


async def play(script: Sequence[str], app: App) -> None:
    """Do what a script says, until all is answered."""
    for line in script:
        verb, _, rest = line.partition(" ")
        if verb == "ask":
            app.ask(rest.strip())
        elif verb == "esc":
            app.press(ESCAPE)
        elif rest:
            await asyncio.sleep(float(rest))
        else:
            await app.answered()
    await app.answered()


def checked(lines: Sequence[str]) -> list[str]:
    """Return the lines of a script that say something. Exits with a sentence about one that nobody understands."""
    said = [line.strip() for line in lines if line.strip()]
    for line in said:
        if not re.fullmatch(r"ask\s+\S.*|esc|wait(\s+\d+(\.\d+)?)?", line, re.ASCII):
            refuse(f"The script says {line!r}, but its lines are `ask QUESTION`, `wait [SECONDS]` and `esc`.")
    return said


async def run(app: App, load: Callable[[], edgetts.Engine], show: Show, script: Sequence[str]) -> None:
    """Load the model and answer while the window is drawn, until the app is left or the script has ended."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: there Ctrl-C ends the app
        loop.add_signal_handler(signal.SIGINT, app.interrupted)
    tasks = [asyncio.create_task(app.draw(show))]
    if script:
        tasks.append(asyncio.create_task(play(script, app)))
    for task in tasks:
        task.add_done_callback(lambda task: app.leaving.set())
    try:
        # It takes seconds, so it has a thread of its own, as answers do.
        engine = await asyncio.to_thread(load)
        try:
            app.loaded(engine)
            await app.leaving.wait()
            app.stop(everything=True)
            await app.answered()
        finally:
            await asyncio.to_thread(engine.close)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure


@contextmanager
def terminal(app: App) -> Iterator[Show]:
    """Have the terminal to ourselves: keys come one by one, frames replace each other; put it back after."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    letters = codecs.getincrementaldecoder("utf-8")("replace")
    shown: list[str] = []
    size = shutil.get_terminal_size()

    def show(lines: Sequence[str]) -> None:
        nonlocal size
        if size != (size := shutil.get_terminal_size()):
            shown.clear()
            sys.stdout.write("\x1b[2J")
        # Only what changed is written: a slow connection keeps up, too.
        for row, line in enumerate(lines):
            if row >= len(shown) or shown[row] != line:
                sys.stdout.write(f"\x1b[{row + 1};1H{line}\x1b[K")
        shown[:] = lines
        sys.stdout.write(f"\x1b[{len(lines)};{len(lines[-1]) + 1}H")
        sys.stdout.flush()

    def typed() -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        app.press(letters.decode(data) if data else LEAVE)

    loop = asyncio.get_running_loop()
    try:
        tty.setcbreak(sys.stdin)
        sys.stdout.write("\x1b[?1049h\x1b[2J")
        loop.add_reader(sys.stdin, typed)
        yield show
    finally:
        loop.remove_reader(sys.stdin)
        sys.stdout.write("\x1b[?1049l")
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def run_here(app: App, model: str | None, script: Sequence[str]) -> None:
    """Run the app in the terminal, or where there is none with frames that nobody sees."""
    if has_terminal():
        with terminal(app) as show:
            await run(app, lambda: edgetts.load(model), show, script)
    else:
        await run(app, lambda: edgetts.load(model), lambda lines: None, script)


def has_terminal() -> bool:
    """Whether keys can be read and frames be drawn: on Windows they cannot, for want of termios."""
    there = importlib.util.find_spec("termios") is not None
    return there and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def refuse(sentence: str) -> NoReturn:
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer in a window that stays responsive.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--demo", action="store_true", help="ask three questions at once, then leave")
    what.add_argument(
        "--script", type=Path, metavar="FILE", help="play `ask QUESTION`, `wait [SECONDS]`, `esc`"
    )
    parser.add_argument("--model", help="a name or a path [the default model]")
    parser.add_argument("--max-tokens", type=int, default=60, help="the longest answer [60]")
    chosen = parser.parse_args()
    script: Sequence[str] = ()
    if chosen.script is not None:
        try:
            script = checked(chosen.script.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError) as error:
            refuse(f"The script {chosen.script} cannot be read: {error}.")
        if not script:
            refuse(f"The script {chosen.script} says nothing.")
    elif chosen.demo or not has_terminal():
        script = DEMO
    try:
        app = App(chosen.max_tokens)
        asyncio.run(run_here(app, chosen.model, script))
    except edgetts.EdgettsError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    for turn in app.turns:
        print("\n".join([f"> {turn.question}", *cleaned(turn.text), f"  {turn.state}", ""]))
    print(f"{app.frames.count} frames; longest gap between two: {app.frames}")


if __name__ == "__main__":
    main()
