"""What a success profile predicts, how it is kept, and what is refused of a file."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from success_cases import around, curve, drawing, profile

from edgetts.control.success.coverage import CoverageLaw
from edgetts.control.success.difficulty import FEATURES, Seen
from edgetts.control.success.model import Attempt, SuccessModel
from edgetts.control.success.prior import PriorSuccess
from edgetts.control.success.profile import EXACT
from edgetts.control.success.reading import read_success
from edgetts.control.success.store import (
    find_success,
    keep_success,
    load_success,
    path_of,
    profiles_of,
)
from edgetts.control.success.writing import write_success
from edgetts.errors import CorruptFile, EdgettsError, StorageError
from edgetts.interval import Interval

LAWS = st.builds(
    CoverageLaw,
    height=st.floats(-3, 2),
    slope=st.floats(-2, 0),
    centre=st.floats(0, 3),
    variance=st.tuples(st.floats(0.0, 0.2), st.just(0.0), st.floats(0.0, 0.05)),
    bend=st.floats(0, 0.5),
    most=st.integers(2, 64),
)
ATTEMPTS = st.builds(
    Attempt,
    samples=st.integers(1, 4096),
    cap=st.integers(1, 5000),
    approach=st.sampled_from(["reason", "direct"]),
    temperature=st.floats(0, 2),
    aggregator=st.sampled_from(["majority", "rpc"]),
    verified=st.sampled_from(["", "arithmetic", EXACT, "regex"]),
)


def sound(found: Interval) -> bool:
    return 0 <= found.low <= found.value <= found.high <= 1 and found.level == 0.9


@given(LAWS, st.integers(1, 2000))
def test_coverage_never_falls_with_more_samples(law: CoverageLaw, samples: int) -> None:
    now, more = law.at(samples), law.at(samples + 1)
    assert sound(now)
    assert more.value >= now.value


@given(LAWS, st.integers(1, 5))
def test_bounds_of_coverage_part_ever_faster_beyond_what_was_recorded(
    law: CoverageLaw, doublings: int
) -> None:
    def off(samples: int) -> float:
        value, low = law.at(samples).value, law.at(samples).low
        return math.log(-math.log(max(low, 1e-300))) - math.log(-math.log(min(max(value, 1e-300), 1 - 1e-16)))

    tame = CoverageLaw(min(law.height, 0.5), max(law.slope, -0.3), 1.0, (0.01, 0.0, 0.0), law.bend, law.most)
    law = tame
    first = [off(law.most * 2**n) for n in (doublings - 1, doublings, doublings + 1)]
    assert first[0] < first[1] < first[2]
    assert first[1] >= doublings * math.log(2) * 0.05 * 1.6


def test_within_the_record_coverage_widens_by_its_variance_alone() -> None:
    law = CoverageLaw(0.2, -0.4, 1.0, (0.0, 0.0, 0.0), 0.3, 16)
    assert law.at(8).low == law.at(8).value == law.at(8).high
    assert law.at(32).low < law.at(32).value < law.at(32).high


@given(ATTEMPTS)
def test_the_prior_says_something_of_every_attempt(attempt: Attempt) -> None:
    assert sound(PriorSuccess().predict(attempt))


def test_the_prior_is_wide_and_says_so() -> None:
    one = PriorSuccess("chess")
    assert isinstance(one, SuccessModel)
    assert one.provenance == "a prior: nothing was measured"
    found = one.predict(Attempt(1, 512))
    assert found.high - found.low > 0.7
    values = [one.predict(Attempt(n, 512)).value for n in (1, 2, 4, 8, 16)]
    assert values == sorted(values)
    exact = [one.predict(Attempt(n, 512, verified=EXACT)).value for n in (1, 2, 4, 8, 16)]
    assert all(a >= b for a, b in zip(exact, values, strict=True))
    assert one.predict(Attempt(1, 100)).value < one.predict(Attempt(1, 512)).value


@given(ATTEMPTS)
@settings(max_examples=200)
def test_a_profile_predicts_probabilities_or_nothing(attempt: Attempt) -> None:
    both = (curve(0.1, 0.2, cap=100), curve(0.2, 0.3, 0.25, cap=400))
    checked = curve(0.2, 0.35, aggregator="verified", verified="arithmetic")
    found = profile(drawing(0.4, *both), drawing(0.9, *both, checked)).predict(attempt)
    assert found is None or sound(found)


def test_predictions_are_what_was_measured_and_linear_between() -> None:
    one = profile()
    assert one.predict(Attempt(8, 400)) == around(0.4)
    assert one.predict(Attempt(4, 400)).value == pytest.approx(0.3)
    middle = one.predict(Attempt(6, 400)).value
    assert middle == pytest.approx(0.3 + 0.1 * (math.log2(6) - 2))
    assert one.provenance == "measured on 100 questions of sums, 2026-11-28"


def test_a_vote_may_fall_with_more_samples_and_holds_beyond_the_record() -> None:
    one = profile(drawing(0.7, curve(0.5, 0.45, 0.4)))
    assert one.predict(Attempt(2, 400)).value == pytest.approx(0.45)
    known, further = one.predict(Attempt(4, 400)), one.predict(Attempt(16, 400))
    assert further.value == known.value
    assert further.high - further.low > known.high - known.low + 0.15
    assert one.predict(Attempt(64, 400)).low < further.low


def test_a_smaller_cap_costs_and_a_larger_one_is_worth_what_was_cut_at_most() -> None:
    votes = (curve(0.1, 0.1, cap=100), curve(0.2, 0.4, cap=400))
    one = profile(drawing(0.7, *votes, cut=0.1))
    values = [one.predict(Attempt(2, cap)).value for cap in (1, 50, 100, 250, 400)]
    assert values == sorted(values)
    assert values[2:] == [pytest.approx(0.1), pytest.approx(0.25), pytest.approx(0.4)]
    larger = one.predict(Attempt(2, 800))
    assert (larger.value, larger.high) == (pytest.approx(0.4), pytest.approx(0.55))
    uncut = profile(drawing(0.7, *votes)).predict(Attempt(2, 800))
    assert uncut == around(0.4)


def test_temperatures_lie_between_those_that_were_measured_or_near_them() -> None:
    one = profile(drawing(0.4, curve(0.2, 0.2)), drawing(0.8, curve(0.2, 0.4)))
    assert one.predict(Attempt(2, 400, temperature=0.6)).value == pytest.approx(0.3)
    near = one.predict(Attempt(2, 400, temperature=1.0))
    assert near.value == pytest.approx(0.4)
    assert near.high - near.low == pytest.approx(0.1 + 2 * 0.2 * 0.2)
    assert one.predict(Attempt(2, 400, temperature=1.3)) is None
    # The greedy sample is the same at every temperature.
    assert one.predict(Attempt(1, 400, temperature=1.3)).value == pytest.approx(0.2)
    assert one.drawing(Attempt(2, 400, temperature=0.75)).temperature == 0.8


def test_what_was_not_measured_is_not_known() -> None:
    one = profile()
    assert one.predict(Attempt(4, 400, approach="direct")) is None
    assert one.predict(Attempt(4, 400, aggregator="rpc")) is None
    assert one.predict(Attempt(4, 400, verified="regex")) is None
    # One sample is the same, whoever counts it.
    assert one.predict(Attempt(1, 400, aggregator="rpc", verified="regex")) == around(0.2)


def test_an_exact_verifier_needs_one_right_sample() -> None:
    one = profile()
    law = one.drawings[0].coverage
    assert law is not None
    assert one.predict(Attempt(4, 400, verified=EXACT)) == law.at(4)
    assert profile(drawing(0.7, coverage=None)).predict(Attempt(4, 400, verified=EXACT)) is None


def test_profiles_of_several_runs_become_one() -> None:
    first = profile(drawing(0.4, curve(0.1)), drawing(0.8, curve(0.2)))
    second = profile(drawing(0.8, curve(0.3)), drawing(0.8, curve(0.05), approach="direct"))
    merged = first.merged(second)
    assert [(one.approach, one.temperature) for one in merged.drawings] == [
        ("direct", 0.8),
        ("reason", 0.4),
        ("reason", 0.8),
    ]
    assert merged.predict(Attempt(2, 400, temperature=0.8)).value == pytest.approx(0.3)


def test_difficulty_is_read_from_numbers_alone() -> None:
    known = drawing().difficulty
    assert known is not None
    unsure = Seen([1, 1, 1, 1], [-0.5] * 4, [300] * 4)
    sure = Seen([4], [-0.1] * 4, [60] * 4)
    for name in FEATURES:
        assert FEATURES[name](sure) > FEATURES[name](unsure)
    low, high = known.value(unsure), known.value(sure)
    assert low is not None
    assert high is not None
    assert known.hopeless(low) > known.hopeless(high)
    assert known.value(Seen([1], [-0.5], [10])) is None
    assert known.gain(low) == pytest.approx((1 - known.hopeless(low)) - 1 / (1 + math.exp(-(low - 1.0))))


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    checked = curve(0.2, 0.35, aggregator="verified", verified="arithmetic")
    one = profile(drawing(0.4, coverage=None, difficulty=None), drawing(0.7, curve(0.1), checked))
    text = write_success(one)
    again = read_success(text.encode(), "the file")
    assert write_success(again) == text
    assert again.predict(Attempt(2, 400, verified="arithmetic")).value == pytest.approx(0.35)
    assert again.drawings[1].difficulty == one.drawings[1].difficulty


TEXTS = ("model", "task", "answer_format", "data", "aggregator", "verified", "name")
LINES = write_success(profile()).splitlines()


@pytest.mark.parametrize(
    "bad", ["nan", "-1", "inf", "1e400", "99999999999999999999999", '"x"', "true", "[]", "{}"]
)
def test_every_value_is_checked(bad: str) -> None:
    refused = 0
    for at, line in enumerate(LINES):
        name, equals, old = line.partition(" = ")
        if not equals or old == "[" or name in TEXTS:
            continue
        damaged = "\n".join([*LINES[:at], f"{name} = {bad}", *LINES[at + 1 :]])
        if bad == "-1" and name in ("height", "slope", "agreement", "shortness"):
            continue
        if bad == "[]" and name in ("verifiers", "checks", "reliability", "votes"):
            continue
        with pytest.raises(CorruptFile, match="the file"):
            read_success(damaged.encode(), "the file")
        refused += 1
    assert refused > 30


SPELLED = [line for line in LINES if " = " in line and not line.endswith("[")]


@pytest.mark.parametrize("name", sorted({line.partition(" = ")[0] for line in SPELLED}))
def test_unknown_and_missing_names_are_refused(name: str) -> None:
    at = next(i for i, line in enumerate(LINES) if line.startswith(f"{name} = ") and not line.endswith("["))
    with pytest.raises(CorruptFile):
        read_success("\n".join([*LINES[:at], f"x{LINES[at]}", *LINES[at + 1 :]]).encode(), "the file")


@given(st.binary(max_size=300))
def test_garbage_is_a_sentence(raw: bytes) -> None:
    with pytest.raises(EdgettsError):
        read_success(raw, "the file")


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_a_profile_or_a_sentence(place: int, byte: int) -> None:
    raw = bytearray("\n".join(LINES).encode())
    raw[place % len(raw)] = byte
    try:
        found = read_success(bytes(raw), "the file")
    except EdgettsError:
        return
    for attempt in (Attempt(1, 400), Attempt(7, 300), Attempt(100, 900, verified=EXACT)):
        known = found.predict(attempt)
        assert known is None or (0 <= known.low <= known.value <= known.high <= 1)


def test_a_profile_of_a_newer_edgetts_is_refused_with_what_to_do() -> None:
    text = "\n".join(LINES).replace("format = 1", "format = 2", 1)
    with pytest.raises(EdgettsError, match="newer edgetts"):
        read_success(text.encode(), "the file")


def test_a_question_finds_its_task_by_name_or_by_format(tmp_path: Path) -> None:
    keep_success(tmp_path, profile(task="sums", answer_format="number"))
    keep_success(tmp_path, profile(task="file:quiz.jsonl", answer_format="choice"))
    assert find_success(tmp_path, "tiny", task="sums").task == "sums"
    assert find_success(tmp_path, "tiny", task="quiz").task == "file:quiz.jsonl"
    assert find_success(tmp_path, "tiny", answer_format="number").task == "sums"
    assert find_success(tmp_path, "tiny", answer_format="choice").task == "file:quiz.jsonl"
    for other in (
        find_success(tmp_path, "tiny"),
        find_success(tmp_path, "tiny", answer_format="json"),
        find_success(tmp_path, "huge", answer_format="number"),
        find_success(tmp_path, "tiny", task="chess"),
    ):
        assert isinstance(other, PriorSuccess)
    keep_success(tmp_path, profile(task="products", answer_format="number"))
    # Two tasks have numbers: which one a question is of nobody said.
    assert isinstance(find_success(tmp_path, "tiny", answer_format="number"), PriorSuccess)
    assert [one.task for one in profiles_of(tmp_path, "tiny")] == ["file:quiz.jsonl", "products", "sums"]


def test_keeping_adds_to_the_table_that_is_there(tmp_path: Path) -> None:
    keep_success(tmp_path, profile(drawing(0.4, curve(0.1, 0.2))))
    whole = keep_success(tmp_path, profile(drawing(0.8, curve(0.1, 0.4))))
    assert [one.temperature for one in whole.drawings] == [0.4, 0.8]
    found = load_success(tmp_path, "tiny", "sums")
    assert found is not None
    assert found.predict(Attempt(2, 400, temperature=0.6)).value == pytest.approx(0.3)


def test_a_file_that_cannot_be_trusted_is_said_and_not_used(tmp_path: Path) -> None:
    keep_success(tmp_path, profile())
    path = path_of(tmp_path, "tiny", "sums")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff" * 100, b"a = 1\n" * 300_000):
        path.write_bytes(damaged)
        said: list[str] = []
        assert isinstance(find_success(tmp_path, "tiny", task="sums", notify=said.append), PriorSuccess)
        assert len(said) == 2
        assert "not used" in said[0]
        assert "guessed" in said[1]
    # A file that was moved is of another model or task.
    path.write_bytes(whole)
    path.rename(path_of(tmp_path, "tiny", "chess"))
    assert isinstance(find_success(tmp_path, "tiny", task="chess"), PriorSuccess)
    keep_success(tmp_path, profile())
    assert find_success(tmp_path, "tiny", task="sums").task == "sums"


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a user that a directory can refuse"
)
def test_a_read_only_home_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="EDGETTS_HOME"):
            keep_success(tmp_path, profile())
    finally:
        tmp_path.chmod(0o700)


def test_a_home_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("no directory")
    with pytest.raises(StorageError, match="EDGETTS_HOME"):
        keep_success(home, profile())
    assert isinstance(find_success(home, "tiny", answer_format="number"), PriorSuccess)


def test_a_task_that_was_named_and_never_measured_is_said_to_be_guessed(tmp_path: Path) -> None:
    said: list[str] = []
    found = find_success(tmp_path, "m", task="nosuch", notify=said.append)
    assert found.provenance == find_success(tmp_path, "m").provenance
    assert len(said) == 1
    assert "'nosuch'" in said[0]
    assert "edgetts calibrate --task" in said[0]
