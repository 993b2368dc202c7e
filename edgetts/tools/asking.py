"""Prepare a chat with tools for `Engine.answer`, and read what comes back: the door for servers and apps.

Knows messages, tools and the model's chat template; no engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from edgetts.chat import ChatTemplate, Message, ToolCall
from edgetts.errors import EdgettsError
from edgetts.structure import Structure
from edgetts.tokenizer import Tokenizer
from edgetts.tools.describing import described, plain
from edgetts.tools.grammar import call_structure, text_structure
from edgetts.tools.reading import CallReader, Ids, read_calls
from edgetts.tools.shortlist import MOST, shortlist
from edgetts.tools.styles import HERMES, CallStyle, find_style
from edgetts.tools.tool import Tool, ToolChoice, parse_tools

if TYPE_CHECKING:
    from edgetts.answering.asked import Asked


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """What to ask an engine: `engine.answer(request.messages, **request.asked)`; and how to read its answer.

    tools: for the engine's `tools`; None where the messages themselves describe them. constraint: what answers are to
    be held to; None where no tool may be called. style: how calls are written; None where none may be. note: what the
    caller should know, empty where there is nothing. offered: the tools that may be called. after_calls: what an answer
    is to be held to that may not call, where the chat has calls: models go on calling as they see it done.
    """

    messages: tuple[Message, ...]
    tools: list[dict[str, Any]] | None
    constraint: Structure | None
    style: CallStyle | None
    note: str
    choice: ToolChoice
    offered: tuple[Tool, ...]
    after_calls: Structure | None = None

    @property
    def asked(self) -> Asked:
        """Keywords for `Engine.answer` and its like."""
        return {"tools": self.tools, "constraint": self.constraint or self.after_calls}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self.offered)

    def reader(self, ids: Ids | None = None, *, whole: bool = False) -> CallReader:
        """Return a reader of one streamed answer. ids: makes the ids of calls; whole: see `CallReader`."""
        return CallReader(self.style, ids, names=self.names, whole=whole)

    def read(
        self, text: str, ids: Ids | None = None, *, cut: bool = False
    ) -> tuple[str, tuple[ToolCall, ...]]:
        """Return a whole answer's text and calls. cut: a limit ended it; its last call is told as far as it goes."""
        return read_calls(text, self.style, ids, names=self.names, cut=cut)


def prepare(
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice | str | Mapping[str, Any] | None,
    template_source: str,
    messages: Sequence[Message],
    parallel: bool = True,
    most: int | None = MOST,
    *,
    tokenizer: Tokenizer | None = None,
) -> ToolRequest:
    """Check tools and choice, which come in OpenAI's form, and lay out a chat in which the model sees them.

    template_source: of the model's chat template, as it is used. parallel: whether an answer may have several calls.
    most: tools that are shown; of more, the likeliest (`shortlist`); None is all. tokenizer: the model's, without which
    a style's texts are taken for ordinary text. Raises InvalidInput, and MissingExtra where tools must be chosen among.
    """
    known = parse_tools(tools)
    chosen = ToolChoice.parse(choice, known)
    called = {call.name for message in messages for call in message.tool_calls}
    found = find_style(template_source)
    style = found or HERMES
    if tokenizer is not None and found is not None:
        style = found.with_tokens(lambda text: control_id(tokenizer, text))
    laid_out = lay_out(messages, template_source)
    if chosen.mode == "none":
        after_calls = text_structure(style) if called else None
        return ToolRequest(laid_out, None, None, None, "", chosen, (), after_calls)
    keep = called | ({chosen.name} if chosen.name else set())
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    shown = known if most is None else tuple(shortlist(known, asked, most, keep=keep))
    notes = []
    if len(shown) < len(known):
        notes.append(f"{len(shown)} of {len(known)} tools are shown to the model.")
    if found is None:
        laid_out = described(laid_out, shown, chosen, system=_has_system(template_source))
        notes.append(
            "The model's chat template has no tools that edgetts knows, so a message describes them."
        )
    return ToolRequest(
        messages=laid_out,
        tools=None if found is None else [tool.to_openai() for tool in shown],
        constraint=call_structure(shown, chosen, style, parallel),
        style=style,
        note=" ".join(notes),
        choice=chosen,
        offered=tuple(tool for tool in shown if chosen.name in (None, tool.name)),
    )


def lay_out(messages: Sequence[Message], template_source: str) -> tuple[Message, ...]:
    """Return a chat whose calls and results a model's chat template can show, whether or not there are tools now.

    Where the template has no place for them they become text; where it insists on a form of ids they get others.
    """
    if not any(message.tool_calls or message.role == "tool" for message in messages):
        return tuple(messages)
    style = find_style(template_source)
    if style is None:
        return plain(messages)
    return tuple(_with_short_ids(message) for message in messages) if style.short_ids else tuple(messages)


def prepare_for(
    tokenizer: Tokenizer,
    tools: Sequence[Mapping[str, Any]],
    messages: Sequence[Message],
    choice: ToolChoice | str | Mapping[str, Any] | None = "auto",
    *,
    parallel: bool = True,
    most: int | None = MOST,
) -> ToolRequest:
    """Prepare, as `prepare` does, for a loaded model: `prepare_for(engine.tokenizer, ...)`."""
    source = ChatTemplate.for_tokenizer(tokenizer).source
    return prepare(tools, choice, source, messages, parallel, most, tokenizer=tokenizer)


def control_id(tokenizer: Tokenizer, text: str) -> int | None:
    """Return the id of the control token that has this text, None where it is ordinary text."""
    found = tokenizer.token_id(text)
    return found if found is not None and tokenizer.is_control(found) else None


@lru_cache(maxsize=16)
def _has_system(template_source: str) -> bool:
    """Whether a template shows the model a system message."""
    told = "A probe."
    try:
        template = ChatTemplate(template_source, bos_text="", eos_text="")
        return told in template.render([Message("system", told), Message("user", "A question.")])
    except EdgettsError:
        return False


def _with_short_ids(message: Message) -> Message:
    """Give calls and results ids as Mistral's templates insist on: the same one for the same id."""
    calls = tuple(replace(call, id=_short(call.id)) for call in message.tool_calls)
    answered = None if message.tool_call_id is None else _short(message.tool_call_id)
    return replace(message, tool_calls=calls, tool_call_id=answered)


def _short(given: str) -> str:
    if len(given) == 9 and given.isascii() and given.isalnum():
        return given
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:9]
