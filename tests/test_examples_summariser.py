"""The summariser example: it resumes, yields to questions, and stops on little battery or Ctrl-C without a half file."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from examples_loading import EXAMPLES, example
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)

from edgetts.energy.state import Power
from edgetts.errors import InvalidInput, StorageError
from edgetts.tokenizer import Tokenizer

summariser = example("summariser")
MAINS, LOW, HOT = Power("mains", "no battery"), Power("low", "battery at 9%", 9.0), Power("throttled", "hot")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    for name in ("a.txt", "b.md", "deep/c.txt"):
        (texts / name).parent.mkdir(parents=True, exist_ok=True)
        (texts / name).write_text(f"What {name} says.\n", encoding="utf-8")
    (texts / "picture.png").write_bytes(b"\xff\x00")
    return texts


@pytest.fixture
def make(tiny_tokenizer: Tokenizer, folder: Path) -> Callable[..., object]:
    """Make a summariser of a model that says something, which writes to the folder's summaries."""

    def made(
        session: ScriptedSession, power: Callable[[], Power] = lambda: MAINS, clock: FakeClock | None = None
    ) -> object:
        return summariser.Summariser(
            scripted_engine(tiny_tokenizer, session),
            folder / "summaries",
            policy=summariser.Policy(power, 5.0, clock or FakeClock()),
            say=lambda sentence: None,
            max_tokens=100_000,
        )

    return made


def files(folder: Path) -> list[str]:
    """Return what was written, half files included."""
    target = folder / "summaries"
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_every_text_gets_a_summary_and_only_once(make: Callable[..., object], folder: Path) -> None:
    done = make(ScriptedSession([b"One.", b"Two.", b"Three."])).run(folder)  # type: ignore[attr-defined]
    assert (done.written, done.kept, done.stopped) == (["a.txt", "b.md", "deep/c.txt"], [], None)
    assert files(folder) == ["a.txt.summary.txt", "b.md.summary.txt", "deep/c.txt.summary.txt"]
    mark, summary = (folder / "summaries/b.md.summary.txt").read_text(encoding="utf-8").splitlines()
    assert summary == "Two."
    assert mark.startswith(summariser.MARK)

    (folder / "b.md").write_text("Something else.", encoding="utf-8")
    again = make(ScriptedSession([b"New."])).run(folder)  # type: ignore[attr-defined]
    assert (again.written, again.kept) == (["b.md"], ["a.txt", "deep/c.txt"])
    assert "New." in (folder / "summaries/b.md.summary.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("state", [LOW, HOT], ids=lambda state: state.state)
def test_little_battery_ends_it_before_a_text(
    make: Callable[..., object], folder: Path, state: Power
) -> None:
    told = iter([MAINS, state])
    session = ScriptedSession([b"One.", b"Two."])
    done = make(session, lambda: next(told)).run(folder)  # type: ignore[attr-defined]
    assert (done.written, done.stopped) == (["a.txt"], state.reason)
    assert files(folder) == ["a.txt.summary.txt"]
    later = make(ScriptedSession([b"Two.", b"Three."])).run(folder)  # type: ignore[attr-defined]
    assert (later.written, later.kept, later.stopped) == (["b.md", "deep/c.txt"], ["a.txt"], None)


def test_little_battery_ends_it_within_a_text(make: Callable[..., object], folder: Path) -> None:
    clock, session = FakeClock(), ScriptedSession([ENDLESS])

    def second_passes(passes: int) -> None:
        clock.now += 1

    session.before_step = second_passes
    asked: list[float] = []

    def power() -> Power:
        asked.append(clock.now)
        return LOW if len(asked) == 4 else MAINS

    done = make(session, power, clock).run(folder)  # type: ignore[attr-defined]
    assert (done.written, done.stopped) == ([], LOW.reason)
    assert files(folder) == []
    # It was asked when the time had come, and not at every token.
    assert all(later - earlier >= 5 for earlier, later in pairwise(asked[1:]))
    assert len(session.widths) < 100


def test_a_question_is_answered_while_it_works(
    make: Callable[..., object], folder: Path, tiny_tokenizer: Tokenizer
) -> None:
    session = ScriptedSession([ENDLESS, b"Forty-two."])
    job = make(session)
    engine = job._engine  # type: ignore[attr-defined]
    said: list[str] = []
    ranks: set[tuple[int, int]] = set()
    asking: list[threading.Thread] = []

    def ask() -> None:
        summariser.ask_ahead(engine, "What?", said.append)
        job.stop("answered")  # type: ignore[attr-defined]

    def before_step(passes: int) -> None:
        [traffic] = engine.traffic
        ranks.add((traffic.foreground, traffic.background))
        if passes == 3:
            asking.append(threading.Thread(target=ask))
            asking[0].start()

    session.before_step = before_step
    done = job.run(folder)  # type: ignore[attr-defined]
    asking[0].join(60)
    assert done.stopped == "answered"
    [answer] = said
    assert answer.startswith("> What?\n Forty-two.")
    # The summary was in the background, the question before it.
    assert {(0, 1), (1, 1)} <= ranks <= {(0, 1), (1, 1), (1, 0)}


def test_a_bad_file_does_not_keep_the_others_waiting(make: Callable[..., object], folder: Path) -> None:
    (folder / "aa.txt").write_bytes(b"caf\xe9")
    (folder / "ab.txt").write_bytes(b" \n")
    (folder / "ac.txt").write_bytes(b"x" * (summariser.LARGEST + 1))
    (folder / "summaries").mkdir()
    (folder / "summaries/a.txt.summary.txt").write_bytes(b"\xff rubbish")
    done = make(ScriptedSession([b"One.", b"Two.", b"Three."])).run(folder)  # type: ignore[attr-defined]
    assert done.refused == ["aa.txt", "ab.txt", "ac.txt"]
    assert done.written == ["a.txt", "b.md", "deep/c.txt"]


def test_a_long_text_is_summarised_part_by_part(make: Callable[..., object], folder: Path) -> None:
    text = "".join(f"word{number} " for number in range(300))
    (folder / "a.txt").write_text(text, encoding="utf-8")
    session = ScriptedSession([b"Short."] * 100, context=100_600)
    job = make(session)
    parts = list(job._parts(text))  # type: ignore[attr-defined]
    assert len(parts) > 2
    assert " ".join(parts) == text.strip()
    job.run(folder)  # type: ignore[attr-defined]
    summary = (folder / "summaries/a.txt.summary.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert summary == ["Short."]
    unbroken = list(job._parts("x" * 5000))  # type: ignore[attr-defined]
    assert len(unbroken) > 2
    assert "".join(unbroken) == "x" * 5000


def test_where_nothing_can_be_written_it_says_so(make: Callable[..., object], folder: Path) -> None:
    (folder / "summaries").write_text("in the way", encoding="utf-8")
    with pytest.raises(StorageError, match="summaries"):
        make(ScriptedSession([b"One."])).run(folder)  # type: ignore[attr-defined]


def test_a_folder_without_texts_is_refused(make: Callable[..., object], tmp_path: Path) -> None:
    for empty in (tmp_path / "nowhere", tmp_path):
        if empty.exists():
            for path in [path for path in empty.rglob("*.*") if path.is_file()]:
                path.unlink()
        with pytest.raises(InvalidInput, match="no texts"):
            make(ScriptedSession([])).run(empty)  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent")
def test_ctrl_c_keeps_what_there_is(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(f"The text number {number}.", encoding="utf-8")
    command = [
        *(sys.executable, "-u", str(EXAMPLES / "summariser.py"), str(folder)),
        *("--model", str(tiny_engine_bundle), "--ask", "What?"),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    watchdog = threading.Timer(60, running.kill)
    watchdog.start()
    try:
        assert running.stdout is not None
        shown = ""
        while "00.txt: " not in shown:
            shown += running.stdout.readline()
        running.send_signal(signal.SIGINT)
        shown += running.stdout.read()
        assert running.wait() == 1, shown
    finally:
        watchdog.cancel()
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()
    assert "Stopped: interrupted." in shown
    there = files(folder)
    assert 1 <= len(there) < 40
    assert all(name.endswith(".summary.txt") for name in there)


@pytest.mark.real
def test_a_small_model_summarises_while_it_is_asked(smollm2_bundle: Path, tmp_path: Path) -> None:
    import edgetts

    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("ferry.txt", "lighthouse.txt"):
        (folder / name).write_bytes((EXAMPLES / "library" / name).read_bytes())
    said: list[str] = []
    with edgetts.load(smollm2_bundle, measure=False) as engine:
        job = summariser.Summariser(
            engine,
            folder / "summaries",
            policy=summariser.Policy(lambda: MAINS),
            say=said.append,
            max_tokens=30,
        )
        asking = threading.Thread(
            target=summariser.ask_ahead, args=(engine, "Name a river in France.", said.append)
        )
        asking.start()
        done = job.run(folder)
        asking.join()
        assert job.run(folder).kept == done.written == ["ferry.txt", "lighthouse.txt"]
    assert "ferry" in (folder / "summaries/ferry.txt.summary.txt").read_text(encoding="utf-8").lower()
    [asked] = [at for at, line in enumerate(said) if line.startswith("> Name a river")]
    assert asked < len(said) - 1, "the question had to wait for all summaries"
