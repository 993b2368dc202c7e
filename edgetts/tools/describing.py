"""Show tools, calls and results to a model whose chat template has no place for them. Knows messages, no templates' texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from edgetts.chat import Message
from edgetts.tools.styles import HERMES, CallStyle
from edgetts.tools.tool import Tool, ToolChoice

_BEFORE = "You can call functions. Here they are, one a line, as JSON:\n<tools>\n"
_AFTER = "\n</tools>\nTo call a function, write its name and arguments as JSON between these tags, and nothing after them:\n"
_EXAMPLE = '<tool_call>\n{"name": "FUNCTION", "arguments": {"ARGUMENT": "VALUE"}}\n</tool_call>'
_RESULTS = "\nWhat it returned comes between <tool_response> tags. Answer from that."


def described(
    messages: Sequence[Message],
    tools: Sequence[Tool],
    choice: ToolChoice,
    style: CallStyle = HERMES,
    *,
    system: bool,
) -> list[Message]:
    """Return a chat in which the tools are described, and calls and results are plain text.

    system: whether the template has a place for a system message; without, the first of the user's says it.
    """
    told = _plain(messages, style)
    if choice.mode == "none" or not tools:
        return told
    text = _description(tools, choice)
    if told and told[0].role == "system":
        first = replace(told[0], content=f"{told[0].content}\n\n{text}")
        return [first, *told[1:]]
    if system:
        return [Message("system", text), *told]
    at = next((i for i, m in enumerate(told) if m.role == "user"), None)
    if at is None:
        return [Message("user", text), *told]
    return [*told[:at], replace(told[at], content=f"{text}\n\n{told[at].content}"), *told[at + 1 :]]


def _description(tools: Sequence[Tool], choice: ToolChoice) -> str:
    lines = "\n".join(json.dumps(tool.to_openai()["function"], ensure_ascii=False) for tool in tools)
    must = ""
    if choice.name is not None:
        must = f"\nCall {choice.name} now."
    elif choice.mode == "required":
        must = "\nCall at least one function now."
    return f"{_BEFORE}{lines}{_AFTER}{_EXAMPLE}{_RESULTS}{must}"


def _plain(messages: Sequence[Message], style: CallStyle) -> list[Message]:
    """Return a chat without tool calls and results but in its texts; results that follow each other are one message."""
    made: list[Message] = []
    after_result = False
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.content}\n</tool_response>"
            if after_result:
                made[-1] = replace(made[-1], content=f"{made[-1].content}\n{text}")
            else:
                made.append(Message("user", text))
        elif message.tool_calls:
            before = f"{message.content}\n" if message.content else ""
            made.append(Message("assistant", before + style.write(message.tool_calls)))
        else:
            made.append(message)
        after_result = message.role == "tool"
    return made
