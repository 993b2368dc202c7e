"""What must hold when verifiers, scorers and strategies of others are slow, fail, or ask for what cannot be."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes_engine import FakeClock, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer
from test_strategies import SHORT, STEPWISE, Says, digits_model, steps_of, toy_engine
from tiny import END, token_id, vocabulary

from edgetts import Budget, SamplingParams
from edgetts.decoding.session import Cancellation, Capabilities
from edgetts.errors import InvalidInput
from edgetts.evaluation import Run, Settings, evaluate
from edgetts.evaluation.certainty import measure
from edgetts.evaluation.record import ProblemRecord
from edgetts.evaluation.recording import Recorder
from edgetts.evaluation.tasks.jsonl import JsonlTask
from edgetts.profiles.curves import StepTimes
from edgetts.selection.aggregation import Majority, Tally, Vote
from edgetts.selection.confidence.abstention import Abstention
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import ROOT, Draw, Grow, Move, Node, Search, Task
from edgetts.selection.strategies import Strategy, make_strategy
from edgetts.selection.verification.verifier import Verdict, Work
from edgetts.testing import FakeSession
from edgetts.tokenizer import Tokenizer

SCORED = ("best_of_n", "weighted_best_of_n", "best_of_majority", "confidence")
TIMES = StepTimes((1, 8), (0.05, 0.1), 1000.0, "measured")


@pytest.mark.parametrize(
    "name", ["best_of_n", *(f"{n.partition(':')[0]}:splitter=tokens:8" for n in STEPWISE)]
)
def test_a_text_too_long_to_ask_about_has_no_score_and_ends_nothing(
    tiny_tokenizer: Tokenizer, name: str
) -> None:
    model = digits_model(len(vocabulary()), token_id(END), 0.0)
    session = FakeSession(model, context=150, chunk=64)
    engine = scripted_engine(tiny_tokenizer, session)
    answer = engine.answer("Hi", strategy=name, budget=Budget(samples=2))
    assert answer.text
    assert any(sample.score is None for sample in answer.samples)
    assert session.live == []


@pytest.mark.parametrize("aggregator", SCORED)
@pytest.mark.parametrize("tokens", [20, 60, 100])
def test_samples_that_the_budget_had_no_room_to_score_still_make_an_answer(
    tiny_tokenizer: Tokenizer, aggregator: str, tokens: int
) -> None:
    engine, _ = toy_engine(tiny_tokenizer)
    budget = Budget(samples=3, tokens=tokens)
    answer = engine.answer("Hi", strategy=f"best_of_n:aggregator={aggregator}", budget=budget, sampling=SHORT)
    assert any(sample.score is None for sample in answer.samples)
    assert answer.text in [sample.text for sample in answer.samples]


@pytest.mark.parametrize("aggregator", SCORED)
def test_verdicts_are_scores_where_a_strategy_needs_some(tiny_tokenizer: Tokenizer, aggregator: str) -> None:
    scripts = [b"It is 5.", b"It is 6.", b"It is 7.", b"It is 7."]
    answer = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Which?",
        strategy=f"best_of_n:aggregator={aggregator},stop=none",
        verifier=Says("7"),
        budget=Budget(samples=4),
    )
    assert answer.answer == "7"


@pytest.mark.parametrize("strategy", [None, "best_of_n"])
def test_the_text_that_passed_is_shown_where_no_text_has_an_answer(
    tiny_tokenizer: Tokenizer, strategy: str | None
) -> None:
    scripts = [b"bad one.", b"worse.", b"the good poem.", b"zz."]
    answer = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "A poem", answer_format="none", strategy=strategy, verifier=Says("good"), budget=Budget(samples=4)
    )
    assert answer.text == " the good poem."


class Slow:
    """A verifier that takes its time."""

    name, rates = "slow", None

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def verify(self, work: Work) -> Verdict:
        self.calls += 1
        self.clock.now += self.seconds
        return Verdict(False, "slow")


@pytest.mark.parametrize("strategy", ["", "self_consistency", "beam:splitter=tokens:8,scorer=verifier"])
@pytest.mark.parametrize("length", [60, 500])
def test_slow_checks_do_not_pass_the_deadline(tiny_tokenizer: Tokenizer, strategy: str, length: int) -> None:
    clock = FakeClock()
    scripts = [bytes([ord("a") + i % 26]) * length for i in range(80)]
    session = ScriptedSession(scripts, clock=clock, times=TIMES, capabilities=Capabilities(tolerance=0.0))
    engine = scripted_engine(tiny_tokenizer, session, clock=clock, times=TIMES)
    verifier, began = Slow(clock, 2.0), clock.now
    engine.answer(
        "Hi",
        verifier=verifier,
        strategy=make_strategy(strategy, verifier) if strategy else None,
        budget=Budget(seconds=10.0, samples=6),
        sampling=SamplingParams(max_tokens=400),
    )
    assert clock.now - began <= 10.0


@pytest.mark.parametrize(
    "name", ["best_of_n", *(steps_of(n).replace("logprob", "self-evaluation") for n in STEPWISE)]
)
def test_nothing_is_checked_or_judged_after_a_cancellation(tiny_tokenizer: Tokenizer, name: str) -> None:
    for at in (1, 2, 5):
        engine, session = toy_engine(tiny_tokenizer, ends=0.0)
        cancel, passes = Cancellation(), 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def run(*given: object) -> object:
                nonlocal passes
                passes += 1
                if passes == at:  # noqa: B023 - run within this round
                    cancel.request()  # noqa: B023
                return call(*given)

            return run

        session.step = counted(session.step)  # type: ignore[method-assign,assignment]
        session.extend = counted(session.extend)  # type: ignore[method-assign,assignment]
        verifier = Slow(FakeClock(), 1.0)
        answer = engine.answer(
            "Hi",
            strategy=name,
            verifier=verifier,
            budget=Budget(samples=4),
            sampling=SamplingParams(max_tokens=200),
            cancel=cancel,
        )
        assert answer.stop_reason == "cancelled"
        assert passes <= at + 1  # a long question is read in two
        assert verifier.calls == 0
        assert session.live == []


@dataclass(frozen=True)
class Scripted(Strategy):
    """Makes the moves it was given; the last one again and again where it is `endless`."""

    moves: tuple[Move, ...] = ()
    endless: bool = False
    splitter: StepSplitter | None = None
    name: str = "scripted"

    def start(self, task: Task) -> Search:
        return _Scripted(list(self.moves), self.endless)


class _Scripted:
    def __init__(self, moves: list[Move], endless: bool) -> None:
        self.moves, self.endless, self.asked = moves, endless, 0

    def next(self, nodes: Sequence[Node]) -> Move | None:
        self.asked += 1
        if self.asked > 100:
            raise RuntimeError("asked without end")
        if self.endless and len(self.moves) == 1:
            return self.moves[0]
        return self.moves.pop(0) if self.moves else None

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return Majority()(votes)


@pytest.mark.parametrize(("move", "steps"), [(Draw(2), False), (Draw(0), False), (Grow({}), True)])
def test_a_search_that_asks_for_nothing_new_is_ended(
    tiny_tokenizer: Tokenizer, move: Move, steps: bool
) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    strategy = Scripted((move,), endless=True, splitter=StepSplitter("tokens", 3) if steps else None)
    with pytest.raises(InvalidInput, match="scripted"):
        engine.answer("Hi", strategy=strategy, budget=Budget(samples=4), sampling=SHORT)
    assert session.live == []


def test_a_search_does_not_open_more_than_its_plan_has_room_for(tiny_tokenizer: Tokenizer) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    strategy = Scripted((Grow({ROOT: 500}),), splitter=StepSplitter("tokens", 3))
    with pytest.raises(InvalidInput, match="500"):
        engine.answer("Hi", strategy=strategy, budget=Budget(samples=2), sampling=SHORT)
    assert session.live == []


def test_partial_answers_are_not_counted_as_samples_drawn(tiny_tokenizer: Tokenizer) -> None:
    engine, session = toy_engine(tiny_tokenizer, ends=0.0)
    strategy = Scripted((Grow({ROOT: 3}), Draw(4)), splitter=StepSplitter("tokens", 3))
    answer = engine.answer("Hi", strategy=strategy, budget=Budget(samples=4), sampling=SHORT)
    assert [len(sample.tokens) for sample in answer.samples] == [12] * 4
    assert session.live == []


@dataclass(frozen=True)
class Broken(Strategy):
    name: str = "broken"

    def start(self, task: Task) -> Search:
        raise ZeroDivisionError


def test_a_strategy_that_cannot_start_leaves_no_branch(tiny_tokenizer: Tokenizer) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    with pytest.raises(ZeroDivisionError):
        engine.answer("Hi", strategy=Broken(), budget=Budget(samples=2), sampling=SHORT)
    assert session.live == []
    assert engine.answer("Hi", budget=Budget(samples=2), sampling=SHORT).samples


@pytest.mark.parametrize("name", ["particle", "rebase", "beam", "a_star"])
def test_partial_answers_beyond_the_width_of_a_pass_keep_to_the_memory(
    tiny_tokenizer: Tokenizer, name: str
) -> None:
    limit, peak = 9600, 0
    model = digits_model(len(vocabulary()), token_id(END), 0.0)
    session = FakeSession(model, context=4000, chunk=64)
    engine = scripted_engine(tiny_tokenizer, session)
    step = session.step

    def watched(branches: Sequence[object], tokens: Sequence[int]) -> object:
        nonlocal peak
        peak = max(peak, sum(branch.length for branch in session.live) + len(branches))
        return step(branches, tokens)  # type: ignore[arg-type]

    session.step = watched  # type: ignore[method-assign,assignment]
    budget = Budget(samples=64, memory_bytes=limit * session.info.bytes_per_token)
    engine.answer("Hi", strategy=steps_of(name), budget=budget, sampling=SamplingParams(max_tokens=200))
    assert 0 < peak <= limit


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("nosuchmodule:Thing", "cannot be loaded"),
        ("os:nothing", "cannot be loaded"),
        ("os:getcwd", "no class"),
    ],
)
def test_a_package_whose_strategy_cannot_be_loaded_is_named_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, entry: str, words: str
) -> None:
    points = importlib.metadata.EntryPoints(
        [importlib.metadata.EntryPoint("twice-two", entry, "edgetts.strategies")]
    )
    monkeypatch.setattr(
        "edgetts.selection.strategies.registry.entry_points", lambda **wanted: points.select(**wanted)
    )
    with pytest.raises(InvalidInput, match=f"twice-two.*{words}"):
        make_strategy("twice-two")


def test_a_vote_over_a_record_is_the_vote_that_was_taken(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    scripts = [
        b"The sky is blue since air scatters the blue part of light most.",
        b"The sky is blue since air scatters the blue part of light the most.",
        b"Cats sleep.",
    ]
    file = tmp_path / "task.jsonl"
    file.write_text(json.dumps({"question": "Why?", "answer": "Air scatters blue.", "format": "text"}) + "\n")
    engine = scripted_engine(tiny_tokenizer, ScriptedSession(scripts))
    settings = Settings(budget=Budget(samples=3), more={"strategy": "self_consistency:stop=none"})
    (problem,) = evaluate(engine, JsonlTask(file), settings)
    again = measure(Run({}, [problem]), "vote-share")
    assert again is not None
    assert again.values == (pytest.approx(problem.confidence),)
    assert problem.confidence == pytest.approx(2 / 3)


def test_two_commands_do_not_cut_each_others_record(tmp_path: Path) -> None:
    def problem(index: int) -> ProblemRecord:
        return ProblemRecord(id=str(index), index=index, question="q", reference="1", right=True)

    path, header = tmp_path / "record", {"task": "t"}
    first, second = Recorder(path, header), Recorder(path, header)
    with first:
        first.begin(header)
        first.add(problem(0))
        with pytest.raises(InvalidInput, match="another command"):
            second.begin(header)
    assert [one.id for one in Recorder(path, header).done] == ["0"]


def test_where_a_wrong_answer_costs_nothing_one_is_always_given() -> None:
    assert Abstention.at_risk(0.0).decide(None).answer
    assert not Abstention.at_risk(0.5).decide(None).answer
