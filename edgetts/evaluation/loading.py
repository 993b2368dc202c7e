"""Read records of runs, of this format and of the two before it, trusting none of it. Knows no engine.

A record without graded answers is voted and graded here by its references, where it has some.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.evaluation.grading import matches
from edgetts.evaluation.jsonlines import read_objects, refuse
from edgetts.evaluation.record import FORMAT, ProblemRecord, Run, SampleRecord
from edgetts.selection.aggregation import Vote, self_consistency
from edgetts.selection.answers import AnswerFormat, classes, extract

LONGEST_LINE = 1 << 26
"""Bytes. A problem with 64 samples of 4,096 tokens takes some 6 million."""
MOST_PROBLEMS = 1_000_000
_OLD_TASK = re.compile(r"reasoning_gym (\w+) seed=(\d+)")


def load_run(path: Path) -> Run:
    """Read a record, also while it is written: a last line that is not ended is left out.

    Errors: InvalidInput naming the line that cannot be, StorageError.
    """
    header: dict[str, Any] = {}
    problems: list[ProblemRecord] = []
    seen: set[str] = set()
    for line in read_objects(path, longest=LONGEST_LINE, torn_end=True):
        if line.value.get("kind") == "header":
            if header or problems:
                refuse(path, line.number, "is a second header")
            header = _header(path, line.number, line.value)
            continue
        problem = read_problem(path, line.number, line.value, header)
        if problem.id in seen:
            refuse(path, line.number, f"is the second of problem {problem.id[:80]!r}")
        if len(problems) == MOST_PROBLEMS:
            refuse(path, line.number, f"is one more than the {MOST_PROBLEMS:,} problems that are read")
        seen.add(problem.id)
        problems.append(problem)
    if not problems:
        raise InvalidInput(
            f"{path} records no problem.", hint="Make a record with: edgetts eval TASK --record FILE"
        )
    return Run(header, problems, str(path))


def read_problem(
    path: Path, number: int, line: Mapping[str, Any], header: Mapping[str, Any]
) -> ProblemRecord:
    """Make a problem of one line; what the line does not say of answers and grades is found out here."""
    reader = _Reader(path, number, line)
    index = reader.count("index", 0)
    tokens = reader.of("usage").count("generated_tokens", -1)
    answer_format = reader.text("answer_format") or str(header.get("answer_format") or "auto")
    raw = line.get("samples", [])
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        refuse(path, number, "has samples that are no list of objects")
    samples = tuple(_sample(_Reader(path, number, one), place) for place, one in enumerate(raw))
    if len({sample.index for sample in samples}) < len(samples):
        refuse(path, number, "has two samples of one index")
    problem = ProblemRecord(
        id=reader.text("id") or str(index),
        index=index,
        question=reader.text("question") or "",
        reference=reader.text("answer"),
        prompt_tokens=reader.count("prompt_tokens", 0),
        answer=reader.text("found"),
        chosen=reader.count("chosen", None),
        right=reader.flag("right"),
        score=reader.number("score"),
        abstained=bool(reader.flag("abstained")),
        confidence=reader.share("confidence"),
        confidence_source=reader.text("confidence_source") or "",
        stop_reason=reader.text("stop_reason") or "",
        seconds=reader.number("seconds", least=0),
        tokens=tokens if tokens >= 0 else sum(len(sample.tokens) for sample in samples),
        joules=reader.number("joules", least=0),
        usage=reader.of("usage").line,
        samples=samples,
        answer_format=answer_format,
        error=reader.text("error"),
    )
    return problem if "found" in line else _replayed(path, number, problem)


def votes_of(problem: ProblemRecord) -> list[Vote]:
    """The votes of a problem's samples, for a tally to be taken again."""
    return [
        Vote(
            sample=sample.index,
            answer=sample.answer,
            logprob=math.fsum(sample.logprobs),
            tokens=len(sample.tokens),
            complete=sample.finished,
            explicit=sample.stated,
            path=sample.tokens,
            score=sample.score,
            passed=sample.passed,
        )
        for sample in problem.samples
    ]


def _replayed(path: Path, number: int, problem: ProblemRecord) -> ProblemRecord:
    """Find, vote on and grade the answers of a record that holds only texts and a reference."""
    if problem.reference is None or not problem.samples:
        return problem
    try:
        kind = AnswerFormat.parse(problem.answer_format)
    except InvalidInput as error:
        refuse(path, number, f"has an answer format that cannot be ({error})")
    found = [extract(sample.text, kind, complete=sample.finished) for sample in problem.samples]
    samples = [
        replace(
            sample,
            answer=name,
            stated=one is not None and one.explicit,
            right=matches(name, one.raw if one else None, problem.reference, problem.answer_format),
        )
        for sample, one, name in zip(problem.samples, found, classes(found, kind), strict=True)
    ]
    problem = replace(problem, samples=tuple(samples))
    tally = self_consistency(votes_of(problem))
    return replace(
        problem,
        answer=tally.answer,
        chosen=tally.sample,
        right=tally.answer is not None
        and any(sample.right is True for sample in samples if sample.answer == tally.answer),
        confidence=tally.confidence,
        confidence_source=tally.confidence_source if tally.confidence is not None else "",
    )


def _header(path: Path, number: int, line: Mapping[str, Any]) -> dict[str, Any]:
    version = line.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        refuse(path, number, f"has the format {str(version)[:20]!r}, but this edgetts reads up to {FORMAT}")
    header = dict(line)
    if old := _OLD_TASK.match(str(header.get("task", ""))):
        header["task"], header["task_seed"] = old[1], int(old[2][:9])
    return header


def _sample(reader: _Reader, place: int) -> SampleRecord:
    tokens = reader.line.get("tokens", [])
    logprobs = reader.line.get("logprobs", [])
    if not isinstance(tokens, list) or not all(
        type(token) is int and 0 <= token < 1 << 31 for token in tokens
    ):
        reader.refuse("has tokens that are no list of ids")
    if (
        not isinstance(logprobs, list)
        or len(logprobs) != len(tokens)
        or not all(type(value) in (int, float) and -1e9 < value < 1e9 for value in logprobs)
    ):
        reader.refuse("has log-probs that are not one number for each token")
    finished = reader.flag("finished")
    return SampleRecord(
        index=reader.count("index", place),
        tokens=tuple(tokens),
        logprobs=tuple(map(float, logprobs)),
        text=reader.text("text", empty=True) or "",
        finished=True if finished is None else finished,
        # The oldest records say in their header's words that the first sample is the greedy one.
        greedy=place == 0 if "greedy" not in reader.line else bool(reader.flag("greedy")),
        finish_reason=reader.text("finish_reason") or "",
        answer=reader.text("answer"),
        stated=reader.flag("stated") is not False,
        right=reader.flag("right"),
        score=reader.share("score"),
        passed=reader.flag("passed"),
        seconds=reader.number("seconds", least=0),
    )


class _Reader:
    """Fields of one object, by type; a field that is not there or null is None or its default."""

    def __init__(self, path: Path, number: int, line: Mapping[str, Any]) -> None:
        self.path, self.place, self.line = path, number, line

    def refuse(self, what: str) -> None:
        refuse(self.path, self.place, what)

    def text(self, name: str, *, empty: bool = False) -> str | None:
        value = self.line.get(name)
        if value is None or (isinstance(value, str) and (value or empty)):
            return value
        if value != "":
            self.refuse(f"has a {name!r} that is no text")
        return None

    def count(self, name: str, default: Any) -> Any:
        value = self.line.get(name)
        if value is None:
            return default
        if type(value) is not int or not 0 <= value < 1 << 53:
            self.refuse(f"has a {name!r} that is no count")
        return value

    def number(self, name: str, *, least: float = -math.inf) -> float | None:
        value = self.line.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not least <= value < 1e300:
            self.refuse(f"has a {name!r} that cannot be")
        return float(value)

    def share(self, name: str) -> float | None:
        value = self.number(name, least=0)
        if value is not None and value > 1:
            self.refuse(f"has a {name!r} above 1")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.line.get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(f"has a {name!r} that is neither true nor false")
        return value

    def of(self, name: str) -> _Reader:
        value = self.line.get(name)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.refuse(f"has a {name!r} that is no object")
        return _Reader(self.path, self.place, value)
