"""Check answers with a verifier of your own: draw samples until one passes.

python examples/own_verifier.py

A verifier is anything with a name, error rates and `verify`. It sees the question, the text and the answer found in
it. Say how often it errs where you know: the vote weighs its verdicts by that.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import edgetts
from edgetts.selection.verification import ErrorRates, Verdict, Work


@dataclass(frozen=True)
class Divides:
    """Pass a number that divides another without a rest."""

    dividend: int
    name: str = "divides"
    rates: ErrorRates | None = ErrorRates(passes_right=1.0, passes_wrong=0.05)  # noqa: RUF009  # frozen

    def verify(self, work: Work) -> Verdict:
        if work.answer is None or not work.answer.isdigit() or work.answer in ("0", "1", str(self.dividend)):
            return Verdict(False, "no divisor is named")
        passed = self.dividend % int(work.answer) == 0
        return Verdict(passed, f"{self.dividend} / {work.answer} leaves {self.dividend % int(work.answer)}")


def main() -> None:
    question = (
        "Name one number that divides 91 without a rest, other than 1 and 91. End with: The answer is X."
    )
    with edgetts.load(notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        answer = engine.answer(
            question,
            verifier=Divides(91),
            budget=edgetts.Budget(samples=16, seconds=20),
            answer_format="number",
        )
    for sample in answer.samples:
        print(f"sample {sample.index}: {sample.answer or 'no answer'}, {sample.passed}: {sample.verdict}")
    print(
        f"\n{answer.text}\n\n{answer.answer=} {answer.confidence=} {answer.stop_reason=} {answer.stop_detail=}"
    )


if __name__ == "__main__":
    main()
