"""Find a model as each runtime opens it, to be measured, and what this device is measured with."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgetts.bundle import TOKENIZER, TrustRecord, read_manifest
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.decoding.session import Cancellation, Session
from edgetts.errors import InvalidInput, StorageError
from edgetts.loading import bundle_facts, facts_of
from edgetts.profiles.devices import device_here
from edgetts.profiles.fingerprint import mark_of
from edgetts.profiles.measuring.subject import Instruments, Subject
from edgetts.profiles.measuring.threads import counts
from edgetts.profiles.roofline import shape_of
from edgetts.runtimes import RUNTIMES, open_guessers, open_session
from edgetts.runtimes.hardware import cores_busy_elsewhere, physical_cores
from edgetts.store.ggufs import Gguf
from edgetts.store.home import Home, find_home, make_directory, storage_errors
from edgetts.tokenizer import Tokenizer

TEXTS = (
    "A gardener has 14 rows of tulips with 9 tulips in each row. She cuts 38 tulips for the market and gives 17 to "
    "her neighbour. The next day she plants 5 more rows of 9 tulips. How many tulips are in the garden now? Think "
    "step by step, and end with the answer.",
    "Correct the mistakes, and write the whole text again: The lighthouse keeper counted the ships that past before "
    "noon: three trawlers, one ferry and a gray tanker low in the water. By evening the wind has turned to the "
    "north, and he wrote in the log that the harbour would be closed untill morning.",
)
"""What guessing is measured on: something to reason about, and something that repeats its prompt."""
# A look at what else runs is short; a device at rest is so for longer.
_LOOKS, _BETWEEN = 5, 0.1


def subjects_of(
    bundle: Path | None, gguf: Gguf | None, trust: TrustRecord | None, options: Mapping[str, Any]
) -> list[Subject]:
    """Return a bundle and a GGUF file of one model as what is measured of them. options: those the user named."""
    options = dict(options)
    subjects = []
    if bundle is not None:
        subjects.append(_of_bundle(bundle, trust, options))
    if gguf is not None:
        subjects.append(_of_gguf(gguf, options))
    return subjects


def instruments(
    cancel: Cancellation, notify: Callable[[str], None], progress: Callable[[str, float], None]
) -> Instruments:
    """Return this device's own clock, memory, meters and so on."""
    import psutil

    from edgetts.energy.finding import find_meter

    process = psutil.Process()
    return Instruments(
        clock=time.perf_counter,
        sleep=time.sleep,
        resident=lambda: int(process.memory_info().rss),
        available=lambda: int(psutil.virtual_memory().available),
        busy=_busy,
        today=date.today().isoformat(),
        meter=find_meter(device_here(find_home().root).power, seconds=60.0),
        notify=notify,
        progress=progress,
        cancel=cancel,
    )


@contextmanager
def measuring_alone(home: Home) -> Iterator[None]:
    """Hold the lock of measurements, which disturb one another; raises StorageError at once where another one runs."""
    from filelock import FileLock, Timeout

    path = make_directory(home.locks) / "calibrating.lock"
    lock = FileLock(path)
    with storage_errors(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                "Another process is calibrating, and two measurements would disturb one another.",
                hint="Wait until that is done.",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _busy() -> float:
    """Return how many cores others kept busy at most of a few looks."""
    looks = []
    for i in range(_LOOKS):
        if i:
            time.sleep(_BETWEEN)
        looks.append(cores_busy_elsewhere())
    return sorted(looks)[_LOOKS // 2]


def _of_bundle(bundle: Path, trust: TrustRecord | None, options: dict[str, Any]) -> Subject:
    manifest = read_manifest(bundle)
    runtime, facts, placed = bundle_facts(manifest, options)
    if placed is not None and placed.emulated:
        raise InvalidInput(
            "An emulator's times say nothing of a device, so that there is nothing to measure.",
            hint="Calibrate on the device itself, or with --device cpu.",
        )

    def opened(threads: int | None) -> Session:
        return open_session(runtime, bundle, trust=trust, **_with_threads(options, threads))

    def prompts() -> list[list[int]]:
        return _prompts(Tokenizer.load(bundle / TOKENIZER, manifest.tokenizer))

    return _subject(
        runtime,
        manifest.name,
        facts,
        options,
        opened,
        prompts,
        weights=shape_of(manifest).weights,
        guessers=lambda threads: open_guessers(bundle, threads or options.get("threads")),
    )


def _of_gguf(gguf: Gguf, options: dict[str, Any]) -> Subject:
    def opened(threads: int | None) -> Session:
        settings = _with_threads(options, threads)
        session = open_session("llamacpp", gguf.file, trusted=gguf.trusted, name=gguf.name, **settings)
        if not gguf.trusted:
            gguf.remember_it_loads()
        return session

    def prompts() -> list[list[int]]:
        return _prompts(Tokenizer.load(gguf.tokenizer, gguf.facts()))

    size = gguf.file.stat().st_size
    facts = facts_of("llamacpp", gguf.identity, options)
    return _subject("llamacpp", gguf.name, facts, options, opened, prompts, weights=size)


def _subject(
    runtime: str,
    model: str,
    facts: dict[str, str],
    options: dict[str, Any],
    opened: Callable[[int | None], Session],
    prompts: Callable[[], list[list[int]]],
    **more: Any,
) -> Subject:
    usual = options.get("threads") or physical_cores()
    return Subject(
        mark=mark_of(facts),
        model=model,
        runtime=runtime,
        facts=facts,
        versions={
            "edgetts": version("edgetts"),
            "python": platform.python_version(),
            RUNTIMES[runtime].distribution: facts["version"],
        },
        open=opened,
        usual=usual,
        others=() if "threads" in options else counts(usual, _logical_cores(usual)),
        prompts=prompts,
        **more,
    )


def _logical_cores(physical: int) -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or physical


def _with_threads(options: dict[str, Any], threads: int | None) -> dict[str, Any]:
    return options if threads is None else {**options, "threads": threads}


def _prompts(tokenizer: Tokenizer) -> list[list[int]]:
    template = ChatTemplate.for_tokenizer(tokenizer)
    return [encode_chat(tokenizer, template, [Message("user", text)]) for text in TEXTS]
