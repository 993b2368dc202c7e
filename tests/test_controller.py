"""Deadlines, token budgets and votes on a fake clock: what is promised holds however slow the device becomes."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import pytest
from fakes_engine import (
    ENDLESS,
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetts import Answer, Budget, SamplingParams
from edgetts.control.controller import Controller, Directive
from edgetts.control.cost.lengths import Lengths
from edgetts.control.cost.model import CostModel
from edgetts.control.cost.work import LengthLaw
from edgetts.control.planning.request import Asked, Request, Way
from edgetts.errors import InvalidInput
from edgetts.profiles.curves import StepTimes
from edgetts.tokenizer import Tokenizer

# Fake seconds are thousands of real ones, so that the alarm, which is a real timer, stays silent.
CONCLUDING = 60
"""Passes in which samples here state their answers at most, a byte each."""
CURVE = StepTimes((1, 8), (10.0, 20.0), 50.0, "measured", "2026-01-01")


def says(number: int, length: int = 0) -> bytes:
    """A text that states an answer, after `length` bytes of thought."""
    return b"." * length + b" The answer is %d." % number


class Run:
    """One answer on a fake clock."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        budget: Budget,
        scripts: Sequence[bytes],
        *,
        times: StepTimes = CURVE,
        load: Iterator[float] | None = None,
        prefill_factor: float = 1.0,
        sampling: SamplingParams | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.session = ScriptedSession(
            scripts, clock=self.clock, times=times, load=load, prefill_factor=prefill_factor, context=3000
        )
        began = self.clock()
        engine = scripted_engine(tokenizer, self.session, clock=self.clock, times=times)
        self.answer: Answer = engine.answer("Hello", budget=budget, sampling=sampling)
        self.took = self.clock() - began


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.floats(1.0, 100.0),
    growth=st.floats(0.0, 1.0),
    seconds=st.floats(10.0, 6000.0),
    samples=st.none() | st.integers(1, 12),
    tokens=st.none() | st.integers(1, 400),
    lengths=st.lists(st.integers(0, 120), min_size=16, max_size=16),
    load=st.lists(st.floats(0.2, 3.0), min_size=1, max_size=20),
    prefill_factor=st.floats(0.2, 5.0),
)
def test_no_deadline_is_overrun_by_more_than_one_pass_and_no_token_budget_at_all(
    tiny_tokenizer: Tokenizer,
    first: float,
    growth: float,
    seconds: float,
    samples: int | None,
    tokens: int | None,
    lengths: list[int],
    load: list[float],
    prefill_factor: float,
) -> None:
    times = StepTimes((1, 8), (first, first * (1 + 7 * growth)), 20 / first, "measured")
    run = Run(
        tiny_tokenizer,
        Budget(seconds=seconds, samples=samples, tokens=tokens),
        [says(i % 3, length) for i, length in enumerate(lengths)],
        times=times,
        load=chain.from_iterable(repeat(load)),
        prefill_factor=prefill_factor,
    )
    answer = run.answer
    if run.session.widths:
        assert run.took <= seconds + run.session.last_pass
    assert answer.usage.generated_tokens <= (tokens or 10**9)
    assert answer.usage.samples <= (samples or 16)
    assert max(run.session.widths, default=0) <= answer.plan.width
    assert run.session.live == []
    cut = [s for s in answer.samples if s.finish_reason == "deadline"]
    concluded = any(decision.kind == "conclude" for decision in answer.decisions)
    if answer.stop_reason == "deadline" and cut and not answer.revisions and not concluded:
        # Nor is it stopped while another pass would surely have fitted, whatever the few passes seen allow for, and what
        # samples needed to conclude in.
        swing = max(load) / min(load)
        room = times.at(answer.plan.width) * max(*load, 1.0) * max(1.5, swing) ** 2
        assert run.took + (1 + CONCLUDING) * room >= seconds
    if answer.stop_reason == "complete":
        assert answer.usage.samples == answer.plan.samples
        assert {s.finish_reason for s in answer.samples} <= {"end", "length", "deadline", "budget"}


@pytest.mark.parametrize("samples", [1, 2, 5, 16, 21])
def test_samples_asked_for_are_samples_drawn_when_nothing_limits(
    tiny_tokenizer: Tokenizer,
    samples: int,
) -> None:
    run = Run(tiny_tokenizer, Budget(samples=samples), [says(i, i) for i in range(samples)])
    assert run.answer.stop_reason == "complete"
    assert [s.index for s in run.answer.samples] == list(range(samples))
    assert [s.text for s in run.answer.samples] == [" " + says(i, i).decode() for i in range(samples)]
    assert {s.finish_reason for s in run.answer.samples} == {"end"}
    assert run.answer.revisions == ()


def test_a_deadline_before_the_prompt_is_read_gives_an_empty_answer(tiny_tokenizer: Tokenizer) -> None:
    run = Run(tiny_tokenizer, Budget(seconds=3.0), [says(1)], prefill_factor=10.0)
    answer = run.answer
    assert (answer.text, answer.answer, answer.confidence, answer.samples) == ("", None, None, ())
    assert answer.stop_reason == "deadline"
    assert answer.usage.generated_tokens == 0
    assert answer.usage.time_to_first_token is None
    assert answer.usage.prompt_tokens > 0
    assert run.session.widths == []
    assert run.session.live == []


def test_a_vote_stops_as_soon_as_it_cannot_change_and_not_before(tiny_tokenizer: Tokenizer) -> None:
    # Lengths differ, so that samples end one after the other: 7, 7, 7, 9, 7 and then no doubt is left
    # of seven: four sevens beat one nine and two that are open.
    scripts = [says(9 if i == 3 else 7, 10 * i) for i in range(7)]
    run = Run(tiny_tokenizer, Budget(samples=7), scripts)
    assert run.answer.stop_reason == "decided"
    assert run.answer.answer == "7"
    assert [s.finish_reason for s in run.answer.samples] == ["end"] * 5 + ["pruned"] * 2
    # Without the last seven, three to one with three open can still be turned.
    scripts[4] = says(9, 40)
    run = Run(tiny_tokenizer, Budget(samples=7), scripts)
    assert run.answer.stop_reason == "decided"
    assert [s.finish_reason for s in run.answer.samples] == ["end"] * 6 + ["pruned"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(st.integers(0, 2), min_size=2, max_size=9), data=st.data())
def test_stopping_early_never_changes_who_wins(
    tiny_tokenizer: Tokenizer,
    answers: list[int],
    data: st.DataObject,
) -> None:
    lengths = data.draw(st.lists(st.integers(0, 30), min_size=len(answers), max_size=len(answers)))
    scripts = [says(answer, length) for answer, length in zip(answers, lengths, strict=True)]
    answer = Run(tiny_tokenizer, Budget(samples=len(answers)), scripts).answer
    counts = sorted((answers.count(value), value) for value in set(answers))
    if answer.stop_reason == "decided":
        assert answer.answer == str(counts[-1][1])
        assert len(counts) == 1 or counts[-1][0] > counts[-2][0]
    else:
        assert {s.finish_reason for s in answer.samples} == {"end"}
        assert answer.answer in {str(value) for count, value in counts if count == counts[-1][0]}


def test_when_passes_become_slow_some_samples_are_given_up_so_that_others_end(
    tiny_tokenizer: Tokenizer,
) -> None:
    # Eight at once were planned: 20 s a pass. Three times as slow, 8 samples of 170 tokens would
    # take 10,200 s, one alone 5,100 s.
    scripts = [says(i, 150) for i in range(8)]
    slow = Run(tiny_tokenizer, Budget(seconds=9000.0, samples=8), scripts, load=repeat(3.0))
    assert slow.answer.plan.width == 8
    assert slow.answer.stop_reason in ("complete", "deadline")
    assert slow.took <= 9000
    [revised, *_] = slow.answer.revisions
    assert revised.width < 8
    assert "3.0 times as long" in revised.reason
    done = [s for s in slow.answer.samples if s.complete]
    assert done
    assert slow.answer.answer in {s.answer for s in done}
    assert {s.finish_reason for s in slow.answer.samples if not s.complete} == {"deadline"}
    # The first samples go on: they are as far as the others, and one of them is the greedy one.
    assert done[0].index == 0


def test_when_the_prompt_takes_long_fewer_samples_go_on(tiny_tokenizer: Tokenizer) -> None:
    scripts = [says(i, 180) for i in range(8)]
    fast = Run(tiny_tokenizer, Budget(seconds=5700.0, samples=8), scripts)
    slow = Run(tiny_tokenizer, Budget(seconds=5700.0, samples=8), scripts, prefill_factor=5000.0)
    assert fast.answer.plan.width == slow.answer.plan.width == 8
    assert fast.answer.revisions == ()
    assert slow.answer.revisions[0].width < 8
    assert any(s.complete for s in slow.answer.samples)
    assert slow.took <= 5700


def test_once_there_is_an_answer_stragglers_run_until_the_deadline(tiny_tokenizer: Tokenizer) -> None:
    scripts = [says(4), says(5), ENDLESS, ENDLESS]
    run = Run(tiny_tokenizer, Budget(seconds=5000.0, samples=4), scripts)
    assert run.answer.stop_reason == "deadline"
    assert run.took <= 5000
    assert [s.finish_reason for s in run.answer.samples] == ["end", "end", "deadline", "deadline"]
    assert run.answer.answer in ("4", "5")


def test_a_sample_that_ends_makes_room_for_another(tiny_tokenizer: Tokenizer) -> None:
    # Time for one at a time as far as is known, but answers turn out short: 20 tokens.
    scripts = [says(i) for i in range(6)]
    run = Run(tiny_tokenizer, Budget(seconds=2700.0, samples=6), scripts)
    assert run.answer.plan.width == 1
    assert run.answer.usage.samples == 6
    assert run.answer.stop_reason == "complete"
    assert set(run.session.widths) == {1}


def test_a_complete_answer_at_the_last_moment_is_complete(tiny_tokenizer: Tokenizer) -> None:
    script = says(1, 80)
    alone = Run(tiny_tokenizer, Budget(seconds=9000.0, samples=1), [script])
    tight = Run(tiny_tokenizer, Budget(seconds=alone.took + 1.0, samples=1), [script])
    assert tight.answer.samples[0].finish_reason == "end"
    assert tight.answer.stop_reason == "complete"


@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 100, 300, 1000])
@pytest.mark.parametrize("samples", [None, 1, 8])
def test_a_token_budget_is_never_exceeded(
    tiny_tokenizer: Tokenizer, tokens: int, samples: int | None
) -> None:
    run = Run(tiny_tokenizer, Budget(tokens=tokens, samples=samples), [ENDLESS] * 16)
    assert run.answer.usage.generated_tokens == tokens
    assert run.answer.stop_reason == "tokens"
    assert sum(len(s.tokens) for s in run.answer.samples) == tokens


def test_tokens_that_are_too_few_for_another_sample_are_the_reason_to_stop(tiny_tokenizer: Tokenizer) -> None:
    length = len(says(3, 60)) + 1
    run = Run(
        tiny_tokenizer, Budget(tokens=length * 2 + 10, samples=3), [says(3, 60), says(4, 60), says(3, 60)]
    )
    assert run.answer.usage.samples == 2
    assert run.answer.stop_reason == "tokens"


def test_a_stop_string_in_the_last_token_of_a_budget_is_an_end(tiny_tokenizer: Tokenizer) -> None:
    sampling = SamplingParams(stop=("!",))
    run = Run(tiny_tokenizer, Budget(tokens=5, samples=1), [b"abc!def"], sampling=sampling)
    assert (run.answer.text, run.answer.usage.generated_tokens) == (" abc", 5)
    assert (run.answer.samples[0].finish_reason, run.answer.stop_reason) == ("stop", "complete")


def test_samples_cut_for_tokens_say_so_even_under_a_deadline(tiny_tokenizer: Tokenizer) -> None:
    scripts = [says(1, 95), *[ENDLESS] * 7]
    run = Run(tiny_tokenizer, Budget(seconds=9000.0, tokens=800, samples=4), scripts)
    assert run.answer.stop_reason == "tokens"
    assert {s.finish_reason for s in run.answer.samples} == {"end", "budget"}
    assert run.answer.usage.generated_tokens == 800


def test_samples_cut_for_time_say_so_even_with_a_token_budget(tiny_tokenizer: Tokenizer) -> None:
    scripts = [says(i, 180) for i in range(8)]
    budget = Budget(seconds=7500.0, samples=8, tokens=100_000)
    slow = Run(tiny_tokenizer, budget, scripts, load=repeat(3.0))
    assert slow.answer.revisions
    assert {s.finish_reason for s in slow.answer.samples if not s.complete} == {"deadline"}


def test_a_deadline_too_far_away_to_count_is_like_none(tiny_tokenizer: Tokenizer) -> None:
    run = Run(tiny_tokenizer, Budget(seconds=1e308, samples=2), [says(1), says(2)])
    assert run.answer.stop_reason == "complete"


def test_joules_are_refused_before_the_prompt_is_read(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([says(1)])
    engine = scripted_engine(tiny_tokenizer, session)
    with pytest.raises(InvalidInput, match="joules"):
        engine.stream("Hello", budget=Budget(joules=3.0))
    assert session.prefilled == 0


class Passes:
    """A controller asked directly: samples that draw a token a pass, and seconds that passes take."""

    def __init__(
        self,
        budget: Budget,
        *,
        samples: int = 4,
        law: LengthLaw | None = None,
        joules: Callable[[], float | None] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.controller = Controller(
            budget, CostModel(CURVE), self.clock, self.clock(), lengths=law, joules=joules
        )
        self.running: dict[int, int] = {}
        self.started = self.drawn = 0
        asked = Asked("reason", 50, law or Lengths())
        self.plan = self.controller.make_plan(
            Request(
                room=3000,
                max_tokens=None,
                bytes_per_token=1,
                memory_free=1 << 40,
                parallel=True,
                runtime="fake",
                approaches=(asked,),
                ways=(Way(most=samples),),
                named=True,
            )
        )
        self.clock.now += 1.0
        self.begin(min(self.plan.width, self.plan.samples))

    def begin(self, count: int) -> None:
        for _ in range(count):
            self.running[self.started] = 1
            self.started, self.drawn = self.started + 1, self.drawn + 1

    def run(
        self, ends: dict[int, int], passes: int, closing: int = 0, wanted: int | None = None
    ) -> Directive:
        """Run passes until something is to be done, or so many were run. ends: lengths of samples."""
        for _ in range(passes):
            directive = self.controller.direct(self.running, self.started, self.drawn, None, wanted, closing)
            self.begin(directive.start)
            if directive.stop or directive.cut or directive.conclude:
                return directive
            if directive.start:
                continue
            seconds = CURVE.at(len(self.running))
            self.clock.now += seconds
            self.controller.observe_pass(len(self.running), seconds)
            for i in list(self.running):
                self.running[i] += 1
                self.drawn += 1
                if self.running[i] >= ends.get(i, 10**9):
                    del self.running[i]
                    self.controller.observe_end(ends[i])
        return directive


def test_the_running_samples_are_made_to_conclude_when_time_just_suffices() -> None:
    passes = Passes(Budget(seconds=3000.0, samples=2), samples=2)
    directive = passes.run({}, 1000, closing=12)
    assert directive.conclude
    assert directive.stop is None
    step = CURVE.at(len(passes.running))
    left = 3000.0 - (passes.clock.now - 1000.0)
    # It suffices for what concluding takes, and is not said long before.
    assert 12 * step <= left <= (12 + 1) * step * 2
    again = passes.run({}, 1, closing=12)
    assert again.conclude
    assert again.start == 0
    kinds = [decision.kind for decision in passes.controller.decisions]
    assert kinds == ["plan", "start", "conclude"]
    assert not Passes(Budget(seconds=3000.0, samples=2), samples=2).run({}, 20, closing=0).conclude


def test_another_sample_is_started_where_concluding_left_time_for_one() -> None:
    law = Lengths(((30, True),) * 80)
    passes = Passes(Budget(seconds=3000.0, samples=3), samples=3, law=law)
    passes.running, passes.started, passes.drawn = {0: 1}, 1, 1
    passes.begin = lambda count: None  # type: ignore[method-assign]  # one alone, so that others are missing
    assert passes.run({}, 1000, closing=150).conclude
    # It did so in no time.
    directive = passes.controller.direct({}, 1, passes.drawn, closing=150)
    assert directive.start > 0
    assert not directive.conclude
    passes.clock.now += 3000.0 - (passes.clock.now - 1000.0) - 5 * CURVE.at(1)
    assert passes.controller.direct({}, 1, passes.drawn, closing=150).stop == "deadline"


def test_tokens_that_run_out_are_a_reason_to_conclude_too() -> None:
    passes = Passes(Budget(tokens=100, samples=2), samples=2)
    directive = passes.run({}, 1000, closing=10)
    assert directive.conclude
    assert directive.reason == "budget"
    side_by_side = len(passes.running)
    assert side_by_side * 10 <= 100 - passes.drawn < side_by_side * 11


def test_without_a_limit_nothing_is_concluded() -> None:
    passes = Passes(Budget(samples=2), samples=2)
    assert passes.run({0: 90, 1: 120}, 1000, closing=10).stop == "complete"


def test_a_sample_is_started_if_it_may_end_in_time_though_most_would_not() -> None:
    # Half of the samples are short. For a typical one there is no time left, for a short one there is.
    law = Lengths(((30, True), (300, True)) * 40)
    passes = Passes(Budget(seconds=3000.0, samples=3), samples=3, law=law)
    first = passes.plan.width
    ends = dict.fromkeys(range(first), 140)
    stop = passes.run(ends, 2000)
    assert stop.stop == "deadline"
    assert passes.started > first
    never = Passes(Budget(seconds=3000.0, samples=3), samples=3, law=Lengths(((300, True),) * 80))
    assert never.run(dict.fromkeys(range(never.plan.width), 250), 2000).stop == "deadline"
    assert never.started == never.plan.width


def test_what_a_round_leaves_unspent_is_there_for_the_next_ones() -> None:
    law = Lengths(((60, True),) * 80)
    passes = Passes(Budget(tokens=500, samples=8), samples=8, law=law)
    ends = dict.fromkeys(range(8), 30)
    # Samples turn out half as long as expected: all of the rounds fit in the end.
    for wanted in (2, 4, 8):
        while passes.run(ends, 500, wanted=min(wanted, passes.plan.samples)).stop is None:
            pass
    assert passes.started == passes.plan.samples
    assert passes.drawn <= 500
    assert passes.controller.decisions[-1].kind == "stop"
    assert [d.kind for d in passes.controller.decisions].count("stop") == 1


def test_decisions_say_when_and_what_was_spent_by_then() -> None:
    spent = 0.0
    passes = Passes(Budget(seconds=9000.0, samples=2), samples=2, joules=lambda: spent)
    spent = 12.5
    passes.run({0: 20, 1: 25}, 500)
    decisions = passes.controller.decisions
    assert [d.kind for d in decisions] == ["plan", "start", "stop"]
    assert [d.at for d in decisions] == sorted(d.at for d in decisions)
    assert decisions[1].count == 2
    assert decisions[-1].reason == "complete"
    assert decisions[-1].tokens == passes.drawn
    assert decisions[-1].joules is not None
    assert decisions[-1].joules >= 12.5


def test_time_that_closing_took_before_is_kept_for_it() -> None:
    quick, slow = Passes(Budget(seconds=4000.0, samples=3)), Passes(Budget(seconds=4000.0, samples=3))
    for _ in range(6):
        slow.controller.direct(slow.running, slow.started, slow.drawn)
        slow.controller._cost.drift.asides.observe_closing(150.0)
    assert quick.run({}, 2000).stop == slow.run({}, 2000).stop == "deadline"
    assert quick.clock.now - slow.clock.now >= 400.0
