"""Answers held to a call's language: whatever is drawn, arguments are valid and the reader reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from structure_cases import COMPILERS, TOKENIZERS, accepts, ends_of, spelt
from tool_cases import BY_NAME, TOOLS, closed, counting, function

from edgetts.decoding.constraint import Constraint
from edgetts.errors import InvalidInput
from edgetts.export.gguf_file import GgufFile
from edgetts.export.tokenizer import special_tokens_from_gguf, tokenizer_from_gguf
from edgetts.structure.compiler import Compiler
from edgetts.tokenizer import Tokenizer
from edgetts.tools import (
    HERMES,
    LLAMA,
    MISTRAL,
    CallReader,
    CallStyle,
    ToolCall,
    ToolChoice,
    call_structure,
    text_structure,
)
from edgetts.tools.reading import joined, read_calls
from edgetts.tools.tool import parse_tools

pytest.importorskip("llguidance")

BYTES = TOKENIZERS["bytes"]
[CONTROL, *_] = [i for i in range(BYTES.vocab_size) if BYTES.is_control(i) and i not in ends_of(BYTES)]
STYLES = {
    "hermes": HERMES,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mistral, hidden": replace(MISTRAL, controls=((MISTRAL.opening, CONTROL),)),
    "hermes, hidden": replace(HERMES, controls=((HERMES.opening, CONTROL),)),
    "llama, tagged": replace(LLAMA, controls=(("<|python_tag|>", CONTROL),)),
}
AUTO, REQUIRED, NAMED = ToolChoice("auto"), ToolChoice("required"), ToolChoice("required", "weather-2")
HEADS = ["", "Let me see. ", '{"name": "Joe", "x": 1}', "<tool_cal"]


def constraint(style: CallStyle, choice: ToolChoice, parallel: bool = True, tools: Any = TOOLS) -> Constraint:
    structure = call_structure(tools, choice, style, parallel)
    assert structure is not None
    return COMPILERS["bytes"].compile(structure)


def drawn(
    held: Constraint, tokenizer: Tokenizer, seed: int, begin: Sequence[int], width: int, most: int = 250
) -> list[int] | None:
    """Draw tokens uniformly from those allowed, after some to begin with; None where it does not end in time."""
    rng = np.random.default_rng(seed)
    matcher, ends = held.start(), ends_of(tokenizer)
    for token in begin:
        matcher.take(token)
    tokens = list(begin)
    while len(tokens) < most:
        allowed = matcher.allowed()
        assert allowed.shape == (width,)
        # A text of random tokens seldom ends by itself: end it where it may.
        if allowed[ends[0]] and rng.random() < 0.3:
            return tokens
        token = int(rng.choice(np.flatnonzero(allowed)))
        if token in ends:
            return tokens
        matcher.take(token)
        tokens.append(token)
    return None


def check(text: str, style: CallStyle, seed: int) -> tuple[str, tuple[ToolCall, ...]]:
    """Read a text whole and in pieces, and check its calls."""
    content, calls = read_calls(text, style, counting(), names=BY_NAME)
    rng = np.random.default_rng(seed)
    reader = CallReader(style, counting(), names=BY_NAME)
    pieces, at = [], 0
    while at < len(text):
        step = int(rng.integers(1, 9))
        pieces += reader.push(text[at : at + step])
        at += step
    assert joined([*pieces, *reader.flush()]) == (content, calls)
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), dict(BY_NAME[call.name].parameters))
    return content, calls


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("parallel", [True, False])
def test_required_calls_are_valid_whatever_is_drawn(style: CallStyle, parallel: bool) -> None:
    width, found = BYTES.vocab_size + 5, []
    for choice in (REQUIRED, NAMED):
        held = constraint(style, choice, parallel)
        for seed in range(8):
            tokens = drawn(held, BYTES, seed, [], width)
            if tokens is None:
                continue
            content, calls = check(BYTES.decode(tokens), style, seed)
            assert content == ""
            assert calls
            assert parallel or len(calls) == 1
            assert choice is REQUIRED or {call.name for call in calls} == {"weather-2"}
            found += calls
    assert len(found) >= 8


@pytest.mark.parametrize("style", [HERMES, MISTRAL, LLAMA])
def test_once_a_call_is_begun_it_is_held_to_a_tool(style: CallStyle) -> None:
    held, width, found = constraint(style, AUTO), BYTES.vocab_size + 5, 0
    before = ["", "Let me see. "] if style.anywhere else [""]
    begun = [text + style.opening + style.begin + '{"name": "' for text in before]
    # Small models leave the opening out.
    begun += ['{"name": "weather-2", "arguments": '] if style is HERMES else []
    for seed in range(9):
        text = begun[seed % len(begun)]
        tokens = drawn(held, BYTES, seed, spelt(BYTES, text), width)
        if tokens is not None:
            content, calls = check(BYTES.decode(tokens), style, seed)
            assert calls
            assert content == ("Let me see." if text.startswith("Let") else "")
            found += 1
    assert found >= 5


GOOD = ToolCall("call0", "weather", '{"city": "Rome", "days": 2}')
BAD = {
    "another city": ToolCall("i", "weather", '{"city": "Paris"}'),
    "another tool": ToolCall("i", "forecast", "{}"),
    "a tool's name begun": ToolCall("i", "weather-", '{"city": "Rome"}'),
    "one more field": ToolCall("i", "weather", '{"city": "Rome", "a": 1}'),
    "a field missing": ToolCall("i", "weather", "{}"),
    "another's arguments": ToolCall("i", "weather-2", '{"city": "Rome"}'),
    "no JSON": ToolCall("i", "now", "{"),
}


@pytest.mark.parametrize("style", [HERMES, MISTRAL, LLAMA])
def test_the_language_has_calls_that_are_right_and_no_others(style: CallStyle) -> None:
    for choice in (AUTO, REQUIRED):
        held = constraint(style, choice)
        assert accepts(held, BYTES, style.write((GOOD,)))
        for wrong in BAD.values():
            assert not accepts(held, BYTES, style.write((wrong,)))
            assert not accepts(held, BYTES, style.write((GOOD, wrong)))
        two = style.write((GOOD, ToolCall("i", "now", "{}")))
        assert accepts(held, BYTES, two) == style.many
        assert not accepts(constraint(style, choice, parallel=False), BYTES, two)
        assert accepts(held, BYTES, "Hello") == (choice is AUTO)
        assert not accepts(held, BYTES, style.write((GOOD,)) + " and more")
        assert accepts(held, BYTES, style.write((GOOD,) * 16)) == style.many
        assert not accepts(held, BYTES, style.write((GOOD,) * 17))
    named = constraint(style, NAMED)
    assert not accepts(named, BYTES, style.write((GOOD,)))


def test_text_is_free_but_for_openings_of_calls() -> None:
    held = constraint(HERMES, AUTO)
    free = ["", "\n", "ünï", "<tool_cal", "a < b", "</tool_call>", '{"name": "Joe"}', '{"name": "weather"}',
            '{"a": {"name": "now", "arguments": {}}}']  # fmt: skip
    for text in free:
        assert accepts(held, BYTES, text), text
        assert check(text, HERMES, 0) == (text, ())
    for text in (
        "<tool_call>",
        "a <tool_call> b",
        '{"name": "now", "arguments": 1}',
        '{ "name": "now" , "arguments": ',
    ):
        assert not accepts(held, BYTES, text), text
    # Not even for a while: what cannot end as text would have to go on until it calls.
    bare = '{"name": "weather", "arguments": {"city": "Rome"}}'
    assert accepts(held, BYTES, bare)
    assert held.start().prefix(spelt(BYTES, bare + ".")) == len(bare)
    paris = bare.replace("Rome", "Paris")
    assert held.start().prefix(spelt(BYTES, paris)) == paris.index("Paris")
    for text, style in (
        ('{"a": 1}', LLAMA),
        (' {"a": 1}', LLAMA),
        ('[ {"a": 1}]', STYLES["mistral, hidden"]),
    ):
        assert not accepts(constraint(style, AUTO), BYTES, text)
    for text, style in (
        ('See {"a": 1}', LLAMA),
        ("[1, 2]", STYLES["mistral, hidden"]),
        ("[TOOL_CALLS", MISTRAL),
    ):
        assert accepts(constraint(style, AUTO), BYTES, text)


@pytest.mark.parametrize("name", ["mistral, hidden", "hermes, hidden"])
def test_an_opening_that_is_a_control_token_begins_the_calls(name: str) -> None:
    style = STYLES[name]
    ends = ends_of(BYTES)
    for choice, begins in ((AUTO, True), (REQUIRED, True)):
        matcher = constraint(style, choice).start()
        assert matcher.allows(CONTROL) == begins
        assert matcher.allows(ends[0]) == (choice is AUTO)
        matcher.take(CONTROL)
        rest = style.write((GOOD,)).removeprefix(style.opening)
        tokens = [*spelt(BYTES, rest), ends[0]]
        assert matcher.prefix(tokens) == len(tokens)
        assert check(rest, style, 0) == ("", (GOOD,))


def test_without_a_call_there_is_nothing_to_hold_to() -> None:
    assert call_structure(TOOLS, ToolChoice("none"), HERMES) is None


@pytest.mark.parametrize("style", [HERMES, LLAMA, MISTRAL])
def test_text_that_may_not_call_does_not_even_look_so(style: CallStyle) -> None:
    held = COMPILERS["bytes"].compile(text_structure(style))
    for text in ("", "It is sunny.", '{"a": 1}', "[1]"):
        assert accepts(held, BYTES, text)
    for text in (style.write((GOOD,)), '{"name": "now", "arguments": {}}'):
        assert held.start().prefix(spelt(BYTES, text)) < len(text)


def test_schemas_that_cannot_be_held_to_are_refused_by_name() -> None:
    for schema, said in (
        (closed([], a={"not": {}}), "not"),
        (closed([], a={"type": "strin"}), "type"),
        (closed([], a={"$ref": "http://example.org"}), "refers to"),
        ({"x-guidance": {"lenient": True}}, "x-guidance"),
    ):
        with pytest.raises(InvalidInput, match=said):
            constraint(HERMES, AUTO, tools=parse_tools([function("f", "", schema)]))


def test_as_many_tools_as_there_may_be_are_compiled() -> None:
    tools = parse_tools(
        [
            function(f"tool_{i}", "It does something useful.", closed(["a"], a={"enum": [f"v{i}"]}))
            for i in range(128)
        ]
    )
    held = constraint(HERMES, AUTO, tools=tools)
    assert accepts(held, BYTES, HERMES.write((ToolCall("i", "tool_127", '{"a": "v127"}'),)))
    assert not accepts(held, BYTES, HERMES.write((ToolCall("i", "tool_127", '{"a": "v1"}'),)))


@pytest.mark.real
def test_a_real_vocabularys_tokens_may_spell_calls_as_they_like(smollm2_gguf: Path) -> None:
    with GgufFile.open(smollm2_gguf) as file:
        tokenizer = Tokenizer(tokenizer_from_gguf(file.metadata), special_tokens_from_gguf(file.metadata))
    compiler = Compiler(tokenizer, tokenizer.vocab_size, frozenset(tokenizer.facts.end_tokens))
    for style in (HERMES, LLAMA, MISTRAL):
        for choice in (AUTO, REQUIRED):
            structure = call_structure(TOOLS, choice, style)
            assert structure is not None
            held = compiler.compile(structure)
            text = style.write((GOOD,))
            tokens = tokenizer.encode(text, special=False)
            assert held.start().prefix(tokens) == len(tokens)
            begin = (
                []
                if choice is REQUIRED
                else tokenizer.encode(style.opening + style.begin + "{", special=False)
            )
            for seed in range(6):
                more = drawn(held, tokenizer, seed, begin, tokenizer.vocab_size)
                if more is not None:
                    content, calls = check(tokenizer.decode(more), style, seed)
                    assert content == ""
                    assert calls
