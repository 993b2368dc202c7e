"""Ask for the reasoning, or for the answer alone: what each says to the model. Knows chats, not tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgetts.chat import ChatTemplate, Message, encode_chat, encode_raw
from edgetts.control.success.model import Approach
from edgetts.errors import InvalidInput
from edgetts.tokenizer import Tokenizer

ANSWER_ALONE = "Give only the final answer, without any explanation."
"""Added to the question where the model is asked for the answer alone."""
_SWITCH = "enable_thinking"
"""The variable of chat templates of thinking models (Qwen3 and those after it) that switches thinking off."""


class Asking:
    """Encode a chat as it is asked in each approach. template: the model's own."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._quick: ChatTemplate | None = None

    @property
    def switches(self) -> bool:
        """Whether the template itself can have the model answer without thinking."""
        return _SWITCH in self.template.source

    def template_for(self, approach: Approach) -> ChatTemplate:
        if approach == "reason" or not self.switches:
            return self.template
        if self._quick is None:
            facts = self.tokenizer.facts
            source = f"{{% set {_SWITCH} = false %}}{self.template.source}"
            self._quick = ChatTemplate(source, bos_text=facts.bos_text, eos_text=facts.eos_text)
        return self._quick

    def messages(self, messages: Sequence[Message], approach: Approach) -> list[Message]:
        """Return the chat that asks so: the same where the template does it."""
        if approach == "reason" or self.switches or messages[-1].role != "user":
            return list(messages)
        last = messages[-1]
        return [*messages[:-1], replace(last, content=f"{last.content}\n\n{ANSWER_ALONE}")]

    def encode(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, approach: Approach
    ) -> list[int]:
        """Return the prompt's tokens. tools: functions that the template shows the model."""
        template, asked = self.template_for(approach), self.messages(messages, approach)
        if tools and "tools" not in template.source:
            raise InvalidInput(
                "The model's chat template has no place for tools, so that it would not see them.",
                hint="Prepare the chat with edgetts.tools.prepare_for, which describes them in a message.",
            )
        return encode_chat(self.tokenizer, template, asked, tools=tools)

    def encode_raw(self, text: str, approach: Approach) -> list[int]:
        """Return the tokens of a text that is continued as it stands, but for being asked for the answer alone."""
        text = text if approach == "reason" else f"{text}\n\n{ANSWER_ALONE}\n"
        return encode_raw(self.tokenizer, text)
