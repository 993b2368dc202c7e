"""Compile every graph of a static bundle for a chip, in a child process, and put the result into the bundle.

By QNN alone: OpenVINO's provider writes compiled graphs too, but for the device that it finds, and there are no named
chips of it to choose from. Graphs of one segment and of all widths go into one binary, where their weights are stored
once; each segment has its own, because chips limit the size of one and a device may run some segments only.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from edgetts.bundle import open_bundle, read_manifest
from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.export.static.compiling.failing import Compilation, failure
from edgetts.export.static.compiling.installing import install
from edgetts.export.static.compiling.supervising import Answer, Limits, Outcome, supervise
from edgetts.export.static.targets import TARGETS
from edgetts.export.writing import storage_error
from edgetts.runtimes.providers.catalogue import Soc, find_soc
from edgetts.runtimes.providers.finding import find_provider
from edgetts.static_form import CompiledNote, GraphNote, StaticNote

Progress = Callable[[str, float], None]

# The 14 graphs of SmolLM2, 135M parameters in float16, took 40 to 60 s on two slow cores. If the time grows with the
# parameters, an hour is for eight billion there. Whoever watches sees from the progress how long it will be.
DEFAULT_SECONDS = 3600.0
# Of the memory that is free when it starts. More would push other programs out, or have the system kill one.
_SHARE_OF_MEMORY = 0.8
_PROVIDERS = frozenset({"QNNExecutionProvider"})
# Exported for no provider in particular.
_ANY = "CPUExecutionProvider"
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from edgetts.export.static.compiling.child import main; main()"
)
_SCRATCH, _FILES = ".compiling.", "files"


def default_memory() -> int:
    """Return how many bytes of memory the compiler may take where nobody says."""
    return int(psutil.virtual_memory().available * _SHARE_OF_MEMORY)


def compile_bundle(
    bundle: Path,
    *,
    soc: str,
    provider: str | None = None,
    options: Mapping[str, str] | None = None,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
    fallback: bool = False,
    share: bool = True,
    check: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> CompiledNote:
    """Compile the graphs of a static bundle for a chip, into npu/ of the bundle; return the note in its manifest.

    options: the provider's, over the chip's. seconds, memory_bytes: what the compiler may take, None for
    DEFAULT_SECONDS and `default_memory()`. fallback: let operators that the chip has not run on the CPU. share: store
    weights once for all widths, which needs a third of the space; QNN's emulator cannot open such binaries. check: where
    the provider is an emulator, see whether it computes what the CPU does, which takes a few passes. The bundle
    stays as it was unless all went well. Raises what opening a bundle raises, InvalidInput, MissingExtra, Unsupported,
    OutOfMemory, RuntimeFailure and StorageError.
    """
    tell = progress or (lambda stage, fraction: None)
    chip = find_soc(soc)
    limits = _limits(seconds, memory_bytes)
    bundle = Path(bundle)
    static = _compilable(bundle, chip)
    if not sys.executable or getattr(sys, "frozen", False):
        raise InvalidInput(
            "Graphs are compiled in a process of its own: this program has no Python interpreter."
        )
    found = find_provider(provider or chip.provider)
    if found.name not in _PROVIDERS:
        raise InvalidInput(f"{found.name} compiles nothing ahead of time.", hint="Leave the provider out.")
    if found.name != chip.provider:
        raise InvalidInput(f"{chip.name} is compiled for by {chip.provider}, not by {found.name}.")
    open_bundle(bundle)
    groups = _groups(static, share=share)
    files = [file for group in groups for file in group]
    given = {**chip.options, **(options or {})}
    began = clock()
    with _scratch(bundle) as scratch:
        outcome = _run(
            Compilation(chip.name, found.name, files, limits),
            {
                "provider": found.name,
                "soc": chip.name,
                "options": given,
                "given": dict(options or {}),
                "check": check,
                "fallback": fallback,
                "bundle": str(bundle.resolve()),
                "groups": groups,
            },
            scratch,
            tell,
            clock,
        )
        note = CompiledNote(
            soc=chip.name,
            arch=_arch(given),
            provider=found.name,
            version=found.version,
            graphs={file: file for file in files},
            seconds=round(clock() - began, 3),
            peak_bytes=outcome.peak_bytes,
            bytes=0,
            shared=any(len(group) > 1 for group in groups),
            difference=None if outcome.answer is None else outcome.answer["done"]["difference"],
        )
        return install(bundle, scratch / _FILES, static, note)


def _run(
    compilation: Compilation,
    request: dict[str, Any],
    scratch: Path,
    tell: Progress,
    clock: Callable[[], float],
) -> Outcome:
    """Have the child write graphs into the scratch directory; raise what went wrong."""
    output, count = scratch / _FILES, len(compilation.files)
    output.mkdir()
    number = 0

    def hear(answer: Answer) -> None:
        nonlocal number
        if "width" in answer:
            tell(f"check for {compilation.soc}", 1.0)
            return
        number = int(answer["graph"])
        tell(f"compile for {compilation.soc}", (number - 1) / count)

    outcome = supervise(
        [
            sys.executable,
            "-c",
            _CHILD,
            json.dumps([str(Path(entry).absolute()) for entry in sys.path if entry]),
        ],
        {**request, "output": str(output.resolve())},
        compilation.limits,
        hear,
        cwd=scratch,
        clock=clock,
    )
    if outcome.answer is None or "done" not in outcome.answer:
        raise failure(replace(compilation, number=number), outcome, scratch)
    if missing := [file for file in compilation.files if not (output / file).is_file()]:
        raise RuntimeFailure(
            f"{compilation.provider} wrote nothing for {missing[0]}.",
            hint="Leave out options that it was given.",
        )
    tell(f"compile for {compilation.soc}", 1.0)
    return replace(outcome, peak_bytes=int(outcome.answer["done"]["peak_bytes"]) or outcome.peak_bytes)


def _limits(seconds: float | None, memory_bytes: int | None) -> Limits:
    limits = Limits(
        DEFAULT_SECONDS if seconds is None else seconds,
        default_memory() if memory_bytes is None else memory_bytes,
    )
    if not limits.seconds > 0 or not math.isfinite(limits.seconds):
        raise InvalidInput(
            f"A compiler cannot have {limits.seconds} seconds.", hint="Give it more than none."
        )
    if limits.memory_bytes <= 0:
        raise InvalidInput(
            f"A compiler cannot have {limits.memory_bytes} bytes of memory.", hint="Give it gigabytes."
        )
    return limits


def _compilable(bundle: Path, chip: Soc) -> StaticNote:
    static = read_manifest(bundle).static
    again = "Export the model with --target qnn-htp."
    if static is None:
        raise InvalidInput(
            f"{bundle.name} is no static bundle, and graphs of moving shapes are not compiled.", hint=again
        )
    target = TARGETS.get(static.target)
    if target is None or target.provider not in (chip.provider, _ANY):
        raise InvalidInput(
            f"{bundle.name} was exported for {static.target}, not for chips like {chip.name}.", hint=again
        )
    return static


def _groups(static: StaticNote, *, share: bool) -> list[list[str]]:
    """Return the files of graphs, those together that share a binary: of a segment, by width."""
    groups: dict[tuple[int, int], list[GraphNote]] = {}
    for graph in static.graphs:
        groups.setdefault((graph.start, graph.stop), []).append(graph)
    ordered = [sorted(groups[piece], key=lambda graph: graph.width) for piece in sorted(groups)]
    if share:
        return [[graph.file for graph in group] for group in ordered]
    return [[graph.file] for group in ordered for graph in group]


def _arch(options: Mapping[str, str]) -> str:
    version = options.get("htp_arch", "")
    return f"v{version}" if version else ""


@contextmanager
def _scratch(bundle: Path) -> Iterator[Path]:
    """Give a hidden directory in the bundle, on its disk; remove those of compilations that were killed.

    Raises StorageError for whatever OSError comes.
    """
    for left in bundle.glob(f"{_SCRATCH}*"):
        pid = left.name.removeprefix(_SCRATCH)
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    scratch = bundle / f"{_SCRATCH}{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        yield scratch
    except OSError as error:
        raise storage_error(error, bundle) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
