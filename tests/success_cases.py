"""Success profiles and records that tests of several files build on."""

from __future__ import annotations

import math
import random

from edgetts.control.success.coverage import CoverageLaw
from edgetts.control.success.difficulty import Difficulty
from edgetts.control.success.figures import (
    Check,
    Drawing,
    Reliability,
    Share,
    TaskLengths,
    VerifierCounts,
    VoteCurve,
)
from edgetts.control.success.profile import SuccessProfile
from edgetts.evaluation.record import ProblemRecord, Run, SampleRecord
from edgetts.interval import Interval


def around(value: float, off: float = 0.05) -> Interval:
    return Interval(value, max(0.0, value - off), min(1.0, value + off), 0.9)


def curve(*values: float, aggregator: str = "majority", verified: str = "", cap: int = 400) -> VoteCurve:
    return VoteCurve(
        aggregator, verified, cap, tuple((2**i, around(value)) for i, value in enumerate(values))
    )


def drawing(temperature: float = 0.7, *votes: VoteCurve, cut: float = 0.0, **more: object) -> Drawing:
    fields: dict[str, object] = {
        "approach": "reason",
        "temperature": temperature,
        "questions": 100,
        "samples": 8,
        "cap": 400,
        "data": "100 questions of sums",
        "date": "2026-11-28",
        "lengths": TaskLengths((50.0, 100.0, 200.0), 800, cut, 400),
        "votes": votes or (curve(0.2, 0.22, 0.3, 0.4),),
        "greedy": Share(20.5, 80.5, 0.14, 0.27),
        "sampled": Share(40.5, 160.5, 0.15, 0.25),
        "coverage": CoverageLaw(0.2, -0.4, 1.0, (0.01, 0.0, 0.002), 0.02, 7),
        "reliability": (Reliability(2, ((0.5, 0.1), (1.0, 0.5)), ((0.5, 8.0, 80.0), (1.0, 10.0, 20.0))),),
        "verifiers": (VerifierCounts("arithmetic", (90, 5, 5), (400, 200, 100)),),
        "difficulty": Difficulty(
            (("agreement", 2.0), ("shortness", 0.5)), 4, 8, (1.0, -1.0), (1.2, -0.5), 0.7, 0.55
        ),
        "checks": (Check(2, 0.05, 0.3, 0.1, 40),),
    }
    return Drawing(**{**fields, **more})  # type: ignore[arg-type]


def profile(*drawings: Drawing, task: str = "sums", answer_format: str = "number") -> SuccessProfile:
    return SuccessProfile("tiny", task, answer_format, drawings or (drawing(),))


def simulated_run(
    questions: int,
    samples: int,
    seed: int = 0,
    *,
    chances: tuple[float, ...] = (0.9, 0.35, 0.05),
    wrong: int = 6,
) -> Run:
    """Make a record of a model that is right with a chance that depends on the question, independently.

    A wrong sample takes one of `wrong` answers, all alike. Texts of hard questions are longer. Sample 0 is greedy: it
    is right where the chance is above one half.
    """
    rng = random.Random(seed)  # noqa: S311  # not for secrets
    problems = []
    for index in range(questions):
        chance = chances[index % len(chances)]
        drawn = []
        for at in range(samples):
            right = chance > 0.5 if at == 0 else rng.random() < chance
            answer = "7" if right else str(100 + rng.randrange(wrong))
            tokens = 8 + int(40 * (1 - chance) + 20 * rng.random())
            drawn.append(
                SampleRecord(
                    index=at,
                    tokens=tuple(range(tokens)),
                    logprobs=(math.log(0.5 + chance / 3),) * tokens,
                    text=f"3 + 4 = {answer}. The answer is {answer}",
                    finished=True,
                    greedy=at == 0,
                    finish_reason="end",
                    answer=answer,
                    right=right,
                )
            )
        problems.append(
            ProblemRecord(
                id=f"q{index}",
                index=index,
                question=f"What is 3 + 4, number {index}?",
                reference="7",
                right=drawn[0].right,
                answer=drawn[0].answer,
                samples=tuple(drawn),
                answer_format="number",
            )
        )
    header = {
        "task": "sums",
        "task_seed": 3,
        "model": "tiny",
        "started": "2026-11-28T08:00:00+00:00",
        "sampling": {"temperature": None, "max_tokens": 128},
    }
    return Run(header, problems)
