"""Structures on vocabularies: what is drawn from them is in the language, and every question about it agrees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from structure_cases import COMPILERS, SCHEMAS, TOKENIZERS, accepts, compiler_of, ends_of, spelt, write
from test_tokenizer import byte_level, make

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.structure import Grammar, JsonObject, JsonSchema, Regex
from edgetts.structure.compiler import Compiler

pytest.importorskip("llguidance")

KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
BYTES = TOKENIZERS["bytes"]


@pytest.mark.parametrize("entry", SCHEMAS, ids=[entry["name"] for entry in SCHEMAS])
@KINDS
def test_whatever_is_drawn_satisfies_the_schema(kind: str, entry: dict) -> None:
    tokenizer = TOKENIZERS[kind]
    constraint = COMPILERS[kind].compile(JsonSchema(entry["schema"]))
    # A date is checked for its form: 29 February comes in any year.
    formats = FormatChecker(formats=["uuid", "ipv4", "email", "time"])
    validator = Draft202012Validator(entry["schema"], format_checker=formats)
    for seed in range(4):
        validator.validate(json.loads(tokenizer.decode(write(constraint, tokenizer, seed))))


@KINDS
def test_a_json_object_is_any_object_and_nothing_else(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    constraint = COMPILERS[kind].compile(JsonObject())
    for seed in range(10):
        assert isinstance(json.loads(tokenizer.decode(write(constraint, tokenizer, seed))), dict)
    assert accepts(constraint, tokenizer, '{"a": [1, {"b":null}]}')
    for text in ("[]", "1", '"a"', '{"a": 1', " {}\n", "{}}"):
        assert not accepts(constraint, tokenizer, text), text


PATTERNS = [r"(yes|no), because [a-z]{3,12}", r"[ab]*", r"\d{2}:\d{2}( (am|pm))?", "(é|日本|😀)+", " x| y|z"]


@pytest.mark.parametrize("pattern", PATTERNS)
@KINDS
def test_whatever_is_drawn_matches_the_pattern_as_a_whole(kind: str, pattern: str) -> None:
    tokenizer = TOKENIZERS[kind]
    constraint = COMPILERS[kind].compile(Regex(pattern))
    for seed in range(10):
        # The tokenizer of words takes off the space that a first word begins with.
        assert re.fullmatch(pattern, tokenizer.decode(write(constraint, tokenizer, seed, most=20)))


def test_the_first_space_of_sentencepiece_is_not_in_the_text() -> None:
    tokenizer = TOKENIZERS["prefix"]
    constraint = COMPILERS["prefix"].compile(Regex("the( [a-z]+)?"))
    with_space = tokenizer.encode("the", special=False)
    assert tokenizer.token_bytes(with_space[0]).startswith(b" ")
    assert tokenizer.decode(with_space) == "the"
    end = ends_of(tokenizer)[0]
    assert constraint.start().prefix([*with_space, end]) == len(with_space) + 1
    # Only one, and only there.
    space = spelt(tokenizer, " ")[0]
    assert constraint.start().prefix([space, *with_space, end]) == 1 + (
        tokenizer.decode([space, *with_space]) == "the"
    )
    led = COMPILERS["prefix"].compile(Regex(" the"))
    assert led.start().prefix(with_space) == 0
    assert led.start().prefix([space, *with_space, end]) == len(with_space) + 2


PROPERTY = settings(max_examples=25, deadline=None)
STRUCTURES = [JsonSchema(entry["schema"]) for entry in SCHEMAS] + [Regex(pattern) for pattern in PATTERNS]


@pytest.mark.parametrize("kind", TOKENIZERS)
@PROPERTY
@given(data=st.data())
def test_all_questions_agree_at_every_place(kind: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[kind]
    structure = data.draw(st.sampled_from(STRUCTURES))
    constraint = COMPILERS[kind].compile(structure)
    seed = data.draw(st.integers(0, 1000))
    tokens = [*write(constraint, tokenizer, seed, most=25), ends_of(tokenizer)[-1]]
    cut = data.draw(st.integers(0, len(tokens) - 1))
    matcher = constraint.start()
    for token in tokens[:cut]:
        matcher.take(token)
    # `allows` is asked before the mask is known, on one copy, and after it on another.
    fresh, known = matcher.copy(), matcher.copy()
    allowed = known.allowed()
    for token in [
        *range(0, len(allowed), 7),
        *ends_of(tokenizer),
        tokens[cut],
        -1,
        len(allowed),
        len(allowed) + 300,
    ]:
        mask = bool(allowed[token]) if 0 <= token < len(allowed) else False
        assert fresh.allows(token) == known.allows(token) == mask
        assert fresh.prefix([token]) == mask
        if not mask:
            with pytest.raises(InvalidInput):
                fresh.take(token)
    # The rest may come, up to a token that may not.
    assert matcher.prefix(tokens[cut:]) == len(tokens) - cut
    assert matcher.prefix([*tokens[cut:], *tokens]) == len(tokens) - cut
    wrong = int(np.flatnonzero(~allowed)[data.draw(st.integers(0, int((~allowed).sum()) - 1))])
    assert matcher.prefix([wrong, *tokens[cut:]]) == 0
    assert np.array_equal(matcher.allowed(), allowed)


def test_a_copy_moves_by_itself() -> None:
    matcher = COMPILERS["bytes"].compile(Regex("(cat|car|dog) (a|b)")).start()
    for token in spelt(BYTES, "ca"):
        matcher.take(token)
    before = matcher.allowed().copy()
    cat, car = matcher.copy(), matcher.copy()
    cat.take(spelt(BYTES, "t")[0])
    car.take(spelt(BYTES, "r")[0])
    for token in spelt(BYTES, " a"):
        cat.take(token)
    assert np.array_equal(matcher.allowed(), before)
    assert car.allows(spelt(BYTES, " ")[0])
    assert not cat.allows(spelt(BYTES, "b")[0])
    with pytest.raises(ValueError, match="read-only"):
        matcher.allowed()[0] = True


def test_after_the_end_nothing_comes() -> None:
    matcher = COMPILERS["bytes"].compile(Regex("a?")).start()
    end = ends_of(BYTES)[0]
    assert matcher.prefix([end, end]) == 1
    matcher.take(end)
    assert not matcher.allowed().any()
    assert matcher.prefix([end]) == 0
    with pytest.raises(InvalidInput):
        matcher.take(end)


def test_control_tokens_come_only_where_a_grammar_names_them() -> None:
    start = BYTES.token_id("<|im_start|>")
    assert start is not None
    free = COMPILERS["bytes"].compile(Regex("(?s:.)*")).start()
    assert not free.allows(start)
    assert not free.allowed()[start]
    assert free.prefix(spelt(BYTES, "<|im_start|>")) == len("<|im_start|>")
    called = COMPILERS["bytes"].compile(Grammar('start: "call" <|im_start|> %json {"type": "integer"}'))
    tokens = [*spelt(BYTES, "call"), start, *spelt(BYTES, "12"), ends_of(BYTES)[0]]
    assert called.start().prefix(tokens) == len(tokens)
    assert called.start().prefix(spelt(BYTES, "call<|im_start|>")) == 4


def test_every_spelling_of_a_forced_text_may_come() -> None:
    # A draft may spell it otherwise than the tokenizer does; what is verified must not differ from what is drawn.
    constraint = COMPILERS["bytes"].compile(Regex("the and the"))
    whole = BYTES.encode("the and the", special=False)
    assert len(whole) < len("the and the")
    assert constraint.start().allowed()[[whole[0], spelt(BYTES, "t")[0]]].all()
    assert constraint.start().prefix(spelt(BYTES, "the and the")) == len("the and the")


def test_white_space_is_bounded_and_keys_come_in_order() -> None:
    schema = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}}
    schema |= {"required": ["a", "b"], "additionalProperties": False}
    constraint = COMPILERS["bytes"].compile(JsonSchema(schema))
    for text in ('{"b":1,"a":2}', '{"b": 1, "a": 2}'):
        assert accepts(constraint, BYTES, text)
    for text in ('{"a":1,"b":2}', '{"b":  1,"a":2}', '{\n"b":1,"a":2}', '{"b":1,"a":2} ', '{"b":1 ,"a":2}'):
        assert not accepts(constraint, BYTES, text), text


def test_grammars_of_schemas_have_the_same_layout() -> None:
    constraint = COMPILERS["bytes"].compile(
        Grammar('start: "x=" %json {"type": "array", "minItems": 2}  "." // end')
    )
    assert accepts(constraint, BYTES, 'x=[1, "a"].')
    assert not accepts(constraint, BYTES, "x=[1,  2].")


def test_threads_share_a_compiler_and_a_constraint() -> None:
    compiler = compiler_of(BYTES)  # of which nothing is built yet
    entry = SCHEMAS[0]

    def run(seed: int) -> str:
        constraint = compiler.compile(JsonSchema(entry["schema"]))
        return BYTES.decode(write(constraint, BYTES, seed))

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, range(16)))
    assert together == [run(seed) for seed in range(16)]
    shared = compiler.compile(JsonSchema(entry["schema"]))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda seed: BYTES.decode(write(shared, BYTES, seed)), range(16))) == together


def test_several_end_tokens_and_none() -> None:
    both = make(byte_level(eot_token_id=len(BYTES.vocabulary()) - 2))
    ends = frozenset(
        {token for token in (both.token_id("<|im_end|>"), both.token_id("<|endoftext|>")) if token}
    )
    assert len(ends) == 2
    matcher = Compiler(both, both.vocab_size, ends).compile(Regex("a")).start()
    matcher.take(spelt(both, "a")[0])
    assert set(np.flatnonzero(matcher.allowed())) == ends
    with pytest.raises(InvalidInput, match="without an end token"):
        Compiler(both, both.vocab_size, frozenset()).compile(Regex("a"))


def test_without_llguidance_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[structure\]"):
        compiler_of(BYTES).compile(Regex("a"))


def test_importing_does_not_load_llguidance() -> None:
    code = "import sys, edgetts.structure.compiler; sys.exit('llguidance' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
