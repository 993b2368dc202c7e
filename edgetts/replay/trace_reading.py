"""Read decision traces that anybody may have written: every value is checked before it is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from edgetts.control.decisions import Decision, DecisionKind
from edgetts.errors import InvalidInput
from edgetts.evaluation.jsonlines import read_objects
from edgetts.replay.fields import TIME, Fields, real, whole
from edgetts.replay.samples import Recorded
from edgetts.replay.trace import FORMAT, AnswerTrace, Ending, PassTaken
from edgetts.replay.trace_parts import (
    MOST_SAMPLES,
    MOST_TOKENS,
    MOST_WIDTH,
    budget_in,
    endless,
    lengths_in,
    named,
    plan_in,
    power_in,
    recorded_in,
    times_in,
)

LONGEST_LINE = 1 << 24
MOST_LINES = 1_000_000
_PASSES = 1 << 12
_KINDS = ("answer", "prompt", "move", "passes", "sample", "decided", "pruned", "decision", "end")
_HEADER = frozenset(
    [
        "kind",
        "format",
        "edgetts",
        "model",
        "runtime",
        "budget",
        "plan",
        "strategy",
        "strategy_name",
        "verifier",
        "abstains",
        "sampling",
        "answer_format",
        "prompt_tokens",
        "began",
        "curve",
        "power",
        "share",
        "lengths",
        "question",
    ]
)
_SAMPLE = frozenset(
    [
        "kind",
        "index",
        "tokens",
        "draws",
        "logprob",
        "finish",
        "concluded",
        "greedy",
        "answer",
        "stated",
        "answer_logprob",
        "answer_tokens",
        "passed",
        "score",
        "scoring",
    ]
)


def is_trace(path: Path) -> bool:
    """Whether a file begins as a decision trace does. Errors: InvalidInput, StorageError."""
    for line in read_objects(path, longest=LONGEST_LINE, torn_end=True):
        return line.value.get("kind") == "answer"
    return False


def read_traces(path: Path) -> list[AnswerTrace]:
    """Read every answer of a file. A last line that is not ended is left out, and an answer may lack its end.

    Errors: InvalidInput naming the line that cannot be, StorageError.
    """
    found: list[AnswerTrace] = []
    under_way: _UnderWay | None = None
    for line in read_objects(path, longest=LONGEST_LINE, torn_end=True):
        if line.number > MOST_LINES:
            Fields(path, line.number, {}).refuse(f"is one more than the {MOST_LINES:,} lines that are read")
        fields = Fields(path, line.number, line.value)
        kind = fields.word("kind", _KINDS)
        if kind == "answer":
            if under_way is not None:
                found.append(under_way.made())
            under_way = _UnderWay(fields)
        elif under_way is None:
            fields.refuse("comes before the line that begins an answer")
        else:
            under_way.add(kind, fields)
    if under_way is not None:
        found.append(under_way.made())
    if not found:
        raise InvalidInput(
            f"{path} traces no answer.", hint="Make a trace with: edgetts ask ... --trace FILE"
        )
    return found


@dataclass(slots=True)
class _UnderWay:
    """What the lines of one answer have said so far."""

    header: Fields
    prompt_read: float | None = None
    concluded: set[int] = field(default_factory=set)
    passes: list[PassTaken] = field(default_factory=list)
    samples: dict[int, Recorded] = field(default_factory=dict)
    scoring: dict[int, int] = field(default_factory=dict)
    moves: list[int | None] = field(default_factory=list)
    decided: tuple[int, str] | None = None
    pruned: set[int] = field(default_factory=set)
    decisions: list[Decision] = field(default_factory=list)
    end: Ending | None = None

    def add(self, kind: str, fields: Fields) -> None:
        if self.end is not None:
            fields.refuse("comes after the end of its answer")
        getattr(self, f"_on_{kind}")(fields)

    def _on_prompt(self, fields: Fields) -> None:
        fields.only(("kind", "at"))
        if self.prompt_read is not None or self.passes:
            fields.refuse("says a second time, or too late, that the prompt was read")
        self.prompt_read = fields.number("at", least=self.header.number("began"))

    def _on_passes(self, fields: Fields) -> None:
        fields.only(("kind", "passes"))
        if self.prompt_read is None:
            fields.refuse("has passes before the prompt was read")
        for row in fields.rows("passes", _PASSES):
            if not isinstance(row, list) or not 5 <= len(row) <= 8:
                fields.refuse("has a pass that is no list of five to eight numbers")
            since = self.passes[-1].taken if self.passes else self.prompt_read
            began = real(fields, "passes", row[1], since, TIME)
            ended = real(fields, "passes", row[2], began, TIME)
            taken = real(fields, "passes", row[3], ended, TIME)
            self.passes.append(
                PassTaken(
                    whole(fields, "passes", row[0], 0, MOST_WIDTH),
                    began,
                    ended,
                    taken,
                    whole(fields, "passes", row[4], 0, MOST_WIDTH),
                    real(fields, "passes", row[5], 0.0, TIME)
                    if len(row) > 5 and row[5] is not None
                    else None,
                    whole(fields, "passes", row[6], 0, MOST_WIDTH) if len(row) > 6 else 0,
                    whole(fields, "passes", row[7], 0, MOST_WIDTH) if len(row) > 7 else 0,
                )
            )

    def _on_move(self, fields: Fields) -> None:
        fields.only(("kind", "total"))
        if len(self.moves) == MOST_SAMPLES:
            fields.refuse(f"is one more than the {MOST_SAMPLES} moves that are read")
        self.moves.append(
            None if fields.value.get("total") is None else fields.count("total", most=MOST_SAMPLES)
        )

    def _on_decided(self, fields: Fields) -> None:
        fields.only(("kind", "votes", "said"))
        if self.decided is not None:
            fields.refuse("says a second time that it was decided")
        self.decided = fields.count("votes", most=MOST_SAMPLES), fields.text("said", "") or ""

    def _on_pruned(self, fields: Fields) -> None:
        fields.only(("kind", "samples"))
        self.pruned |= {
            whole(fields, "samples", one, 0, MOST_SAMPLES) for one in fields.rows("samples", MOST_SAMPLES)
        }

    def _on_sample(self, fields: Fields) -> None:
        fields.only(_SAMPLE)
        index = fields.count("index", most=MOST_SAMPLES)
        if index in self.samples:
            fields.refuse(f"is a second end of sample {index}")
        self.samples[index] = recorded_in(fields, index)
        if fields.flag("concluded"):
            self.concluded.add(index)
        self.scoring[index] = fields.count("scoring", default=0)

    def _on_decision(self, fields: Fields) -> None:
        fields.only(("kind", "what", "at", "tokens", "reason", "samples", "count", "joules"))
        what: Any = fields.word("what", get_args(DecisionKind))
        at = fields.number("at", least=self.decisions[-1].at if self.decisions else 0.0)
        self.decisions.append(
            Decision(
                kind=what,
                at=at,
                tokens=fields.count("tokens"),
                reason=fields.text("reason", "") or "",
                samples=tuple(
                    whole(fields, "samples", one, 0, MOST_SAMPLES)
                    for one in fields.rows("samples", MOST_SAMPLES)
                ),
                count=fields.count("count", default=0),
                joules=fields.maybe("joules", least=0.0),
            )
        )

    def _on_end(self, fields: Fields) -> None:
        fields.only(("kind", "at", "stop", "detail", "answer", "abstained", "tokens", "joules", "names"))
        for pair in fields.rows("names", MOST_SAMPLES):
            if not (isinstance(pair, list) and len(pair) == 2 and pair[0] in self.samples):
                fields.refuse("names the answer of a sample that is not there")
            if pair[1] is not None and not isinstance(pair[1], str):
                fields.refuse("has a name of an answer that is no text")
            self.samples[pair[0]] = named(self.samples[pair[0]], pair[1])
        self.end = Ending(
            at=fields.number("at", least=self.header.number("began")),
            stop=fields.text("stop", "") or "",
            detail=fields.text("detail", "") or "",
            answer=fields.text("answer"),
            tokens=fields.count("tokens"),
            joules=fields.maybe("joules", least=0.0),
            abstained=fields.flag("abstained"),
        )

    def made(self) -> AnswerTrace:
        fields = self.header
        if self.end is None:
            # Its writer was killed: nobody knows how the samples that ran then would have ended.
            most = max(self.samples, default=-1) + 1
            self.samples = {index: self.samples.get(index) or endless(index) for index in range(most)}
        if sorted(self.samples) != list(range(len(self.samples))):
            fields.refuse("begins an answer of which a sample in between did not end")
        fields.only(_HEADER)
        version = fields.count("format")
        if version > FORMAT:
            fields.refuse(f"has the format {version}, but this edgetts reads up to {FORMAT}")
        sampling = fields.inner("sampling")
        return AnswerTrace(
            line=fields.place,
            header=fields.value,
            budget=budget_in(fields),
            plan=plan_in(fields),
            strategy=fields.text("strategy"),
            verifier=fields.text("verifier"),
            seed=0 if sampling is None else sampling.count("seed", most=1 << 64, default=0),
            prompt_tokens=fields.count("prompt_tokens", most=MOST_TOKENS),
            began=fields.number("began"),
            prompt_read=self.prompt_read,
            concluded=frozenset(self.concluded),
            times=times_in(fields.inner("curve")),
            power=power_in(fields.inner("power")),
            share=fields.number("share", least=0.0, most=1.0, default=1.0),
            lengths=lengths_in(fields.inner("lengths")),
            passes=tuple(self.passes),
            samples=tuple(self.samples[index] for index in range(len(self.samples))),
            scoring=self.scoring,
            moves=tuple(self.moves),
            decided=self.decided,
            pruned=frozenset(self.pruned),
            decisions=tuple(self.decisions),
            end=self.end,
        )
