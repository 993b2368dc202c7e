"""Answers are read alike however they are cut, and what is no sound call stays text."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_cases import BY_NAME, counting

from edgetts.chat import ToolCall
from edgetts.tools import (
    HERMES,
    LLAMA,
    MISTRAL,
    ArgumentsSaid,
    CallBegun,
    CallReader,
    CallStyle,
    TextSaid,
    read_calls,
)
from edgetts.tools.reading import Piece, joined

HIDDEN_HERMES = replace(HERMES, controls=((HERMES.opening, 5), ("</tool_call>", 6)))
HIDDEN_MISTRAL = replace(MISTRAL, controls=((MISTRAL.opening, 5),))
STYLES = {
    "hermes": HERMES,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "hidden hermes": HIDDEN_HERMES,
    "hidden mistral": HIDDEN_MISTRAL,
}
ONE = (ToolCall("call0", "weather", '{"city": "Rome {\\"[", "days": 2}'),)
TWO = (*ONE, ToolCall("call1", "now", "{}"))


def shown(style: CallStyle, text: str) -> str:
    """Return what an answer's text shows: not its control tokens."""
    for control, _ in style.controls:
        text = text.replace(control, "")
    return text


def streamed(text: str, style: CallStyle | None, cuts: list[int], whole: bool = False) -> list[Piece]:
    reader = CallReader(style, counting(), names=BY_NAME, whole=whole)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [piece for a, b in itertools.pairwise(places) for piece in reader.push(text[a:b])]
    return [*pieces, *reader.flush()]


def read(text: str, style: CallStyle | None, **more: bool) -> tuple[str, tuple[ToolCall, ...]]:
    return read_calls(text, style, counting(), names=BY_NAME, **more)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(cuts=st.lists(st.integers(0, 1000), max_size=30), many=st.booleans())
@settings(max_examples=30, deadline=None)
def test_calls_are_read_however_they_are_cut(style: CallStyle, cuts: list[int], many: bool) -> None:
    calls = TWO if many and style.many else ONE
    text = shown(style, style.write(calls))
    assert joined(streamed(text, style, cuts)) == ("", calls)
    assert joined(streamed(text, style, cuts, whole=True)) == ("", calls)
    assert read(text, style) == ("", calls)


@pytest.mark.parametrize("style", [HERMES, MISTRAL])
@given(cuts=st.lists(st.integers(0, 1000), max_size=30))
@settings(max_examples=20, deadline=None)
def test_text_may_come_before_and_after(style: CallStyle, cuts: list[int]) -> None:
    text = f"I look <tool it up. \n {style.write(TWO)}\n\nThat was it."
    assert joined(streamed(text, style, cuts)) == ("I look <tool it up.That was it.", TWO)


PIECES = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "{", "}", "[", "]", '"name"', ": ", '"now"', ", ", '"arguments"',
          "{}", "\n", "a", '{"name": "now", "arguments": {}}', '{"name": "now", "parameters": {}}', "\\", '"', "<"]  # fmt: skip


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@given(text=st.lists(st.sampled_from(PIECES), max_size=14).map("".join), cuts=st.lists(st.integers(0, 200)))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_and_its_calls_are_sound(style: CallStyle, text: str, cuts: list[int]) -> None:
    content, calls = read(text, style)
    assert joined(streamed(text, style, cuts, whole=True)) == (content, calls)
    assert joined(streamed(text, style, cuts)) == joined(streamed(text, style, list(range(len(text)))))
    for call in calls:
        assert call.name in BY_NAME
        assert isinstance(json.loads(call.arguments), dict)
    if not calls:
        assert content == text


@given(text=st.text(max_size=60), cuts=st.lists(st.integers(0, 200)))
@settings(max_examples=50, deadline=None)
def test_text_without_a_style_is_text(text: str, cuts: list[int]) -> None:
    assert joined(streamed(text, None, cuts)) == (text, ())


def test_text_is_told_as_soon_as_it_cannot_be_an_opening() -> None:
    reader = CallReader(HERMES, counting(), names=BY_NAME)
    assert reader.push("Hello") == [TextSaid("Hello")]
    assert reader.push(" <tool") == []
    assert reader.push("box>") == [TextSaid(" <toolbox>")]
    assert reader.push(" <tool_call>") == []
    assert reader.push('\n{"name": "now", "arguments": ') == []
    assert reader.push('{"a"') == [CallBegun(0, "call0", "now"), ArgumentsSaid(0, '{"a"')]
    assert reader.push(": 1}}\n</tool") == [ArgumentsSaid(0, ": 1}")]
    assert reader.flush() == []


@pytest.mark.parametrize("style", [LLAMA, HIDDEN_HERMES, HIDDEN_MISTRAL])
def test_other_text_is_told_at_once_where_calls_come_first(style: CallStyle) -> None:
    reader = CallReader(style, counting(), names=BY_NAME)
    assert reader.push(" ") == []
    assert reader.push("No") == [TextSaid(" No")]
    assert reader.push(shown(style, style.write(ONE))) == [TextSaid(shown(style, style.write(ONE)))]


LOOSE = {
    "a call without its opening": (HERMES, '{"name": "now", "arguments": {}}'),
    "two of them": (HERMES, '{"name": "now", "arguments": {}}\n{"name": "now", "arguments": {}}'),
    "only the end": (HERMES, '{"name": "now", "arguments": {}}\n</tool_call>'),
    "no closing": (HERMES, '<tool_call>\n{"name": "now", "arguments": {}}'),
    "a list within": (HERMES, '<tool_call>[{"name": "now", "arguments": {}}]</tool_call>'),
    "another order": (HERMES, '<tool_call>{"arguments": {}, "name": "now"}</tool_call>'),
    "arguments as text": (HERMES, '<tool_call>{"name": "now", "arguments": "{}"}</tool_call>'),
    "no arguments": (HERMES, '<tool_call>{"name": "now"}</tool_call>'),
    "the other key": (HERMES, '<tool_call>{"name": "now", "parameters": {}}</tool_call>'),
    "a brace too many": (HERMES, '<tool_call>{"name": "now", "arguments": {}}}</tool_call>'),
    "other spaces": (HERMES, '<tool_call>{ "name" :"now","arguments":{}} </tool_call>'),
    "braces too many": (LLAMA, '{"name": "now", "parameters": {}}}}'),
    "a tag before": (LLAMA, '<|python_tag|>{"name": "now", "parameters": {}}'),
    "an id": (MISTRAL, '[TOOL_CALLS][{"name": "now", "arguments": {}, "id": "abcdefghi"}]'),
}


@pytest.mark.parametrize(("style", "text"), LOOSE.values(), ids=LOOSE)
def test_calls_that_models_write_loosely_are_read(style: CallStyle, text: str) -> None:
    for content, calls in (read(text, style), joined(streamed(text, style, list(range(len(text)))))):
        assert content == ""
        assert calls
        assert {(call.name, call.arguments) for call in calls} == {("now", "{}")}


BROKEN = {
    "no JSON": (HERMES, "<tool_call>now()</tool_call>"),
    "an unknown tool": (HERMES, '<tool_call>{"name": "later", "arguments": {}}</tool_call> x'),
    "bare, of an unknown tool": (HERMES, '{"name": "John", "arguments": {}}'),
    "bad arguments": (HERMES, '<tool_call>\n{"name": "now", "arguments": {"a": nope}}\n</tool_call>'),
    "no number": (HERMES, '<tool_call>\n{"name": "now", "arguments": {"a": NaN}}\n</tool_call>'),
    "a list of arguments": (HERMES, '<tool_call>{"name": "now", "arguments": [1]}</tool_call>'),
    "cut off": (HERMES, '<tool_call>\n{"name": "now", "arguments": {"a": "b'),
    "only an opening": (HERMES, "a <tool_call>"),
    "very deep": (HERMES, '<tool_call>{"name": "now", "arguments": ' + '{"a":' * 100_000),
    "JSON that is none": (LLAMA, '{"type": "object"}'),
    "a list that is none": (HIDDEN_MISTRAL, '[{"a": 1}]'),
    "one of two": (MISTRAL, '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": 1}]'),
}


@pytest.mark.parametrize(("style", "text"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_sound_call_stays_text(style: CallStyle, text: str) -> None:
    content, calls = read(text, style)
    assert calls == ()
    assert "".join(content.split()) == "".join(text.split())


def test_a_call_that_a_limit_cut_is_told_as_far_as_it_goes_where_that_is_wanted() -> None:
    text = HERMES.write(TWO)[:-20]
    assert read(text, HERMES)[1] == ONE
    begun = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ro'
    assert read(begun, HERMES, cut=True) == ("", (ToolCall("call0", "weather", '{"city": "Ro'),))
    assert joined(streamed(begun, HERMES, [])) == ("", (ToolCall("call0", "weather", '{"city": "Ro'),))


def test_ids_are_new_each_time() -> None:
    made = {read_calls(HERMES.write(ONE), HERMES)[1][0].id for _ in range(20)}
    assert len(made) == 20
    assert all(i.startswith("call_") for i in made)
