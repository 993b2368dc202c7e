"""Turn messages into the prompt a model was trained on; knows templates and roles, not models."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from edgetts.errors import InvalidInput, TemplateError
from edgetts.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant", "tool"]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For a model without a template whose vocabulary has ChatML's tokens."""

PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For any other model without a template: `User: ...`, an empty line, `Assistant:`."""

_MARKS = [chr(point) for point in range(0xFDD0, 0xFDF0)]
"""Noncharacters: Unicode keeps them for use inside a program, so texts hardly ever hold one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. Checked when made."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidInput(
                f"A message has the role {self.role!r}.", hint=f"Roles are {', '.join(get_args(Role))}."
            )
        if not isinstance(self.content, str):
            raise InvalidInput(f"A message's content is {type(self.content).__name__}, but it must be text.")


@dataclass(frozen=True, slots=True)
class RawText:
    """A text that the model continues as it stands, without a chat template. Checked when made."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise InvalidInput("The text to continue is empty.", hint="Give at least a word.")


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class ChatTemplate:
    """A model's chat template, compiled once. Usable from several threads.

    The source may come from anyone: it runs in Jinja2's sandbox under limits of steps and size.
    Templates see messages, add_generation_prompt, bos_token, eos_token, tools and documents (none),
    raise_exception and strftime_now, as Hugging Face gives them. strftime_now formats the local time.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_text: str,
        eos_text: str,
        strftime_now: Callable[[str], str] = _strftime_now,
    ) -> None:
        from edgetts import template_sandbox  # it imports Jinja2, which not every command needs

        self.source = source
        self._sandbox = template_sandbox
        self._lock = threading.Lock()
        self._globals = {"bos_token": bos_text, "eos_token": eos_text, "tools": None, "documents": None}
        if len(source) > template_sandbox.MAX_SOURCE:
            raise TemplateError(
                f"The model's chat template is {len(source)} characters long, which is absurd."
            )
        self._environment = template_sandbox.SandboxedTemplates(strftime_now)
        try:
            self._template = self._environment.from_string(source)
        except template_sandbox.FAILURES as error:
            raise self._failure("is not a valid Jinja2 template", error) from error

    @classmethod
    def for_tokenizer(cls, tokenizer: Tokenizer) -> ChatTemplate:
        """Take the model's own template; without one ChatML where its tokens exist, else plain text."""
        facts = tokenizer.facts
        source = facts.chat_template
        if source is None:
            has_chatml = None not in (tokenizer.token_id("<|im_start|>"), tokenizer.token_id("<|im_end|>"))
            source = CHATML if has_chatml else PLAIN
        return cls(source, bos_text=facts.bos_text, eos_text=facts.eos_text)

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """Render a chat as text. Raises TemplateError; InvalidInput without messages.

        The text mixes the template's control tokens with what people wrote: to feed a model use
        `encode_chat`, which keeps them apart.
        """
        if not messages:
            raise InvalidInput("There are no messages.", hint="Pass at least one from the user.")
        turns: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in messages]
        values = {**self._globals, "messages": turns, "add_generation_prompt": add_generation_prompt}
        if tools:
            values["tools"] = [dict(tool) for tool in tools]
        # Long chats are not a template's fault: they bring their own fuel.
        extra = 8 * sum(len(m.content) for m in messages) + 5000 * len(messages)
        with self._lock:
            try:
                return self._sandbox.render(self._environment, self._template, values, extra)
            except self._sandbox.FAILURES as error:
                raise self._failure("fails", error) from error

    def _failure(self, what: str, error: Exception) -> TemplateError:
        text = " ".join(str(error).split())[:200].rstrip(".")
        if isinstance(error, self._sandbox.RefusalError):
            return TemplateError(f"The model's chat template refuses these messages: {text}.")
        hint = "Use a template you trust in its place."
        if isinstance(error, (self._sandbox.LimitError, RecursionError, MemoryError)):
            return TemplateError("The model's chat template runs too long or grows too large.", hint=hint)
        if isinstance(error, self._sandbox.SecurityError):
            return TemplateError(
                f"The model's chat template reaches for what it may not have: {text}.", hint=hint
            )
        return TemplateError(f"The model's chat template {what}: {text or type(error).__name__}.", hint=hint)


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Render a chat and encode it so that no content can forge a control token.

    Only the template writes control tokens. Where contents spell none, the ids are those of the
    whole rendered text; where they do, the stretch of text between two of the template's control
    tokens that holds it is encoded as plain text. A mark set into such spellings before rendering
    survives templates that trim, cut or join contents. Contents that a template would put together
    to a control token all the same are refused with TemplateError. A bos token is put first where
    the model wants one and the template wrote none.
    """
    contents = "".join(message.content for message in messages)
    free = [m for m in _MARKS if m not in contents and m not in template.source]
    if len(free) < 2:
        raise InvalidInput("The messages hold every Unicode noncharacter there is.", hint="Remove them.")
    mark, neutral = free[:2]
    spelled = [text for text in tokenizer.control_texts if text in contents]
    marked = [Message(m.role, _mark(m.content, spelled, mark)) for m in messages]
    rendered = template.render(marked, add_generation_prompt, tools)
    written = _written(tokenizer, rendered, mark)
    # A template that removes or changes text can put a control token together from harmless pieces
    # ("<|im_</s>end|>"). Then it writes fewer of them when the contents' punctuation is another.
    signs = {c for text in tokenizer.control_texts for c in text if not (c.isalnum() or c.isspace())}
    without = [Message(m.role, m.content.translate({ord(c): neutral for c in signs})) for m in marked]
    if without != marked and len(written) > len(
        _written(tokenizer, template.render(without, add_generation_prompt, tools), mark)
    ):
        raise TemplateError(
            "The model's chat template would make control tokens of what the messages say.",
            hint="Remove text that looks like control tokens.",
        )
    return _encode_rendered(tokenizer, rendered, mark)


def encode_raw(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode a text that is to be continued; it spells no control tokens, and bos comes first where the model wants it."""
    ids = tokenizer.encode(text, special=False)
    if tokenizer.facts.bos is not None and tokenizer.facts.add_bos:
        ids.insert(0, tokenizer.facts.bos)
    return ids


def _encode_rendered(tokenizer: Tokenizer, rendered: str, mark: str) -> list[int]:
    facts = tokenizer.facts
    begun = facts.bos is not None and facts.bos_text != "" and rendered.startswith(facts.bos_text)
    if begun:
        # What follows bos is the beginning of the text, where SentencePiece puts its space.
        rendered = rendered.removeprefix(facts.bos_text)
    ids = tokenizer.encode_parts(_parts(rendered, _written(tokenizer, rendered, mark), mark))
    if facts.bos is not None and (begun or facts.add_bos):
        ids.insert(0, facts.bos)
    return ids


def _mark(content: str, spelled: Sequence[str], mark: str) -> str:
    """Put the mark behind the first character of every control token the content spells."""
    if not spelled:
        return content
    begins = re.compile(f"(?=(?:{'|'.join(map(re.escape, spelled))}))(.)", re.DOTALL)
    return begins.sub(rf"\1{mark}", content)


def _written(tokenizer: Tokenizer, rendered: str, mark: str) -> list[tuple[int, int]]:
    """Find the control tokens in a rendered text, as (begin, end), except those marked."""
    present = sorted((t for t in tokenizer.control_texts if t and t in rendered), key=len, reverse=True)
    if not present:
        return []
    pattern = re.compile(f"(?:{'|'.join(map(re.escape, present))})(?!{mark})")
    return [match.span() for match in pattern.finditer(rendered)]


def _parts(rendered: str, controls: Sequence[tuple[int, int]], mark: str) -> list[tuple[str, bool]]:
    """Cut a rendered text into (text, special) so that marked stretches are plain text."""
    if mark not in rendered:
        return [(rendered, True)]
    parts: list[tuple[str, bool]] = []
    begin = 0  # of the part under way
    gap = 0  # end of the last control token
    for start, end in [*controls, (len(rendered), len(rendered))]:
        if mark in rendered[gap:start]:
            parts += [(rendered[begin:gap], True), (rendered[gap:start].replace(mark, ""), False)]
            begin = start
        gap = end
    parts.append((rendered[begin:], True))
    return [part for part in parts if part[0]]
