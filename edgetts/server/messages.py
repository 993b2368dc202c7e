"""Read the messages of a chat from OpenAI's form. Their shape was checked; knows no templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgetts.chat import Message
from edgetts.server.refusing import Refusal


def messages_of(given: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the messages. Raises Refusal where one that must say something is empty."""
    made = tuple(_message(one, f"messages[{i}]") for i, one in enumerate(given))
    last = made[-1]
    if not last.content.strip():
        where = f"messages[{len(made) - 1}].content"
        raise Refusal(400, "The last message is empty.", param=where, code="invalid_value")
    return made


def _message(given: Mapping[str, Any], where: str) -> Message:
    role = given["role"]
    content = _text(given.get("content"))
    return Message("system" if role == "developer" else role, content)


def _text(content: str | Sequence[Mapping[str, Any]] | None) -> str:
    """Return a message's text; parts of it are put together as they are."""
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
