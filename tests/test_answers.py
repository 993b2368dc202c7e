from __future__ import annotations

import json
import random
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import InvalidInput
from edgetts.selection.answers import SEARCHED_CHARS, AnswerFormat, Extracted, extract
from edgetts.selection.answers.canonical import canonical, canonical_choice, canonical_number, canonical_text
from edgetts.selection.answers.code_blocks import canonical_code
from edgetts.selection.answers.json_values import canonical_json
from edgetts.selection.answers.patterns import MAX_PATTERN_CHARS, REGEX_CHARS
from edgetts.selection.answers.sets import canonical_set
from edgetts.selection.answers.yes_no import canonical_yes_no

# --- canonical forms


@pytest.mark.parametrize(
    ("value", "spellings"),
    [
        ("1687.5", ["1,687.50", "1687.5", "$1687.50", "\\$1,687.5", "1687.50.", "€ 1,687.50", "1{,}687.5"]),
        (
            "5",
            ["5", "5.0", "+5", "5 dollars", "5.", "005", "(5)", "**5**", "$5$", "\\(5\\)", "x = 5", "5 km/h"],
        ),
        (
            "5",
            ["5\uff0e0".replace("\uff0e", "."), "\uff15", "5 cm\u00b2", "5 \\text{ customers}", "5^\\circ"],
        ),
        ("5", ["about 5", "≈ 5", "US$5", "5 USD", "2 + 3 = 5"]),
        ("-5", ["-5", "\u22125", "\u20135", "-$5", "$-5", "- 5", "-5.00 euros"]),
        ("25", ["25%", "25 %", "25\\%", "25 percent"]),
        (
            "0.75",
            [
                "3/4",
                "0.75",
                ".75",
                "\\frac{3}{4}",
                "\\dfrac{3}{4}",
                "\u00be",
                "6/8",
                "3/4 cup",
                "0.75 liters",
            ],
        ),
        ("1.5", ["1 1/2", "1\u00bd", "1\\frac{1}{2}", "3/2", "1.50", "15e-1"]),
        ("-0.2", ["-\\frac{1}{5}", "-1/5", "\u22120.2"]),
        ("1/3", ["1/3", "\\frac{1}{3}", "2/6", "\u2153"]),
        ("1500", ["1.5e3", "1.5E+3", "1.5 \\times 10^{3}", "1.5 \u00d7 10\u00b3", "1.5*10^3", "1,500"]),
        ("3000000", ["3 million", "3,000,000", "3e6", "3000k", "0.003 billion"]),
        ("102000", ["102\\,000", "102\u202f000", "102,000", "1,02,000"]),
        ("0", ["0", "-0", "0.00", "0/7", "0e999"]),
        ("1e999999999", ["1e999999999", "10e999999998"]),
        ("3", ["\u0663"]),
    ],
)
def test_a_number_has_one_form(value: str, spellings: list[str]) -> None:
    assert {spelling: canonical_number(spelling) for spelling in spellings} == dict.fromkeys(spellings, value)


@pytest.mark.parametrize(
    "text",
    ["", "cm", "62 + 2w", "2x", "3, 8, 13", "10:30", "5\u00b2", "1/0", "5 or 6", "5-10", "1.2.3", "1/2/3",
     "4. So all the apples", "--5", "-$-5", "12 hours and 30 minutes",
     "1e" + "9" * 30, "9" * 1000, "NaN", "inf"],
)  # fmt: skip
def test_what_is_not_one_number_is_none(text: str) -> None:
    assert canonical_number(text) is None


@given(
    mantissa=st.integers(-(10**30), 10**30),
    exponent=st.integers(-60, 60),
    zeros=st.integers(0, 5),
)
def test_numbers_are_exact_and_their_form_is_a_fixed_point(mantissa: int, exponent: int, zeros: int) -> None:
    value = mantissa * Fraction(10) ** exponent
    form = canonical_number(f"{mantissa}{'0' * zeros}e{exponent - zeros}")
    assert form is not None
    assert Fraction(form) == value
    assert canonical_number(form) == form
    assert canonical_number(f"{mantissa:,}e{exponent}") == form


@given(st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**6))
def test_fractions_are_exact(value: Fraction) -> None:
    forms = {
        canonical_number(f"{value.numerator * 3}/{value.denominator * 3}"),
        canonical_number(
            f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
        ),
    }
    assert len(forms) == 1
    form = forms.pop()
    assert form is not None
    assert Fraction(form) == value


@pytest.mark.parametrize(
    ("raw", "choice"),
    [("B", "B"), ("(b)", "B"), ("B.", "B"), ("B) Paris", "B"), ("\\text{(B)}", "B"), ("**C**", "C"),
     ("A dog", None), ("b", None), ("F", None), ("BE", None)],
)  # fmt: skip
def test_choices(raw: str, choice: str | None) -> None:
    assert canonical_choice(raw) == choice


@pytest.mark.parametrize(
    ("one", "other"),
    [("The Great  Wall.", "great wall"), ("\\text{True}", "true"), ("\ufb01sh", "FISH"),
     ("'Paris'!", "paris"), ("(Paris)", "paris"), ("STRASSE", "straße"), ("**An apple**", "apple")],
)  # fmt: skip
def test_text_is_folded(one: str, other: str) -> None:
    assert canonical_text(one) == canonical_text(other)


@pytest.mark.parametrize(
    ("one", "other"), [("C++", "C"), ("-5", "5"), ("5²", "52"), ("<=", ">="), ("a", "b")]
)
def test_what_differs_in_meaning_stays_apart(one: str, other: str) -> None:
    assert canonical_text(one) != canonical_text(other)


def test_detection_of_kind() -> None:
    assert canonical("(C) 42") == ("choice", "C")
    assert canonical("42 apples") == ("number", "42")
    assert canonical("Paris") == ("text", "paris")
    assert canonical(" ") is None


# --- extraction


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("So \\(\\boxed{415}\\) dollars.", "number", "415"),
        ("\\boxed{1} then \\boxed{\\frac{1}{\\text{2}}} and \\boxed{\\frac{3}{4}}.", "number", "0.75"),
        ("\\[\n\\boxed{852 \\text{ customers}}\n\\]", "number", "852"),
        ("it is \\boxed{\\{2, 1\\}}", "set", "{1, 2}"),
        ("The answer is yes, because 5 > 3.", "yes-no", "yes"),
        ("The answer is no more than five of them", "text", "no more than five of them"),
        ('{"b": 1.0, "a": [2]}', "json", '{"a":[2],"b":1}'),
        ('```json\n{"b": 1}\n```\n', "json", '{"b":1}'),
        ("So:\n```python\nx = (1)  # one\nprint(x)\n```", "code", "x = 1\nprint(x)"),
        ("Use `x`:\n```python\nx = 1\n```\nwhich you run once it has been saved, so it is 7", "number", "7"),
        ("\\boxed{3} - no, wait. The answer is 6.", "number", "6"),
        ("The answer is 6. So: \\boxed{7}", "number", "7"),
        ("The answer is £40.00\n\nTherefore, the final answer is \\boxed{40.50}.", "number", "40.5"),
        ("**Final answer:** \\(42\\)", "number", "42"),
        ("**Final Answer**\n\n42 apples, all of the 3 boxes", "number", "42"),
        ("**Answer:** $1,687.50.", "number", "1687.5"),
        ("The answer is:\n\\[ \\frac{3}{4} \\]\nas we said 8 lines ago", "number", "0.75"),
        ("The answer is 3 + 11 + 14 = 38 slices of mango.", "number", "38"),
        ("The answer is the number of red balls, which is 12.", "number", "12"),
        ("the answer is \u221222. The food of 3", "number", "-22"),
        ("The final answer is given as 63 dozens for 198 days.", "number", "63"),
        ("She pays 5 * 3 = 15\n#### 1,015", "number", "1015"),
        ("The answer is (c). Not (A).", "choice", "C"),
        ("The correct option is **B**.", "choice", "B"),
        ("Answer: D) 42 km", "choice", "D"),
        ("So the answer is option B.", "choice", "B"),
        ("The capital? The answer is Paris. It has 2 airports.", "text", "paris"),
        ("the answer is 5:30 pm", "text", "5:30 pm"),
        ("It costs €7 + €5 = €14 euros.", "number", "14"),
        ("1. Add 3.\n2. Get 11 in all", "number", "11"),
        ("42", "number", "42"),
        ("Yes.", "yes-no", "yes"),
    ],
)
def test_the_last_explicit_statement_wins(text: str, kind: str, answer: str) -> None:
    found = extract(text)
    assert found is not None
    assert (found.kind, found.canonical) == (kind, answer)
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "\\boxed{", "\\boxed{}", "In 1999 we went.\nAnd it was a long and winding road to the sea.",
     "3 apples\n4. So then all of the apples were eaten by somebody else"],
)  # fmt: skip
def test_nothing_to_find(text: str) -> None:
    assert extract(text) is None


def test_a_guess_says_that_it_is_one() -> None:
    stated, guessed = extract("The answer is 4."), extract("which gives 4.")
    assert stated is not None
    assert guessed is not None
    assert (stated.explicit, guessed.explicit) == (True, False)
    assert stated == guessed, "equality is that of the canonical form"
    assert stated == Extracted("4", "4.0", "number", (0, 3))


def test_number_takes_the_last_one_anywhere() -> None:
    text = "Route 66 has 2,448 miles.\n3. It began on the 2nd, at 10:30, in v1.2 of x_7."
    found = extract(text, "number")
    assert found is not None
    assert (found.canonical, found.explicit) == ("2448", False)
    assert extract("The answer is blue, and no number.", "number") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [("(A) red\n(B) blue\nI take option c", "C"), ("a", "A"), ("A) red", "A"), ("I think (d) is it", "D"),
     ("\\boxed{\\text{E}}", "E"), ("The answer is B because of f(a)", "B"), ("the dog", None), ("42", None)],
)  # fmt: skip
def test_choice_format(text: str, answer: str | None) -> None:
    found = extract(text, "choice")
    assert (found.canonical if found else None) == answer


def test_boxed_format_ignores_all_else() -> None:
    assert extract("The answer is 5.", "boxed") is None
    found = extract("\\fbox \\boxed{{a}{b{c}}} tail", "boxed")
    assert found is not None
    assert found.raw == "{a}{b{c}}"


def test_text_format_votes_on_normalised_text_and_none_on_nothing() -> None:
    assert extract("  The  SEA is blue! ", "text") == extract("sea is blue", "text")
    assert extract("5", "none") is None


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        (r"Total: (\d+)", "Total: 5, Total: 7.00", "7"),
        (r"\d+[.]\d+", "1.50 and 2.50!", "2.5"),
        (r"<a>(.*?)</a>", "<a>x</a><a>The Sea</a>", "sea"),
        (r"(x)?y:", "xy: y:", "x"),  # the last match in which the group took part
        (r"-?\d+(?:,\d{3})*(?:\.\d+)?", "so -1,234.5", "-1234.5"),
        (r"[)(*+]+(\d)", "((3", "3"),
        (r"z", "abc", None),
    ],
)
def test_a_users_regular_expression(pattern: str, text: str, answer: str | None) -> None:
    found = extract(text, f"regex:{pattern}")
    assert (found.canonical if found else None) == answer


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("numbr", "Did you mean 'number'"),
        ("xyzzy", "regex:PATTERN"),
        ("text:x", "takes no pattern"),
        ("regex", "has no pattern"),
        ("set:x", "takes no pattern"),
        ("choice:", "no option"),
        ("choice:J-A", "no range"),
        ("choice:A-z", "no range"),
        ("choice:yes", "no range"),
        ("number:furlong", "no unit"),
        ("code:a b", "no name of a language"),
        ("yes-on", "Did you mean 'yes-no'"),
        ("regex:", "0 characters"),
        ("regex:(", "invalid"),
        ("regex:a{99999999999999999999}", "invalid"),
        ("regex:" + "a" * (MAX_PATTERN_CHARS + 1), "1001 characters"),
        ("regex:(?x)a b", "verbose"),
        ("regex:(?#[)(a+)+(?#])", "comment"),
    ],
)
def test_a_format_that_cannot_be_used(value: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(says)):
        extract("a text", value)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(?:a?){2,40}$", "((ab*)c)*", "(a|aa){30}$", "(?P<x>a*)*b", "([)]+)+"]
)
def test_a_regular_expression_of_exponential_time_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="exponential"):
        AnswerFormat.parse(f"regex:{pattern}")


def test_formats_are_read_and_written_alike() -> None:
    for name in (
        "auto", "number", "number:km", "number:%", "choice", "choice:A-J", "choice:1-4", "yes-no", "set", "json",
        "code", "code:c++", "boxed", "text", "none", "regex:a:(b)",
    ):  # fmt: skip
        assert str(AnswerFormat.parse(name)) == name


PIECES = st.sampled_from(
    ["the answer is ", "yes", "not ", "true", "```\n", "json", '"', ": ", "[", "]", ",", " and ", "\\{", "\\boxed{", "}", "{", "#### ", "Answer: ", "(B)", "12", "3/4", ".", "\n", " ", "$",
     "=", "**", "\\frac{1}{2}", " km", "1,000", "-", "x", "option ", "\\(", "½", "⁵", "%", "is "]
)  # fmt: skip


# --- the formats that are declared


@pytest.mark.parametrize(
    ("format_", "text", "answer"),
    [
        ("choice:A-J", "The answer is H.", "H"),
        ("choice:A-J", "\\boxed{(j)}", "J"),
        ("choice", "\\boxed{(j)}", None),
        ("choice:1-4", "The answer is 3.", "3"),
        ("choice:1-4", "The answer is 7.", None),
        ("number:min", "It takes 1.5 hours", "90"),
        ("number:h", "The answer is 90 minutes, or so", "1.5"),
        ("number:km", "The answer is 5.", "5"),
        ("number:km", "it weighs 5 kg", None),
        ("number:%", "25%", "25"),
        ("number:%", "a ratio of 0.25 ratio", "25"),
        ("number:ratio", "\\boxed{25\\%}", "0.25"),
        ("number:$", "550 cents", "5.5"),
        ("yes-no", "The answer is True.", "yes"),
        ("yes-no", "Yes. There is no doubt about it.", "yes"),
        ("yes-no", "We check it. The claim is not true.", "no"),
        ("yes-no", "That isn't right", "no"),
        ("yes-no", "There is no such way that I know of, so no.", "no"),
        ("yes-no", "**No**", "no"),
        ("yes-no", "maybe", None),
        ("yes-no", "There is no way to tell which", None),
        ("set", "The answer is 13, 8, and 3.0.", "{3, 8, 13}"),
        ("set", "x = 1 or x = -1", "{-1, 1}"),
        ("set", "So \\boxed{\\pm 3}", "{-3, 3}"),
        ("set", "1,000, 2,000", "{1000, 2000}"),
        ("set", "{1,200}", "{1, 200}"),
        ("set", "['b', 'a', 'b']", "{a, b}"),
        ("set", "\\boxed{(2, 1), (1,2)}", "{(1, 2), (2, 1)}"),
        ("set", "{{2, 1}, {3}}", "{{1, 2}, {3}}"),
        ("set", "There is no solution", None),
        ("set", "no solution", "{}"),
        ("set", "the interval [0, 1)", None),
        ("json", 'Here {x} and {"a": [1.50, true, null]}, ok', '{"a":[1.5,true,null]}'),
        ("json", '{5" pipe} {"a": 1}', '{"a":1}'),
        ("json", '```json\n{"a": 1}\n```\nI mean\n```\n[1e2, "x"]\n```', '[100,"x"]'),
        ("json", '{"a": 1, "a": 2}', '{"a":2}'),
        ("json", '{"a": NaN}', None),
        ("json", '"\\u00e9" ', '"\\u00e9"'),
        ("json", "[" * 65 + "]" * 65, "[" * 64 + "]" * 64),
        ("code:python", "```js\nlet a\n```\n```py\na=1\n```\n```sh\nls\n```", "a = 1"),
        ("code", "```py\na=1\n```\n```sh\nls  \n\n```", "ls"),
        ("code:rust", "```\nlet a = 1;\n```", "let a = 1;"),
        ("code:rust", "```python\na = 1\n```", None),
        ("code", "def f(): return (1)", "def f():\n    return 1"),
        ("code", "Sorry", None),
        ("code", "```python\ndef f(:\n```", "def f(:"),
        ("code:python", "```python\nx=1", "x = 1"),
    ],
)
def test_a_declared_format(format_: str, text: str, answer: str | None) -> None:
    found = extract(text, format_)
    assert (found.canonical if found else None) == answer
    if found:
        assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    ("text", "unit"),
    [("The answer is 5 km.", "km"), ("It costs $5", "$"), ("It costs $5$", ""), ("\\boxed{5 \\text{ cm}^2}", "cm^2"),
     ("5 square metres", "m^2"), ("at 5 miles per hour", "mph"), ("5\u00b0C", "\u00b0c"), ("5 customers", ""),
     ("5 pounds", ""), ("5 in all", ""), ("25%", "%"), ("25 percent", "%"), ("5 feet", "ft"), ("5 hrs", "h")],
)  # fmt: skip
def test_the_unit_is_told_beside_the_number(text: str, unit: str) -> None:
    found = extract(text)
    assert found is not None
    assert (found.unit, found.canonical) == (unit, "25" if "25" in text else "5")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f(x):\n  return x+1", 'def f(x):\n    """Add."""\n    # one\n    return (x + 1)\n', True),
        ("s = 'a'", 's = "a"', True),
        ("def f():\n  'doc'", "def f(): pass", True),
        ("x = 1", "x = 1.0", False),
        ("x = 1; y = 2", "y = 2; x = 1", False),
        ("re.sub('\\d', '', s)", "re.sub( '\\d', '', s )", True),
        ("def f(:  \n\n  1", "def f(:\n  1", True),
    ],
)
def test_python_is_compared_by_its_syntax(one: str, other: str, same: bool) -> None:
    assert (canonical_code(one) == canonical_code(other)) is same


def test_of_a_text_that_was_cut_no_open_value_is_believed() -> None:
    assert extract('{"a": {"b": 1}, "c', "json", complete=False) is None
    assert extract("```python\nx = 1", "code", complete=False) is None
    assert extract("1, 2, 3", "set", complete=False) is None
    assert extract("It is no", "yes-no", complete=False) is None
    found = extract('{"a": 1}\n```json\n{"a": 2', "json", complete=False)
    assert found is not None
    assert found.canonical == '{"a":1}'


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES, st.randoms(use_true_random=False))
def test_json_has_one_form_that_says_the_same(value: object, rng: random.Random) -> None:
    def shuffled(item: object) -> object:
        if isinstance(item, dict):
            return {key: shuffled(item[key]) for key in rng.sample(list(item), len(item))}
        return [shuffled(one) for one in item] if isinstance(item, list) else item

    form = canonical_json(json.dumps(value))
    assert form is not None

    def exact(text: str) -> object:
        return json.loads(text, parse_int=Fraction, parse_float=Fraction)

    assert exact(form) == exact(json.dumps(value))
    assert canonical_json(json.dumps(shuffled(value), indent=2, ensure_ascii=False)) == form
    assert canonical_json(form) == form


@given(
    st.lists(st.integers(-99, 99) | st.sampled_from(["a", "the sea", "1/3", "0.50", "(1, 2)"]), min_size=1)
)
def test_a_set_is_the_same_in_any_order_and_with_doubles(items: list[int | str]) -> None:
    spelled = [str(item) for item in items]
    form = canonical_set("{" + ", ".join(spelled) + "}")
    assert form is not None
    assert canonical_set("; ".join(reversed(spelled + spelled))) == form
    assert canonical_set(form) == form


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(PIECES, max_size=12).map("".join))
def test_every_form_is_a_fixed_point(raw: str) -> None:
    for canonical_form in (
        canonical_text, canonical_number, canonical_choice, canonical_yes_no, canonical_set, canonical_json,
        canonical_code,
    ):  # fmt: skip
        form = canonical_form(raw)
        if form:
            assert canonical_form(form) == form, canonical_form


# --- texts that were cut


@pytest.mark.parametrize(
    "statement", ["The answer is 125.75 dollars. Then", "\\boxed{125.75} is", "#### 125.75\nSo"]
)
def test_a_statement_cut_in_its_middle_is_not_believed(statement: str) -> None:
    text = f"We add 3 and 4.\n{statement}"
    for length in range(len(text) + 1):
        found = extract(text[:length], complete=False)
        assert found is None or not found.explicit or found.canonical == "125.75"
    found = extract(text, complete=False)
    assert found is not None
    assert found.explicit


def test_an_earlier_statement_counts_when_the_last_is_cut() -> None:
    found = extract("The answer is 7.\nBut then, the answer is 1", complete=False)
    assert found is not None
    assert found.canonical == "7"


# --- hostile texts

HOSTILE = {
    "digits": "1" * 1_000_000,
    "digits over digits": "1" * 8000 + "/" + "1" * 8000 + "/",
    "groups": ",111" * 8000,
    "commas": "1,11" * 5000 + ",11,11",
    "open boxes": "\\boxed{" * 4000,
    "deep braces": "\\boxed{" + "{" * 8000 + "}" * 8000 + "}",
    "open fractions": "\\frac{1}{" * 4000,
    "statements": "answer is " * 2000,
    "colons": "answer:" * 2400,
    "spaces": "1" + " " * 17000 + "x",
    "exponent": "it is 1e999999999 and \\boxed{1e-99999999999999999999999}",
    "parentheses": "(" * 17000,
    "signs": "-" * 20000,
    "times": "1:" * 9000,
    "dollars": "$" * 20000,
    "backslashes": "\\" * 17000,
    "superscripts": "1\u00d710\u2075" * 3000,
    "expanding": "\ufdfa" * 10000,
    "open brackets": "[" * 17000,
    "deep brackets": "[" * 8000 + "]" * 8000,
    "deep objects": '{"a":' * 3000 + "1" + "}" * 3000,
    "open strings": '{"' * 8000,
    "fences": "```python\nx\n" * 1300,
    "small sets": "{1,2}," * 2700,
    "and": " and " * 3300,
    "no": "no. is not true, " * 900,
    "operators": "```\n" + "1+" * 7000 + "1\n```",
    "unary operators": "```\n" + "-" * 15000 + "1\n```",
    "comparisons": "```\n" + "not " * 4000 + "1\n```",
    "branches": "```\nif x: pass\n" + "elif x: pass\n" * 1200 + "```",
    "calls": "```\na" + "()" * 7000 + "\n```",
    "lone surrogates and nulls": "\ud800\x00 the answer is \ud800",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "format_",
    [
        "auto",
        "number",
        "choice:A-Z",
        "boxed",
        "text",
        r"regex:(\d+)\D*$",
        "yes-no",
        "set",
        "json",
        "code:python",
    ],
)
def test_hostile_texts_end(name: str, format_: str) -> None:
    text = HOSTILE[name]
    for complete in (True, False):
        found = extract(text, format_, complete=complete)
        assert found is None or text[slice(*found.span)] == found.raw


def test_only_the_end_of_a_long_text_is_searched() -> None:
    assert extract("\\boxed{5}" + " " * SEARCHED_CHARS, "boxed") is None
    found = extract("x" * SEARCHED_CHARS + "\\boxed{5}")
    assert found is not None
    assert found.span == (SEARCHED_CHARS + 7, SEARCHED_CHARS + 8)
    assert extract("5" + " " * REGEX_CHARS, r"regex:\d") is None


@settings(max_examples=50, deadline=None)  # the first expression loads sympy
@given(st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join)), st.booleans())
def test_any_text_gives_an_answer_that_stands_in_it_or_none(text: str, complete: bool) -> None:
    for format_ in (
        "auto",
        "number:%",
        "choice",
        "boxed",
        "text",
        r"regex:\d+",
        "yes-no",
        "set",
        "json",
        "code",
    ):
        found = extract(text, format_, complete=complete)
        if found is not None:
            assert text[slice(*found.span)] == found.raw
            assert found.canonical
            if found.kind == "number":
                assert canonical_number(found.canonical) == found.canonical
