"""A task that was calibrated is answered by what its samples were like, without being asked for."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts import Answer, Budget
from edgetts.answering.adapting import find_progress
from edgetts.control.success.prior import PriorSuccess
from edgetts.control.success.profile import SuccessProfile
from edgetts.control.success.store import keep_success, load_success, progress_path
from edgetts.evaluation.record import ProblemRecord, Run, SampleRecord
from edgetts.evaluation.success import Conditions, fit_success
from edgetts.selection.stopping.progress import Progress
from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS
from edgetts.selection.stopping.progress_file import progress_to_json
from edgetts.tokenizer import Tokenizer

QUESTION = "Tom has 3 bags of 14 apples and gives 5 away. How many are left?"
RIGHT = "3 * 14 = 42.\n42 - 5 = 37.\nThe answer is 37."
FITTED = replace(DEFAULT_PROGRESS, memory=2.0, source="a test")


def answer(
    tokenizer: Tokenizer, success: Any, progress: Progress | None, scripts: list[str], **asked: Any
) -> Answer:
    engine = scripted_engine(tokenizer, ScriptedSession([one.encode() for one in scripts]))
    engine.know(None, lambda task, form: success, None, lambda found: progress)
    asked = {"budget": Budget(samples=len(scripts)), "answer_format": "number", **asked}
    return engine.answer(QUESTION, task="apples", **asked)


def test_a_calibrated_task_draws_only_what_a_question_is_worth(tiny_tokenizer: Tokenizer) -> None:
    plain = answer(tiny_tokenizer, PriorSuccess(), None, [RIGHT] * 16)
    adapted = answer(tiny_tokenizer, PriorSuccess(), FITTED, [RIGHT] * 16)
    assert (plain.plan.strategy, adapted.plan.strategy) == ("self_consistency", "adaptive")
    assert adapted.answer == plain.answer == "37"
    assert adapted.stop_detail.startswith("the leader is safe: ")
    assert len(adapted.samples) < 16


def test_who_names_a_strategy_gets_it(tiny_tokenizer: Tokenizer) -> None:
    named = answer(tiny_tokenizer, PriorSuccess(), FITTED, [RIGHT] * 4, strategy="self_consistency:stop=none")
    assert (named.plan.strategy, len(named.samples)) == ("self_consistency", 4)
    verified = answer(tiny_tokenizer, PriorSuccess(), FITTED, [RIGHT] * 4, verifier="arithmetic")
    assert verified.plan.strategy == "best_of_n"


def test_a_named_adaptive_goes_by_what_was_fitted_unless_it_names_its_own(
    tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    never = replace(DEFAULT_PROGRESS.evidence, intercept=-20.0)
    fitted, own = replace(FITTED, evidence=never), replace(FITTED, memory=1.5)
    path = tmp_path / "own.json"
    path.write_text(json.dumps(progress_to_json(own)), encoding="utf-8")
    for spec, sure in (("adaptive", False), (f"adaptive:progress={path}", True)):
        found = answer(tiny_tokenizer, PriorSuccess(), fitted, [RIGHT] * 4, strategy=spec)
        assert found.plan.strategy == "adaptive"
        assert found.samples[0].score is not None
        assert (found.samples[0].score > 0.5) == sure


def test_one_sample_is_not_cut_where_nothing_could_outvote_it(tiny_tokenizer: Tokenizer) -> None:
    slip = "3 * 14 = 44.\n" + "Then we go on. " * 5 + "The answer is 39."
    found = answer(tiny_tokenizer, PriorSuccess(), FITTED, [slip], strategy="adaptive")
    assert (found.answer, found.samples[0].finish_reason) == ("39", "end")


@pytest.fixture
def profile(tmp_path: Path) -> SuccessProfile:
    samples = tuple(
        SampleRecord(index=at, text="4", answer=str(4 + at % 2), tokens=(1, 2), logprobs=(-0.1, -0.2),
                     finished=True, right=at % 2 == 0)
        for at in range(4)
    )  # fmt: skip
    problems = [ProblemRecord(str(at), at, "2 + 2?", "4", samples=samples) for at in range(4)]
    run = Run({"model": "toy", "task": "sums"}, problems)
    return keep_success(tmp_path, fit_success(run, conditions=Conditions()))


def test_a_file_that_cannot_be_trusted_is_left_out_and_said(profile: SuccessProfile, tmp_path: Path) -> None:
    said: list[str] = []
    assert find_progress(tmp_path, profile, said.append) is None
    assert find_progress(tmp_path, PriorSuccess(), said.append) is None
    path = progress_path(tmp_path, profile)
    path.write_text(json.dumps(progress_to_json(FITTED)), encoding="utf-8")
    assert find_progress(tmp_path, profile, said.append) == FITTED
    assert not said
    path.write_bytes(b"{" * 5)
    assert find_progress(tmp_path, profile, said.append) is None
    assert "calibrate again" in said[0]
    assert load_success(tmp_path, "toy", "sums") is not None, "the profile itself is as good as before"
