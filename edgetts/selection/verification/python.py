"""Check a Python program that a text gives, by tests or by the question's own examples, in the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.sandbox import Checked, Limits, run_checks
from edgetts.sandbox.confinement import required
from edgetts.selection.verification.code import called_in, program_in, prompt_in
from edgetts.selection.verification.examples import examples_in
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

RunChecks = Callable[[str, Sequence[str]], Checked]
"""Run a program, then checks of it, and say which passed; `edgetts.sandbox.run_checks` with its limits set."""

REASON_CHARS = 200


def sandboxed(limits: Limits | None = None, *, unconfined: bool = False) -> RunChecks:
    """Return a way of running checks in the sandbox.

    Errors: Unsupported, at once, where this machine cannot confine programs and `unconfined` is false.
    """
    required(unconfined)
    kept = limits or Limits()

    def run(program: str, checks: Sequence[str]) -> Checked:
        return run_checks(program, checks, limits=kept, unconfined=unconfined)

    return run


class TestsVerifier:
    """Pass a text whose Python program passes every check: an assert, another statement or an expression.

    `prompt` is code that the text may continue, such as a function's head with its docstring; by default
    the code in the question. `share` is the part of the checks that passed. A whole text without a program
    fails; of an unfinished one nothing is told unless its code block was closed.
    Errors: InvalidInput without checks; Unsupported as `sandboxed`.
    """

    __test__ = False  # pytest takes it for a class of tests

    def __init__(
        self,
        checks: Sequence[str],
        *,
        prompt: str | None = None,
        run: RunChecks | None = None,
        rates: ErrorRates | None = None,
        name: str = "tests",
    ) -> None:
        if isinstance(checks, str) or not checks:
            raise InvalidInput("There are no checks.", hint="Give a list of asserts or expressions.")
        self.name = name
        self._checks = tuple(checks)
        self._prompt = prompt
        self._run = run or sandboxed()
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        """As declared: nothing that is right fails right tests, but how much wrong passes is up to the tests."""
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Run the program that a text gives, and the checks."""
        return _verdict(work, self._checks, self._prompt, self._run)


class ExamplesVerifier:
    """Pass a text whose Python program agrees with the examples that its question shows.

    None where the question shows none that can be read (`examples_in`). Else as `TestsVerifier`. Examples
    are few, so wrong programs pass often, and some questions' examples are wrong themselves: measure.
    """

    name = "examples"

    def __init__(self, *, run: RunChecks | None = None, rates: ErrorRates | None = None) -> None:
        self._run = run or sandboxed()
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Run the program that a text gives on the question's examples."""
        checks = examples_in(work.question)
        if not checks:
            return Verdict(None, "the question shows no examples")
        return _verdict(work, checks, None, self._run)


def _verdict(work: Work, checks: Sequence[str], prompt: str | None, run: RunChecks) -> Verdict:
    program = program_in(
        work.text,
        prompt=prompt_in(work.question) if prompt is None else prompt,
        wanted=called_in(checks),
        complete=work.complete,
    )
    if program is None:
        return Verdict(False, "no Python program", 0.0) if work.complete else Verdict(None, "no program yet")
    try:
        checked = run(program, checks)
    except InvalidInput as error:  # such as half of a surrogate pair
        return Verdict(False, f"no program that can be run: {error}"[:REASON_CHARS], 0.0)
    except RuntimeFailure as error:  # this machine's fault, and no reason to lose the samples
        return Verdict(None, f"the program was not run: {error}"[:REASON_CHARS])
    passed = sum(result.passed for result in checked.results)
    reason = f"{passed} of {len(checked.results)} checks pass"
    if not checked.passed:
        check, why = next((c, r.reason) for c, r in zip(checks, checked.results, strict=True) if not r.passed)
        reason += f"; {' '.join(check.split())[:REASON_CHARS]}: {checked.execution.error or why}"
    return Verdict(checked.passed, reason[: 2 * REASON_CHARS], checked.share)
