"""Read the messages of a chat from OpenAI's form. Their shape was checked; knows no templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgetts.chat import Message, ToolCall
from edgetts.server.refusing import Refusal


def messages_of(given: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the messages. Raises Refusal for a last one that says nothing, and for results of calls that nobody made."""
    made: list[Message] = []
    called: dict[str, str] = {}
    for i, one in enumerate(given):
        message = _message(one, called)
        if message.role == "tool" and message.name is None:
            raise Refusal(
                400,
                f"messages[{i}] answers a tool call that no message before it makes.",
                param=f"messages[{i}].tool_call_id",
                code="invalid_value",
            )
        called |= {call.id: call.name for call in message.tool_calls}
        made.append(message)
    last = made[-1]
    if last.role != "tool" and not last.content.strip():
        where = f"messages[{len(made) - 1}].content"
        raise Refusal(400, "The last message is empty.", param=where, code="invalid_value")
    return tuple(made)


def _message(given: Mapping[str, Any], called: Mapping[str, str]) -> Message:
    """Return one message. called: names of the functions that were called, by the calls' ids."""
    role, content = given["role"], _text(given.get("content"))
    if role == "tool":
        answered = given["tool_call_id"]
        return Message("tool", content, tool_call_id=answered, name=called.get(answered))
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in given.get("tool_calls") or ()
    )
    return Message("system" if role == "developer" else role, content, tool_calls=calls)


def _text(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """Return a message's text; parts of it are put together as they are."""
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
