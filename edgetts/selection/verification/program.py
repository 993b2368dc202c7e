"""Compare the answer that a text states with what its own Python program gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.sandbox import Execution, Limits, run_python
from edgetts.sandbox.confinement import required
from edgetts.selection.answers import AnswerFormat, Extracted, extract, read_answer, same_answer
from edgetts.selection.verification.code import program_in, without_blocks
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

RunProgram = Callable[[str, str | None], Execution]
"""Run a program, then evaluate an expression if one is given; `edgetts.sandbox.run_python` with its limits set."""

_PRINTS = re.compile(r"(?m)^print[ \t]*\(")
_SOLVER = re.compile(r"(?m)^def[ \t]+(solution|solve|main|answer|calculate|compute)[ \t]*\([ \t]*\)")
_VARIABLE = re.compile(
    r"(?m)^(answer|ans|result|final_answer|solution|total|output)[ \t]*(?::[^=\n]+)?=(?!=)"
)
SHOWN_CHARS = 80
FLOAT_NOISE = Fraction(1, 10**9)
"""How far floats may be off, as a share of the value."""


class ProgramVerifier:
    """Pass a text whose stated answer is what the program in it gives.

    The program's answer is the last line that it prints; else what its function `solution()`, `solve()`
    or `main()` returns, or its variable `answer`, `result` and the like holds. The stated one stands
    outside of code. None where only one of both is there, where the program fails, and for unfinished texts
    whose program or answer is still to come. A decimal is compared to the digits that are stated.
    Two ways to one answer seldom err alike: "Program of Thoughts Prompting: Disentangling Computation from
    Reasoning for Numerical Reasoning Tasks", "PAL: Program-aided Language Models".
    Errors: InvalidInput for an unknown format; Unsupported where this machine cannot confine programs.
    """

    name = "program"

    def __init__(
        self,
        answer_format: AnswerFormat | str = "auto",
        *,
        run: RunProgram | None = None,
        rates: ErrorRates | None = None,
    ) -> None:
        self._format = AnswerFormat.parse(answer_format) if isinstance(answer_format, str) else answer_format
        self._run = run or sandboxed()
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        """None unless measured: a text that misread the question may do so in words and code alike."""
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Run the text's program, and compare."""
        program = program_in(work.text, complete=work.complete)
        if program is None:
            return Verdict(None, "no program")
        stated = extract(without_blocks(work.text), self._format, complete=work.complete)
        if stated is None:
            return Verdict(None, "no answer outside of the program")
        if work.answer is not None and not same_answer(stated, work.answer, self._format):
            return Verdict(None, "the answer that counts is not the one outside of the program")
        try:
            execution = self._run(program, _expression(program))
        except InvalidInput as error:  # such as half of a surrogate pair
            return Verdict(None, f"no program that can be run: {error}")
        except RuntimeFailure as error:  # this machine's fault, and no reason to lose the samples
            return Verdict(None, f"the program was not run: {error}")
        if not execution.finished:
            return Verdict(None, f"the program fails: {execution.error}")
        given = _given(execution)
        result = given and (extract(given, self._format) or read_answer(given, self._format))
        if not result:
            return Verdict(None, "the program gives no answer")
        agree = same_answer(result, stated.raw, self._format) or _close(stated, result)
        return Verdict(
            agree, f"the text says {stated.raw.strip()[:SHOWN_CHARS]}, its program {given[:SHOWN_CHARS]}"
        )


def sandboxed(limits: Limits | None = None, *, unconfined: bool = False) -> RunProgram:
    """Return a way of running programs in the sandbox.

    Errors: Unsupported, at once, where this machine cannot confine programs and `unconfined` is false.
    """
    required(unconfined)
    kept = limits or Limits()

    def run(program: str, result: str | None) -> Execution:
        return run_python(program, result=result, limits=kept, unconfined=unconfined)

    return run


def _expression(program: str) -> str | None:
    """What to ask a program for that prints nothing at its top: its function, else its variable."""
    if _PRINTS.search(program):
        return None
    solvers = _SOLVER.findall(program)
    if solvers:
        return f"{solvers[-1]}()"
    variables = _VARIABLE.findall(program)
    return variables[-1] if variables else None


def _given(execution: Execution) -> str:
    """The last line printed, else the value."""
    lines = execution.stdout.split("\n")
    printed = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if printed or execution.value is None:
        return printed
    return str(execution.value)


def _close(stated: Extracted, result: Extracted) -> bool:
    """Whether two numbers are equal to the digits stated, or but for the noise of floats."""
    one, other = _number(stated), _number(result)
    if one is None or other is None:
        return False
    digits = re.search(r"\.([0-9]+)", stated.raw)
    places = len(digits[1]) if digits else 0
    noise = FLOAT_NOISE * max(Fraction(1), abs(one))
    return abs(one - other) < (max(noise, Fraction(1, 10 ** min(places, 12))) if places else noise)


def _number(found: Extracted) -> Fraction | None:
    if found.kind != "number" or not re.fullmatch(r"-?[0-9./]{1,60}", found.canonical):
        return None
    return Fraction(found.canonical)
