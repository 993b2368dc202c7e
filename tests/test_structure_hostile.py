"""Structures that are wrong, that cannot be guaranteed, or that are made to break the compiler: refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from structure_cases import COMPILERS, TOKENIZERS, accepts, spelt

from edgetts.decoding.constraint import Matcher
from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.structure import Grammar, JsonSchema, Regex, Structure

pytest.importorskip("llguidance")

BYTES = TOKENIZERS["bytes"]


def refusal(structure: Structure) -> str:
    with pytest.raises(InvalidInput) as caught:
        COMPILERS["bytes"].compile(structure)
    said = str(caught.value)
    assert "\n" not in said, said
    assert len(said) < 600, said
    return said


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def chain(length: int, **link: Any) -> dict[str, Any]:
    """Definitions of which each refers to the next."""
    kinds = {
        f"a{i}": {
            "type": "object",
            "properties": {"x": {"$ref": f"#/$defs/a{i + 1}"}},
            "required": ["x"],
            **link,
        }
        for i in range(length)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**kinds, f"a{length}": {"type": "string"}}}


def text(**keywords: Any) -> dict[str, Any]:
    return {"type": "string", **keywords}


HOLDS_ITSELF: dict[str, Any] = {"type": "object"}
HOLDS_ITSELF["properties"] = {"a": HOLDS_ITSELF}

WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([], "A JSON schema is an object, not list"),
    "true": (True, "not bool"),
    "a set": ({"enum": {1, 2}}, "not JSON: set"),
    "no number": ({"const": float("nan")}, "a number that JSON does not have"),
    "names": ({"properties": {1: {}}}, "a name that is not a text"),
    "surrogate": ({"const": "\ud800"}, "lone surrogate"),
    "huge number": ({"const": 10**30}, "more than 64 bits"),
    "type": (text() | {"type": "strin"}, "'type' at # must be one or some of null"),
    "types": ({"type": []}, "'type' at #"),
    "minimum": ({"type": "integer", "minimum": "5"}, "'minimum' at # must be a number"),
    "boolean bound": ({"type": "integer", "minimum": 5, "exclusiveMinimum": True}, "'exclusiveMinimum' at #"),
    "bound": ({"type": "integer", "minimum": 2**53 + 1}, "'minimum' at # must be a number of at most"),
    "properties": ({"properties": {"a": 1}}, "'properties' at # must be an object of schemas"),
    "required": ({"required": "a"}, "'required' at # must be a list"),
    "enum": ({"enum": []}, "'enum' at # must be a list of one value or more"),
    "length": (text(maxLength=-1), "'maxLength' at #"),
    "multiple": ({"type": "integer", "multipleOf": 0}, "'multipleOf' at #"),
    "empty union": ({"anyOf": []}, "'anyOf' at #"),
    "format": (
        {"properties": {"a": text(format="color")}},
        "'format' at #/properties/a must be one of date-time",
    ),
    "misspelt": ({"type": "object", "propertie": {}}, "Did you mean 'properties'?"),
    "nullable": (text(nullable=True), "write null among the types"),
    "our options": (text(**{"x-guidance": {"lenient": True}}), "'x-guidance'"),
    "no place": ({"$ref": "#/$defs/b", "$defs": {"a": {}}}, "refers to '#/$defs/b' at #"),
    "another document": ({"$ref": "https://example.com/s.json"}, "nothing else is read"),
    "inner id": ({"properties": {"a": {"$id": "x"}}}, "'$id' at #/properties/a"),
    "old draft": (
        {"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [{}]},
        "its '$schema' does not know",
    ),
    "contradiction": ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    "no type left": ({"allOf": [text(), {"type": "integer"}]}, "Unsatisfiable"),
    "required false": ({"properties": {"a": False}, "required": ["a"], "type": "object"}, "cannot be"),
    "itself": ({"$ref": "#"}, "never ends"),
    "a loop": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "never ends",
    ),
    "endless list": ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "never ends"),
    "endless object": (
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        "describes at # never ends",
    ),
    "exclusive": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "use 'anyOf'"),
    "look ahead": (text(pattern="^(?!a)"), "look-ahead"),
    "unclosed": (text(pattern="("), "unclosed group"),
    "doubled names": ({"type": "object", "minProperties": 3}, "'minProperties' at #"),
    "holds itself": (HOLDS_ITSELF, "more than 120 levels"),
    "1,000 levels": (nested(1000), "more than 120 levels"),
    "many schemas": ({"anyOf": [{}] * 6000}, "more than 2000 schemas within it"),
    "chain": (chain(900), "schemas deep where references are followed"),
    "chain of allOf": (chain(300, allOf=[{"minProperties": 1}]), "schemas deep"),
    "10 MB": ({"const": "x" * 10_000_000}, "characters, but 200000 is the most"),
    "long value": (text(enum=["x" * 20_000]), "more than 10000 characters"),
    "huge enum": ({"enum": list(range(20_000))}, "more than 10000 values in 'enum'"),
    "many objects": ({"enum": [{"a": i} for i in range(2000)]}, "more than 1000 objects"),
    "many name patterns": (
        {"type": "object", "patternProperties": {f"^a{i}b*$": {} for i in range(300)}},
        "more than 50 patterns of property names",
    ),
    "many ranges": (
        {"prefixItems": [{"type": "number", "minimum": i / 7} for i in range(900)]},
        "more than 500 numbers",
    ),
    "many properties": ({"properties": {f"p{i}": {} for i in range(1000)}}, "more than 500 properties"),
    "counted twice": (text(pattern="^(a{1000}){1000}$"), "at # is too large"),
    "counted in names": ({"patternProperties": {"(a{1000}){1000}": {}}}, "too large"),
    "counted ever more": (text(pattern="((((x{9}){9}){9}){9}){9}"), "too large"),
    "long pattern": (text(pattern="a" * 6000), "6000 characters"),
    "deep groups": (text(pattern="(" * 2000 + "a" + ")" * 2000), "cannot be compiled"),
    "large divisor": ({"type": "integer", "multipleOf": 1_000_003}, "least common multiple"),
    "common multiple": (
        {"type": "integer", "allOf": [{"multipleOf": one} for one in (7, 11, 13, 17, 19, 23)]},
        "least common multiple",
    ),
    "cross product": (
        {
            "allOf": [
                {"anyOf": [{"type": "object", "required": [f"p{i}{j}"]} for j in range(2)]} for i in range(20)
            ]
        },
        "schema too large",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_schema_is_refused_by_name(name: str) -> None:
    schema, says = WRONG[name]
    assert says in refusal(JsonSchema(schema))


UNSUPPORTED = {
    "not": {"type": "null"},
    "if": {"type": "string"},
    "then": {},
    "else": {},
    "uniqueItems": True,
    "contains": {"type": "integer"},
    "propertyNames": {"pattern": "a"},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {},
    "unevaluatedProperties": False,
    "$dynamicRef": "#a",
    "$anchor": "a",
}


@pytest.mark.parametrize("keyword", UNSUPPORTED)
def test_what_cannot_be_guaranteed_is_refused_wherever_it_is(keyword: str) -> None:
    part = {keyword: UNSUPPORTED[keyword]}
    for schema, place in (
        (part, "#"),
        ({"properties": {"a/b": {"items": part}}}, "#/properties/a~1b/items"),
        ({"$defs": {"unused": {"anyOf": [{}, part]}}}, "#/$defs/unused/anyOf/1"),
    ):
        assert f"{keyword!r} at {place}, which cannot be guaranteed" in refusal(JsonSchema(schema))
        grammar = Grammar(f"start: %json {json.dumps(schema)}")
        assert f"{keyword!r} at {place}, which cannot be guaranteed" in refusal(grammar)


def test_a_keyword_may_be_the_name_of_a_property() -> None:
    names = ["not", "if", "$ref", "x-guidance", "nullable", "required"]
    schema = {"type": "object", "properties": {name: {"const": 1} for name in names}, "required": names}
    constraint = COMPILERS["bytes"].compile(
        JsonSchema(schema | {"title": "t", "x-order": 1, "default": {"not": 1}})
    )
    assert accepts(constraint, BYTES, json.dumps(dict.fromkeys(names, 1)))


WRONG_GRAMMARS = {
    "": "no start rule",
    'foo: "a"': "no start rule",
    "start: foo": 'unknown name: "foo"',
    'start: "a': "cannot be compiled",
    "start: %json {": "'%json' without a JSON schema",
    'start: %json {"x-guidance": {"lenient": true}, "uniqueItems": true}': "x-guidance",
    'start: "x" <|im_end|>': "<|im_end|>, which ends the model's texts",
    'start: "x" <|nosuch|>': "unknown special token",
    "start[temperature=0.5]: /a+/": "sets 'temperature'",
    'start: a "b"\na[max_tokens=3]: /a+/': "sets 'max_tokens'",
    'start: a\na[stop="x"]: /.*/': "sets 'stop'",
    "start: " + "(" * 20_000 + '"a"' + ")" * 20_000: "too deeply nested",
    "start: /(a{1000}){1000}/": "too large",
    "start: " + " | ".join(f'"w{i}"' for i in range(20_000)): "characters, but 100000",
    "start: " + f"%json {json.dumps(chain(900))}": "schemas deep",
}


@pytest.mark.parametrize("lark", WRONG_GRAMMARS, ids=[key[:30] for key in WRONG_GRAMMARS])
def test_a_wrong_grammar_is_refused(lark: str) -> None:
    assert WRONG_GRAMMARS[lark] in refusal(Grammar(lark))


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "unclosed group"),
        (r"(a)\1", "backreferences are not supported"),
        (r"\bfoo", "not supported"),
        (r"[^\s\S]", "describes no text"),
        ("(a{1000}){1000}", "too large"),
        ("a{99999999999999999999999999999999999999}", "too large"),
        ("a" * 10_000_000, "10000000 characters"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str, says: str) -> None:
    assert says in refusal(Regex(pattern))


def test_what_is_not_a_structure_is_refused() -> None:
    assert "is no structure" in refusal({"type": "object"})  # type: ignore[arg-type]
    assert "is a text, not int" in refusal(Regex(5))  # type: ignore[arg-type]


def test_catastrophic_patterns_cost_nothing() -> None:
    # Derivatives have no backtracking, and states of the automaton are made as they are met.
    for pattern in ("(a+)+b", "(a|aa)+(b|bb)+", "(a|b)*a(a|b){25}", r"(\w+\s*){1,50}x"):
        matcher = COMPILERS["bytes"].compile(Regex(pattern)).start()
        for token in spelt(BYTES, "a" * 60):
            matcher.take(token)
        assert matcher.allows(spelt(BYTES, "a")[0]), pattern


def test_what_becomes_too_complex_while_it_is_followed_says_so() -> None:
    many = range(1000)
    options = [f'a{i}: "a" | "b{i}"' for i in many]
    lark = "\n".join([f"start: /x{{20}}/ {' '.join(f'a{i}?' for i in many)}", *options])
    matcher = COMPILERS["bytes"].compile(Grammar(lark)).start()
    for token in spelt(BYTES, "x" * 19):
        matcher.take(token)
    last = spelt(BYTES, "x")[0]
    assert matcher.allows(last)
    with pytest.raises(RuntimeFailure, match="cannot be followed further"):
        _go_on(matcher, last)
    # It stays so: no token is let through afterwards.
    with pytest.raises(RuntimeFailure):
        matcher.allowed()


def _go_on(matcher: Matcher, token: int) -> None:
    matcher.take(token)
    matcher.allowed()


def test_a_refused_structure_leaves_the_compiler_as_it_was() -> None:
    refusal(JsonSchema({"not": {}}))
    assert accepts(COMPILERS["bytes"].compile(Regex("ab")), BYTES, "ab")


def test_the_deepest_schema_that_is_taken_needs_little_stack() -> None:
    # The compiler recurses in native code, where running out of stack ends the process: try in another.
    code = (
        "import sys, threading; sys.path.insert(0, 'tests')\n"
        "from test_structure_hostile import deepest_chain\n"
        "threading.stack_size(2 << 20)\n"
        "thread = threading.Thread(target=deepest_chain); thread.start(); thread.join()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr[-500:]
    assert int(ran.stdout) > 30


def deepest_chain() -> None:
    """Compile the longest chain that is let through, and print how long it is."""
    assert threading.current_thread() is not threading.main_thread()
    fits, too_long = 1, 1000
    while too_long - fits > 1:
        length = (fits + too_long) // 2
        try:
            COMPILERS["bytes"].compile(JsonSchema(chain(length, additionalProperties=False)))
            fits = length
        except InvalidInput:
            too_long = length
    sys.stdout.write(str(fits))
