"""Draw several answers within five seconds and show how they voted.

python examples/vote.py "A pen costs 3 euros and a book 12. What do two pens and a book cost?"
"""

from __future__ import annotations

import sys

import edgetts


def main() -> None:
    question = (
        " ".join(sys.argv[1:]) or "A pen costs 3 euros and a book 12. What do two pens and a book cost?"
    )
    with edgetts.load(notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        answer = engine.answer(question, budget=edgetts.Budget(seconds=5, samples=8))
    for sample in answer.samples:
        print(f"sample {sample.index}: {sample.answer or 'no answer'} ({sample.finish_reason})")
    print(f"\n{answer.text}\n\n{answer.answer=} {answer.confidence=} {answer.stop_reason=}")


if __name__ == "__main__":
    main()
