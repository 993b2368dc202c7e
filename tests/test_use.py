"""Learning from use: what may be written down, how the file survives, and what is learned from simulated use."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, StorageError
from edgetts.profiles.curves import StepTimes
from edgetts.types import Answer, Plan, Sample, Speculation, Usage
from edgetts.use import (
    Observer,
    Use,
    UseLog,
    acceptance,
    gain_of,
    learned,
    learning,
    open_log,
    set_learning,
    which_wins,
)
from edgetts.use.learning import PERSISTENT_DAYS, Acceptance
from edgetts.use.record import bucket, curve_mark, plain_name

TIMES = StepTimes(
    (1, 2, 4, 8), (0.02, 0.022, 0.03, 0.05), 200.0, "measured", "2026-11-01", past=100, growth=1e-6
)
DAY = 20_000
"""Of 2024; a test's first day."""


def use(hour: int = DAY * 24, ratio: float = 1.0, **more: object) -> Use:
    values: dict[str, object] = {
        "hour": hour,
        "mark": "a1",
        "curve": curve_mark(TIMES),
        "model": "tiny",
        "runtime": "onnx",
        "mode": "plain",
        "width": 1,
        "samples": 1,
        "prompt": 64,
        "tokens": 200,
        "seconds": 4.0,
        "ratios": ((1, ratio, 200),),
        "accepted": (),
        "joules": None,
        "stop": "complete",
        "power": "mains",
    }
    return Use(**{**values, **more})  # type: ignore[arg-type]


def days_of(
    truth: float, days: range, answers: int = 20, noise: float = 0.05, seed: int = 0, width: int = 1
) -> Iterator[Use]:
    rng = random.Random(seed)  # noqa: S311  # not for secrets
    for day in days:
        for at in range(answers):
            ratio = truth * rng.lognormvariate(0, noise)
            yield use((DAY + day) * 24 + at % 24, ratio, ratios=((width, ratio, 100),))


def share(times: StepTimes, width: int = 1) -> float:
    return times.at(width) / TIMES.at(width)


# What may be written down.

TEXT = "My name is Joe and my PIN is 1234"


@pytest.mark.parametrize("name", [field.name for field in fields(Use)])
def test_no_text_gets_into_any_field(name: str) -> None:
    for bad in (
        TEXT,
        (TEXT,),
        ((TEXT, 1, 1),),
        ((1, TEXT, 1),),
        [TEXT],
        {"a": TEXT},
        b"joe",
        1j,
        TEXT.split()[0] + " x",
    ):
        with pytest.raises(InvalidInput):
            replace(use(), **{name: bad})


@given(
    st.dictionaries(
        st.sampled_from([*(field.name for field in fields(Use)), "prompt_text", "format"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
    )
)
@settings(max_examples=300)
def test_whatever_is_read_is_of_the_schema_or_refused(changes: dict[str, object]) -> None:
    body = {**use().to_json(), "ratios": [[1, 1.0, 5]], "accepted": [], **changes}
    try:
        found = Use.from_json(body)
    except InvalidInput:
        return
    # Then every text in it is one of a few words, a mark, or a model's plain name.
    line = json.dumps(found.to_json(), allow_nan=False)
    assert len(line) < 4096
    assert " " not in found.model
    assert found.mark.isalnum()
    assert found.curve.isalnum()


def test_names_that_are_no_plain_names_are_hashed() -> None:
    assert plain_name("smollm2-135m-instruct") == "smollm2-135m-instruct"
    for told in ("/home/joe/secret.edge", "what is my PIN", "model~0123456789ab", "x" * 41, "", "a\nb"):
        name = plain_name(told)
        assert name.startswith("model~")
        assert told not in name or not told
        assert use(model=name).model == name


def test_lengths_are_rounded_so_that_they_tell_little() -> None:
    assert [bucket(n) for n in (0, 1, 16, 17, 64, 65, 1000)] == [0, 16, 16, 32, 64, 128, 1024]
    with pytest.raises(InvalidInput):
        use(prompt=65)


def answer(**more: object) -> Answer:
    sample = Sample(0, tuple(range(50)), (-0.1,) * 50, "end", True, text=TEXT, answer=TEXT)
    plan = Plan("onnx", "greedy", 1, 1, 1, 64, "none", reason=TEXT)
    usage = Usage(5.0, 70, 50, 50, 0, 1, 1.0, 12.0, 1 << 20, joules=30.0, **more)  # type: ignore[arg-type]
    return Answer(TEXT, TEXT, 0.5, TEXT, (sample,), plan, (), usage, "complete", "/home/joe/tiny", {}, TEXT)


def test_an_answer_becomes_numbers() -> None:
    observer = Observer(TIMES)
    for _ in range(49):
        observer.observe(1, 0.04)
    observer.observe(3, 0.026)
    speculation = Speculation(30, 50, (20, 5), (12, 2), {"ngram": (20, 12), "joe's own": (5, 2)}, 2.0, 0.5)
    made = observer.use(
        answer(speculation=speculation), mark="f00d", runtime="onnx", hour=DAY * 24, power="battery"
    )
    assert made is not None
    assert made.ratios == ((1, 2.0, 49), (3, 1.0, 1))
    assert (made.mode, made.seconds, made.tokens, made.prompt) == ("speculative", 4.0, 50, 128)
    assert made.accepted == (("ngram", 20, 12), ("other", 5, 2))
    assert (made.joules, made.power, made.stop) == (30.0, "battery", "complete")
    line = json.dumps(made.to_json())
    assert not any(word in line for word in ("joe", "Joe", "PIN", "1234"))
    assert observer.use(answer(), mark="f00d", runtime="onnx", hour=0, power=None).power == "unknown"  # type: ignore[union-attr]


def test_nothing_observed_is_nothing_to_write() -> None:
    observer = Observer(TIMES)
    for width, seconds in ((0, 1.0), (1, 0.0), (1, float("nan")), (1, float("inf"))):
        observer.observe(width, seconds)
    assert observer.use(answer(), mark="a", runtime="onnx", hour=0) is None


# The switch.


def test_nothing_is_written_unless_somebody_said_so(tmp_path: Path) -> None:
    assert not learning(tmp_path, {}).on
    set_learning(tmp_path, True)
    assert learning(tmp_path, {}).on
    assert not learning(tmp_path, {"EDGETTS_LEARN": "0"}).on
    set_learning(tmp_path, False)
    assert not learning(tmp_path, {}).on
    assert learning(tmp_path, {"EDGETTS_LEARN": "1"}).on
    with pytest.raises(InvalidInput, match="1 or 0"):
        learning(tmp_path, {"EDGETTS_LEARN": "perhaps"})
    assert open_log(tmp_path, {}) is None
    log = open_log(tmp_path, {"EDGETTS_LEARN": "1"})
    assert log is not None
    assert log.append(use())
    assert log.path == tmp_path / "profiles" / "use.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "format = 1",
        "format = 2\nlearn = true",
        "format = 1\nlearn = 1",
        "learn = true",
        "\xff",
        "format = 1\nlearn = true\nmore = 1",
        "format = 1\nlearn = 'true'",
        "a = " + "[" * 5000,
    ],
)
def test_a_switch_that_cannot_be_read_is_off(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles" / "learning.toml"
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    assert not learning(tmp_path, {}).on


def test_a_switch_that_cannot_be_set_is_a_sentence(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(StorageError, match="EDGETTS_LEARN"):
        set_learning(home, True)


# The file.


def test_uses_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = UseLog(tmp_path / "profiles")
    assert log.read() == []
    first = use(accepted=(("ngram", 5, 3),), joules=2.5)
    second = use(DAY * 24 + 1, mark="b2")
    assert log.append(second)
    assert log.append(first)
    assert log.read() == [first, second]
    assert log.read(mark="b2") == [second]
    log.forget()
    assert log.read() == []
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_the_file_is_bounded_and_keeps_what_is_new(tmp_path: Path) -> None:
    log = UseLog(tmp_path, limit=4000)
    for hour in range(100):
        assert log.append(use(hour))
    sizes = [path.stat().st_size for path in tmp_path.glob("*.jsonl")]
    assert len(sizes) == 2
    assert max(sizes) <= 4000
    kept = [one.hour for one in log.read()]
    assert kept == list(range(kept[0], 100))
    assert len(kept) > 10


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    log = UseLog(tmp_path)
    log.append(use())
    deep = b"[" * 100_000
    long = json.dumps({**use().to_json(), "hour": 10**50}).encode()
    nan = json.dumps(use().to_json()).replace("4.0", "NaN").encode()
    more = json.dumps({**use().to_json(), "prompt_text": TEXT}).encode()
    torn = json.dumps(use().to_json()).encode()[:60]
    for bad in (b"", b"\xff\xfe", b"null", b"[]", b"{}", b"1" * 5000, deep, long, nan, more, torn):
        with log.path.open("ab") as file:
            file.write(bad + b"\n")
    assert log.append(use(DAY * 24 + 5))
    assert [one.hour for one in log.read()] == [DAY * 24, DAY * 24 + 5]


def test_a_place_that_refuses_costs_nothing_but_what_was_learned(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert UseLog(blocked).append(use()) is False
    assert UseLog(blocked).read() == []
    (tmp_path / "use.jsonl").mkdir()
    assert UseLog(tmp_path).append(use()) is False
    assert UseLog(tmp_path).read() == []


def _write(directory: Path, number: int) -> None:
    log = UseLog(directory, limit=30_000)
    for hour in range(60):
        log.append(use(number * 1000 + hour, accepted=(("ngram", 9, number),)))


def test_several_processes_append_whole_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    lines = [line for path in tmp_path.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    found = UseLog(tmp_path, limit=30_000).read()
    # No line is torn or mixed; the oldest may have been put aside twice.
    assert len(found) == len(lines)
    assert len({one.hour for one in found}) == len(found) > 60


# What is learned.


@pytest.mark.parametrize("truth", [0.5, 0.8, 1.0, 1.3, 2.5])
def test_use_converges_to_the_truth(truth: float) -> None:
    errors = []
    for days in (4, 15, 60):
        found = learned(TIMES, list(days_of(truth, range(days), answers=30)))
        errors.append(abs(share(found) / truth - 1))
    assert errors[-1] < 0.02
    assert errors[0] < 0.1 + 0.1 * abs(truth - 1)
    if truth != 1:  # else there may be nothing to learn
        assert (found.source, found.date) == ("learned", "2024-12-02")


def test_each_width_learns_its_own_ratio_and_the_others_follow() -> None:
    uses = [
        use(DAY * 24 + day * 24, ratios=((1, 0.9, 50), (8, 0.6, 50))) for day in range(20) for _ in range(30)
    ]
    found = learned(TIMES, uses)
    assert share(found, 1) == pytest.approx(0.9, abs=0.02)
    assert share(found, 8) == pytest.approx(0.6, abs=0.03)
    assert list(found.seconds) == sorted(found.seconds)


def test_widths_beyond_the_curve_teach_it_nothing() -> None:
    narrow = replace(TIMES, widths=(1,), seconds=(0.02,))
    seen = [
        use((DAY + day) * 24, curve=curve_mark(narrow), ratios=((1, 0.9, 20), (2, 0.5, 200)))
        for day in range(20)
        for _ in range(20)
    ]
    assert learned(narrow, seen).at(1) / 0.02 == pytest.approx(0.9, abs=0.01)
    assert learned(narrow, [replace(one, ratios=one.ratios[1:]) for one in seen]) is narrow


def test_a_throttled_day_changes_next_to_nothing() -> None:
    usual = list(days_of(1.0, range(10)))
    hot = list(days_of(2.0, range(10, 12), answers=200))
    assert share(learned(TIMES, usual + hot)) == pytest.approx(1.0, abs=0.02)
    # Nor does it where it is all there is, until it has lasted.
    assert share(learned(TIMES, hot)) == 1.0


def test_slower_passes_count_when_they_last() -> None:
    seen = [share(learned(TIMES, list(days_of(1.5, range(days))))) for days in range(1, 7)]
    assert seen[: PERSISTENT_DAYS - 1] == [1.0] * (PERSISTENT_DAYS - 1)
    assert seen[PERSISTENT_DAYS - 1] > 1.3
    # And no longer when they end.
    back = [*days_of(1.5, range(6)), *days_of(1.0, range(6, 8))]
    assert share(learned(TIMES, back)) < 1.03


def test_answers_beside_other_load_are_left_out_of_a_day() -> None:
    rng = random.Random(1)  # noqa: S311  # not for secrets
    uses = [
        use(
            (DAY + day) * 24,
            (1.0 if rng.random() < 0.5 else rng.uniform(1.5, 6)) * rng.lognormvariate(0, 0.03),
        )
        for day in range(20)
        for _ in range(20)
    ]
    assert share(learned(TIMES, uses)) == pytest.approx(1.0, abs=0.04)


def test_faster_passes_count_at_once_but_few_answers_little() -> None:
    one = share(learned(TIMES, [use(ratio=0.5)]))
    assert 0.9 < one < 1
    assert share(learned(TIMES, list(days_of(0.5, range(1), answers=40)))) < 0.6


def test_a_clock_that_jumped_ahead_does_not_outweigh_what_is_known() -> None:
    usual = list(days_of(0.8, range(20)))
    jumped = [replace(one, hour=9_999_999) for one in days_of(0.3, range(1))]
    assert share(learned(TIMES, [*usual, *jumped])) == pytest.approx(0.8, abs=0.03)


def test_outliers_and_other_states_are_left_out() -> None:
    usual = list(days_of(0.9, range(20)))
    wild = [use((DAY + day) * 24, ratio) for day in range(20) for ratio in (0.001, 5000.0)]
    hot = [replace(one, power="throttled") for one in days_of(4.0, range(20))]
    other = [replace(one, curve="0ther") for one in days_of(0.2, range(20))]
    expected = share(learned(TIMES, usual))
    assert share(learned(TIMES, [*usual, *wild, *hot, *other])) == pytest.approx(expected)
    assert learned(TIMES, other) is TIMES
    assert learned(TIMES, hot) is TIMES
    assert learned(TIMES, []) is TIMES


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.floats(1e-4, 1e6), st.integers(1, 64), st.integers(1, 500)),
        max_size=30,
    )
)
def test_whatever_is_learned_is_a_curve(seen: list[tuple[int, float, int, int]]) -> None:
    uses = [use(DAY * 24 + hour, ratios=((width, ratio, passes),)) for hour, ratio, width, passes in seen]
    found = learned(TIMES, uses)
    assert found.widths == TIMES.widths
    assert list(found.seconds) == sorted(found.seconds)
    assert all(1 / 25 < new / old < 60 for new, old in zip(found.seconds, TIMES.seconds, strict=True))


def test_acceptance_moves_from_the_profile_to_what_is_seen() -> None:
    prior = (Acceptance("ngram", 0.3, 100.0), Acceptance("exit", 0.5, 100.0))
    uses = [use(DAY * 24, accepted=(("ngram", 50, 30),)) for _ in range(100)]
    found = {one.drafter: one for one in acceptance(uses, prior)}
    assert found["ngram"].right == pytest.approx(0.6, abs=0.01)
    assert found["exit"].right == 0.5
    # One text that repeats itself is one text.
    once = acceptance([use(accepted=(("ngram", 100_000, 100_000),))], prior)
    assert {one.drafter: one for one in once}["ngram"].right < 0.8
    assert acceptance([]) == ()


# Which mode wins.


def modes(gain: float, answers: int, seed: int = 0, noise: float = 0.1, prompt: int = 64) -> list[Use]:
    rng = random.Random(seed)  # noqa: S311  # not for secrets
    found = []
    for at in range(answers):
        for mode, rate in (("plain", 50.0), ("speculative", 50.0 * gain)):
            seconds = 200 / rate * rng.lognormvariate(0, noise)
            found.append(use(DAY * 24 + at, mode=mode, seconds=seconds, prompt=prompt))
    return found


@pytest.mark.parametrize("gain", [0.7, 1.25, 1.6])
def test_the_faster_mode_wins_and_its_gain_is_found(gain: float) -> None:
    [found] = which_wins(modes(gain, 40))
    assert found.paces[0].mode == ("speculative" if gain > 1 else "plain")
    assert found.surely > 0.99
    known = gain_of(modes(gain, 40), 64)
    assert known is not None
    assert known.low < gain < known.high
    assert known.high / known.low < 1.15


def test_little_use_and_no_difference_are_unsure() -> None:
    [few] = which_wins(modes(1.1, 1))
    assert few.surely < 0.9
    [alike] = which_wins(modes(1.0, 60))
    assert alike.surely < 0.99
    known = gain_of(modes(1.0, 60), 64)
    assert known is not None
    assert known.low < 1 < known.high
    assert gain_of([one for one in modes(2.0, 5) if one.mode == "plain"], 64) is None


def test_a_mode_that_was_used_under_load_does_not_lose_by_it() -> None:
    uses = [
        replace(one, seconds=one.seconds * 3, ratios=((1, 3.0, 100),)) if one.mode == "speculative" else one
        for one in modes(1.5, 30)
    ]
    [found] = which_wins(uses)
    assert found.paces[0].mode == "speculative"
    # A curve that is wrong at the width of drafts does not decide either.
    wide = [
        replace(one, ratios=((3, 0.6, 100),)) if one.mode == "speculative" else one for one in modes(1.3, 30)
    ]
    known = gain_of(wide, 64)
    assert known is not None
    assert known.low < 1.3 < known.high
    sleeping = [*modes(1.5, 30), *(use(mode="speculative", seconds=9000.0) for _ in range(3))]
    assert which_wins(sleeping)[0].paces[0].mode == "speculative"


def test_sizes_of_questions_are_apart_and_the_nearest_speaks_for_others() -> None:
    uses = [*modes(1.5, 30, prompt=64), *modes(0.7, 30, seed=1, prompt=2048)]
    assert [(one.prompt, one.paces[0].mode) for one in which_wins(uses)] == [
        (64, "speculative"),
        (2048, "plain"),
    ]
    short, long = gain_of(uses, 32), gain_of(uses, 1024)
    assert short is not None
    assert long is not None
    assert short.value > 1 > long.value


def test_the_chance_that_the_first_is_faster_is_as_often_right_as_it_says() -> None:
    said = right = 0.0
    for seed in range(150):
        gain = 1 + 0.04 * ((seed % 11) - 5)
        if gain == 1:
            continue
        [found] = which_wins(modes(gain, 8, seed=seed, noise=0.2))
        said += found.surely
        right += (found.paces[0].mode == "speculative") == (gain > 1)
    assert said == pytest.approx(right, abs=0.1 * 137)
