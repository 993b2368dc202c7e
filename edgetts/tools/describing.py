"""Show tools, calls and results to a model whose chat template has no place for them. Knows messages, no templates' texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from edgetts.chat import Message
from edgetts.tools.styles import HERMES
from edgetts.tools.tool import Tool, ToolChoice

_BEFORE = "You can call functions. Here they are, one a line, as JSON:\n<tools>\n"
_AFTER = "\n</tools>\nTo call a function, write its name and arguments as JSON between these tags, and nothing after them:\n"
_EXAMPLE = '<tool_call>\n{"name": "FUNCTION", "arguments": {"ARGUMENT": "VALUE"}}\n</tool_call>'
_RESULTS = "\nWhat it returned comes between <tool_response> tags. Answer from that."


def described(
    told: Sequence[Message], tools: Sequence[Tool], choice: ToolChoice, *, system: bool
) -> tuple[Message, ...]:
    """Return a chat, in which calls and results are text, with a description of the tools.

    system: whether the template has a place for a system message; without, the first of the user's says it.
    """
    text = _description(tools, choice)
    if told and told[0].role == "system":
        return (replace(told[0], content=f"{told[0].content}\n\n{text}"), *told[1:])
    if system:
        return (Message("system", text), *told)
    at = next((i for i, m in enumerate(told) if m.role == "user"), None)
    if at is None:
        return (Message("user", text), *told)
    return (*told[:at], replace(told[at], content=f"{text}\n\n{told[at].content}"), *told[at + 1 :])


def _description(tools: Sequence[Tool], choice: ToolChoice) -> str:
    lines = "\n".join(json.dumps(tool.to_openai()["function"], ensure_ascii=False) for tool in tools)
    must = ""
    if choice.name is not None:
        must = f"\nCall {choice.name} now."
    elif choice.mode == "required":
        must = "\nCall at least one function now."
    return f"{_BEFORE}{lines}{_AFTER}{_EXAMPLE}{_RESULTS}{must}"


def plain(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a chat in which calls and results are text, as of Hermes' models.

    Results are the user's; those that follow each other, and what the user says then, are one message: some templates
    insist that turns alternate.
    """
    made: list[Message] = []
    after_result = False
    for message in messages:
        said = replace(message, tool_calls=(), tool_call_id=None, name=None)
        if message.role == "tool":
            said = Message("user", f"<tool_response>\n{message.content}\n</tool_response>")
        elif message.tool_calls:
            before = f"{message.content}\n" if message.content else ""
            said = Message("assistant", before + HERMES.write(message.tool_calls))
        if after_result and said.role == "user":
            made[-1] = replace(made[-1], content=f"{made[-1].content}\n{said.content}")
        else:
            made.append(said)
        after_result = message.role == "tool"
    return tuple(made)
