"""Write the language of answers that call tools, for llguidance. Knows styles and schemas; no vocabulary but control tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edgetts.structure import Grammar
from edgetts.tools.styles import PYTHON_TAG, CallStyle
from edgetts.tools.tool import Tool, ToolChoice

MOST_CALLS = 16
"""Of one answer: a model that calls and calls would fill its context."""
_MORE = f"{{0,{MOST_CALLS - 1}}}"


def call_structure(
    tools: Sequence[Tool], choice: ToolChoice, style: CallStyle, parallel: bool = True
) -> Grammar | None:
    """Return what an answer may be; None where no tool is to be called.

    With auto it is free text, or calls, before which there may be text where the style can tell it from them. Text
    cannot hold the opening of a call. Once it is written, a name and arguments of one of the tools follow, and after
    the last call the answer ends. Required or named, the calls are all of it. parallel: whether there may be several.
    """
    if choice.mode == "none":
        return None
    offered = [tool for tool in tools if choice.name in (None, tool.name)]
    several = parallel and style.many
    calls = "call" if not several else f"call ({_text(style.between, style)} call){_MORE}"
    rules = [
        f"calls: {_text(style.begin, style)} {calls} {_text(style.end, style)}",
        f"call: {_quoted('{')} {_quoted(json.dumps('name') + ': ')} {_quoted(chr(34))} ({_names(offered)}) {_quoted('}')}",
        *(
            f"tool{i}: {_quoted(f'{tool.name}{chr(34)}, {json.dumps(style.key)}: ')} schema{i}\n"
            f"schema{i}: %json {json.dumps(dict(tool.parameters))}"
            for i, tool in enumerate(offered)
        ),
    ]
    if choice.mode == "auto" and style.bare:
        return Grammar("\n".join([*_start_bare(offered, style, several), *rules, ""]))
    return Grammar("\n".join([*_start(choice, style), *rules, ""]))


def text_structure(style: CallStyle) -> Grammar:
    """Return what an answer may be that is no call, nor looks like one."""
    opening = "" if style.hidden else f" & ~( ANY {_text(style.opening, style)} ANY )"
    looks = r"""/\s*\[?\s*\{\s*"name"/"""
    return Grammar(f"start: FREE\nANY: /(?s:.*)/\nFREE: ANY & ~( {looks} ANY ){opening}\n")


def _start(choice: ToolChoice, style: CallStyle) -> list[str]:
    opening = _text(style.opening, style)
    if not style.opening:
        tag = next((i for text, i in style.controls if text == PYTHON_TAG), None)
        opening = "" if tag is None else f"<[{tag}]>?"
    if choice.mode == "required":
        return [f"start: {opening} calls"]
    anything = "ANY: /(?s:.*)/"
    if style.hidden:
        # The opening is not in the text, so text must not look like what comes after it.
        return [
            f"start: FREE | {opening} calls",
            anything,
            f"FREE: ANY & ~( /{_looks(style)}/ ANY )",
        ]
    return [
        "start: FREE | head calls",
        anything,
        f"FREE: ANY & ~( ANY {opening} ANY )",
        f"head[lazy]: ANY {opening}",
    ]


def _start_bare(tools: Sequence[Tool], style: CallStyle, several: bool) -> list[str]:
    """Begin with text, an opening, or a call without one: what has a tool's name and arguments is no other text.

    A call's beginning is one string: only so does the lexer, which is greedy, read it beside text.
    """
    names, key = "|".join(tool.name for tool in tools), style.key
    beginnings = [f'{{"name": "{tool.name}", "{key}": ' for tool in tools]
    bare = " | ".join(f"{_quoted(begun)} schema{i}" for i, begun in enumerate(beginnings))
    return [
        "start: FREE | head calls | bare",
        f"bare: ({bare}) {_quoted('}')}" + (f" ({_quoted(chr(10))} call){_MORE}" if several else ""),
        "ANY: /(?s:.*)/",
        rf'BARE: /\s*\{{\s*"name"\s*:\s*"(?:{names})"\s*,\s*"{key}"/',
        f"FREE: ANY & ~( ANY {_text(style.opening, style)} ANY ) & ~( BARE ANY )",
        f"HEAD: ( ANY {_text(style.opening, style)} ) & ~( BARE ANY )",
        "head[lazy]: HEAD",
    ]


def _looks(style: CallStyle) -> str:
    """Return how an answer begins that is read as calls, as a regular expression."""
    return r"\s*\[\s*\{" if style.listed else r"\s*\{"


def _names(tools: Sequence[Tool]) -> str:
    return " | ".join(f"tool{i}" for i in range(len(tools)))


def _text(text: str, style: CallStyle) -> str:
    """Return a text as terms of a rule, its control tokens by their ids."""
    for control, token in style.controls:
        before, found, after = text.partition(control)
        if found:
            return " ".join(filter(None, (_text(before, style), f"<[{token}]>", _text(after, style))))
    return _quoted(text) if text else ""


def _quoted(text: str) -> str:
    return json.dumps(text)
