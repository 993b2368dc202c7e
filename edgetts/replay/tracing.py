"""Write a decision trace while an answer is computed: a `Watcher` with a file. No text of the prompt, unless asked to."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.work import LengthLaw
from edgetts.control.decisions import Decision
from edgetts.errors import InvalidInput, StorageError
from edgetts.replay.spelling import spell_strategy
from edgetts.replay.trace import FORMAT
from edgetts.selection.aggregation import Vote
from edgetts.types import Answer, Plan, Sample

if TYPE_CHECKING:
    from edgetts.answering.question import Question
    from edgetts.answering.watching import Known

_START = b'{"kind":"answer","format":'
# Passes that a line holds at most: what is lost where the writer is killed.
_PASSES = 64
_QUANTILES = 64
# Of a plan: what it was chosen among fills pages, and its predictions are no part of following it.
_LEFT_OUT = ("candidates", "considered")


class DecisionTrace:
    """Append the traces of answers to a file, each line out of this process once it is written.

    text: write the question, too. The first failure to write ends it; the answer goes on, and `trouble` says what it was.
    """

    def __init__(self, path: Path, *, text: bool = False) -> None:
        """Go on with a trace that is there. Errors: InvalidInput for another file, StorageError."""
        self.path = path
        self.trouble: StorageError | None = None
        self._text = text
        self._decisions: Sequence[Decision] = ()
        self._told = 0
        self._passes: list[list[float | None]] = []
        self._file: BinaryIO | None = None
        try:
            if path.exists():
                _mend(path)
            elif not (path.absolute().parent.is_dir() and os.access(path.absolute().parent, os.W_OK)):
                raise StorageError(
                    f"{path} cannot be written to.", hint="Name a file in a directory of yours."
                )
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}.") from error

    def begin(self, question: Question) -> None:
        self._decisions, self._told, self._passes = question.controller.decisions, 0, []
        choosing, sampling = question.choosing, asdict(question.sampling)
        if not self._text:
            # What ends a sample may be a piece of the prompt.
            sampling["stop"] = len(question.sampling.stop)
        header = {
            "kind": "answer",
            "format": FORMAT,
            "edgetts": version("edgetts"),
            "model": question.model,
            "runtime": question.plan.runtime,
            "budget": question.budget.to_json(),
            "plan": _plan(question.plan),
            "strategy": spell_strategy(choosing.strategy),
            "strategy_name": choosing.strategy.name,
            "verifier": None if choosing.verifier is None else choosing.verifier.name,
            "abstains": choosing.abstention is not None,
            "sampling": sampling,
            "answer_format": str(choosing.answer_format),
            "prompt_tokens": len(question.tokens),
            "began": question.meter.began,
            **_known(question.known),
        }
        if self._text:
            header["question"] = question.text
        self._write(header)

    def prompt_read(self, at: float) -> None:
        self._write({"kind": "prompt", "at": at})

    def moved(self, total: int | None) -> None:
        self._tell()
        self._write({"kind": "move", "total": total})

    def decided(self, votes: int, said: str) -> None:
        self._tell()
        self._write({"kind": "decided", "votes": votes, "said": said})

    def pruned(self, samples: Sequence[int]) -> None:
        self._tell()
        self._write({"kind": "pruned", "samples": list(samples)})

    def passed(self, width: int, began: float, ended: float, drawn: int) -> None:
        self._tell()
        self._passes.append([width, began, ended, ended, drawn])

    def taken(self, at: float, joules: float | None, closing: int, widest: int) -> None:
        last = self._passes[-1] if self._passes else None
        if last is not None and len(last) == 5:
            last[3] = at
        else:
            self._tell()
            last = [0, at, at, at, 0]
            self._passes.append(last)
        last += [joules, closing, widest]
        if len(self._passes) >= _PASSES:
            self._flush()

    def sample_ended(self, sample: Sample, vote: Vote, draws: int, *, concluded: bool, scoring: int) -> None:
        self._tell()
        self._write(
            {
                "kind": "sample",
                "index": sample.index,
                "tokens": len(sample.tokens),
                "draws": draws,
                "logprob": vote.logprob,
                "finish": sample.finish_reason,
                "concluded": concluded,
                "greedy": sample.greedy,
                "answer": vote.answer,
                "stated": vote.explicit,
                "answer_logprob": vote.answer_logprob,
                "answer_tokens": vote.answer_tokens,
                "passed": sample.passed,
                "score": sample.score,
                "scoring": scoring,
            }
        )

    def end(self, at: float, answer: Answer, votes: Sequence[Vote]) -> None:
        self._tell()
        self._flush()
        self._write(
            {
                "kind": "end",
                "at": at,
                "stop": answer.stop_reason,
                "detail": answer.stop_detail,
                "answer": answer.answer,
                "abstained": answer.abstained,
                "tokens": answer.usage.generated_tokens,
                "joules": answer.usage.joules,
                # Classes of equivalent answers are named by all of them together.
                "names": [[vote.sample, vote.answer] for vote in votes],
            }
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _tell(self) -> None:
        """Write what was decided since the last look, and before it the passes that came before."""
        new = self._decisions[self._told :]
        if new:
            self._flush()
        self._told += len(new)
        for one in new:
            self._write({"kind": "decision", **_decision(one)})

    def _flush(self) -> None:
        """Write the passes; one under way whose tokens are being taken is held back until they are."""
        done = [row for row in self._passes if len(row) == 8]
        self._passes = [row for row in self._passes if len(row) < 8]
        if done:
            self._write({"kind": "passes", "passes": [_short(row) for row in done]})

    def _write(self, value: Mapping[str, Any]) -> None:
        if self.trouble is not None:
            return
        try:
            # Not before there is something to say: an answer that is refused leaves no file.
            self._file = self._file or self.path.open("ab")
            self._file.write(
                json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).encode() + b"\n"
            )
            self._file.flush()
        except OSError as error:
            self.trouble = StorageError(
                f"{self.path}: {error.strerror or os.strerror(error.errno or 0)}; the trace ends there."
            )


def _mend(path: Path) -> None:
    """Drop a last line that a killed writer did not end, which would spoil the next one; refuse what is no trace."""
    with path.open("rb") as reader:
        start = reader.read(len(_START))
        size = reader.seek(0, os.SEEK_END)
        if not start.startswith(_START[: max(1, size)]) and size:
            raise InvalidInput(f"{path} is no decision trace.", hint="Name another file, or a new one.")
        begin = size
        while begin:
            step = min(begin, 1 << 16)
            reader.seek(begin - step)
            at = reader.read(step).rfind(b"\n")
            if at >= 0:
                begin = begin - step + at + 1
                break
            begin -= step
    if begin < size:
        os.truncate(path, begin)


def _plain(value: Any) -> Any:
    """Return what JSON can say: a number that is none is null."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(row: list[float | None]) -> list[float | None]:
    """Leave out what many passes have not: joules, a way to make samples state their answers, and a wider one to follow."""
    return row if row[6] or (row[7] or 0) > 1 else row[:6] if row[5] is not None else row[:5]


def _plan(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in asdict(plan).items() if key not in _LEFT_OUT}


def _decision(one: Decision) -> dict[str, Any]:
    """Return a decision as an object whose `kind` is that of the line: its own is `what`."""
    body = one.to_json()
    body["what"] = body.pop("kind")
    return body


def _known(known: Known | None) -> dict[str, Any]:
    if known is None:
        return {"curve": None, "power": None, "share": 1.0, "lengths": None}
    power = None
    if known.power is not None:
        power = {field.name: asdict(getattr(known.power, field.name)) for field in fields(known.power)}
    return {
        "curve": asdict(known.times),
        "power": power,
        "share": known.share,
        "lengths": None if known.lengths is None else _lengths(known.lengths),
    }


def _lengths(law: LengthLaw) -> dict[str, Any]:
    if isinstance(law, Lengths):
        return {
            "seen": [[tokens, ended] for tokens, ended in law.seen],
            "typical": law.typical,
            "spread": law.spread,
        }
    return {"quantiles": list(law.quantiles(_QUANTILES))}
