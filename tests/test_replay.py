"""Recorded samples are drawn again by the loop, the controller and the strategies that answer live questions."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from fakes_engine import FakeClock, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgetts.budget import Budget
from edgetts.control.cost.lengths import LengthBook
from edgetts.errors import InvalidInput
from edgetts.evaluation.record import ProblemRecord, SampleRecord
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerDraw
from edgetts.profiles.figure import Figure
from edgetts.replay.averages import averages
from edgetts.replay.load import make_load
from edgetts.replay.planning import Learning
from edgetts.replay.playing import Outcome, Setting, play
from edgetts.replay.policies import make_policy
from edgetts.replay.samples import Pool, orders, pool_of
from edgetts.replay.simulation import Device
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer

TIMES = StepTimes((1, 4, 16), (0.01, 0.02, 0.05), 1000.0, "measured", "2026-11-28", spread=0.05)
WATTS = PowerDraw(Figure(2.0, "vendor"), Figure(10.0, "vendor"))
DEVICE = Device("toy", TIMES, WATTS)
FORMAT = r"regex:The answer is (\d+)"
"""A format that has no words by which a sample could be made to state its answer."""


def problem(samples: list[tuple[int, str, int]], **more: Any) -> ProblemRecord:
    """A problem by (tokens, finish reason, answer) of each sample; the answer 1 is right."""
    made = tuple(
        SampleRecord(
            index=at,
            tokens=tuple(range(tokens)),
            logprobs=(-0.5,) * tokens,
            text=f"The answer is {answer}",
            finished=finish in ("end", "stop"),
            greedy=at == 0,
            finish_reason=finish,
            answer=str(answer),
            right=answer == 1,
        )
        for at, (tokens, finish, answer) in enumerate(samples)
    )
    return ProblemRecord(
        "p", 0, "1 + 1 = 3 - 1", "1", prompt_tokens=40, samples=made, answer_format=FORMAT, **more
    )


def played(pool: Pool, spec: str, setting: Setting) -> Outcome:
    return play(pool.problem, pool.samples, make_policy(spec), setting, Learning(LengthBook()))


SAMPLES = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["end", "end", "stop", "length"]), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)
POLICIES = st.sampled_from(
    [
        "greedy",
        "self_consistency:stop=none@4",
        "self_consistency:stop=none@12",
        "self_consistency:stop=posterior:0.7@12",
        "self_consistency:stop=value:50@12",
        "self_consistency:stop=none,prune=too-long:0.5@8",
        "adaptive@12",
        "adaptive:price=0.000001@12",
    ]
)


# What fails are answers of hundreds of passes: to shrink them takes minutes.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=60, deadline=None, phases=QUICK)
@given(SAMPLES, POLICIES, st.floats(0.0, 1e-4), st.one_of(st.none(), st.integers(5, 40)))
def test_a_hurried_replay_is_the_replay(
    samples: list[tuple[int, str, int]], spec: str, growth: float, cap: int | None
) -> None:
    pool = pool_of(problem(samples))
    setting = Setting(replace(DEVICE, times=replace(TIMES, growth=growth, past=50)), max_tokens=cap)
    fast = played(pool, spec, setting)
    slow = played(pool, spec, replace(setting, hurry=False))
    assert fast.seconds == pytest.approx(slow.seconds)
    assert fast.joules == pytest.approx(slow.joules)
    assert replace(fast, seconds=0.0, joules=0.0) == replace(slow, seconds=0.0, joules=0.0)


@settings(
    max_examples=30,
    deadline=None,
    phases=QUICK,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lengths=st.lists(st.integers(18, 90), min_size=16, max_size=16),
    answers=st.lists(st.integers(1, 3), min_size=16, max_size=16),
    budget=st.one_of(
        st.integers(1, 12).map(lambda samples: {"samples": samples}),
        st.floats(0.3, 4.0).map(lambda seconds: {"seconds": seconds}),
        st.integers(10, 700).map(lambda tokens: {"tokens": tokens}),
    ),
    strategy=st.sampled_from(
        ["self_consistency:stop=none", "self_consistency", "self_consistency:stop=posterior:0.8", "adaptive"]
    ),
)
def test_a_replay_is_what_the_engine_does(
    tiny_tokenizer: Tokenizer,
    lengths: list[int],
    answers: list[int],
    budget: dict[str, Any],
    strategy: str,
) -> None:
    """Same tokens, seconds, answer and end as live, where the device is as fast as its profile says."""
    scripts = [
        b"x" * (length - 17) + f" The answer is {answer}.".encode()
        for length, answer in zip(lengths, answers, strict=True)
    ]

    def ask(**asked: Any) -> Answer:
        clock = FakeClock()
        session = ScriptedSession(scripts, clock=clock, times=TIMES)
        model = scripted_engine(tiny_tokenizer, session, clock=clock, times=TIMES)
        return model.answer("1 + 1 = 3 - 1", answer_format=FORMAT, **asked)

    whole = ask(strategy="self_consistency:stop=none", budget=Budget(samples=16))
    assert len(whole.samples) == 16
    record = ProblemRecord(
        "p",
        0,
        "1 + 1 = 3 - 1",
        None,
        prompt_tokens=whole.usage.prompt_tokens,
        answer_format=FORMAT,
        samples=tuple(
            SampleRecord(
                one.index, one.tokens, one.logprobs, one.text, True, one.greedy, one.finish_reason, one.answer
            )
            for one in whole.samples
        ),
    )
    live = ask(strategy=strategy, budget=Budget(**budget))
    pool = pool_of(record)
    count = budget.pop("samples", None)
    setting = Setting(replace(DEVICE, power=None), Budget(**budget))
    again = played(pool, strategy if count is None else f"{strategy}@{count}", setting)
    assert again.tokens == live.usage.generated_tokens
    assert again.seconds == pytest.approx(live.usage.seconds)
    assert (again.stop, again.samples) == (live.stop_reason, len(live.samples))
    assert again.answer == live.answer


def test_samples_that_were_cut_are_not_drawn_again() -> None:
    pool = pool_of(problem([(9, "end", 1), (5, "pruned", 2), (6, "deadline", 2), (8, "length", 3)]))
    assert [one.record.index for one in pool.samples] == [0, 3]
    assert pool.cut == 2


def test_what_was_not_recorded_is_not_drawn_and_that_is_said() -> None:
    pool = pool_of(problem([(9, "end", 1), (9, "end", 2), (9, "end", 1)]))
    setting = Setting(DEVICE)
    enough, more = (played(pool, f"self_consistency:stop=none@{count}", setting) for count in (3, 8))
    assert (enough.short, more.short) == (False, True)
    assert (more.tokens, more.samples, more.right) == (enough.tokens, 3, True)


def test_tokens_are_those_drawn_and_a_cut_text_has_no_answer() -> None:
    pool = pool_of(problem([(30, "end", 1), (30, "end", 1)]))
    outcome = played(pool, "self_consistency:stop=none@2", Setting(DEVICE, max_tokens=20))
    assert outcome.tokens == 40
    assert outcome.answer is None
    assert outcome.right is False


@given(SAMPLES, st.integers(1, 6), st.integers(0, 99))
def test_orders_are_of_the_same_samples_and_keep_the_greedy_one_first(
    samples: list[tuple[int, str, int]], count: int, seed: int
) -> None:
    pool = pool_of(problem(samples))
    made = list(orders(pool, count, seed))
    assert len(made) == count
    assert made[0] == pool.samples
    assert all(one[0] is pool.samples[0] for one in made)
    assert all(sorted(map(id, one)) == sorted(map(id, pool.samples)) for one in made)
    assert made == list(orders(pool, count, seed))


@settings(max_examples=40, deadline=None, phases=QUICK)
@given(SAMPLES, POLICIES, st.floats(0.05, 2.0), st.sampled_from(["constant", "on-off:0.2", "throttle:0.3"]))
def test_a_deadline_is_kept_but_for_the_pass_that_is_under_way(
    samples: list[tuple[int, str, int]], spec: str, seconds: float, load: str
) -> None:
    pool = pool_of(problem(samples))
    outcome = played(pool, spec, Setting(DEVICE, Budget(seconds=seconds), make_load(load)))
    slowest = 2.0 * TIMES.at(12)
    assert outcome.seconds <= max(seconds, 0.0) + (slowest if load != "constant" else 1e-9)
    assert outcome.late is (outcome.seconds > seconds)


@settings(max_examples=40, deadline=None, phases=QUICK)
@given(SAMPLES, st.floats(0.7, 8.0))
def test_an_energy_budget_is_kept(samples: list[tuple[int, str, int]], joules: float) -> None:
    pool = pool_of(problem(samples))
    outcome = played(pool, "self_consistency:stop=none@12", Setting(DEVICE, Budget(joules=joules)))
    assert outcome.joules == pytest.approx(10.0 * outcome.seconds)
    assert outcome.joules is not None
    assert outcome.joules <= joules * 1.001


def test_a_budget_of_joules_needs_watts() -> None:
    pool = pool_of(problem([(9, "end", 1)]))
    with pytest.raises(InvalidInput, match="power is not known"):
        played(pool, "greedy", Setting(replace(DEVICE, power=None), Budget(joules=3.0)))


def test_loads_slow_passes_down() -> None:
    pool = pool_of(problem([(100, "end", 1)]))

    def seconds(load: str) -> float:
        return played(pool, "greedy", Setting(DEVICE, load=make_load(load))).seconds

    plain = seconds("constant")
    assert plain == pytest.approx(0.04 + 100 * 0.01)
    assert seconds("constant:3") == pytest.approx(3 * plain)
    # Half of the passes of the second half of the time fit in it: half speed midway.
    assert seconds("throttle:0.54") == pytest.approx(0.54 + 2 * 0.5)
    assert plain < seconds("on-off:0.1") < 2 * plain


@pytest.mark.parametrize(
    "spec", ["busy", "on-off:", "on-off:0", "throttle:5,ratio=0", "constant:nan", "throttle:a"]
)
def test_a_load_that_cannot_be_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInput):
        make_load(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("self_consistency@0", "1 to 4096"),
        ("self_consistency@many", "1 to 4096"),
        ("particle@4", "step by step"),
        ("greedy@4", "at most 1"),
        ("nothing@4", "no strategy"),
        ("self_consistency:stop=soon@4", "soon"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(spec: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make_policy(spec)


def test_a_policy_that_needs_verdicts_is_refused_without() -> None:
    pools = [pool_of(problem([(9, "end", 1), (9, "end", 2)]))]
    with pytest.raises(InvalidInput, match="verifier"):
        averages(pools, make_policy("self_consistency:stop=first-pass@2"), Setting(DEVICE))
    judged = replace(
        pools[0].problem, samples=tuple(replace(s, passed=s.index == 1) for s in pools[0].problem.samples)
    )
    [found] = averages([pool_of(judged)], make_policy("self_consistency:stop=first-pass@2"), Setting(DEVICE))
    assert found.samples == 2


def test_means_are_over_the_orders() -> None:
    rng = random.Random(5)  # noqa: S311
    samples = [(rng.randint(5, 50), "end", rng.randint(1, 3)) for _ in range(12)]
    pool = pool_of(problem(samples))
    policy = make_policy("self_consistency:stop=none@3")
    [found] = averages([pool], policy, Setting(DEVICE, seed=3), count=20)
    each = [
        play(pool.problem, order, policy, Setting(DEVICE), Learning(LengthBook()))
        for order in orders(pool, 20, 3)
    ]
    assert found.right == sum(bool(one.right) for one in each) / 20
    assert found.tokens == sum(one.tokens for one in each) / 20
    assert found.seconds == pytest.approx(sum(one.seconds for one in each) / 20)
    assert 0 < found.right < 1
