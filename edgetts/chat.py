"""Turn messages into the prompt a model was trained on; knows templates and roles, not models."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


_DEEPEST = 64
"""Objects and lists within each other in arguments."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function that a model asks for. arguments: JSON text, which was cut off where the model was."""

    id: str
    name: str
    arguments: str

    def to_openai(self) -> dict[str, Any]:
        """Return it as OpenAI's messages hold it."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. Checked when made.

    tool_calls: of the assistant; their arguments are JSON objects, and the content may be empty then. tool_call_id and
    name: of a tool's result, whose content is what the tool returned.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidInput(
                f"A message has the role {self.role!r}.", hint=f"Roles are {', '.join(get_args(Role))}."
            )
        if not isinstance(self.content, str):
            raise InvalidInput(f"A message's content is {type(self.content).__name__}, but it must be text.")
        if self.tool_calls and self.role != "assistant":
            raise InvalidInput(
                f"A message of the role {self.role} has tool calls, but only the assistant calls."
            )
        if self.role != "tool" and (self.tool_call_id is not None or self.name is not None):
            raise InvalidInput(
                f"A message of the role {self.role} says which tool call it answers.",
                hint="Only messages of the role tool do.",
            )
        if not isinstance(self.tool_calls, tuple) or not all(
            isinstance(c, ToolCall) for c in self.tool_calls
        ):
            raise InvalidInput("A message's tool calls must be a tuple of edgetts.chat.ToolCall.")
        texts = [self.tool_call_id, self.name, *(t for c in self.tool_calls for t in (c.id, c.name))]
        if not all(text is None or isinstance(text, str) for text in texts):
            raise InvalidInput("The id and the name of a tool call must be text.")
        for call in self.tool_calls:
            _arguments(call)


@dataclass(frozen=True, slots=True)
class RawText:
    """A text that the model continues as it stands, without a chat template. Checked when made."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise InvalidInput("The text to continue is empty.", hint="Give at least a word.")


def _arguments(call: ToolCall) -> dict[str, Any]:
    """Return a call's arguments. Raises InvalidInput where they are no JSON object, or one absurdly deep."""
    try:
        found = json.loads(call.arguments, parse_constant=_no_constant)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _depth(found) > _DEEPEST:
        raise InvalidInput(
            f"The arguments of the call of {call.name[:64]!r} are not a JSON object.",
            hint="Give them as JSON text, for example {}.",
        )
    return found


def _plain(tools: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return tools as JSON has them, and the length of their JSON text."""
    try:
        text = json.dumps([dict(tool) for tool in tools], allow_nan=False)
        found: list[dict[str, Any]] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "The tools are not what JSON can hold.", hint="Describe them in OpenAI's form."
        ) from error
    if _depth(found) > 2 * _DEEPEST:
        raise InvalidInput("The description of a tool is nested too deeply.")
    return found, len(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any) -> int:
    """Return how many objects and lists are within each other, as far as it matters."""
    depth, level = 0, [value]
    while level and depth <= 2 * _DEEPEST:
        level = [
            item
            for one in level
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class ChatTemplate:
    """A model's chat template, compiled once. Usable from several threads.

    The source may come from anyone: it runs in Jinja2's sandbox under limits of steps and size.
    Templates see messages, add_generation_prompt, bos_token, eos_token, tools and documents (none),
    raise_exception and strftime_now, as Hugging Face gives them: the arguments of a tool call are an
    object, not text. strftime_now formats the local time.
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
        turns = [_turn(message) for message in messages]
        values = {**self._globals, "messages": turns, "add_generation_prompt": add_generation_prompt}
        # Long chats are not a template's fault: they bring their own fuel. So do many tools.
        extra = 8 * sum(map(_size, messages)) + 5000 * sum(1 + len(m.tool_calls) for m in messages)
        if tools:
            values["tools"], size = _plain(tools)
            extra += 16 * size + 5000 * len(tools)
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


def _turn(message: Message) -> dict[str, Any]:
    """Return a message as templates expect it: they look whether there is a key."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": _arguments(c)}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _size(message: Message) -> int:
    return len(message.content) + sum(2 * len(c.arguments) for c in message.tool_calls)


def encode_chat(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Render a chat and encode it so that no content can forge a control token.

    Contents are also what tool calls and tools say: names, arguments, descriptions, all keys and texts.
    Only the template writes control tokens. Where contents spell none, the ids are those of the
    whole rendered text; where they do, the stretch of text between two of the template's control
    tokens that holds it is encoded as plain text. A mark set into such spellings before rendering
    survives templates that trim, cut or join contents. Contents that a template would put together
    to a control token all the same are refused with TemplateError. A bos token is put first where
    the model wants one and the template wrote none.
    """
    tools = _plain(tools)[0] if tools else None
    said = "".join(_texts(messages, tools))
    free = [m for m in _MARKS if m not in said and m not in template.source]
    if len(free) < 2:
        raise InvalidInput("The messages hold every Unicode noncharacter there is.", hint="Remove them.")
    mark, neutral = free[:2]
    spelled = [text for text in tokenizer.control_texts if text in said]
    marked, marked_tools = _changed(messages, tools, lambda text: _mark(text, spelled, mark))
    rendered = template.render(marked, add_generation_prompt, marked_tools)
    written = _written(tokenizer, rendered, mark)
    # A template that removes or changes text can put a control token together from harmless pieces
    # ("<|im_</s>end|>"). Then it writes fewer of them when the contents' punctuation is another.
    signs = {c for text in tokenizer.control_texts for c in text if not (c.isalnum() or c.isspace())}
    table = {ord(c): neutral for c in signs}
    without, without_tools = _changed(marked, marked_tools, lambda text: text.translate(table))
    if (without, without_tools) != (marked, marked_tools) and len(written) > len(
        _written(tokenizer, template.render(without, add_generation_prompt, without_tools), mark)
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


_OWN_KEYS = frozenset({"type", "function", "name", "description", "parameters", "strict"})
"""Keys of a tool that templates look up; they spell nothing."""


def _texts(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Return every text in messages and tools that comes from outside, keys of objects included."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    _changed(messages, tools, note)
    return found


def _changed(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, change: Callable[[str], str]
) -> tuple[list[Message], list[dict[str, Any]] | None]:
    """Return messages and tools in which every text from outside is another."""

    def call(one: ToolCall) -> ToolCall:
        arguments = json.dumps(_deep(_arguments(one), change), ensure_ascii=False)
        return ToolCall(change(one.id), change(one.name), arguments)

    made = [
        replace(
            m,
            content=change(m.content),
            tool_calls=tuple(call(one) for one in m.tool_calls),
            tool_call_id=None if m.tool_call_id is None else change(m.tool_call_id),
            name=None if m.name is None else change(m.name),
        )
        for m in messages
    ]
    return made, None if tools is None else [_deep(tool, change) for tool in tools]


def _deep(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value in which every text and every key is changed, but for the keys that templates look up."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {k if k in _OWN_KEYS else change(str(k)): _deep(v, change) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item, change) for item in value]
    return value


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
