"""What is measured of a run: estimators against enumeration, records of three formats, reports of hostile text."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, StorageError
from edgetts.evaluation import (
    ProblemRecord,
    Recorder,
    Run,
    SampleRecord,
    compare,
    load_run,
    report_html,
    summarize,
)
from edgetts.evaluation.certainty import RECORDED, fit, measure, measure_all, split
from edgetts.evaluation.costs import cost
from edgetts.evaluation.coverage import coverage, pass_at_k
from edgetts.evaluation.grading import matches
from edgetts.evaluation.intervals import mcnemar, wilson
from edgetts.evaluation.overthinking import first_right, overthinking
from edgetts.evaluation.recording import problem_to_json, write_run
from edgetts.evaluation.wording import comparison_rows, summary_rows


def sample(index: int, answer: str | None = "5", *, right: bool | None = None, **more: Any) -> SampleRecord:
    text = more.pop("text", f"The answer is {answer}.")
    count = more.pop("count", 10)
    known = {"finished": True, "right": answer == "5" if right is None else right, **more}
    return SampleRecord(index, (7,) * count, (-0.5,) * count, text, answer=answer, **known)


def problem(index: int, *answers: str | None, **more: Any) -> ProblemRecord:
    samples = tuple(sample(at, answer) for at, answer in enumerate(answers))
    known = {
        "answer": answers[0] if answers else None,
        "right": bool(answers) and answers[0] == "5",
        "tokens": 10 * len(answers),
        "samples": samples,
        **more,
    }
    return ProblemRecord(str(index), index, f"What is 2 + 3, asked {index}?", "5", **known)


def run_of(problems: Sequence[ProblemRecord], **header: Any) -> Run:
    return Run({"task": "sums", "task_seed": 1, "model": "toy", **header}, problems)


# Estimators


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    subsets = list(itertools.combinations(range(n), k))
    hit = sum(any(i < right for i in chosen) for chosen in subsets)
    assert pass_at_k(n, right, k) == pytest.approx(hit / len(subsets), abs=1e-12)


@given(st.floats(0, 1), st.integers(2, 8), st.data())
def test_pass_at_k_is_unbiased(p: float, n: int, data: st.DataObject) -> None:
    """Its mean over all outcomes of n draws, weighed by their probability, is the chance of one hit in k."""
    k = data.draw(st.integers(1, n))
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-9)


@pytest.mark.parametrize(("n", "right", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_of_impossible_counts_is_refused(n: int, right: int, k: int) -> None:
    with pytest.raises(InvalidInput):
        pass_at_k(n, right, k)


@given(st.integers(1, 400), st.data())
def test_wilson_bounds_solve_its_equation_and_stay_within_0_and_1(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    one = wilson(right, n)
    assert 0 <= one.low <= one.value <= one.high <= 1
    z = 1.959963984540054
    for bound in (one.low, one.high):
        if 0 < bound < 1:
            assert abs(one.value - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n), abs=1e-9)
    mirrored = wilson(n - right, n)
    assert mirrored.low == pytest.approx(1 - one.high, abs=1e-12)


@given(st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_is_the_share_of_equally_likely_outcomes_as_uneven(first: int, second: int) -> None:
    n = first + second
    uneven = abs(first - second)
    outcomes = itertools.product((0, 1), repeat=n)
    as_uneven = sum(abs(n - 2 * sum(outcome)) >= uneven for outcome in outcomes)
    assert mcnemar(first, second) == pytest.approx(min(1.0, as_uneven / 2**n), abs=1e-12)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemar_is_quick_and_exact_for_many_problems() -> None:
    assert mcnemar(0, 2000) == pytest.approx(2.0**-1999)
    assert mcnemar(1000, 1000) == 1


def test_cost_of_pass_is_the_mean_cost_over_the_share_right() -> None:
    found = cost([10.0, 20.0, 30.0, 40.0], [True, False, True, False])
    assert found is not None
    assert (found.total, found.mean, found.median) == (100, 25, 25)
    assert found.of_pass is not None
    assert found.of_pass.value == pytest.approx(25 / 0.5)
    assert found.of_pass.low <= 50 <= found.of_pass.high
    none_right = cost([1.0, 2.0], [False, False])
    assert none_right is not None
    assert none_right.of_pass is None
    assert cost([None, None], [True, False]) is None


def test_costs_count_what_was_measured_alone() -> None:
    found = cost([10.0, None, 30.0], [True, True, False])
    assert found is not None
    assert (found.measured, found.mean) == (2, 20)
    assert found.of_pass is not None
    assert found.of_pass.value == 40


def test_coverage_leaves_the_greedy_sample_out_and_tells_of_cut_ones() -> None:
    rows = []
    for index in range(4):
        drawn = [
            sample(0, "5", greedy=True),
            sample(1, "4"),
            sample(2, "5" if index else "4"),
            sample(3, "4"),
        ]
        rows.append(problem(index, samples=tuple(drawn)))
    found = coverage(rows)
    assert found is not None
    assert (found.samples, found.without_greedy, found.cut) == (3, 4, 0)
    assert list(found.at) == [1, 2, 3]
    assert found.at[1].value == pytest.approx(3 / 4 * 1 / 3)
    assert found.at[3].value == 0.75
    pruned = replace(rows[0], samples=(*rows[0].samples[:3], sample(3, None, finish_reason="pruned")))
    again = coverage([pruned, *rows[1:]])
    assert again is not None
    assert again.cut == 1
    assert any("not unbiased" in value for _, value in summary_rows(summarize(run_of([pruned, *rows[1:]]))))


def test_coverage_of_single_greedy_samples_is_their_accuracy() -> None:
    rows = [problem(i, samples=(sample(0, "5" if i < 3 else "4", greedy=True),)) for i in range(4)]
    found = coverage(rows)
    assert found is not None
    assert {k: one.value for k, one in found.at.items()} == {1: 0.75}


def test_overthinking_counts_up_to_the_first_sentence_with_the_right_answer() -> None:
    text = "Let me see. So 2 + 3 = 5. Let me check that again. Yes, it is right. The answer is 5."
    share = first_right(sample(0, text=text), "5", "auto")
    assert share == pytest.approx(text.index("Let me check") / len(text), abs=0.02)
    assert first_right(sample(0, text="The answer is 5."), "5", "auto") == 1
    assert first_right(sample(0, text="anything"), "5", "regex:(x)") is None
    wrong = problem(1, "4", "5")
    found = overthinking([problem(0, "5"), wrong])
    assert found.outcome_efficiency == pytest.approx(2 / 3)
    assert found.of_right == 1
    assert (found.to_first_right, found.solved) == (1, 2)
    early = replace(problem(2, "5", "4", "4", "4"))
    assert overthinking([early]).to_first_right == 0.25


@pytest.mark.parametrize(
    ("found", "reference", "form", "same"),
    [
        ("5", "5", "auto", True),
        ("1234", "1,234", "auto", True),
        ("5", "5.0", "number", True),
        ("B", "(b)", "choice", True),
        ("paris", "Paris.", "auto", True),
        ("paris", "The Paris", "text", True),
        ("5", "6", "auto", False),
        (None, "5", "auto", False),
        ("5", None, "auto", False),
        ("1e999999999", "7", "auto", False),
    ],
)
def test_answers_are_compared_whatever_their_spelling(
    found: str | None, reference: str | None, form: str, same: bool
) -> None:
    assert matches(found, found, reference, form) is same


# Summaries


def test_a_summary_says_what_was_not_measured_and_counts_failures_as_wrong() -> None:
    failed = ProblemRecord("9", 9, "too long", "5", right=False, score=0.0, error="PromptTooLong: no")
    told = summarize(run_of([problem(0, "5", confidence=0.9), problem(1, "4", confidence=0.3), failed]))
    assert told.accuracy is not None
    assert told.accuracy.value == pytest.approx(1 / 3)
    assert told.answered is not None
    assert told.answered.value == 0.5
    assert (told.errors, told.joules, told.seconds) == (1, None, None)
    rows = dict(summary_rows(told))
    assert rows["joules"] == rows["seconds"] == "not measured"
    assert "1 failed" in rows["problems"]
    assert told.confidence is not None
    assert told.confidence.auroc == 1


def test_ungraded_runs_have_costs_and_no_accuracy() -> None:
    bare = replace(problem(0, "5"), right=None, samples=(replace(sample(0), right=None),))
    told = summarize(run_of([bare]))
    assert (told.accuracy, told.pass_at_k, told.graded) == (None, None, 0)
    assert told.tokens is not None
    assert dict(summary_rows(told))["accuracy"] == "not graded"


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.floats(0, 1))), min_size=1, max_size=8))
def test_a_summary_is_plain_json(rows: list[tuple[bool, float | None]]) -> None:
    run = run_of([problem(i, "5" if right else "4", confidence=sure) for i, (right, sure) in enumerate(rows)])
    body = json.loads(json.dumps(summarize(run).to_json(), allow_nan=False))
    assert body["accuracy"]["value"] == pytest.approx(sum(right for right, _ in rows) / len(rows))


# Comparisons


def test_runs_are_compared_in_pairs_on_what_both_have() -> None:
    first = run_of([problem(i, "5" if i < 4 else "4") for i in range(10)])
    second = run_of([problem(i, "5" if i < 8 else "4", tokens=20) for i in range(2, 12)])
    found = compare(first, second)
    assert (found.shared, found.first_alone, found.second_alone) == (8, 2, 2)
    assert (found.only_first_right, found.only_second_right) == (0, 4)
    assert found.difference.value == 0.5
    assert found.p_value == mcnemar(0, 4)
    assert found.tokens is not None
    assert found.tokens.value == 2
    assert (found.seconds, found.joules) == (None, None)
    back = compare(second, first)
    assert back.difference.value == -0.5
    assert back.p_value == found.p_value
    assert "8 shared" in dict(comparison_rows(found))["problems"]


def test_runs_of_different_tasks_seeds_or_questions_are_not_compared() -> None:
    one = run_of([problem(0, "5")])
    with pytest.raises(InvalidInput, match="different tasks"):
        compare(one, run_of([problem(0, "5")], task="products"))
    with pytest.raises(InvalidInput, match="with seed 1 and sums with seed 2"):
        compare(one, run_of([problem(0, "5")], task_seed=2))
    other = replace(problem(0, "5"), question="What else?")
    with pytest.raises(InvalidInput, match="different questions"):
        compare(one, run_of([other]))
    with pytest.raises(InvalidInput, match="share no problem"):
        compare(one, run_of([problem(1, "5")]))
    assert compare(one, run_of([problem(0, "5")], task_seed=None)).shared == 1


# Certainty


def voted(count: int = 40) -> Run:
    """Problems whose answers are the surer the righter they are, by four votes each."""
    rows = []
    for index in range(count):
        agree = index % 4 + 1
        right = (index // 4) % 4 < agree
        answers = ["5" if right else "4"] * agree + [str(100 + at) for at in range(4 - agree)]
        rows.append(problem(index, *answers, right=right, confidence=agree / 4))
    return run_of(rows)


def test_signals_are_measured_by_voting_again() -> None:
    found = measure(voted(), "vote-share")
    assert found is not None
    assert set(found.values) == {0.25, 0.5, 0.75, 1.0}
    recorded = measure(voted(), RECORDED)
    assert recorded is not None
    assert recorded.probabilities == found.probabilities
    assert recorded.quality == found.quality
    assert {"vote-share", "certaindex", "sample-logprob"} <= {one.name for one in measure_all(voted())}
    with pytest.raises(InvalidInput, match="Did you mean 'vote-share'"):
        measure(voted(), "vote-shar")
    assert measure(voted(), "self-evaluation") is None


def test_a_fit_tests_on_problems_it_has_not_seen() -> None:
    made = fit(voted(), "vote-share", seed=3)
    assert len(made.split.fitted) == len(made.split.held_out) == 20
    assert not set(made.split.fitted) & set(made.split.held_out)
    assert "seed 3" in made.split.rule
    assert made.before is not None
    assert made.after is not None
    assert made.apply(1.0) > made.apply(0.25)
    assert fit(voted(), "vote-share", seed=3) == made
    assert fit(voted(), "vote-share", seed=4).split != made.split
    with pytest.raises(InvalidInput, match="3 graded answers"):
        fit(voted(3), "vote-share")
    with pytest.raises(InvalidInput, match="Choose one of"):
        fit(voted(), RECORDED)


def test_the_split_depends_on_the_ids_alone() -> None:
    found = measure(voted(), "vote-share")
    assert found is not None
    shuffled = list(found.examples)
    random.Random(0).shuffle(shuffled)  # noqa: S311 - not for secrets
    assert split(found.examples, 7) == split(shuffled, 7)


# Records

HEADER = {"task": "sums", "task_seed": 1, "budget": {"samples": 2, "seconds": None}, "sampling": {"stop": ()}}


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    rows = [
        problem(0, "5", "4", seconds=1.25, joules=3.0, confidence=0.5, chosen=0, stop_reason="complete"),
        ProblemRecord("9", 1, "q", None, right=False, error="PromptTooLong: no"),
        problem(2, "4", abstained=True, right=False),
    ]
    with Recorder(path, HEADER) as recorder:
        recorder.begin({**HEADER, "model": "toy"})
        for row in rows:
            recorder.add(row)
    run = load_run(path)
    assert list(run.problems) == rows
    assert (run.task, run.task_seed, run.model) == ("sums", 1, "toy")
    assert json.loads(path.read_text().splitlines()[0])["kind"] == "header"
    copy = tmp_path / "copy.jsonl"
    write_run(copy, run)
    assert load_run(copy).problems == run.problems


def test_log_probs_are_recorded_with_four_digits() -> None:
    odd = replace(problem(0), samples=(replace(sample(0, count=1), logprobs=(-0.123456,)),))
    assert problem_to_json(odd)["samples"][0]["logprobs"] == [-0.1235]


@given(st.integers(1, 400))
def test_a_record_cut_anywhere_is_gone_on_with(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "run.jsonl"
    rows = [problem(i, "5") for i in range(3)]
    with Recorder(path, HEADER) as recorder:
        recorder.begin(HEADER)
        for row in rows:
            recorder.add(row)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = Recorder(path, HEADER)
    assert list(again.done) == rows[: len(again.done)]
    assert len(again.done) < 3
    with again:
        again.begin(HEADER)
        for row in rows[len(again.done) :]:
            again.add(row)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": {"samples": 4, "seconds": None}}, "budget samples 2, not 4"),
        ({"task": "products"}, 'task "sums", not "products"'),
        ({"sampling": {"stop": ("x",)}}, "sampling stop"),
        ({"model": "other"}, 'model "toy", not "other"'),
    ],
)
def test_a_record_of_other_settings_is_refused_and_left_alone(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "run.jsonl"
    with Recorder(path, HEADER) as recorder:
        recorder.begin({**HEADER, "model": "toy"})
    before = path.read_bytes()
    with pytest.raises(InvalidInput) as told:
        Recorder(path, {**HEADER, **change})
    assert words in str(told.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"precious text without an end",
        b'{"precious": 1}',
        b'{"precious": 1}\n',
        b"\x00\xff" * 99,
        b'{"kind": "header"}\n',
    ],
)
def test_a_file_that_is_no_record_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        Recorder(path, HEADER)
    assert path.read_bytes() == content


OLD_PROBLEM = {
    "index": 3,
    "question": "What is 2 + 3?",
    "answer": "5",
    "prompt_tokens": 12,
    "samples": [
        {"tokens": [1, 2], "logprobs": [-0.1, -0.2], "finished": True, "text": "The answer is 5."},
        {"tokens": [1], "logprobs": [-0.1], "finished": True, "text": "The answer is 5."},
        {"tokens": [1, 3], "logprobs": [-0.1, -0.9], "finished": False, "text": "The answer is 4"},
    ],
}


@pytest.mark.parametrize(
    ("header", "extra"),
    [
        (
            {
                "kind": "header",
                "task": "reasoning_gym gsm_symbolic seed=7 (set of 150)",
                "sampling": "sample 0 greedy",
            },
            {},
        ),
        (
            {"kind": "header", "task": "gsm_symbolic", "sampling": {"seed": "index"}},
            {"kind": "problem", "id": "3", "seconds": 2.5},
        ),
    ],
)
def test_older_records_are_voted_and_graded_by_their_references(
    tmp_path: Path, header: dict[str, Any], extra: dict[str, Any]
) -> None:
    path = tmp_path / "old.jsonl"
    lines = [header, {**OLD_PROBLEM, **extra}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run = load_run(path)
    [one] = run.problems
    assert run.task == "gsm_symbolic"
    assert (one.id, one.answer, one.right, one.confidence) == ("3", "5", True, 1.0)
    assert [row.right for row in one.samples] == [True, True, False]
    assert [row.greedy for row in one.samples] == [True, False, False]
    assert one.tokens == 5
    assert one.seconds == extra.get("seconds")


def test_a_record_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    line = json.dumps(OLD_PROBLEM)
    path.write_text(f"{line}\n{line[:50]}", encoding="utf-8")
    assert len(load_run(path).problems) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 5}, "samples that are no list"),
        ({"samples": [5]}, "samples that are no list"),
        ({"samples": [{"tokens": ["x"], "logprobs": [0]}]}, "tokens that are no list of ids"),
        ({"samples": [{"tokens": [True], "logprobs": [0]}]}, "tokens that are no list of ids"),
        ({"samples": [{"tokens": [1], "logprobs": []}]}, "log-probs"),
        ({"samples": [{"index": 1, "text": ""}, {"text": ""}]}, "two samples of one index"),
        ({"index": -1}, "'index' that is no count"),
        ({"index": 1 << 80}, "'index' that is no count"),
        ({"question": ["x"]}, "'question' that is no text"),
        ({"found": "5", "right": "yes"}, "neither true nor false"),
        ({"confidence": 1.5}, "'confidence' above 1"),
        ({"confidence": -1}, "'confidence'"),
        ({"seconds": -1}, "'seconds'"),
        ({"usage": []}, "'usage' that is no object"),
        ({"answer_format": "regex:(a+)+"}, "answer format"),
    ],
)
def test_a_record_that_cannot_be_is_refused_by_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(OLD_PROBLEM) + "\n" + json.dumps({**OLD_PROBLEM, "index": 4, **change}) + "\n")
    with pytest.raises(InvalidInput) as told:
        load_run(path)
    assert "line 2" in str(told.value)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "records no problem"),
        (b"[1]\n", "line 1 holds a list"),
        (b"{\n", "line 1 is not JSON"),
        (b"\xff\xfe\n", "line 1 is not UTF-8"),
        (b'{"index": NaN}\n', "line 1 is not JSON"),
        (b"[" * 200_000 + b"\n", "line 1 is nested too deeply"),
        (b'{"index": ' + b"9" * 5000 + b"}\n", "line 1 is not JSON"),
        (b'{"kind": "header", "format": 99}\n', "line 1 has the format '99'"),
        (b'{"kind": "header"}\n{"kind": "header"}\n', "line 2 is a second header"),
        (b'{"index": 1}\n{"index": 1}\n', "line 2 is the second of problem '1'"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as told:
        load_run(path)
    assert words in str(told.value)
    assert len(str(told.value)) < 300 + len(str(path))


def test_a_record_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        load_run(tmp_path / "nothing.jsonl")


# The report


class Page(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":  # the only one that nothing closes
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = "</td></svg><script>alert(1)</script><img src=http://evil/x onerror='y()'>\"'&amp;\ud800"


def test_a_report_shows_every_chart_and_needs_nothing_else() -> None:
    page = Page(report_html(voted()))
    assert page.open == []
    assert [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"] == [
        "Reliability",
        "Selective accuracy",
        "pass@k",
        "Tokens of a sample",
    ]
    assert not {"script", "img", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    assert not any("src" in attributes or "href" in attributes for _, attributes in page.tags)
    for words in ("accuracy", "AUROC", "not measured", "What is 2 + 3, asked 7?"):
        assert words in page.text


def test_a_report_of_hostile_texts_shows_them_as_texts() -> None:
    bad = replace(
        problem(0, "5", "5", confidence=0.5, confidence_source=HOSTILE, chosen=0),
        id=HOSTILE,
        question=HOSTILE,
        reference=HOSTILE,
        answer=HOSTILE,
        stop_reason=HOSTILE,
        samples=(sample(0, HOSTILE, text=HOSTILE), sample(1, "5")),
    )
    failed = ProblemRecord("x", 1, HOSTILE, HOSTILE, right=False, error=HOSTILE)
    run = run_of([bad, failed], task=HOSTILE, model=HOSTILE, strategy=HOSTILE, budget={HOSTILE: HOSTILE})
    html = report_html(run)
    html.encode("utf-8")
    page = Page(html)
    plain = Page(report_html(run_of([problem(0, "5", "5", confidence=0.5, chosen=0), failed])))
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert not any(
        name.startswith("on") or name == "src" for _, attributes in page.tags for name in attributes
    )
    assert "<script>alert(1)</script>" in page.text


def test_a_report_of_one_ungraded_problem_is_a_page() -> None:
    page = Page(report_html(run_of([ProblemRecord("0", 0, "q", None)])))
    assert page.open == []
    assert "not graded" in page.text
