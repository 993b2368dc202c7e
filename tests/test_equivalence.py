"""Which answers are the same: units, expressions, references; and which tokens spell one."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.selection.answers import (
    AnswerFormat,
    Extracted,
    answer_tokens,
    classes,
    extract,
    read_answer,
    same_answer,
)
from edgetts.selection.answers.algebra import MAX_TERMS, canonical_expression
from edgetts.selection.answers.expressions import MAX_DEPTH, read_expression
from edgetts.selection.answers.values import same_expressions

sympy_is_there = pytest.mark.usefixtures("_sympy")


@pytest.fixture(name="_sympy")
def fixture_sympy() -> None:
    pytest.importorskip("sympy")


def named(spellings: list[str | None], format_: str = "auto") -> list[str | None]:
    return classes([raw and read_answer(raw, format_) for raw in spellings], format_)  # type: ignore[misc]


# --- numbers and their units


@pytest.mark.parametrize(
    ("spellings", "names"),
    [
        (["5", "5 km", "5.0 kilometres", "5 customers"], ["5", "5", "5", "5"]),
        (["5 km", "5000 m", "5,000 metres"], ["5 km", "5 km", "5 km"]),
        (["5 km", "5 m"], ["5 km", "5 m"]),
        (["5 km", "5 m", "5"], ["5 km", "5 m", "5"]),
        (["$5", "5 km"], ["5 $", "5 km"]),
        (["$5", "5"], ["5", "5"]),
        (["$5", "500 cents", "5"], ["5 $", "5 $", "5 $"]),
        (["25%", "25", "0.25"], ["25", "25", "0.25"]),
        (["25%", "1/4"], ["25", "0.25"]),
        (["1/3", "2/6", "0.333"], ["1/3", "1/3", "0.333"]),
        (["90 min", "1.5 h", "2 h"], ["1.5 h", "1.5 h", "2"]),
        (["5 \u00b0C", "5 \u00b0F"], ["5 \u00b0c", "5 \u00b0f"]),
        (["1e999999 km", "1e999999 m", "1e999999"], ["1e999999 km", "1e999999 m", "1e999999"]),
        ([None, "7", None], [None, "7", None]),
        ([], []),
    ],
)
def test_a_unit_parts_numbers_only_where_both_carry_another(
    spellings: list[str | None], names: list[str]
) -> None:
    assert named(spellings) == names


def test_a_declared_unit_makes_one_value_of_all() -> None:
    assert named(["5 km", "5000 m", "5", "5 kg"], "number:m") == ["5000", "5000", "5", None]


SPELLINGS = [
    None, "5", "5 km", "5000 m", "5 m", "$5", "0.5", "1/2", "50%", "x", "2x/2", "(x+1)^2", "x^2+2x+1", "yes", "True",
    "{1, 2}", "{2, 1}", "paris", "Paris!", "sin(x)^2 + cos(x)^2", "1", '{"a": 1}', '{"a":1.0}',
]  # fmt: skip


@settings(deadline=None)  # the first expression loads sympy
@given(st.lists(st.sampled_from(SPELLINGS), max_size=12), st.randoms(use_true_random=False))
def test_classes_know_neither_order_nor_number(spellings: list[str | None], rng: random.Random) -> None:
    names = dict(zip(spellings, named(spellings), strict=True))
    shuffled = [*spellings, *(one for one in spellings if rng.random() < 0.5)]
    rng.shuffle(shuffled)
    assert dict(zip(shuffled, named(shuffled), strict=True)) == names
    assert all((name is None) == (raw is None) for raw, name in names.items())


@settings(deadline=None)  # the first expression loads sympy
@given(st.lists(st.sampled_from(SPELLINGS[1:]), max_size=12))
def test_equal_forms_of_one_unit_are_one_class(spellings: list[str]) -> None:
    found = [read_answer(raw) for raw in spellings]
    names = classes(found)
    for one, name in zip(found, names, strict=True):
        for other, other_name in zip(found, names, strict=True):
            assert one is not None
            assert other is not None
            if (one.canonical, one.unit) == (other.canonical, other.unit):
                assert name == other_name


def test_a_name_is_never_shared_by_two_classes() -> None:
    names = named(["5 km", "5 m", "5", "$5", "5000 m", "5000"])
    assert names == ["5 km", "5 m", "5", "5 $", "5 km", "5 km"]


# --- expressions


@sympy_is_there
@pytest.mark.parametrize(
    ("raw", "form"),
    [
        ("\\frac{1}{2} + \\frac14", "0.75"),
        ("(x+1)^2", "x^2 + 2*x + 1"),
        ("x^{2}+2x+1", "x^2 + 2*x + 1"),
        ("y = 2x + 3", "2*x + 3"),
        ("f(x) = 2x + 3", "2*x + 3"),
        ("2 + 3 = 5", "5"),
        ("\\frac{x}{2y}", "x/(2*y)"),
        ("1/2x", "x/2"),
        ("\\sqrt{8}", "2*sqrt(2)"),
        ("\\sqrt[3]{x}", "x^(1/3)"),
        ("3\u221a2", "3*sqrt(2)"),
        ("2\\pi r^2 h", "2*h*pi*r^2"),
        ("e^{-x}", "e^(-x)"),
        ("\\exp(-x)", "e^(-x)"),
        ("\\sin 2x", "sin(2*x)"),
        ("\\sin^2 x", "sin(x)^2"),
        ("\\sin^{-1}(x)", "asin(x)"),
        ("\\sin(\\pi/6)", "0.5"),
        ("\\ln e^3", "3"),
        ("\\log_2 x", "log(x)/log(2)"),
        ("|x - 1|", "abs(x - 1)"),
        ("5! - n!", "-factorial(n) + 120"),
        ("xy\u00b2", "x*y^2"),
        ("x_1 + x_{12}", "x_1 + x_12"),
        ("\u03c0 + \\alpha", "alpha + pi"),
        ("i^2", "-1"),
        ("-x^2", "-x^2"),
        ("2^3^2", "512"),
        ("1,000x", "1000*x"),
        ("x**2", "x^2"),
        ("\\left( x \\right) \\cdot 3", "3*x"),
        ("1.5x", "3*x/2"),
    ],
)  # fmt: skip
def test_an_expression_has_a_form(raw: str, form: str) -> None:
    found = canonical_expression(raw)
    assert found is not None
    assert set(found.split(" + ")) == set(form.split(" + "))
    assert canonical_expression(found) == found


@sympy_is_there
@pytest.mark.parametrize(
    "raw",
    ["", "hello", "x +", "(x", "x)", "x = = 2", "x^2 + y^2 = 1", "1/0", "0^{-1}", "x < 3", "__import__('os')",
     "x.__class__", "lambda: 0", "[x for x in y]", "exec(1)", "9" * 61, "x" * 501, "a+b+c+d+f+g+h+j+k", "(-1)!", "x2",
     "(" * (MAX_DEPTH + 1) + "x" + ")" * (MAX_DEPTH + 1), "x" + "+x" * 150, "\\foo{x}", "f'", "1;2", '"a"'],
)  # fmt: skip
def test_what_is_no_expression(raw: str) -> None:
    assert canonical_expression(raw) is None


@sympy_is_there
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x/(x+1)", "1 - 1/(x+1)", True),
        ("\\sin^2 x + \\cos^2 x", "1", True),
        ("\\sin(2x)", "2 \\sin x \\cos x", True),
        ("\\sqrt{5 + 2\\sqrt{6}}", "\\sqrt{2} + \\sqrt{3}", True),
        ("\\sqrt{x^2}", "|x|", True),
        ("\\sqrt{x^2}", "x", False),
        ("\\ln(xy)", "\\ln x + \\ln y", False),  # not where both are negative
        ("(x^2-1)/(x-1)", "x+1", True),
        ("(x+1)^{100} - 1", "(1+x)^{100} - 1", True),
        ("(x+1)^{60}/(x+1)^{59}", "x + 1", True),
        ("e^{i\\pi}", "-1", True),
        ("6.626e-34 v", "6.6e-34 v", False),
        ("x", "y", False),
        ("x + 1e-30", "x", False),
        ("\\frac{22}{7}", "\\pi", False),
        ("x^2", "2x", False),
        ("-\\cos x", "\\cos(x + \\pi)", True),
        ("\\frac{1}{1+e^{-x}}", "\\frac{e^x}{e^x+1}", True),
        ("2^{x+1}", "2 \\cdot 2^x", True),
        ("9^{9^9}", "9^{9^9} + 1", False),  # neither has a value that can be computed
        ("9^{9^9}", "9^{9^{9}}", True),
    ],
)
def test_expressions_are_compared_by_value(one: str, other: str, same: bool) -> None:
    first, second = named([one, other], "expression")
    assert first is not None
    assert (first == second) is same
    assert same_answer(one, other, "expression") is same


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "2", "3", "0.5", "pi", "e", "i", "1000", "0", "12345678901234567890"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["sqrt", "exp", "log", "sin", "tan", "asin", "cosh", "abs", "factorial"]), inner)
        .map(lambda pair: f"{pair[0]}({pair[1]})"),
        st.tuples(inner, st.sampled_from("+-*/^"), inner).map(lambda parts: "({}){}({})".format(*parts)),
    ),
    max_leaves=8,
)  # fmt: skip


@sympy_is_there
@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_any_expression_ends_and_its_form_is_a_fixed_point_of_the_same_value(raw: str) -> None:
    form = canonical_expression(raw)
    if form is None:
        return
    assert canonical_expression(form) == form
    assert len(same_expressions([f"({raw}) + 0*7", form])) == len(same_expressions([raw, raw + "+0"]))


@sympy_is_there
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=4),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4),
)
def test_products_of_polynomials_are_those_multiplied_out(one: list[int], other: list[int]) -> None:
    def spelled(coefficients: list[int]) -> str:
        return " + ".join(f"{c}x^{power}" for power, c in enumerate(coefficients))

    product = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            product[i + j] += a * b
    factored = canonical_expression(f"({spelled(one)})({spelled(other)})")
    assert factored == canonical_expression(spelled(product))
    product[-1] += 1
    assert factored != canonical_expression(spelled(product))


@sympy_is_there
def test_what_would_take_long_is_left_as_it_is_spelled() -> None:
    assert canonical_expression("(x+y+1)^{100}") == "(x + y + 1)^100"
    assert canonical_expression(f"(x+1)^{{{MAX_TERMS + 1}}}") == f"(x + 1)^{MAX_TERMS + 1}"
    assert canonical_expression("sin(10^{50})") == "sin(1e50)"
    assert canonical_expression("9^{9^{9^9}}") is not None
    assert canonical_expression("(10^9)!") is None


@sympy_is_there
def test_expressions_are_found_where_they_stand() -> None:
    for text, raw, explicit in (
        ("So f'(x) = 2x, and f(x) = x. The answer is x^2 + 1.", "x^2 + 1", True),
        ("\\boxed{x+1} and so on, x", "x+1", True),
        ("We get $x^2$ and then $\\frac{x}{2}$, which ends it", "\\frac{x}{2}", False),
        ("First.\nThe derivative is 2x", "2x", False),
        ("and in the end we paid 7 dollars for it all", "7", False),
    ):
        found = extract(text, "expression")
        assert found is not None, text
        assert (found.raw, found.explicit) == (raw, explicit)
        assert text[slice(*found.span)] == found.raw
    for text in ("hello there, all of you", "so", "it is so", "I see it"):
        assert extract(text, "expression") is None, text


@sympy_is_there
@pytest.mark.parametrize(
    ("raw", "kind"),
    [("x^2 + 1", "expression"), ("2x", "expression"), ("\\sqrt{2}", "expression"), ("A-B", "text"), ("x", "text"),
     ("to be or not - to be", "text"), ("C++", "text"), ("12/05/2020", "text"), ("5-10", "text"), ("e-mail", "text"),
     ("and/or", "text"), ("T-Rex", "text"), ("5:30 pm", "text")],
)  # fmt: skip
def test_auto_takes_for_an_expression_only_what_is_unmistakably_one(raw: str, kind: str) -> None:
    found = read_answer(raw)
    assert found is not None
    assert found.kind == kind


def test_without_sympy_only_the_declared_format_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    canonical_expression.cache_clear()
    with pytest.raises(MissingExtra, match=r"edgetts\[math\]"):
        AnswerFormat.parse("expression")
    with pytest.raises(MissingExtra, match="sympy"):
        canonical_expression("x + 1")
    found = extract("The answer is x + 1.")
    assert found == Extracted("x + 1", "x + 1", "text", (14, 19))
    assert classes([found, extract("\\boxed{1+x}"), extract("5")]) == ["x + 1", "1+x", "5"]
    assert read_expression("x + 1") is not None


# --- references


@pytest.mark.parametrize(
    ("found", "truth", "format_", "same"),
    [
        ("1687.50", "$1,687.5", "auto", True),
        ("0.75", "3/4", "auto", True),
        ("5 km", "5000 m", "auto", True),
        ("5 km", "5 m", "auto", False),
        ("18", "She has 9 + 9 = 18\n#### 18", "auto", True),
        ("17", "She has 9 + 9 = 18\n#### 18", "number", False),
        ("7 red balls or 8", "7 red balls or 8", "auto", True),
        ("8", "7 red balls or 8", "auto", False),
        ("yes", "True", "auto", True),
        ("1, 2", "{2, 1}", "auto", True),
        ("2 and 1", "1, 2", "set", True),
        ("b", "(B)", "choice", False),
        ("(b)", "B", "choice", True),
        ("H", "H", "choice:A-J", True),
        ('{"a": 1.0, "b": []}', '{"b":[],"a":1}', "json", True),
        ("```python\nx=1\n```", "x = 1", "code:python", True),
        ("x=2", "x = 1", "code:python", False),
        ("The sea", "sea!", "text", True),
        ("the sea is not blue", "the sea is blue", "text", False),
        ("5", "5", "none", False),
        (None, "5", "auto", False),
        ("hello", "5", "number", False),
        ("90 minutes", "1.5", "number:h", True),
        ("1e999999999", "1e999999999", "auto", True),
    ],
)
def test_an_answer_is_or_is_not_the_reference(
    found: str | None, truth: str, format_: str, same: bool
) -> None:
    assert same_answer(found, truth, format_) is same


def test_an_answer_found_in_a_text_is_graded_as_it_is() -> None:
    assert same_answer(extract("So the answer is 3, 1, 2."), "{1, 2, 3}")
    assert not same_answer(extract("So the answer is 3, 1, 4."), "{1, 2, 3}")


@settings(deadline=None)
@given(st.sampled_from([one for one in SPELLINGS if one]), st.sampled_from([one for one in SPELLINGS if one]))
def test_being_the_reference_is_mutual(one: str, other: str) -> None:
    assert same_answer(one, one)
    assert same_answer(one, other) == same_answer(other, one)


# --- tokens


@pytest.mark.parametrize(
    ("pieces", "span", "tokens"),
    [
        (["The", " answer", " is", " 4", "2", "."], (14, 16), range(3, 5)),
        (["The", " answer", " is", " 4", "2", "."], (14, 15), range(3, 4)),
        (["a", "b"], (0, 2), range(2)),
        (["abc"], (1, 2), range(1)),
        (["a", "", "", "\u00e9", "b"], (1, 2), range(1, 4)),  # the first bytes of the letter
        (["a", "", "", "\u00e9", "b"], (0, 1), range(1)),
        (["a", "bc", "", "", "d"], (2, 3), range(1, 2)),
        (["a", "", ""], (1, 2), range(1, 3)),  # a text that ended in half a character
        (["a", "b"], (1, 5), range(1, 2)),
        (["a", "b"], (2, 3), range(2, 2)),
        ([], (0, 1), range(0)),
        (["a", "b"], (1, 1), range(0)),
    ],
)
def test_the_tokens_that_spell_a_span(pieces: list[str], span: tuple[int, int], tokens: range) -> None:
    assert list(answer_tokens(pieces, span)) == list(tokens)


@given(st.lists(st.sampled_from(["", "a", "bc", "def"]), max_size=8), st.data())
def test_the_tokens_of_a_span_are_the_fewest_that_cover_it(pieces: list[str], data: Any) -> None:
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    tokens = answer_tokens(pieces, (start, end))
    begins = len("".join(pieces[: tokens.start]))
    spelled = "".join(pieces[i] for i in tokens)
    if start == end:
        assert not tokens
        return
    assert begins <= start
    assert begins + len(spelled) >= end
    assert text[start:end] in spelled
    texts = [pieces[i] for i in tokens if pieces[i]]
    assert begins + len(texts[0]) > start
    assert begins + len(spelled) - len(texts[-1]) < end


def test_a_span_that_is_none_is_refused() -> None:
    for span in ((-1, 2), (3, 2)):
        with pytest.raises(InvalidInput, match="span"):
            answer_tokens(["abc"], span)
