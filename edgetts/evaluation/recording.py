"""Write a run to a file problem by problem, and go on with one that was interrupted. Knows no engine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from edgetts.errors import InvalidInput, StorageError
from edgetts.evaluation.jsonlines import read_objects
from edgetts.evaluation.loading import LONGEST_LINE, read_problem
from edgetts.evaluation.record import FORMAT, ProblemRecord, Run, SampleRecord
from edgetts.types import SamplingParams

_HEADER_START = b'{"kind": "header", "format": '
LOGPROB_DIGITS = 4
SETTINGS = (
    "task",
    "task_seed",
    "strategy",
    "verify",
    "calibration",
    "risk",
    "budget",
    "sampling",
    "decode",
    "system",
    "answer_format",
    "runtime",
    "options",
    "model_source",
    "model",
)
"""What a header says that must be the same for a run to go on; `model` is the loaded model's own name."""


class Recorder:
    """A record file that is open for more. `done` are the problems that it had already."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Begin a file, or go on with one of the same settings; a last line that was torn is dropped.

        Keys of `header` that are missing are not compared; `begin` completes it. Errors: InvalidInput for a
        file that is no record or has other settings, StorageError.
        """
        self.path = path
        self._header: dict[str, Any] | None = None
        done: list[ProblemRecord] = []
        whole = 0
        if path.exists():
            for line in read_objects(path, longest=LONGEST_LINE, torn_end=True):
                if self._header is None:
                    self._header = _same(path, line.value, header)
                else:
                    done.append(read_problem(path, line.number, line.value, {}))
                whole = line.ends
            if self._header is None:
                _torn_header(path)
        self.done = tuple(done)
        self._torn_at = whole
        self._size = path.stat().st_size if path.exists() else 0
        self._file: Any = None

    @property
    def header(self) -> Mapping[str, Any]:
        """The file's; empty before there is one."""
        return self._header or {}

    def begin(self, header: Mapping[str, Any]) -> None:
        """Open the file for writing, with a whole header. Errors as when made; nothing was written before."""
        if self._header is not None:
            _same(self.path, self._header, header)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            if os.fstat(self._file.fileno()).st_size != self._size:
                self.close()
                raise InvalidInput(
                    f"{self.path} was written to by another command since it was read.",
                    hint="Wait for that one to end, then go on with the same command.",
                )
            self._file.truncate(self._torn_at)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}.") from error
        if self._header is None:
            self._header = {"kind": "header", "format": FORMAT, **header}
            self._write(self._header)

    def add(self, problem: ProblemRecord) -> None:
        """Write a problem; when this returns, the line is out of this process."""
        self._write(problem_to_json(problem))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(
                f"{self.path}: {error.strerror or os.strerror(error.errno or 0)}.",
                hint="What was recorded before is there; make room and go on with the same command.",
            ) from error


def write_run(path: Path, run: Run) -> None:
    """Write a whole run to a new file, which is there complete or not at all. Errors: StorageError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            header = {**run.header, "kind": "header", "format": FORMAT}
            for line in (header, *map(problem_to_json, run.problems)):
                file.write(json.dumps(line, allow_nan=False) + "\n")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: {error.strerror or error}.") from error


def problem_to_json(problem: ProblemRecord) -> dict[str, Any]:
    """Return a problem's line. There `answer` is the reference and `found` the run's answer, as in older records."""
    body = asdict(problem)
    body["found"], body["answer"] = body.pop("answer"), body.pop("reference")
    body["samples"] = [_sample_to_json(sample) for sample in problem.samples]
    if problem.seconds is not None:
        body["seconds"] = round(problem.seconds, 4)
    return {"kind": "problem", **body}


def _sample_to_json(sample: SampleRecord) -> dict[str, Any]:
    body = asdict(sample)
    body["logprobs"] = [round(value, LOGPROB_DIGITS) for value in sample.logprobs]
    if sample.seconds is not None:
        body["seconds"] = round(sample.seconds, 4)
    return body


def _torn_header(path: Path) -> None:
    """Refuse a file without a whole line, which would be overwritten, unless it is what is left of a header."""
    with path.open("rb") as file:
        start = file.read(len(_HEADER_START))
    if not _HEADER_START.startswith(start):
        raise InvalidInput(f"{path} is no record of a run.", hint="Name another file.")


def _same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's header. Raise InvalidInput where its settings are not the ones wanted."""
    if found.get("kind") != "header" or found.get("format") != FORMAT:
        raise InvalidInput(
            f"{path} is no record that can be gone on with.",
            hint="Name another file, or one that edgetts eval --record wrote.",
        )
    plain = json.loads(json.dumps(wanted))  # tuples are lists in a file
    before, asked = found.get("sampling"), plain.get("sampling")
    if isinstance(before, dict) and isinstance(asked, dict):
        # Settings that came later had their defaults then.
        usual = json.loads(json.dumps(asdict(SamplingParams())))
        found = {**found, "sampling": {name: usual[name] for name in asked if name in usual} | before}
    for name in SETTINGS:
        if name in plain and found.get(name) != plain[name]:
            raise InvalidInput(
                f"{path} records a run with {_differs(name, found.get(name), plain[name])}.",
                hint="Use the same settings to go on with it, or another file.",
            )
    return dict(found)


def _differs(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        key = next(key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key))
        return _differs(f"{name} {key}", found.get(key), wanted.get(key))
    return f"{name.replace('_', ' ')} {_brief(found)}, not {_brief(wanted)}"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
