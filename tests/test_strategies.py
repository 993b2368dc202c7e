"""Strategies by name in an engine: what they draw, what they may spend, and what is refused."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from tiny import END, token_id, vocabulary

from edgetts import Answer, Budget, SamplingParams
from edgetts.decoding.session import Capabilities
from edgetts.engine import Engine
from edgetts.errors import InvalidInput
from edgetts.selection.aggregation import Majority, Tally, Vote
from edgetts.selection.confidence.calibration import Example, calibrate
from edgetts.selection.search.scorers import CallableScore
from edgetts.selection.search.splitter import StepSplitter
from edgetts.selection.search.tree import ROOT, Draw, Grow, Move, Node, Search, Task
from edgetts.selection.strategies import STRATEGIES, Strategy, make_strategy, strategy_names
from edgetts.selection.strategies.best_of_n import BestOfN
from edgetts.selection.strategies.self_consistency import SelfConsistency
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work
from edgetts.testing import FakeSession, ToyModel
from edgetts.tokenizer import Tokenizer
from edgetts.types import DecodeParams, Finished, PlanMade, SampleDone, StepsTaken, TextDelta

STEPWISE = ("particle", "particle:annealing=true,successors=2", "rebase", "a_star", "beam")
SHORT = SamplingParams(max_tokens=12, seed=4)
EXACT = ErrorRates(1.0, 0.0, "exact")
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def digits_model(size: int, end: int, ends: float = 0.1) -> ToyModel:
    """A model that says digits, and ends with a probability."""

    def probabilities(prefix: tuple[int, ...]) -> list[float]:
        row = [0.0] * size
        for digit in range(10):
            row[ord("0") + digit] = (1 - ends) / 10
        row[end] = ends
        return row

    return ToyModel(size, probabilities, frozenset({end}))


def toy_engine(tokenizer: Tokenizer, ends: float = 0.1, **options: Any) -> tuple[Engine, FakeSession]:
    model = digits_model(len(vocabulary()), token_id(END), ends)
    session = FakeSession(model, context=4000, chunk=64, **options)
    return scripted_engine(tokenizer, session), session


def steps_of(name: str) -> str:
    return f"{name}{',' if ':' in name else ':'}splitter=tokens:3,scorer=logprob"


@pytest.mark.parametrize("name", STEPWISE)
def test_a_search_over_steps_answers_and_frees_everything(tiny_tokenizer: Tokenizer, name: str) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    events = list(engine.stream("Hello", strategy=steps_of(name), budget=Budget(samples=4), sampling=SHORT))
    assert isinstance(events[0], PlanMade)
    assert events[0].plan.strategy == name.partition(":")[0]
    assert any(isinstance(event, StepsTaken) for event in events)
    assert isinstance(events[-1], Finished)
    answer = events[-1].answer
    assert answer.samples
    assert answer.text in [sample.text for sample in answer.samples]
    assert [event.sample for event in events if isinstance(event, SampleDone)] == sorted(
        answer.samples,
        key=lambda sample: [e.sample for e in events if isinstance(e, SampleDone)].index(sample),
    )
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == answer.text
    assert session.live == []
    for sample in answer.samples:
        assert len(sample.tokens) <= 12
        assert tiny_tokenizer.decode(sample.tokens) == sample.text
        assert len(sample.logprobs) == len(sample.tokens)
        assert sample.score is not None


@pytest.mark.parametrize("name", STEPWISE)
def test_the_same_seed_gives_the_same_search(tiny_tokenizer: Tokenizer, name: str) -> None:
    def texts(seed: int) -> list[str]:
        engine, _ = toy_engine(tiny_tokenizer)
        sampling = SamplingParams(max_tokens=12, seed=seed)
        answer = engine.answer("Hi", strategy=steps_of(name), budget=Budget(samples=4), sampling=sampling)
        return [sample.text for sample in answer.samples]

    assert texts(1) == texts(1)
    assert len({tuple(texts(seed)) for seed in range(5)}) > 1


@QUIET
@given(
    name=st.sampled_from([*(steps_of(name) for name in STEPWISE), "self_consistency", "best_of_n"]),
    tokens=st.integers(1, 250),
    samples=st.integers(1, 6),
    judged=st.booleans(),
)
def test_a_budget_of_tokens_is_never_passed_scoring_included(
    tiny_tokenizer: Tokenizer, name: str, tokens: int, samples: int, judged: bool
) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    if judged:
        name = name.replace("scorer=logprob", "scorer=self-evaluation")
    sampling = SamplingParams(max_tokens=30)
    answer = engine.answer(
        "Hi", strategy=name, budget=Budget(samples=samples, tokens=tokens), sampling=sampling
    )
    assert answer.usage.generated_tokens + answer.usage.scoring_tokens <= tokens
    assert session.live == []
    assert answer.samples  # the first token at least
    assert answer.stop_reason in ("complete", "decided", "tokens")


def test_self_evaluation_asks_the_model_in_its_live_cache_and_is_charged(tiny_tokenizer: Tokenizer) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    prefilled = None
    answer = engine.answer("Hi", strategy="best_of_n", budget=Budget(samples=3), sampling=SHORT)
    assert [sample.score for sample in answer.samples] == [
        pytest.approx(0.5)
    ] * 3  # it says neither yes nor no
    each, rest = divmod(answer.usage.scoring_tokens, 3)
    assert each > 10
    assert rest == 0
    prefilled = session.prefilled
    assert prefilled == answer.usage.prompt_tokens  # the prompt was read once, whatever was asked about it
    assert session.live == []


class Says:
    """A verifier that passes texts which hold a word."""

    name = "says"

    def __init__(self, word: str, rates: ErrorRates | None = EXACT) -> None:
        self.word = word
        self.rates = rates
        self.seen: list[Work] = []

    def verify(self, work: Work) -> Verdict:
        self.seen.append(work)
        return Verdict(self.word in work.text, f"looked for {self.word}")


def test_with_a_verifier_samples_are_drawn_until_one_passes(tiny_tokenizer: Tokenizer) -> None:
    scripts = [b"It is 5.", b"So it is 7, I think.", b"It must be 9 as far as I can see.", b"It is 5."]
    session = ScriptedSession(scripts)
    verifier = Says("7")
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "Which?", verifier=verifier, budget=Budget(samples=4), sampling=SamplingParams(max_tokens=60)
    )
    assert (answer.answer, answer.stop_reason) == ("7", "decided")
    assert answer.stop_detail == "a sample passed the verifier"
    assert [(s.passed, s.verdict) for s in answer.samples if s.complete] == [
        (False, "looked for 7"),
        (True, "looked for 7"),
        (False, "looked for 7"),
    ]
    assert answer.samples[2].finish_reason == "pruned"
    assert verifier.seen[0] == Work("Which?", " It is 5.", "5", True)


def test_a_verifier_that_may_err_does_not_end_the_draw_and_is_outvoted_by_its_rates(
    tiny_tokenizer: Tokenizer,
) -> None:
    scripts = [b"It is 7.", b"It is 5.", b"It is 5.", b"It is 5."]
    for rates, chosen in ((ErrorRates(0.6, 0.5), "5"), (ErrorRates(0.9, 0.1), "7"), (None, "7")):
        answer = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
            "Which?", verifier=Says("7", rates), budget=Budget(samples=4)
        )
        assert (answer.answer, answer.stop_reason, len(answer.samples)) == (chosen, "complete", 4)


def test_a_stopping_rule_ends_the_draw_and_says_why(tiny_tokenizer: Tokenizer) -> None:
    scripts = [b"It is 5." + b" " * i for i in range(8)]
    run = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Which?", strategy="self_consistency:stop=posterior:0.8", budget=Budget(samples=8)
    )
    assert run.stop_reason == "decided"
    assert run.stop_detail
    assert sum(sample.complete for sample in run.samples) < 5
    full = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Which?", strategy=SelfConsistency(Majority(), stop=None), budget=Budget(samples=8)
    )
    assert full.stop_reason == "complete"
    assert all(sample.complete for sample in full.samples)


def test_hopeless_samples_are_pruned_under_way(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"It is 5.", ENDLESS, b"It is 6 too."])
    answer = scripted_engine(tiny_tokenizer, session).answer(
        "Which?",
        strategy="self_consistency:prune=repetition",
        budget=Budget(samples=3),
        sampling=SamplingParams(max_tokens=2000),
    )
    assert [sample.finish_reason for sample in answer.samples] == ["end", "pruned", "end"]
    assert len(answer.samples[1].tokens) < 1000
    assert answer.stop_reason == "complete"


@dataclass(frozen=True)
class TwiceTwo(Strategy):
    """A strategy somebody else wrote: two samples, then two more if they disagree."""

    name: str = "twice-two"

    def start(self, task: Task) -> Search:
        return _TwiceTwo()


class _TwiceTwo:
    def __init__(self) -> None:
        self.seen: list[Node] = []
        self.asked = 0

    def next(self, nodes: Sequence[Node]) -> Move | None:
        self.seen += nodes
        if self.asked == 0:
            self.asked = 2
        elif self.asked == 2 and len({node.answer for node in self.seen}) > 1:
            self.asked = 4
        else:
            return None
        return Draw(self.asked)

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return Majority()(votes)


def test_a_strategy_of_ones_own_draws_in_rounds(tiny_tokenizer: Tokenizer) -> None:
    for scripts, drawn in (([b"5.", b"5.", b"6.", b"6."], 2), ([b"5.", b"6.", b"6.", b"6."], 4)):
        session = ScriptedSession(scripts)
        answer = scripted_engine(tiny_tokenizer, session).answer(
            "Which?", strategy=TwiceTwo(), budget=Budget(samples=4)
        )
        assert len(answer.samples) == drawn
        assert answer.plan.strategy == "twice-two"
        assert answer.stop_reason == "complete"
        assert session.live == []


class _Misbehaving:
    def __init__(self, moves: list[Move]) -> None:
        self.moves = moves

    def next(self, nodes: Sequence[Node]) -> Move | None:
        return self.moves.pop(0) if self.moves else None

    def choose(self, votes: Sequence[Vote]) -> Tally:
        return Majority()(votes)


@dataclass(frozen=True)
class Misbehaving(Strategy):
    moves: tuple[Move, ...] = ()
    splitter: StepSplitter | None = None
    name: str = "misbehaving"

    def start(self, task: Task) -> Search:
        return _Misbehaving(list(self.moves))


@pytest.mark.parametrize(
    ("moves", "splitter", "words"),
    [
        ((Grow({ROOT: 2}), Grow({7: 1})), True, "node 7"),
        ((Grow({ROOT: 2}), Grow({0: 1}), Grow({0: 1})), True, "node 0"),
        ((Grow({ROOT: 2}), Grow({0: -1})), True, "negative"),
        ((Grow({ROOT: 1}),), False, "where steps end"),
    ],
)
def test_a_search_that_breaks_the_contract_is_told_and_nothing_stays_behind(
    tiny_tokenizer: Tokenizer, moves: tuple[Move, ...], splitter: bool, words: str
) -> None:
    engine, session = toy_engine(tiny_tokenizer)
    strategy = Misbehaving(moves, StepSplitter("tokens", 2) if splitter else None)
    with pytest.raises(InvalidInput, match=words):
        engine.answer("Hi", strategy=strategy, budget=Budget(samples=4), sampling=SHORT)
    assert session.live == []


def test_a_scorer_of_ones_own_steers_a_search(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = toy_engine(tiny_tokenizer, ends=0.0)
    from edgetts.selection.strategies.beam import Beam

    likes_sevens = CallableScore(lambda question, text: (1 + text.count("7")) / (1 + len(text)), "sevens")
    sampling = SamplingParams(max_tokens=30)
    steered = engine.answer(
        "Hi",
        strategy=Beam(scorer=likes_sevens, splitter=StepSplitter("tokens", 2, shortest=0)),
        budget=Budget(samples=6),
        sampling=sampling,
    )
    plain = engine.answer(
        "Hi", strategy="self_consistency:stop=none", budget=Budget(samples=6), sampling=sampling
    )

    def sevens(answer: Answer) -> float:
        text = "".join(sample.text for sample in answer.samples)
        return text.count("7") / len(text)

    assert sevens(steered) > 2 * sevens(plain)


def test_what_a_strategy_needs_and_is_not_there_is_said(tiny_tokenizer: Tokenizer) -> None:
    session = ScriptedSession([b"5."], capabilities=Capabilities(fork=False, extend=False))
    engine = scripted_engine(tiny_tokenizer, session)
    with pytest.raises(InvalidInput, match="'particle' needs .*forks branches"):
        engine.answer("Hi", strategy="particle:scorer=logprob")
    with pytest.raises(InvalidInput, match="'best_of_n' needs a scorer or a verifier"):
        engine.answer("Hi", strategy="best_of_n")
    toy, _ = toy_engine(tiny_tokenizer)
    with pytest.raises(InvalidInput, match="temperature above 0"):
        toy.answer("Hi", strategy="particle", sampling=SamplingParams(temperature=0))
    with pytest.raises(InvalidInput, match="at most 1 of the 3"):
        toy.answer("Hi", strategy="greedy", budget=Budget(samples=3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partical", "Did you mean 'particle'"),
        ("particle:resample_bellow=0.5", "Did you mean 'resample_below'"),
        ("particle:successors=two", "must be a whole number"),
        ("particle:successors", "has no value"),
        ("particle:resample_below=7", "from 0 to 1"),
        ("self_consistency:aggregator=mojority", "Did you mean 'majority'"),
        ("self_consistency:stop=vots", "Did you mean 'vote'"),
        ("greedy:x=1", "It has none"),
        ("beam:scorer=verifier", "--verify"),
        ("", "There is no strategy"),
    ],
)
def test_a_strategy_that_cannot_be_made_is_refused_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        make_strategy(text)


def test_settings_of_settings_are_written_with_semicolons() -> None:
    made = make_strategy(
        "self-consistency:aggregator=probability:temperature=0.5,stop=certaindex:0.9;floor=0.1"
    )
    assert isinstance(made, SelfConsistency)
    assert made.aggregator.name.startswith("probability")
    assert made.stop is not None
    assert "floor=0.1" in made.stop.name


def test_a_package_can_bring_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("mine", "test_strategies:TwiceTwo", "edgetts.strategies")
    points = importlib.metadata.EntryPoints([entry])
    monkeypatch.setattr(
        "edgetts.selection.strategies.registry.entry_points",
        lambda **wanted: points.select(**wanted),
    )
    assert strategy_names()[-1] == "mine"
    made = make_strategy("mine")
    assert (type(made).__name__, made.name, made.most) == ("TwiceTwo", "twice-two", None)


def test_a_calibration_makes_the_confidence_and_a_risk_withholds_the_answer(
    tiny_tokenizer: Tokenizer,
) -> None:
    examples = [Example(str(i), i / 20, i > 12 or i % 5 == 0) for i in range(21)]
    calibration = calibrate(examples, signal="vote-share", data="made up", rule="all", method="platt")
    scripts = [b"It is 5.", b"It is 5!", b"It is 6.", b"It is 8."]

    def ask(**options: Any) -> Answer:
        engine = scripted_engine(tiny_tokenizer, ScriptedSession(scripts))
        return engine.answer("Which?", budget=Budget(samples=4), **options)

    plain, sure = ask(), ask(calibration=calibration)
    assert plain.confidence == 0.5
    assert sure.confidence == pytest.approx(calibration.apply(0.5))
    assert sure.confidence_source == calibration.source
    assert sure.confidence is not None
    bold = ask(calibration=calibration, risk=sure.confidence / (1 - sure.confidence) * 0.9)
    assert (bold.answer, bold.abstained) == ("5", False)
    shy = ask(calibration=calibration, risk=sure.confidence / (1 - sure.confidence) * 1.1)
    assert (shy.answer, shy.text, shy.abstained) == (None, "", True)
    assert "below" in shy.abstention_reason
    assert [sample.answer for sample in shy.samples] == ["5", "5", "6", "8"]
    json.dumps(shy.to_json())


def test_who_may_abstain_does_not_stream_what_it_may_take_back(tiny_tokenizer: Tokenizer) -> None:
    engine = scripted_engine(tiny_tokenizer, ScriptedSession([b"It is 5."]))
    events = list(engine.stream("Which?", risk=3.0))
    assert [event for event in events if isinstance(event, TextDelta)] == []
    assert isinstance(events[-1], Finished)
    assert events[-1].answer.abstained


def test_a_deadline_ends_a_search_with_what_there_is(tiny_tokenizer: Tokenizer) -> None:
    from edgetts.profiles.curves import StepTimes

    times = StepTimes((1, 8), (1.0, 2.0), 100.0, "measured")
    clock = FakeClock()
    scripts = [bytes([ord("a") + i]) * 500 for i in range(40)]
    session = ScriptedSession(scripts, clock=clock, times=times, capabilities=Capabilities(tolerance=0.0))
    engine = scripted_engine(tiny_tokenizer, session, clock=clock, times=times)
    began = clock.now
    answer = engine.answer(
        "Hi",
        strategy=steps_of("beam"),
        budget=Budget(seconds=60.0, samples=4),
        sampling=SamplingParams(max_tokens=400),
    )
    assert answer.stop_reason == "deadline"
    assert clock.now - began <= 60.0
    assert answer.samples
    assert {sample.finish_reason for sample in answer.samples} == {"deadline"}
    assert session.live == []


def test_of_free_texts_that_say_the_same_the_one_most_like_the_others_is_shown(
    tiny_tokenizer: Tokenizer,
) -> None:
    scripts = [
        b"The sky is blue since air scatters the blue part of light most, as Rayleigh found.",
        b"The sky is blue since air scatters the blue part of light the most.",
        b"The sky is blue since air scatters the blue part of light most.",
        b"Cats sleep.",
    ]
    answer = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Why?", answer_format="text", budget=Budget(samples=4), strategy="self_consistency:stop=none"
    )
    assert answer.text.strip().encode() == scripts[2]
    assert answer.confidence == 0.75


def test_what_contradicts_a_strategy_is_refused(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = toy_engine(tiny_tokenizer)
    with pytest.raises(InvalidInput, match="'greedy' takes the likeliest tokens"):
        engine.answer("Hi", strategy="greedy", sampling=SamplingParams(temperature=0.7))
    for decode in (DecodeParams("speculative"), DecodeParams("auto", acceptance="typical")):
        with pytest.raises(InvalidInput, match="'beam' decodes plainly"):
            engine.answer("Hi", strategy="beam", decode=decode)
    with pytest.raises(InvalidInput, match="5 is no strategy"):
        engine.answer("Hi", strategy=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="given twice"):
        make_strategy("particle:successors=1,successors=2")
    examples = [Example(str(i), i / 20, i > 10) for i in range(21)]
    judged = calibrate(examples, signal="self-evaluation", data="made up", rule="all", method="platt")
    with pytest.raises(InvalidInput, match="calibration is of self-evaluation, but 'beam' scores by logprob"):
        engine.answer("Hi", strategy=steps_of("beam"), calibration=judged)


def test_the_plan_names_the_strategy_that_a_verifier_brings(tiny_tokenizer: Tokenizer) -> None:
    answer = scripted_engine(tiny_tokenizer, ScriptedSession([b"It is 7.", b"It is 7."])).answer(
        "Which?", verifier=Says("7"), budget=Budget(samples=2)
    )
    assert answer.plan.strategy == "best_of_n"
    lone = scripted_engine(tiny_tokenizer, ScriptedSession([b"It is 7."])).answer("Which?")
    assert lone.plan.strategy == "single"


def test_a_stopping_rule_of_confidence_uses_the_calibration() -> None:
    examples = [Example(str(i), i / 20, i > 10) for i in range(21)]
    calibration = calibrate(examples, signal="vote-share", data="made up", rule="all", method="platt")
    plain = make_strategy("self_consistency:stop=confidence:0.8")
    sure = make_strategy("self_consistency:stop=confidence:0.8", calibration=calibration)
    assert isinstance(plain, SelfConsistency)
    assert isinstance(sure, SelfConsistency)
    assert plain.stop != sure.stop


def test_a_choice_of_a_sample_that_is_not_there_is_refused(tiny_tokenizer: Tokenizer) -> None:
    class Elsewhere(_TwiceTwo):
        def choose(self, votes: Sequence[Vote]) -> Tally:
            return replace(Majority()(votes), sample=99)

    @dataclass(frozen=True)
    class Wrong(Strategy):
        name: str = "wrong"

        def start(self, task: Task) -> Search:
            return Elsewhere()

    with pytest.raises(InvalidInput, match="chose sample 99"):
        scripted_engine(tiny_tokenizer, ScriptedSession([b"5.", b"5."])).answer(
            "Which?", strategy=Wrong(), budget=Budget(samples=2)
        )


def test_a_function_of_the_text_is_a_verifier(tiny_tokenizer: Tokenizer) -> None:
    scripts = [b"It is 5.", b"So it is 7, I think.", b"It must be 9 as far as I can see."]
    answer = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Which?", verifier=lambda text: "7" in text, budget=Budget(samples=3)
    )
    assert (answer.answer, answer.stop_reason) == ("7", "decided")
    failing = scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer(
        "Which?", verifier=lambda text: 1 / 0, budget=Budget(samples=3)
    )
    assert "ZeroDivisionError" in failing.samples[0].verdict
    assert len(failing.samples) == 3
    with pytest.raises(InvalidInput, match="5 is no verifier"):
        scripted_engine(tiny_tokenizer, ScriptedSession(scripts)).answer("Which?", verifier=5)  # type: ignore[arg-type]


def test_an_engine_offers_only_strategies_that_can_run(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = toy_engine(tiny_tokenizer)
    assert engine.strategies == tuple(STRATEGIES)
    bare = ScriptedSession([b"5."], capabilities=Capabilities(fork=False, extend=False))
    assert scripted_engine(tiny_tokenizer, bare).strategies == (
        "greedy",
        "self_consistency",
        "independent",
        "adaptive",
    )
