"""`edgetts replay`: comparing, tuning, the frontier and its knee, from records on disk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.cli import main
from edgetts.errors import InvalidInput
from edgetts.evaluation.record import ProblemRecord, Run, SampleRecord
from edgetts.evaluation.recording import write_run
from edgetts.replay.averages import Average
from edgetts.replay.comparing import figures
from edgetts.replay.pareto import Point, frontier, knee
from edgetts.replay.tuning import parse_tune, rows_of, tune, with_setting

FIXED = [f"self_consistency:stop=none@{count}" for count in (1, 2, 4, 8)]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """40 problems x 8 samples, of which half are right; wrong answers differ, so that votes help."""
    rng = random.Random(1)  # noqa: S311
    problems = []
    for at in range(40):
        chance = rng.uniform(0.2, 0.8)
        samples = []
        for index in range(8):
            right = rng.random() < chance
            tokens = rng.randint(20, 80)
            answer = "1" if right else str(rng.randint(2, 9))
            samples.append(
                SampleRecord(
                    index,
                    tuple(range(tokens)),
                    (-0.3,) * tokens,
                    f"The answer is {answer}.",
                    finished=True,
                    greedy=index == 0,
                    finish_reason="end",
                    answer=answer,
                    right=right,
                )
            )
        problems.append(
            ProblemRecord(f"p{at}", at, f"question {at}", "1", prompt_tokens=30, samples=tuple(samples))
        )
    path = tmp_path / "record.jsonl"
    write_run(path, Run({"task": "toy", "model": "toy"}, problems))
    return path


def ran(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["replay", "--device", "laptop-x86", *map(str, arguments)])


def told(*arguments: str | Path) -> dict[str, Any]:
    result = ran(*arguments, "--json")
    assert result.exit_code == 0, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body


def policies(*specs: str) -> list[str]:
    return [part for spec in specs for part in ("--policy", spec)]


def test_policies_are_compared_to_the_first(record: Path) -> None:
    body = told(record, *policies(*FIXED), "--orders", "5")
    one, two, four, eight = body["figures"]
    assert one["beside"] is None
    assert [round(row["samples"]) for row in body["figures"]] == [1, 2, 4, 8]
    assert one["tokens"] < two["tokens"] < four["tokens"] < eight["tokens"]
    assert eight["beside"]["tokens"]["value"] == pytest.approx(eight["tokens"] / one["tokens"])
    gain = eight["accuracy"]["value"] - one["accuracy"]["value"]
    assert eight["beside"]["accuracy"]["value"] == pytest.approx(gain)
    assert gain > 0
    assert eight["stops"] == {"complete": 1.0}
    # Watts by seconds, of a device that is described by modelled figures.
    assert eight["joules"] / eight["seconds"] == pytest.approx(one["joules"] / one["seconds"])
    assert "modelled" in body["device"]
    again = told(record, *policies(*FIXED), "--orders", "5")
    assert again == body


def test_the_table_says_what_it_is_of(record: Path) -> None:
    result = ran(record, *policies(*FIXED[:2], "self_consistency:stop=none@12"), "--deadline", "30")
    assert result.exit_code == 0, result.output
    assert "40 problems" in result.output
    assert "joules are modelled" in result.output
    assert "would have drawn more samples than were recorded" in result.output
    assert "beside self_consistency:stop=none@1" in result.output
    assert "frontier by joules" in result.output


def test_a_deadline_and_a_load_stop_what_does_not_fit(record: Path) -> None:
    free, tight, slow = (
        told(record, *policies(FIXED[3]), *more)["figures"][0]
        for more in ([], ["--deadline", "0.9"], ["--deadline", "0.9", "--load", "constant:2"])
    )
    assert free["stops"] == {"complete": 1.0}
    assert tight["tokens"] < free["tokens"]
    assert slow["tokens"] < tight["tokens"]
    assert tight["late"] == 0
    assert tight["seconds"] <= 0.9


def test_energy_and_tokens_are_limits(record: Path) -> None:
    free = told(record, *policies(FIXED[3]))["figures"][0]
    joules = told(record, *policies(FIXED[3]), "--energy", str(free["joules"] / 3))["figures"][0]
    assert joules["joules"] <= free["joules"] / 3
    tokens = told(record, *policies(FIXED[3]), "--tokens", "100")["figures"][0]
    assert tokens["tokens"] <= 100


def test_halves_are_apart_and_together_all(record: Path) -> None:
    whole, first, second = (
        told(record, *policies(FIXED[2]), "--split", half) for half in ("both", "tune", "report")
    )
    assert (whole["problems"], first["problems"], second["problems"]) == (40, 20, 20)
    means = [body["figures"][0]["tokens"] for body in (first, second)]
    assert whole["figures"][0]["tokens"] == pytest.approx(sum(means) / 2)


def test_a_setting_is_tuned_on_one_half_and_judged_on_the_other(record: Path) -> None:
    specs = policies(FIXED[3], "self_consistency:stop=posterior:{p}@8")
    body = told(record, *specs, "--tune", "p=0.6,0.8,0.95,0.999", "--lose", "2")
    fixed, tuned = body["figures"]
    assert set(tuned["settings"]) == {"tune", "report"}
    # Each half again, by hand: the figures are those of the setting that it was judged by.
    for half, spec in tuned["settings"].items():
        [alone] = told(record, *policies(spec), "--split", half)["figures"]
        [mine] = [
            row
            for row in told(record, *specs, "--tune", "p=0.6,0.8,0.95,0.999", "--lose", "2", "--split", half)[
                "figures"
            ]
            if row["settings"]
        ]
        assert mine["tokens"] == pytest.approx(alone["tokens"])
        assert mine["accuracy"]["value"] == pytest.approx(alone["accuracy"]["value"])
    assert tuned["tokens"] <= fixed["tokens"]


def average(right: float, tokens: float) -> Average:
    return Average(right, tokens, tokens / 10, tokens, 1.0, 0.0, 0.0, 0.0, {"complete": 1.0})


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.integers(1, 50)), min_size=8, max_size=8),
        min_size=2,
        max_size=5,
    ),
    st.sampled_from([0.0, 0.25]),
)
def test_what_is_tuned_never_saw_the_half_it_is_judged_on(
    tables: list[list[tuple[int, int]]], lose: float
) -> None:
    tried = [[average(right, tokens) for right, tokens in table] for table in tables]
    specs = [str(at) for at in range(len(tried))]
    made = tune(specs, tried, tried[0], lose=lose, price="tokens")
    other = [list(table) for table in tried]
    for table in other:
        for row in rows_of("report", 8):
            table[row] = average(1 - table[row].right, 51 - table[row].tokens)
    changed = tune(specs, other, other[0], lose=lose, price="tokens")
    # The half "report" is judged by what "tune" chose, whatever "report" holds.
    assert changed.settings["report"] == made.settings["report"]
    best = tried[int(made.settings["report"])]
    rows = rows_of("tune", 8)
    target = sum(tried[0][row].right for row in rows)
    good = [t for t in tried if sum(t[row].right for row in rows) >= target - lose * len(rows)]
    assert best in good
    assert sum(best[r].tokens for r in rows) == min(sum(t[r].tokens for r in rows) for t in good)


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("adaptive", "adaptive:price={price}"),
        ("adaptive@16", "adaptive:price={price}@16"),
        ("adaptive:check=no@16", "adaptive:check=no,price={price}@16"),
    ],
)
def test_a_policy_gets_a_place_for_the_setting(spec: str, made: str) -> None:
    assert with_setting(spec, "price") == made


@pytest.mark.parametrize("text", ["", "price", "price=", "price=1", "a b=1,2", "price=1,1", "=1,2"])
def test_what_cannot_be_tuned_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_tune(text)


POINTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=25)


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


@given(POINTS)
def test_the_frontier_is_what_nothing_dominates(points: list[Point]) -> None:
    line = frontier(points)
    found = [points[at] for at in line]
    assert set(found) == {one for one in points if not any(dominates(other, one) for other in points)}
    assert found == sorted(found)
    assert len(set(found)) == len(found)


@given(POINTS, st.randoms(use_true_random=False))
def test_frontier_and_knee_do_not_depend_on_order(points: list[Point], rng: random.Random) -> None:
    mixed = list(points)
    rng.shuffle(mixed)
    assert [points[at] for at in frontier(points)] == [mixed[at] for at in frontier(mixed)]
    one, other = knee(points), knee(mixed)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert points[one] == mixed[other]


@given(POINTS, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(-9.0, 9.0))
def test_frontier_and_knee_do_not_depend_on_units(
    points: list[Point], across: float, up: float, shift: float
) -> None:
    scaled = [(x * across + shift, y * up + shift) for x, y in points]
    assert frontier(scaled) == frontier(points)
    assert knee(scaled) == knee(points)


@given(POINTS)
def test_the_knee_is_the_point_farthest_above_the_chord(points: list[Point]) -> None:
    """By the triangle that a point makes with the ends of the frontier, in whole numbers."""
    line = [points[at] for at in frontier(points)]
    (low, worst), (high, best) = line[0], line[-1]
    above = {p: (p[1] - worst) * (high - low) - (p[0] - low) * (best - worst) for p in line}
    at = knee(points)
    if at is None:
        assert max(above.values()) <= 0
    else:
        assert above[points[at]] == max(above.values()) > 0
        assert points[at] == min(p for p in line if above[p] == max(above.values()))


def test_the_knee_is_where_more_cost_brings_less() -> None:
    assert knee([(1, 0), (2, 8), (4, 9), (10, 10), (5, 3)]) == 1
    assert knee([(1, 1), (2, 2), (3, 3)]) is None
    assert knee([(1, 5)]) is None
    with pytest.raises(InvalidInput):
        frontier([(float("nan"), 1.0)])


def test_intervals_are_of_problems_in_pairs() -> None:
    rng = random.Random(2)  # noqa: S311
    first = [average(float(rng.random() < 0.4), rng.randint(10, 20)) for _ in range(60)]
    same = figures("x", first, first, draws=200)
    assert same.beside is not None
    assert (same.beside.accuracy.low, same.beside.accuracy.high) == (0, 0)
    assert same.beside.tokens is not None
    assert same.beside.tokens.low == pytest.approx(1)
    twice = [average(one.right, 2 * one.tokens) for one in first]
    told = figures("x", twice, first, draws=200)
    assert told.beside is not None
    assert told.beside.tokens is not None
    assert told.beside.tokens.low == pytest.approx(2)
    assert told.accuracy.low < told.accuracy.value < told.accuracy.high


def test_one_command_draws_the_plot(record: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "pareto.png"
    body = told(record, *policies(*FIXED), "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    names = [one["name"] for one in body["figures"]]
    for cost in ("joules", "seconds"):
        assert set(body["fronts"][cost]["frontier"]) <= set(names)
        assert body["fronts"][cost]["knee"] in (None, *names)
    assert "chord" in body["knee_rule"]


def test_a_plot_without_its_package_is_refused_before_any_work(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "matplotlib" else find(name, *more)
    )
    result = ran(record, "--plot", tmp_path / "x.png")
    assert result.exit_code == 7
    assert "edgetts[plots]" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--orders", "0"], "orders"),
        (["--policy", "nothing@3"], "no strategy"),
        (["--load", "heavy"], "no load"),
        (["--deadline", "-1"], "greater than zero"),
        (["--energy", "nan"], "greater than zero"),
        (["--max-tokens", "0"], "greater than zero"),
        (["--tune", "price=1,2"], "policy to match"),
        (["--risk", "-2"], "risk"),
        (["--device", "toaster"], "toaster"),
        (["--plot", "nowhere/x.png"], "nowhere"),
        (["--plot", "picture.docx"], "png"),
        (["--calibration", "missing.toml"], "missing.toml"),
    ],
)
def test_a_wrong_option_gets_a_sentence(record: Path, arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["replay", str(record), *arguments])
    assert result.exit_code not in (0, 1), result.output
    assert says in result.output
    assert "Traceback" not in result.output


def test_files_that_are_no_records_are_refused(tmp_path: Path, record: Path) -> None:
    for name, content in (
        ("empty.jsonl", b""),
        ("text.jsonl", b"hello\n"),
        ("list.jsonl", b"[1]\n"),
        ("deep.jsonl", b"[" * 100_000 + b"\n"),
        ("binary.jsonl", bytes(range(256)) + b"\n"),
        (
            "ungraded.jsonl",
            b'{"index": 0, "question": "?", "samples": [{"tokens": [1], "logprobs": [0], "text": "a"}]}\n',
        ),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        result = ran(path)
        assert result.exit_code == 2, (name, result.output)
        assert str(path) in result.output
    assert ran(tmp_path / "missing.jsonl").exit_code == 6
    assert ran(record, "--plot", record).exit_code == 2


def test_it_loads_no_model(record: Path) -> None:
    code = (
        "import sys; from edgetts.cli import main\n"
        f"main(['replay', {str(record)!r}, '--device', 'laptop-x86', '--policy', 'adaptive@4', '--json'], "
        "standalone_mode=False)\n"
        "print(sorted(set(m.partition('.')[0] for m in sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == 40
    loaded = set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))
    assert loaded & {"onnxruntime", "tokenizers", "matplotlib", "jinja2", "torch"} == set()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 5))
def test_verifiers_judge_recorded_texts(count: int, right: int) -> None:
    from edgetts.replay.reading import _verified
    from edgetts.selection.verification.registry import make_verifier

    samples = tuple(
        SampleRecord(
            at, (1,), (-0.1,), f"2 + 2 = {4 if at < right else 5}. The answer is 4.", True, answer="4"
        )
        for at in range(count)
    )
    judged = _verified(ProblemRecord("p", 0, "2 + 2?", "4", samples=samples), make_verifier("arithmetic"))
    assert [one.passed for one in judged.samples] == [at < right for at in range(count)]
