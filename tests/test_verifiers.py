"""Patterns, schemas, users' functions, composition, measured rates and names: verifiers that run no program."""

from __future__ import annotations

import itertools
import json
import math
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.selection.verification import ErrorRates, Verdict, Verifier, Work, make_verifier
from edgetts.selection.verification.callable import CallableVerifier
from edgetts.selection.verification.compose import AllOf, AnyOf, FirstOf, Not
from edgetts.selection.verification.pattern import PatternVerifier
from edgetts.selection.verification.rates import clopper_pearson, measure


@dataclass(frozen=True)
class Says:
    """A verifier that says what it is told to, and counts how often it is asked."""

    passed: bool | None
    share: float | None = None
    rates: ErrorRates | None = None
    name: str = "says"

    def verify(self, work: Work) -> Verdict:
        return Verdict(self.passed, work.text, self.share)


WORK = Work("question", "text")


# Regular expressions


def test_a_pattern_may_match_anywhere_in_the_end_of_a_text() -> None:
    verifier = PatternVerifier(r"Total: \d+")
    assert verifier.verify(Work("", "First.\nTotal: 12 apples")).passed is True
    assert verifier.verify(Work("", "Total: none")).passed is False
    assert verifier.verify(Work("", "x" * 100_000 + "Total: 12")).passed is True
    assert verifier.verify(Work("", "Total: 12" + "x" * 100_000)).passed is False
    assert PatternVerifier(r"\Ax+").verify(Work("", "x" * 100_000)).passed is None


def test_a_pattern_tells_nothing_of_an_unfinished_text_that_may_yet_change_it() -> None:
    assert PatternVerifier(r"\d+ apples").verify(Work("", "12 apples and", complete=False)).passed is True
    assert PatternVerifier(r"\d+").verify(Work("", "12", complete=False)).passed is None
    assert PatternVerifier(r"12$").verify(Work("", "12\n", complete=False)).passed is None
    assert PatternVerifier(r"\A(?!.*pear)").verify(Work("", "12 apples", complete=False)).passed is None
    assert PatternVerifier(r"pears").verify(Work("", "12 apples", complete=False)).passed is None


@pytest.mark.parametrize("pattern", ["", "(", "(a+)+", "a" * 2000])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        PatternVerifier(pattern)


# JSON Schema

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "age": {"$ref": "#/$defs/age"}},
    "required": ["name"],
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


def schema_verifier(schema: Any) -> Verifier:
    pytest.importorskip("jsonschema")
    from edgetts.selection.verification.schema import SchemaVerifier

    return SchemaVerifier(schema)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ('{"name": "ada", "age": 36}', True),
        ('  {"name": "ada"}\n', True),
        ('Here it is:\n```json\n{"name": "ada"}\n```\nAs asked.', True),
        ('```\n{"name": "ada"}\n```', True),
        ('```json\n{"name": 1}\n```\nBetter:\n```json\n{"name": "ada"}\n```', True),
        ('The set {1, 2} aside, {"name": "ada"} is it.', True),
        ('```json\n{"name": "ada"}', True),
        ('{"name": "Ada"}', False),
        ('{"age": 36}', False),
        ('{"name": "ada", "age": -1}', False),
        ('{"name": "ada", "age": NaN}', False),
        ('{"name": "ada"', False),
        ('"ada"', False),
        ("no JSON", False),
        ("", False),
        ("[" * 10_000, False),
        ('{"name": "ada", "age": 1' + "0" * 5_000 + "}", False),
        ('{"name": "' + "a" * 20_000 + '"}', False),
        ('{"name": "' + "a" * 8_000 + '"}', None),
    ],
)
def test_json_in_a_text_is_found_and_checked(text: str, passed: bool | None) -> None:
    verdict = schema_verifier(SCHEMA).verify(Work("", text))
    assert verdict.passed is passed
    assert verdict.reason


def test_the_reason_names_the_place_that_the_schema_forbids() -> None:
    verdict = schema_verifier(SCHEMA).verify(Work("", '{"name": "ada", "age": -1}'))
    assert verdict.reason.startswith("$.age: -1 is less than")


def test_json_that_is_not_closed_yet_is_not_judged() -> None:
    verifier = schema_verifier(SCHEMA)
    assert verifier.verify(Work("", '{"name": "a', complete=False)).passed is None
    assert verifier.verify(Work("", '```json\n{"name": 1}\n```\n', complete=False)).passed is False


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://example.com/schema.json"},
        {"properties": {"a": {"items": [{"$ref": "file:///etc/passwd"}]}}},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"patternProperties": {"(a|b)*c": True}},
        [],
        "text",
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_without_the_network(
    schema: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(InvalidInput):
        schema_verifier(schema)


def test_references_into_the_schema_and_to_the_drafts_are_followed() -> None:
    tree = {"$id": "http://example.com/tree", "type": "array", "items": {"$ref": "tree"}}
    assert schema_verifier(tree).verify(Work("", "[[], [[]]]")).passed is True
    assert schema_verifier(tree).verify(Work("", "[[], [1]]")).passed is False
    draft = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert schema_verifier(draft).verify(Work("", '{"type": "string"}')).passed is True
    assert schema_verifier(draft).verify(Work("", '{"type": 3}')).passed is False
    assert schema_verifier({"$ref": "#"}).verify(Work("", "{}")).passed is None
    assert schema_verifier(False).verify(Work("", "{}")).passed is False


def test_without_jsonschema_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetts.selection.verification.schema import SchemaVerifier

    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[verify\]"):
        SchemaVerifier(SCHEMA)


# A user's function


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (True, Verdict(True, "check says yes", 1.0)),
        (False, Verdict(False, "check says no", 0.0)),
        (0.75, Verdict(True, "check says 0.75", 0.75)),
        (0.5, Verdict(True, "check says 0.5", 0.5)),
        (0.25, Verdict(False, "check says 0.25", 0.25)),
        (None, Verdict(None, "check cannot tell")),
        (Verdict(False, "mine", 0.9), Verdict(False, "mine", 0.9)),
        (2.0, Verdict(None, "check returned 2.0, which is no share from 0 to 1")),
        (math.nan, Verdict(None, "check returned nan, which is no share from 0 to 1")),
        ("yes", Verdict(None, "check returned 'yes', which is no share from 0 to 1")),
    ],
)
def test_what_a_function_returns_becomes_a_verdict(said: Any, verdict: Verdict) -> None:
    def check(text: str) -> Any:
        assert text == "text"
        return said

    assert CallableVerifier(check).verify(WORK) == verdict


def test_what_goes_wrong_in_a_function_is_told_and_loses_no_sample() -> None:
    def check(text: str) -> bool:
        raise KeyError(text)

    assert CallableVerifier(check).verify(WORK) == Verdict(None, "check failed with KeyError: 'text'")


def test_a_function_of_the_text_is_not_asked_about_half_a_text_and_one_of_the_work_is() -> None:
    half = Work("q", "t", "5", complete=False)
    assert CallableVerifier(lambda _: True, name="mine").verify(half).passed is None
    verifier = CallableVerifier(lambda work: (work.question, work.answer) == ("q", "5"), of="work")
    assert verifier.verify(half).passed is True


def test_numpy_bools_and_floats_are_understood() -> None:
    np = pytest.importorskip("numpy")
    assert CallableVerifier(lambda _: np.bool_(False)).verify(WORK).passed is False
    assert CallableVerifier(lambda _: np.float32(0.5)).verify(WORK).share == 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        {"function": lambda: True},
        {"function": lambda a, b: a == b},
        {"function": 3},
        {"function": bool, "threshold": 1.5},
        {"function": bool, "threshold": math.nan},
        {"function": bool, "of": "answer"},
    ],
)
def test_a_function_that_cannot_be_asked_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        CallableVerifier(**arguments)


# Composition

TRUTHS = (True, False, None)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(TRUTHS, TRUTHS)))
def test_composition_follows_the_logic_of_three_values(one: bool | None, other: bool | None) -> None:
    def both(kind: Callable[[list[Verifier]], Verifier]) -> bool | None:
        return kind([Says(one), Says(other)]).verify(WORK).passed

    assert both(AllOf) == (False if False in (one, other) else None if None in (one, other) else True)
    assert both(AnyOf) == (True if True in (one, other) else None if None in (one, other) else False)
    assert both(FirstOf) == (other if one is None else one)
    assert Not(AllOf([Says(one), Says(other)])).verify(WORK).passed == both(
        lambda members: AnyOf([Not(member) for member in members])
    )
    assert Not(Not(Says(one))).verify(WORK).passed == one


@given(st.lists(st.sampled_from(TRUTHS), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_all_and_any_does_not_change_the_verdict(truths: list[bool | None], rng: Any) -> None:
    members = [Says(truth) for truth in truths]
    shuffled = members[:]
    rng.shuffle(shuffled)
    for kind in (AllOf, AnyOf):
        assert kind(members).verify(WORK).passed == kind(shuffled).verify(WORK).passed


def test_later_verifiers_are_not_asked_once_it_is_decided() -> None:
    class Fails(Says):
        def verify(self, work: Work) -> Verdict:
            raise AssertionError(f"asked about {work.text}")

    assert AllOf([Says(None), Says(False), Fails(True)]).verify(WORK).passed is False
    assert AnyOf([Says(None), Says(True), Fails(True)]).verify(WORK).passed is True
    assert FirstOf([Says(None), Says(False), Fails(True)]).verify(WORK).passed is False


def test_shares_and_names_are_composed() -> None:
    members = [Says(True, 0.9), Says(True, 0.6, name="other"), Says(None)]
    assert AllOf(members).verify(WORK).share == 0.6
    assert AnyOf([Says(False, 0.2), Says(False, 0.4)]).verify(WORK).share == 0.4
    assert AllOf([Says(True)]).verify(WORK).share is None
    assert Not(Says(True, 0.75)).verify(WORK).share == 0.25
    assert (
        AllOf([AnyOf(members[:2]), Not(FirstOf(members[2:]))]).name
        == "all(any(says, other), not(first(says)))"
    )


probabilities = st.floats(0, 1)
rates = st.builds(ErrorRates, probabilities, probabilities)


@given(st.lists(rates, min_size=1, max_size=3))
def test_composed_rates_are_what_independent_verifiers_would_show(members: list[ErrorRates]) -> None:
    """Every combination of verdicts is enumerated, with its probability."""
    for kind in (AllOf, AnyOf):
        composed = kind([Says(True, rates=one) for one in members]).rates
        assert composed is not None
        for which in ("passes_right", "passes_wrong"):
            passes = [getattr(one, which) for one in members]
            expected = math.fsum(
                math.prod(p if passed else 1 - p for p, passed in zip(passes, case, strict=True))
                for case in itertools.product((True, False), repeat=len(members))
                if kind([Says(passed) for passed in case]).verify(WORK).passed
            )
            assert getattr(composed, which) == pytest.approx(expected, abs=1e-12)
        assert composed.source == "composed as independent: declared"


def test_rates_of_not_and_first_and_of_what_is_not_known() -> None:
    good, bad = ErrorRates(0.9, 0.2, "measured on 40 texts"), ErrorRates(0.8, 0.1)
    turned = Not(Says(True, rates=good)).rates
    assert turned is not None
    assert (turned.passes_right, turned.passes_wrong) == pytest.approx((0.1, 0.8))
    first = FirstOf([Says(True, rates=good), Says(True, rates=bad)]).rates
    assert first == ErrorRates(0.8, 0.2, "the worst of: measured on 40 texts, declared")
    for kind in (AllOf, AnyOf, FirstOf):
        assert kind([Says(True, rates=good), Says(True)]).rates is None
        with pytest.raises(InvalidInput):
            kind([])
    assert Not(Says(True)).rates is None


def test_rates_outside_0_to_1_are_refused() -> None:
    for pair in ((-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5)):
        with pytest.raises(InvalidInput):
            ErrorRates(*pair)


# Measured rates


def outcomes(counts: Mapping[tuple[bool, Any], int]) -> list[tuple[Verdict, bool]]:
    return [(Verdict(passed), right) for (right, passed), n in counts.items() for _ in range(n)]


def test_measured_rates_count_what_passes_among_all_that_is_right_or_wrong() -> None:
    measured = measure(
        outcomes({(True, True): 6, (True, False): 1, (True, None): 3, (False, True): 2, (False, False): 8})
    )
    assert measured.rates == ErrorRates(0.6, 0.2, "measured on 20 texts")
    assert measured.right_untold == 3
    assert measured.precision == 0.75
    assert measured.passes_right == clopper_pearson(6, 10)
    assert measured.passes_wrong == clopper_pearson(2, 10)
    assert measured.precision_interval == clopper_pearson(6, 8)
    cautious = measured.cautious
    assert cautious.passes_right < 0.6
    assert cautious.passes_wrong > 0.2


def test_rates_need_right_and_wrong_texts() -> None:
    for one_sided in ({(True, True): 3}, {(False, True): 3}, {}):
        with pytest.raises(InvalidInput, match="cannot be measured"):
            _ = measure(outcomes(one_sided)).rates
    assert measure([]).precision is None
    assert measure([]).precision_interval == (0.0, 1.0)


def test_intervals_equal_published_and_closed_forms() -> None:
    assert clopper_pearson(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    assert clopper_pearson(1, 1, 0.9) == pytest.approx((0.05, 1))
    assert clopper_pearson(4, 20) == pytest.approx((0.0573, 0.4366), abs=5e-5)
    assert clopper_pearson(500, 1000) == pytest.approx((0.4686, 0.5314), abs=1e-4)
    assert clopper_pearson(0, 0) == (0, 1)


@pytest.mark.parametrize("trials", [1, 5, 12])
def test_intervals_cover_every_true_share_at_least_at_their_level(trials: int) -> None:
    for share in [i / 200 for i in range(201)]:
        covered = math.fsum(
            math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
            for k in range(trials + 1)
            if clopper_pearson(k, trials, 0.9)[0] <= share <= clopper_pearson(k, trials, 0.9)[1]
        )
        assert covered >= 0.9 - 1e-9


@given(st.integers(0, 300), st.integers(0, 300))
def test_intervals_hold_the_share_seen_and_are_symmetrical(right: int, wrong: int) -> None:
    low, high = clopper_pearson(right, right + wrong)
    if right + wrong:
        assert low <= right / (right + wrong) <= high
    mirrored = clopper_pearson(wrong, right + wrong)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


def test_intervals_of_nothing_are_refused() -> None:
    for successes, trials, level in ((3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0), (1, 2, 0.0)):
        with pytest.raises(InvalidInput):
            clopper_pearson(successes, trials, level)


# Names


def test_verifiers_are_made_by_name_and_joined_by_plus() -> None:
    assert make_verifier("arithmetic").verify(Work("", "2 + 2 = 4")).passed is True
    assert make_verifier("regex:a+b").verify(Work("", "xaab")).passed is True
    both = make_verifier("arithmetic + regex:a+b")
    assert both.name == "all(arithmetic, regex)"
    assert both.verify(Work("", "2 + 2 = 4 aab")).passed is True
    assert both.verify(Work("", "2 + 2 = 5 aab")).passed is False
    assert both.verify(Work("", "2 + 2 = 4")).passed is False
    assert make_verifier("regex:x+arithmetic").name == "all(regex, arithmetic)"
    assert make_verifier("regex:x+arithmetically").name == "regex"


def test_a_schema_is_read_from_its_file(tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    file = tmp_path / "person.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    verifier = make_verifier(f"schema:{file}")
    assert verifier.verify(Work("", '{"name": "ada"}')).passed is True
    assert verifier.verify(Work("", '{"name": "Ada"}')).passed is False
    file.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="is no JSON"):
        make_verifier(f"schema:{file}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("arithmetik", "Did you mean 'arithmetic'"),
        ("Regex:x", "Did you mean 'regex'"),
        ("zzz", "There are: arithmetic, regex:PATTERN, schema:FILE.json"),
        ("", "There is no verifier ''"),
        ("arithmetic+", "There is no verifier 'arithmetic+'"),
        ("regex", "Write regex:PATTERN"),
        ("regex:", "Write regex:PATTERN"),
        ("tests", "Write tests:FILE.py"),
        ("arithmetic:3", "takes nothing behind a colon"),
        ("regex:(", "is invalid"),
        ("tests:/no/such/file.py", "cannot be read: No such file"),
        ("schema:/no/such/file.json", "cannot be read: No such file"),
        ("schema:/no\0such", "cannot be read"),
    ],
)
def test_a_name_that_makes_no_verifier_says_why(spec: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_verifier(spec)
    assert said in str(caught.value)
