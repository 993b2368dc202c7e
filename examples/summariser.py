"""Summarise the texts of a folder in the background: questions go first, and little battery ends it.

python examples/summariser.py NOTES                          writes NOTES/summaries/*.txt; questions may be typed meanwhile
python examples/summariser.py NOTES --ask "Why is the sky blue?"
python examples/summariser.py                                the texts of examples/library, into a temporary folder

A summary is written when it is complete, and not again unless its text changes: Ctrl-C, or a battery that runs low, loses
the one text that is under way, and the next run goes on there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import edgetts
from edgetts.energy.state import Power, power_state
from edgetts.errors import InvalidInput, StorageError

LIBRARY = Path(__file__).resolve().parent / "library"
QUESTION = "Summarise this text in two sentences:\n\n"
MARK = "# of the text with the SHA-256 "
LARGEST = 1_000_000  # bytes of one text


@dataclass(frozen=True, slots=True)
class Policy:
    """When not to go on. power: tells what the device is in. every: seconds after which it is asked again."""

    power: Callable[[], Power] = power_state
    every: float = 5.0
    clock: Callable[[], float] = time.monotonic

    def objection(self) -> str | None:
        """Return why nobody should compute now what can wait; None where nothing speaks against it."""
        now = self.power()
        return now.reason if now.state in ("low", "throttled") else None


@dataclass
class Done:
    """What a run did, by the names of the texts. refused: what is wrong with texts that cannot be summarised. stopped:
    why it ended before all were looked at.
    """

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stopped: str | None = None


class Summariser:
    """Writes a summary of every text of a folder to another."""

    def __init__(
        self,
        engine: edgetts.Engine,
        target: Path,
        *,
        policy: Policy | None = None,
        say: Callable[[str], None] = print,
        max_tokens: int = 80,
    ) -> None:
        self._engine, self._target, self._say = engine, target, say
        self._policy = policy or Policy()
        self._sampling = edgetts.SamplingParams(max_tokens=max_tokens)
        self._cancel = edgetts.Cancellation()
        self._why = ""

    def stop(self, why: str) -> None:
        """End the run soon. May be called from any thread, and by a signal handler."""
        self._why = why
        self._cancel.request()

    def run(self, folder: Path) -> Done:
        """Summarise what is not summarised yet. Raises InvalidInput without texts, StorageError, and what `Engine.answer` does."""
        done = Done()
        for path in texts_of(folder, self._target):
            name = path.relative_to(folder).as_posix()
            try:
                text = read(path)
            except InvalidInput as error:  # one bad file must not keep the others waiting
                done.refused.append(name)
                self._say(f"Left out: {error}")
                continue
            target = self._target / f"{name}.summary.txt"
            mark = f"{MARK}{hashlib.sha256(text.encode()).hexdigest()}\n"
            if target.is_file() and target.read_bytes().startswith(mark.encode()):
                done.kept.append(name)
                continue
            if why := self._policy.objection():
                self.stop(why)
            summary = None if self._cancel.requested else self._summary(text)
            if summary is None:
                done.stopped = self._why
                break
            write(target, f"{mark}{summary}\n")
            done.written.append(name)
            self._say(f"{name}: {summary}")
        return done

    def _summary(self, text: str) -> str | None:
        """Return a summary; None where the run was ended. A long text is summarised part by part."""
        while True:
            parts = list(self._parts(text))
            said = []
            for part in parts:
                answer = self._answer(f"{QUESTION}{part}")
                if answer is None:
                    return None
                said.append(" ".join(answer.split()))
            together = "\n\n".join(said)
            # Summaries that do not get shorter would be summarised for ever.
            if len(parts) == 1 or len(together) > 0.8 * len(text):
                return together
            text = together

    def _answer(self, prompt: str) -> str | None:
        """Ask in the background; None where the run is ended, or was before the answer was complete."""
        clock, asked = self._policy.clock, self._policy.clock()
        events = self._engine.stream(
            prompt, sampling=self._sampling, priority="background", cancel=self._cancel
        )
        for event in events:
            if clock() - asked >= self._policy.every:
                asked = clock()
                if why := self._policy.objection():
                    self.stop(why)
            if isinstance(event, edgetts.Finished) and not self._cancel.requested:
                return event.answer.text
        return None

    def _parts(self, text: str) -> Iterator[str]:
        """Yield parts that fit the model's context beside an answer, of whole words where there are spaces."""
        room = self._engine.session.info.context - (self._sampling.max_tokens or 0) - 16
        while text:
            size = len(text)
            while size > 1 and self._tokens(text[:size]) > room:
                size //= 2
            if size < len(text):
                size = text.rfind(" ", 0, size) + 1 or size
            yield text[:size].strip()
            text = text[size:].strip()

    def _tokens(self, part: str) -> int:
        return self._engine.count([edgetts.Message("user", f"{QUESTION}{part}")])


def texts_of(folder: Path, apart: Path) -> Sequence[Path]:
    """Return the .txt and .md files of a folder, by name, without those of the folder `apart`. Raises InvalidInput."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix in (".txt", ".md") and path.is_file()]
    found = [path for path in found if apart not in path.parents]
    if not found:
        raise InvalidInput(f"There are no texts (.txt, .md) in {folder}.", hint="Name another folder.")
    return found


def read(path: Path) -> str:
    """Return a text. Raises InvalidInput."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput(f"{path} is larger than {LARGEST:,} bytes.", hint="Split it, or move it away.")
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text.", hint="Convert it, or move it away.") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
    if not text:
        raise InvalidInput(f"{path} is empty.", hint="Write something, or move it away.")
    return text


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises StorageError."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from None


def ask_ahead(engine: edgetts.Engine, question: str, say: Callable[[str], None] = print) -> None:
    """Answer a question in the foreground: the summariser waits meanwhile."""
    try:
        answer = engine.answer(question, sampling=edgetts.SamplingParams(max_tokens=60))
    except edgetts.EdgettsError as error:
        say(f"Error: {error}")
        return
    began = answer.usage.time_to_first_token or 0.0
    say(f"> {question}\n{answer.text}\n  first word after {began:.2f} s, {answer.usage.seconds:.2f} s in all")


def ask_typed(engine: edgetts.Engine) -> None:
    """Answer what is typed, a question a line."""
    for line in sys.stdin:
        if line.strip():
            ask_ahead(engine, line.strip())


def summarise(model: str | None, folder: Path, target: Path, questions: Sequence[str]) -> Done:
    """Run a summariser while questions are asked, until it has ended and all are answered."""
    with edgetts.load(model, notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        summariser = Summariser(engine, target)
        # Ctrl-C ends the run, not the program in the middle of something.
        before = signal.signal(signal.SIGINT, lambda *_: summariser.stop("interrupted"))
        asking = [threading.Thread(target=ask_ahead, args=(engine, question)) for question in questions]
        if not questions and sys.stdin is not None and sys.stdin.isatty():
            # A daemon: nobody may ever type a line.
            threading.Thread(target=ask_typed, args=(engine,), daemon=True).start()
        for thread in asking:
            thread.start()
        try:
            return summariser.run(folder)
        finally:
            for thread in asking:
                thread.join()
            signal.signal(signal.SIGINT, before)


def main() -> None:
    parser = argparse.ArgumentParser(description="Summarise the texts of a folder in the background.")
    parser.add_argument("folder", type=Path, nargs="?", help="[examples/library]")
    parser.add_argument("--out", type=Path, help="where the summaries go [FOLDER/summaries]")
    parser.add_argument("--ask", metavar="QUESTION", action="append", default=[], help="ask this meanwhile")
    parser.add_argument("--model", help="a name or a path [the default model]")
    chosen = parser.parse_args()
    folder = chosen.folder or LIBRARY
    with tempfile.TemporaryDirectory() as scratch:
        target = chosen.out or (Path(scratch) if chosen.folder is None else folder / "summaries")
        try:
            done = summarise(chosen.model, folder, target, chosen.ask)
        except edgetts.EdgettsError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:  # before there is anything to lose
            raise SystemExit(130) from None
    print(
        f"{len(done.written)} texts summarised, {len(done.kept)} were before, {len(done.refused)} cannot be."
    )
    if done.stopped:
        print(f"Stopped: {done.stopped}. Run it again to go on.")
    if done.stopped or done.refused:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
