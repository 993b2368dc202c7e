"""Share one engine among threads, as an app would; each answer has its own budget.

python examples/threads.py
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import edgetts

QUESTIONS = ("Name a river in France.", "Name a river in Egypt.", "Name a river in Brazil.")


def main() -> None:
    sampling = edgetts.SamplingParams(max_tokens=40)
    with edgetts.load() as engine, ThreadPoolExecutor() as threads:
        answers = threads.map(lambda question: engine.answer(question, sampling=sampling), QUESTIONS)
        for question, answer in zip(QUESTIONS, answers, strict=True):
            print(f"{question}\n  {answer.text}\n  {answer.usage.seconds:.2f} s")


if __name__ == "__main__":
    main()
