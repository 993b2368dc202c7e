"""How a model writes its calls, found by what its chat template makes of one. Knows templates' texts, not tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from edgetts.chat import ChatTemplate, Message, ToolCall
from edgetts.errors import EdgettsError

Tokens = Callable[[str], int | None]
"""Returns the id of the control token that has a text; None where it is ordinary text."""


@dataclass(frozen=True, slots=True)
class CallStyle:
    """The text around calls: opening begin {"name": "...", key: {...}} between {...} end.

    anywhere: text may come before, and the opening tells it from calls. many: an answer may have several calls.
    short_ids: ids of calls are 9 letters and digits, as the template insists. controls: the style's texts that are
    control tokens of the model, with their ids; the text of an answer does not show those.
    """

    name: str
    opening: str
    begin: str
    between: str
    end: str
    key: str = "arguments"
    anywhere: bool = True
    many: bool = True
    short_ids: bool = False
    controls: tuple[tuple[str, int], ...] = ()

    @property
    def listed(self) -> bool:
        """Whether the calls are items of a JSON list."""
        return "[" in self.begin

    @property
    def hidden(self) -> bool:
        """Whether an answer's text does not show where calls begin, so that nothing may come before them."""
        return not self.anywhere or any(text == self.opening for text, _ in self.controls)

    @property
    def closing(self) -> str:
        """What an answer's text shows after each call; empty where the calls' end tells."""
        closing = self.end.strip()
        return "" if self.listed or any(text == closing for text, _ in self.controls) else closing

    @property
    def bare(self) -> bool:
        """Whether an answer that begins with a call without its opening is one, too: small models leave it out."""
        return self.name == "hermes" and not self.hidden

    def write(self, calls: tuple[ToolCall, ...]) -> str:
        """Return calls as the model writes them."""
        made = [f'{{"name": "{call.name}", "{self.key}": {call.arguments}}}' for call in calls]
        return self.opening + self.begin + self.between.join(made) + self.end

    def with_tokens(self, tokens: Tokens) -> CallStyle:
        """Return the style of a model whose vocabulary has some of its texts as control tokens."""
        found = {text: tokens(text) for text in (self.opening, *_TAGS.findall(self.end), *_OPTIONAL) if text}
        return replace(self, controls=tuple((text, i) for text, i in found.items() if i is not None))


_TAGS = re.compile(r"</?\w+>")
PYTHON_TAG = "<|python_tag|>"
"""What models of Llama's style may put before a call."""
_OPTIONAL = (PYTHON_TAG,)

HERMES = CallStyle(
    "hermes",
    opening="<tool_call>",
    begin="\n",
    between="\n</tool_call>\n<tool_call>\n",
    end="\n</tool_call>",
)
"""Of Hermes, Qwen, Granite and others; and ours, where a template shows no tools."""
LLAMA = CallStyle("llama", "", "", "", "", key="parameters", anywhere=False, many=False)
"""Of Llama 3.1 and later: a call is the whole answer."""
MISTRAL = CallStyle("mistral", "[TOOL_CALLS]", " [", ", ", "]", short_ids=True)

_NAME, _ID, _RESULT = "probed_function", "probeid01", "probed result"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "A probe.",
        "parameters": {"type": "object", "properties": {"probe": {"type": "integer"}}, "required": ["probe"]},
    },
}
_CALL = rf'\{{"name": "{_NAME}", "KEY": \{{"probe": 1\}}'
_SHAPES = (
    (
        HERMES,
        re.compile(
            r"<tool_call>(?P<begin>\s*)" + _CALL.replace("KEY", "arguments") + r"\}(?P<end>\s*)</tool_call>"
        ),
    ),
    (
        MISTRAL,
        re.compile(
            r"\[TOOL_CALLS\](?P<begin> ?\[)" + _CALL.replace("KEY", "arguments") + r"[^}]*\}(?P<end>\])"
        ),
    ),
    (LLAMA, re.compile(r"(?P<begin>)" + _CALL.replace("KEY", "parameters") + r"\}(?P<end>)")),
)


@lru_cache(maxsize=16)
def find_style(template_source: str) -> CallStyle | None:
    """Return how a model writes calls, from the text that its template makes of one.

    None where the template shows the model no tools, no results of tools, or calls in a way that is not known here:
    what is known is Hermes', Llama's and Mistral's.
    """
    call = ToolCall(_ID, _NAME, '{"probe": 1}')
    asked = Message("user", "A question.")
    told = Message("tool", _RESULT, tool_call_id=_ID, name=_NAME)
    try:
        template = ChatTemplate(template_source, bos_text="", eos_text="")
        if _NAME not in template.render([asked], tools=[_TOOL]):
            return None
        text = template.render([asked, Message("assistant", "", (call,)), told], tools=[_TOOL])
    except EdgettsError:
        return None
    if _RESULT not in text:
        return None
    # What comes after shows tools or results, in some templates with an example of a call.
    for style, shape in _SHAPES:
        found = [match for match in shape.finditer(text) if match.end() <= text.rindex(_RESULT)]
        if found:
            return _fitted(style, found[-1], _many(template, asked, call))
    return None


def _fitted(style: CallStyle, shape: re.Match[str], many: bool) -> CallStyle:
    """Return a style with the spaces that the template writes."""
    begin, end = shape["begin"], shape["end"]
    if style.name == "hermes":
        between = f"{end}</tool_call>\n<tool_call>{begin}"
        return replace(style, begin=begin, between=between, end=f"{end}</tool_call>", many=many)
    return replace(style, begin=begin, many=style.many and many)


def _many(template: ChatTemplate, asked: Message, call: ToolCall) -> bool:
    other = replace(call, id="probeid02")
    try:
        template.render([asked, Message("assistant", "", (call, other))], tools=[_TOOL])
    except EdgettsError:
        return False
    return True
