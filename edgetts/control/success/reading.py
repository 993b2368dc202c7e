"""Read success profiles from TOML that anybody may have written: every value is checked before it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import get_args

from edgetts.control.success.coverage import CoverageLaw
from edgetts.control.success.difficulty import FEATURES, Curve, Difficulty
from edgetts.control.success.figures import (
    MOST_QUESTIONS,
    ByQuestion,
    Check,
    Drawing,
    Knots,
    Reliability,
    Share,
    TaskLengths,
    VerifierCounts,
    VoteCurve,
)
from edgetts.control.success.model import Approach
from edgetts.control.success.profile import SuccessProfile
from edgetts.control.success.writing import FORMAT
from edgetts.errors import BundleVersionError
from edgetts.interval import Interval
from edgetts.profiles.table import Table, parse_toml

_APPROACHES: tuple[Approach, ...] = get_args(Approach)
_SAMPLES = 1 << 16
_TOKENS = 1 << 24
_QUESTIONS = 1 << 24
_TEXTS = 1 << 40
_DRAWINGS = 32
_CURVES = 256
_POINTS = 64
_KNOTS = 1024


def read_success(raw: bytes, what: str) -> SuccessProfile:
    """Read a document. Errors: CorruptFile, BundleVersionError, which name `what`."""
    top = parse_toml(raw, what)
    version = top.whole("format", 1, 1 << 31)
    if version > FORMAT:
        raise BundleVersionError(
            f"{what} was written by a newer edgetts (format {version}; this one reads {FORMAT}).",
            hint="Upgrade edgetts, or measure again: edgetts calibrate --task",
        )
    top.word("document", ("success",))
    names = top.text("model"), top.text("task"), top.text("answer_format")
    profile = SuccessProfile(*names, tuple(_drawing(one) for one in top.tables("drawings", _DRAWINGS)))
    top.end()
    keys = [(one.approach, one.temperature) for one in profile.drawings]
    if not keys or len(set(keys)) < len(keys):
        raise top.wrong("drawings", "must be there, one for each approach and temperature")
    return profile


def _drawing(table: Table) -> Drawing:
    drawing = Drawing(
        approach=table.word("approach", _APPROACHES),
        temperature=table.number("temperature", 0.0, 100.0),
        questions=table.whole("questions", 1, _QUESTIONS),
        samples=table.whole("samples", 1, _SAMPLES),
        cap=table.whole("cap", 1, _TOKENS),
        data=table.text("data"),
        date=table.day("date", ""),
        lengths=_lengths(table.table("lengths")),
        votes=tuple(_curve(one) for one in table.tables("votes", _CURVES)),
        greedy=_share(table.optional_table("greedy")),
        sampled=_share(table.optional_table("sampled")),
        coverage=_coverage(table.optional_table("coverage")),
        reliability=tuple(_reliability(one) for one in table.tables("reliability", _POINTS)),
        verifiers=tuple(_verifier(one) for one in table.tables("verifiers", _POINTS)),
        difficulty=_difficulty(table.optional_table("difficulty")),
        checks=tuple(_check(one) for one in table.tables("checks", _POINTS)),
    )
    by_question = table.optional_table("by_question")
    if by_question is not None:
        drawing = replace(drawing, by_question=_by_question(by_question))
    table.end()
    if not _rising([(one.verified, one.aggregator, one.cap) for one in drawing.votes]):
        raise table.wrong("votes", "must be in the order of verifier, aggregator and cap, each once")
    if not _rising([(one.samples,) for one in drawing.reliability]):
        raise table.wrong("reliability", "must rise in samples")
    return drawing


def _by_question(table: Table) -> ByQuestion:
    one = ByQuestion(
        table.wholes("questions", 0, 1 << 48, MOST_QUESTIONS),
        table.numbers("greedy", 0.0, 1.0, MOST_QUESTIONS),
        table.numbers("drawn", 0.0, 1.0, MOST_QUESTIONS),
    )
    table.end()
    if not _rising([(question,) for question in one.questions]):
        raise table.wrong("questions", "must rise")
    if not len(one.questions) == len(one.greedy) == len(one.drawn):
        raise table.wrong("drawn", "must have one entry for each of questions, as must greedy")
    return one


def _share(table: Table | None) -> Share | None:
    if table is None:
        return None
    share = Share(
        right=table.number("right", 1e-9, 1e12),
        wrong=table.number("wrong", 1e-9, 1e12),
        low=table.number("low", 0.0, 1.0),
        high=table.number("high", 0.0, 1.0),
    )
    table.end()
    if not share.low <= share.high:
        raise table.wrong("low", "is above high")
    return share


def _lengths(table: Table) -> TaskLengths:
    lengths = TaskLengths(
        values=table.numbers("values", 0.0, float(_TOKENS), _POINTS),
        samples=table.whole("samples", 1, _TEXTS),
        cut=table.number("cut", 0.0, 1.0),
        cap=table.whole("cap", 1, _TOKENS),
    )
    table.end()
    if not lengths.values or list(lengths.values) != sorted(lengths.values):
        raise table.wrong("values", "must be there, the shorter first")
    return lengths


def _curve(table: Table) -> VoteCurve:
    points = []
    for point in table.tables("points", _POINTS):
        samples = point.whole("samples", 1, _SAMPLES)
        found = Interval(*(point.number(name, 0.0, 1.0) for name in ("value", "low", "high", "level")))
        point.end()
        if not found.low <= found.value <= found.high or not 0 < found.level < 1:
            raise point.wrong("value", "is not between low and high")
        points.append((samples, found))
    curve = VoteCurve(
        table.text("aggregator"), table.text("verified"), table.whole("cap", 1, _TOKENS), tuple(points)
    )
    table.end()
    if not points or not _rising([(samples,) for samples, _ in points]):
        raise table.wrong("points", "must be there, and rise in samples")
    return curve


def _coverage(table: Table | None) -> CoverageLaw | None:
    if table is None:
        return None
    variance = table.numbers("variance", -1e6, 1e6, 3)
    law = CoverageLaw(
        height=table.number("height", -100.0, 100.0),
        slope=table.number("slope", -100.0, 0.0),
        centre=table.number("centre", 0.0, 100.0),
        variance=(variance[0], variance[1], variance[2]) if len(variance) == 3 else (0.0, 0.0, -1.0),
        bend=table.number("bend", 0.0, 100.0),
        most=table.whole("most", 1, _SAMPLES),
    )
    table.end()
    if law.variance[0] < 0 or law.variance[2] < 0:
        raise table.wrong("variance", "is not that of a height, of both, and of a slope")
    return law


def _reliability(table: Table) -> Reliability:
    seen = table.table("seen")
    columns = [seen.numbers(name, 0.0, float(_TEXTS), _KNOTS) for name in ("share", "right", "all")]
    seen.end()
    if len({len(column) for column in columns}) > 1:
        raise seen.wrong("all", "must have one entry for each of share")
    one = Reliability(
        table.whole("samples", 1, _SAMPLES),
        _knots(table),
        tuple((share, right, every) for share, right, every in zip(*columns, strict=True)),
    )
    table.end()
    if not all(share <= 1 and right <= every + 1e-3 for share, right, every in one.counts):
        raise seen.wrong("right", "is more than all")
    return one


def _verifier(table: Table) -> VerifierCounts:
    name = table.text("name")
    counts = []
    for kind in ("right", "wrong"):
        found = table.wholes(kind, 0, _TEXTS, 3)
        if len(found) != 3:
            raise table.wrong(kind, "is not how many passed, failed and could not be told")
        counts.append((found[0], found[1], found[2]))
    table.end()
    return VerifierCounts(name, counts[0], counts[1])


def _difficulty(table: Table | None) -> Difficulty | None:
    if table is None:
        return None
    weights = table.table("weights")
    found = Difficulty(
        weights=tuple((name, weights.number(name, -1e6, 1e6)) for name in FEATURES if name in weights),
        after=table.whole("after", 1, _SAMPLES),
        most=table.whole("most", 1, _SAMPLES),
        now=_line(table, "now"),
        later=_line(table, "later"),
        auroc=table.number("auroc", 0.0, 1.0),
        rescued=table.number("rescued", 0.0, 1.0) if "rescued" in table else None,
    )
    weights.end()
    table.end()
    if not found.weights or found.most <= found.after:
        raise table.wrong("most", "must be more than after, and weights be there")
    return found


def _check(table: Table) -> Check:
    samples = table.whole("samples", 1, _SAMPLES)
    error, raw, brier = (table.number(name, 0.0, 1.0) for name in ("error", "raw", "brier"))
    check = Check(samples, error, raw, brier, table.whole("splits", 1, _SAMPLES))
    table.end()
    return check


def _line(table: Table, name: str) -> Curve:
    numbers = table.numbers(name, -1e6, 1e6, 2)
    if len(numbers) != 2 or numbers[0] < 0:
        raise table.wrong(name, "is not a slope of at least 0 and an intercept")
    return numbers[0], numbers[1]


def _knots(table: Table) -> Knots:
    values = table.numbers("values", 0.0, 1.0, _KNOTS)
    chances = table.numbers("chances", 0.0, 1.0, _KNOTS)
    if not len(values) == len(chances) > 0:
        raise table.wrong("chances", "must have one entry for each of values")
    if not _rising([(value,) for value in values]) or list(chances) != sorted(chances):
        raise table.wrong("values", "must rise, and their chances may not fall")
    return tuple(zip(values, chances, strict=True))


def _rising(values: Sequence[tuple[object, ...]]) -> bool:
    return all(a < b for a, b in pairwise(values))
