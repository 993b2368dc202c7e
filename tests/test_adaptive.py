"""The adaptive strategy: what a text is worth as evidence, when the next sample is not worth its price, what is refused."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts import Budget, SamplingParams
from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.side_by_side import SideBySide
from edgetts.errors import BundleVersionError, CorruptFile, EdgettsError, InvalidInput, ModelNotFound
from edgetts.selection.aggregation import Vote
from edgetts.selection.search.tree import Draw, Task
from edgetts.selection.stopping import make_pruning
from edgetts.selection.stopping.effort import ByToken
from edgetts.selection.stopping.evidence import Evidence, Shown, asks_arithmetic, numbers_of, shown
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS
from edgetts.selection.stopping.progress_file import load_progress, progress_from_json, progress_to_json
from edgetts.selection.stopping.progress_fitting import Example, fit_progress
from edgetts.selection.stopping.rule import Running
from edgetts.selection.stopping.worth import Standing, WorthOfMore
from edgetts.selection.strategies import make_strategy
from edgetts.selection.strategies.adaptive import PRICE, Adaptive, Round, rounds
from edgetts.selection.verification.registry import ARITHMETIC_RATES
from edgetts.selection.verification.verifier import ErrorRates
from edgetts.testing import check_search
from edgetts.tokenizer import Tokenizer

QUESTION = "Tom has 3 bags of 14 apples and gives 5 away. How many are left?"
RIGHT = "3 * 14 = 42.\n42 - 5 = 37.\nThe answer is 37."
SLIP = "3 * 14 = 44.\n44 - 5 = 39.\nThe answer is 39."
LAZY = "14 + 3 = 17. The answer is 17."

probabilities = st.floats(0, 1)
votes_strategy = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), probabilities, st.integers(1, 400), st.booleans()),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        Vote(at, answer, -0.1 * tokens, tokens, complete=complete, score=score)
        for at, (answer, score, tokens, complete) in enumerate(rows)
    ]
)


SIZES = (1, 2, 4, 8, 16)
FLAT = [1.0 + 0.1 * width for width in range(16)]
"""Seconds of a pass by its width, on a device where wide ones are cheap."""


def rule(price: float, progress: Progress = DEFAULT_PROGRESS, **more: Any) -> WorthOfMore:
    effort = more.pop("effort", ByToken(progress.tokens))
    return WorthOfMore(price, progress, effort, checked=True, **more)


def said(one: WorthOfMore, votes: Sequence[Vote], remaining: int) -> str | None:
    """Return why a round of these votes alone is the last one."""
    sizes = tuple(range(len(votes), len(votes) + remaining + 1))
    return Round(one, 0, len(votes), sizes).stop(votes, remaining)


def drawn(one: WorthOfMore, votes: Sequence[Vote]) -> int:
    """Return how many of the votes are drawn, one at a time, before the rule stops."""
    return next((n for n in range(1, len(votes)) if said(one, votes[:n], len(votes) - n)), len(votes))


# What a text shows.


def test_what_a_text_shows_of_a_question_about_numbers() -> None:
    assert numbers_of(QUESTION) == {3, 14, 5}
    assert shown(QUESTION, RIGHT, -2.0, 20) == Shown(-0.1, True, 1.0, 20)
    assert shown(QUESTION, SLIP, -2.0, 20).passed is False
    assert shown(QUESTION, LAZY, -2.0, 20) == Shown(-0.1, True, pytest.approx(2 / 3), 20)
    assert shown(QUESTION, "I think it is 37.", -2.0, 20) == Shown(-0.1, False, 0.0, 20)
    assert shown("What is 1,200.5 and 7?", "1,200.5 + 7 = 1207.5", -1.0, 1).covered == 1.0


def test_a_question_without_numbers_asks_for_no_arithmetic() -> None:
    assert not asks_arithmetic("Who wrote Faust?")
    assert not asks_arithmetic("Is model3 better than version 2?")
    assert shown("Who wrote Faust?", "1 + 1 = 3. Goethe.", -3.0, 3) == Shown(-1.0, tokens=3)
    assert shown("Who?", "", 0.0, 0).logprob < -10


@given(st.floats(-30, 0), st.floats(-30, 0), st.booleans(), probabilities, probabilities)
def test_better_evidence_never_counts_against_a_text(
    one: float, other: float, passed: bool, less: float, more: float
) -> None:
    low, high = sorted((one, other))
    few, many = sorted((less, more))
    of = DEFAULT_PROGRESS.evidence
    assert of.probability(Shown(low, passed, few)) <= of.probability(Shown(high, passed, few))
    assert of.probability(Shown(low, passed, few)) <= of.probability(Shown(low, passed, many))
    assert of.probability(Shown(low, False, few)) <= of.probability(Shown(low, True, few))
    assert of.probability(Shown(low, passed, few, 300)) <= of.probability(Shown(low, passed, few, 100))
    assert 0 <= of.probability(Shown(low)) <= of.probability(Shown(high)) <= 1


# When the next sample is worth its price.


@pytest.mark.parametrize("rates", [None, ErrorRates(0.9, 0.1)])
@given(
    leads=st.tuples(st.floats(0, 2), st.floats(0, 2)),
    few=st.integers(0, 50),
    more=st.integers(0, 50),
    count=st.integers(1, 16),
    checked=st.booleans(),
)
def test_the_expected_gain_falls_with_the_leader_and_with_the_samples(
    rates: ErrorRates | None, leads: tuple[float, float], few: int, more: int, count: int, checked: bool
) -> None:
    low, high = sorted(leads)
    told = {"checked": checked, "rates": rates}
    for gain in (DEFAULT_PROGRESS.best_of, DEFAULT_PROGRESS.sum_of):
        here = gain(low, few, count, **told)
        assert here >= gain(high, few, count, **told) >= 0
        assert here >= gain(low, few + more, count, **told)
        assert here <= gain(low, few, count + 1, **told) + 0.02, "sums are summarised"
    assert DEFAULT_PROGRESS.best_of(low, few, count, **told) <= 1


@given(votes_strategy, st.floats(0, 1e-2), st.floats(0, 1e-2))
def test_a_higher_price_never_draws_more_samples(votes: list[Vote], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert drawn(rule(high), votes) <= drawn(rule(low), votes)


@given(votes_strategy, st.floats(1e-6, 1e-2), st.randoms(use_true_random=False))
def test_the_order_of_votes_changes_nothing(votes: list[Vote], price: float, rng: random.Random) -> None:
    shuffled = rng.sample(votes, len(votes))
    assert said(rule(price), votes, 3) == said(rule(price), shuffled, 3)
    search = Adaptive().start(Task(16))
    assert search.choose(votes) == search.choose(shuffled)


@given(st.floats(1e-6, 1e-2))
def test_samples_that_agree_make_a_leader_safe_at_any_price(price: float) -> None:
    agreeing = [Vote(i, "7", -1.0, 100, score=0.9) for i in range(16)]
    reason = said(rule(price), agreeing, 1)
    assert reason is not None
    assert reason.startswith("the leader is safe: ")


def test_a_rival_takes_away_from_the_lead() -> None:
    leader = [Vote(0, "7", -1.0, 100, score=0.4), Vote(1, "7", -1.0, 100, score=0.4)]
    alone = rule(0).standing([*leader, Vote(2, None, -1.0, 100)])
    contested = rule(0).standing([*leader, Vote(2, "8", -1.0, 100, score=0.7)])
    assert contested.leader == alone.leader == 0.8
    assert contested.lead == pytest.approx(0.1)
    assert alone.lead == 0.8


@given(st.lists(probabilities, min_size=1, max_size=40), st.floats(0, 3), st.integers(0, 20))
def test_what_samples_to_come_may_overturn_is_their_mean_excess(
    base: list[float], lead: float, n: int
) -> None:
    known = replace(DEFAULT_PROGRESS, fresh=tuple(sorted(base)), memory=2.0)
    one = sum(max(0.0, b - lead) for b in base) / len(base)
    two = sum(max(0.0, b + c - lead) for b in base for c in base) / len(base) ** 2
    share = 2 / (2 + n)
    assert known.sum_of(lead, n, 1, checked=True) == pytest.approx(share * one)
    # Sums are summarised by means of neighbours, which round at the kink.
    assert known.sum_of(lead, n, 2, checked=True) == pytest.approx(share * two, abs=0.02)


@given(st.lists(probabilities, min_size=1, max_size=6), st.floats(0, 1), st.integers(1, 3))
def test_the_best_of_questions_of_which_nothing_is_known_is_their_expected_maximum(
    base: list[float], lead: float, more: int
) -> None:
    known = replace(DEFAULT_PROGRESS, fresh=tuple(sorted(base)), memory=1e5)
    every = list(itertools.product(base, repeat=more))
    expected = sum(max(0.0, max(one) - lead) for one in every) / len(every)
    assert known.best_of(lead, 0, more, checked=True) == pytest.approx(expected, abs=1e-4)


def test_a_device_of_cheap_wide_passes_draws_more_at_once() -> None:
    nothing, passes = Standing(0.0, 0.0, 0), 200.0
    steep = SideBySide(Lengths(typical=passes), 1000, range(1, 17))
    flat = SideBySide(Lengths(typical=passes), 1000, FLAT)
    for price in (3e-4, 1e-4, 3e-5):
        narrow = rule(price, effort=steep).more(nothing, 0, 0, SIZES).start or 0
        wide = rule(price, effort=flat).more(nothing, 0, 0, SIZES).start or 0
        assert wide > narrow, price


def test_what_runs_is_waited_for_where_little_is_left_of_it() -> None:
    middling = Standing(0.45, 0.45, 1)
    one = rule(2e-4, effort=SideBySide(Lengths(((200, True),) * 50), 1000, FLAT))
    assert one.more(middling, 3, 10, ()).start is None
    assert one.more(middling, 3, 190, ()).start == 0


@given(st.integers(0, 20), st.integers(0, 900), st.integers(0, 40), st.integers(1, 16))
def test_effort_rises_with_the_samples_and_with_no_device_beyond_their_tokens(
    running: int, age: int, fresh: int, width: int
) -> None:
    lengths = Lengths(((100, True), (400, True), (250, True)))
    effort = SideBySide(lengths, 512, FLAT[:width])
    here = effort.of(running, age, fresh)
    assert here >= 0
    assert effort.of(running, age, fresh + 1) >= here * 0.999
    assert effort.of(0, 0, 1) == pytest.approx(sum(lengths.quantiles(64)) / 64, rel=0.1)
    assert effort.of(0, 0, fresh) <= fresh * effort.of(0, 0, 1) * 1.02 + 1e-9
    assert (effort.of(0, 0, 0), ByToken(260).of(2, age, 1)) == (0, 780)


def test_reasons_are_words() -> None:
    weak = [Vote(i, str(i), -10.0, 200, score=0.01) for i in range(12)]
    assert said(rule(1e-4), weak[:1], 15) is None
    reason = said(rule(1e-4), weak, 4)
    assert reason is not None
    assert reason.startswith("hopeless: after 12 samples none is likely to be right")
    middling = [Vote(0, "7", -10.0, 200, score=0.3)]
    reason = said(rule(1e-3), middling, 15)
    assert reason is not None
    assert reason.startswith("another round is not worth its price: ")
    assert said(rule(1e-3), middling, 0) is None, "there is nothing left to decide"


def test_what_no_vote_counts_for_is_no_leader() -> None:
    cut = Vote(0, "7", -1.0, 50, complete=False, explicit=False, score=1.0)
    standing = rule(1e-4).standing([cut, Vote(1, None, -1.0, 50, score=1.0)])
    assert standing.leader == 0


def test_a_verifier_that_does_not_err_is_believed_at_once() -> None:
    exact = rule(1e-4, rates=ErrorRates(1.0, 0.0))
    passed = Vote(0, "7", -20.0, 100, passed=True, score=0.0)
    assert exact.standing([passed]).leader > 0.98
    assert "safe" in str(said(exact, [passed], 15))
    failed = replace(passed, passed=False)
    assert exact.standing([failed]).leader < 0.01
    assert said(exact, [failed], 15) is None
    untold = replace(passed, passed=None)
    plain = DEFAULT_PROGRESS.evidence.plainly(untold.mean_logprob)
    assert exact.standing([untold]).leader == pytest.approx(plain)


# Fitting.


def examples(seed: int = 0, count: int = 400) -> list[Example]:
    rng = random.Random(seed)  # noqa: S311
    found = []
    for _ in range(count):
        passed, covered, logprob = rng.random() < 0.5, rng.random(), -rng.random()
        chance = 0.05 + 0.5 * passed * covered + 0.3 * (1 + logprob)
        found.append(Example(Shown(logprob, passed, covered, rng.randrange(50, 150)), rng.random() < chance))
    return found


def test_what_is_fitted_tells_right_from_wrong() -> None:
    fitted = fit_progress(examples(), source="a test")
    assert fitted.source == "a test"
    assert 90 < fitted.tokens < 110
    for held_out in (examples(1), examples(2)):
        good = [fitted.evidence.probability(one.shown) for one in held_out if one.right]
        bad = [fitted.evidence.probability(one.shown) for one in held_out if not one.right]
        assert sum(good) / len(good) > sum(bad) / len(bad) + 0.1
        # Calibrated: what is expected to be right is as often.
        every = [*good, *bad]
        assert sum(every) / len(every) == pytest.approx(len(good) / len(every), abs=0.08)
    assert sum(fitted.fresh) / len(fitted.fresh) == pytest.approx(
        sum(one.right for one in examples()) / 400, abs=0.02
    )


def test_evidence_that_would_count_against_is_left_out() -> None:
    upside_down = [replace(one, right=not one.right) for one in examples()]
    evidence = fit_progress(upside_down).evidence
    assert (evidence.passed, evidence.covered, evidence.logprob) == (0, 0, 0)


def test_without_arithmetic_what_is_known_of_it_is_kept() -> None:
    plain = [replace(one, shown=Shown(one.shown.logprob, tokens=one.shown.tokens)) for one in examples()]
    fitted = fit_progress(plain)
    assert fitted.evidence.covered == DEFAULT_PROGRESS.evidence.covered
    assert fitted.fresh == DEFAULT_PROGRESS.fresh
    assert fitted.fresh_plain != DEFAULT_PROGRESS.fresh_plain


@pytest.mark.parametrize("right", [True, False])
def test_samples_of_one_kind_cannot_be_fitted(right: bool) -> None:
    with pytest.raises(InvalidInput, match="wrong" if right else "right"):
        fit_progress([replace(one, right=right) for one in examples()])
    with pytest.raises(InvalidInput, match="right"):
        fit_progress([])


# Files.


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    fitted = fit_progress(examples())
    path = tmp_path / "progress.json"
    path.write_text(json.dumps(progress_to_json(fitted)), encoding="utf-8")
    assert load_progress(path) == fitted
    strategy = make_strategy(f"adaptive:price=2e-4,progress={path}")
    assert strategy == Adaptive(price=2e-4, progress=fitted)


def _with(**changes: Any) -> dict[str, Any]:
    return {**progress_to_json(DEFAULT_PROGRESS), **changes}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        _with(format=0),
        _with(format=True),
        _with(extra=1),
        {k: v for k, v in _with().items() if k != "tokens"},
        _with(fresh=[]),
        _with(fresh=[0.5, 0.4]),
        _with(fresh=[-0.1]),
        _with(fresh=[float("nan")]),
        _with(fresh="0.5"),
        _with(fresh=[0.0] * 20_000),
        _with(memory=0),
        _with(memory="2"),
        _with(tokens=10**400),
        _with(tokens=True),
        _with(source="x" * 2000),
        _with(source=5),
        _with(evidence=[]),
        _with(evidence={**asdict(DEFAULT_PROGRESS.evidence), "passed": -1.0}),
        _with(evidence={**asdict(DEFAULT_PROGRESS.evidence), "plain": float("inf")}),
        _with(evidence={"passed": 1.0}),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(body: object) -> None:
    with pytest.raises(CorruptFile, match="progress model") as refused:
        progress_from_json(body)
    assert refused.value.hint


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"tokens": NaN}', b" " * (2 << 20)]
)
def test_what_is_no_json_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "progress.json"
    path.write_bytes(raw)
    with pytest.raises(CorruptFile):
        load_progress(path)


def test_newer_and_missing_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(BundleVersionError, match="format 2"):
        progress_from_json(_with(format=2))
    with pytest.raises(ModelNotFound, match="no progress model"):
        load_progress(tmp_path / "none.json")
    with pytest.raises(EdgettsError):
        make_strategy(f"adaptive:progress={tmp_path / 'none.json'}")


# The strategy.


def test_the_strategy_keeps_the_contract_of_searches() -> None:
    check_search(Adaptive())
    check_search(Adaptive(price=0.0))


@given(st.integers(1, 40), st.lists(st.integers(-2, 50), max_size=5))
def test_rounds_rise_to_the_samples_of_the_task(samples: int, planned: list[int]) -> None:
    found = rounds(Task(samples, rounds=tuple(planned)))
    assert found[-1] == samples
    assert list(found) == sorted(set(found))
    assert found[0] >= 1
    assert rounds(Task(40)) == (1, 2, 4, 8, 16, 32, 40)
    assert rounds(Task(8, rounds=(2, 8))) == (2, 8)


def test_prices_and_rates_of_the_task_are_used() -> None:
    plain = Adaptive().start(Task(8, question=QUESTION))
    assert (plain.rule.price, plain.rule.checked, plain.rule.rates) == (PRICE, True, None)
    assert plain.prune == make_pruning("wrong-equation")
    named = Adaptive(price=1e-6).start(Task(8, price=3e-3))
    assert named.rule.price == 1e-6, "what the user names stands before what the plan says"
    priced = Adaptive().start(Task(8, price=3e-3, question=QUESTION, rates=ARITHMETIC_RATES))
    assert (priced.rule.price, priced.rule.rates) == (3e-3, None), "evidence holds what arithmetic says"
    exact = ErrorRates(1.0, 0.0)
    assert Adaptive().start(Task(8, rates=exact)).rule.rates == exact
    assert Adaptive().start(Task(8, question="Who?")).prune is None
    assert Adaptive(check=False).start(Task(8, question=QUESTION)).prune is None


@pytest.mark.parametrize(
    "spec", ["by=hope", "price=-1", "price=nan", "price=inf", "price=x", "scorer=logprob", "check=perhaps"]
)
def test_settings_that_cannot_be_are_refused(spec: str) -> None:
    with pytest.raises(InvalidInput):
        make_strategy(f"adaptive:{spec}")


def answers(
    tokenizer: Tokenizer, scripts: Sequence[str], strategy: str = "adaptive:by=tokens", **more: Any
) -> Any:
    session = ScriptedSession([script.encode() for script in scripts])
    answer = scripted_engine(tokenizer, session).answer(
        QUESTION, strategy=strategy, budget=Budget(samples=len(scripts)), answer_format="number", **more
    )
    assert session.live == []
    return answer


def test_one_good_answer_is_enough(tiny_tokenizer: Tokenizer) -> None:
    answer = answers(tiny_tokenizer, [RIGHT] * 16)
    assert (answer.answer, answer.stop_reason) == ("37", "decided")
    assert len(answer.samples) in answer.plan.rounds_at[:2], "one, or another to confirm it"
    assert answer.stop_detail.startswith("the leader is safe: ")
    sure = DEFAULT_PROGRESS.evidence.probability(Shown(0.0, True, 1.0, len(answer.samples[0].tokens)))
    assert answer.samples[0].score == pytest.approx(sure, abs=0.01)


def test_slips_are_given_up_and_outweighed(tiny_tokenizer: Tokenizer) -> None:
    long_slip = SLIP.replace("The answer", "We must check that. " * 3 + "The answer")
    answer = answers(tiny_tokenizer, [SLIP, long_slip, long_slip, RIGHT, *[SLIP] * 12])
    assert answer.answer == "37"
    assert [s.finish_reason for s in answer.samples[1:3]] == ["pruned", "pruned"]
    assert len(answer.samples) < 16


def test_a_hopeless_question_ends_before_all_samples_are_drawn(tiny_tokenizer: Tokenizer) -> None:
    slips = [f"3 * 14 = {44 + i}. The answer is {i}." for i in range(64)]
    answer = answers(tiny_tokenizer, slips)
    assert answer.stop_reason == "decided"
    assert answer.stop_detail.startswith("hopeless: ")
    assert 1 < len(answer.samples) < 64


def test_a_wrong_equation_ends_a_sample_once_it_is_computed() -> None:
    prune = make_pruning("wrong-equation")

    def ends(text: str) -> bool:
        return prune.prune([Running(4, (), (), text)], []) == {4}

    assert ends("3 * 14 = 44, and")
    assert not ends("3 * 14 = 4"), "the result may go on"
    assert not ends("3 * 14 = 42, and")
    assert not ends("")
    assert prune.name == "wrong-equation"


def test_the_benchmark_replays_a_recording(tmp_path: Path) -> None:
    rng = random.Random(3)  # noqa: S311
    lines: list[dict[str, Any]] = [{"kind": "header"}]
    for index in range(8):
        samples = []
        for _ in range(16):
            length = rng.randrange(20, 60)
            samples.append(
                {
                    "tokens": [rng.randrange(9) for _ in range(length)],
                    "logprobs": [-rng.random() for _ in range(length)],
                    "finished": True,
                    "text": rng.choice([RIGHT, SLIP, LAZY]),
                }
            )
        lines.append({"index": index, "question": QUESTION, "answer": "37", "samples": samples})
    record = tmp_path / "toy.jsonl"
    record.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "policies.py"
    family = "adaptive:price={x},by=tokens,progress={progress}@16=1e-6,1e-5"
    run = subprocess.run(
        [
            sys.executable,
            str(script),
            str(record),
            "--orders",
            "2",
            "--device",
            "laptop-x86",
            "--family",
            family,
        ],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    body = json.loads(run.stdout.splitlines()[-1])
    rows = {name.rpartition(", ")[2]: row for name, row in body["results"]["fixed 16"].items()}
    assert set(rows) == {"fixed", "tokens", "joules", "at 40%", "as dear"}
    assert rows["tokens"]["accuracy"]["value"] > rows["fixed"]["accuracy"]["value"]


@pytest.mark.parametrize("tokens", [5, 10, 11, 20, 35])
def test_a_round_begins_only_in_the_tokens_that_are_left(tiny_tokenizer: Tokenizer, tokens: int) -> None:
    session = ScriptedSession([b"is 37\nmore"] * 20)
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "Who?",
        strategy="adaptive:price=0",
        answer_format="none",
        sampling=SamplingParams(stop=("\n",)),
        budget=Budget(tokens=tokens, samples=8),
    )
    assert answer.usage.generated_tokens <= tokens
    assert session.live == []
