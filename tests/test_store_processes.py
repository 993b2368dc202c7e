"""Two processes and one model: converted once, waited for, and nothing stale after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from test_store import GGUF, Exporter

from edgetts.errors import StorageError
from edgetts.store import resolve
from edgetts.store.home import Home
from edgetts.store.listing import list_models, remove_model
from edgetts.store.locks import clean_abandoned, scratch_space

# A process that resolves a file, telling what happens on stdout; its exporter goes on when stdin says so.
WORKER = """
import json, sys
from pathlib import Path
from edgetts.store import resolve

def tell(*event):
    print(json.dumps(event), flush=True)

def convert(source, destination, **options):
    destination.mkdir()
    (destination / "weights.bin").write_bytes(source.read_bytes()[:100])
    tell("converting")
    sys.stdin.readline()
    (destination / "manifest.json").write_text("{}")
    return destination

tell("ready", str(resolve(sys.argv[1], converter=convert, notify=lambda said: tell("said", said))))
"""


class Worker:
    def __init__(self, gguf: Path, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(gguf)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "EDGETTS_HOME": str(home)},
        )
        self.told: list[list[str]] = []

    def until(self, *expected: str) -> list[str]:
        """Read what it tells up to the event that starts so; end of output fails the test."""
        for line in _stream(self.process.stdout):
            self.told.append(json.loads(line))
            if all(part in told for part, told in zip(expected, self.told[-1], strict=False)):
                return self.told[-1]
        raise AssertionError(f"it ended after {self.told}")

    def go_on(self) -> None:
        self.process.communicate("\n", timeout=30)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(GGUF)
    return path


@pytest.fixture
def worker(gguf: Path, tmp_path: Path) -> Iterator[Callable[[], Worker]]:
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(gguf, tmp_path / "home"))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_two_processes_convert_once_and_the_second_says_that_it_waits(worker: Callable[[], Worker]) -> None:
    first = worker()
    first.until("converting")
    second = worker()
    second.until("said", "waiting for it")
    assert _stream(first.process.stdin).write("\n")
    _stream(first.process.stdin).flush()
    assert first.until("ready") == second.until("ready")
    assert ["converting"] in first.told
    assert ["converting"] not in second.told


def test_rm_is_refused_while_a_model_is_converted(
    worker: Callable[[], Worker], tmp_path: Path, gguf: Path
) -> None:
    exporter, home = Exporter(), tmp_path / "home"
    older = resolve(gguf, converter=exporter, home=home, quantize="int8")
    busy = worker()
    busy.until("converting")
    [stored] = list_models(home=home)
    with pytest.raises(StorageError, match="by another process"):
        remove_model(stored.name, home=home)
    assert (older / "manifest.json").is_file()
    busy.end()
    assert remove_model(stored.name, home=home) >= len(GGUF)
    assert list_models(home=home) == []
    assert not older.exists()


def test_kill_9_leaves_only_scratch_that_the_next_start_removes(
    worker: Callable[[], Worker], tmp_path: Path, gguf: Path
) -> None:
    home = Home(tmp_path / "home")
    victim = worker()
    victim.until("converting")
    living = worker()
    living.until("said", "waiting for it")
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.process.wait(timeout=30)

    # The lock went with its owner: who waited takes over and starts from nothing.
    living.until("converting")
    halves = list(home.scratch.glob("*/bundle/*.edge/weights.bin"))
    assert len(halves) == 2
    assert not home.bundles.exists()
    clean_abandoned(home)
    [kept] = home.scratch.glob("*/bundle/*.edge/weights.bin")
    assert kept in halves
    living.end()

    exporter = Exporter()
    bundle = resolve(gguf, converter=exporter, home=home.root)
    assert (bundle / "weights.bin").read_bytes() == GGUF
    assert len(exporter.calls) == 1
    assert list(home.scratch.iterdir()) == []


# Pulls again and again, each time in a child that dies at a later touch of the cache, until one lives.
KILLER = """
import hashlib, itertools, json, os, sys
from pathlib import Path
from test_store import GGUF, Exporter, registry_of
from edgetts.store import resolve, sources
from edgetts.store.listing import list_models

def fetch(source, file, size, progress):
    file.write_bytes(GGUF)
    return len(GGUF), hashlib.sha256(GGUF).hexdigest()

sources.fetch_from_wheels = fetch
home = Path(sys.argv[1])
touches = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}

def die_at(count):
    def watch(event, arguments):
        nonlocal count
        if event in touches and str(home) in str(arguments[0]):
            count -= 1
            if count < 0:
                os._exit(9)
    sys.addaudithook(watch)

for count in itertools.count():
    child = os.fork()
    if child == 0:
        die_at(count)
        resolve("a-model", registry=registry_of(GGUF, "part-a"), converter=Exporter(), home=home)
        os._exit(0)
    survived = os.waitpid(child, 0)[1] == 0
    states = []
    for one in list_models(home=home):
        states.append(one.state)
        file = Path(one.path) / "weights.bin" if one.state == "bundle" else Path(one.path)
        assert file.read_bytes() == GGUF, one
    print(json.dumps([survived, states]))
    if survived:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_death_at_any_touch_of_the_disk_leaves_nothing_that_looks_whole_and_is_not(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    rounds = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rounds) > 20
    assert [survived for survived, _ in rounds] == [False] * (len(rounds) - 1) + [True]
    assert rounds[0][1] == []
    assert [False, ["source"]] in rounds
    assert rounds[-1][1] == ["bundle", "source"]
    assert [path for path in (tmp_path / "home" / "tmp").iterdir() if path.is_dir()] == []


def test_living_scratch_is_not_cleaned_and_goes_with_its_owner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with scratch_space(home) as space:
        (space / "work").touch()
        clean_abandoned(home)
        assert (space / "work").exists()
    assert list(home.scratch.iterdir()) == []
