"""What a model may call and whether it must, read from OpenAI's form. Knows no templates and no grammars."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

MOST_TOOLS = 128
"""As OpenAI's own limit."""
_LARGEST = 96_000
"""Characters of all tools' JSON. A grammar is made of them, which may have 100,000, and a prompt of some 25,000 tokens."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_FIELDS = ("name", "description", "parameters", "strict")

Mode = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call. parameters: JSON Schema of an object, to which arguments are always held."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def to_openai(self) -> dict[str, Any]:
        """Return it as templates and OpenAI's clients know it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are called. auto: as the model wants; required: at least one is; name: the one that is called."""

    mode: Mode
    name: str | None = None

    @classmethod
    def parse(cls, choice: object, tools: Sequence[Tool]) -> ToolChoice:
        """Read OpenAI's `tool_choice`. Raises InvalidInput for a tool that is not there."""
        if isinstance(choice, ToolChoice):
            choice = {"function": {"name": choice.name}} if choice.name else choice.mode
        if choice is None:
            return cls("auto")
        if isinstance(choice, str) and choice in get_args(Mode):
            return cls("none" if choice == "none" else "required" if choice == "required" else "auto")
        function = choice.get("function") if isinstance(choice, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or (
            isinstance(choice, Mapping) and choice.get("type", "function") != "function"
        ):
            raise InvalidInput(
                "The tool choice is neither auto, none, required nor a function.",
                hint='A function is named so: {"type": "function", "function": {"name": "..."}}.',
            )
        names = [tool.name for tool in tools]
        if name not in names:
            raise InvalidInput(
                f"The tool choice {name[:64]!r} is none of the tools.", hint=near_miss(name, names)
            )
        return cls("required", name)


def parse_tools(given: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Read OpenAI's `tools`. Raises InvalidInput that names the tool and what is wrong with it.

    strict may be given; arguments are held to the schema either way. Schemas are checked when they are compiled.
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise InvalidInput("The tools must be a list.")
    if not 1 <= len(given) <= MOST_TOOLS:
        raise InvalidInput(f"There are {len(given)} tools, but 1 to {MOST_TOOLS} can be given.")
    _check_size(given)
    tools = tuple(_tool(one, f"tools[{i}]") for i, one in enumerate(given))
    seen: set[str] = set()
    for i, tool in enumerate(tools):
        if tool.name in seen:
            raise InvalidInput(f"tools[{i}] has the name {tool.name!r}, as one before it.", hint="Rename it.")
        seen.add(tool.name)
    return tools


def _check_size(given: Sequence[Mapping[str, Any]]) -> None:
    try:
        size = len(json.dumps(list(given), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput("The tools are not what JSON can hold, or nested too deeply.") from error
    if size > _LARGEST:
        raise InvalidInput(
            f"The tools have {size} characters as JSON, but {_LARGEST} are the most.",
            hint="Describe them in fewer words.",
        )


def _tool(given: object, where: str) -> Tool:
    if not isinstance(given, Mapping) or given.get("type") != "function":
        raise InvalidInput(
            f"{where} is not of the type function.", hint="Other types of tools are not known."
        )
    function = given.get("function")
    if not isinstance(function, Mapping):
        raise InvalidInput(f"{where} has no function.", hint='Write {"type": "function", "function": {...}}.')
    for unknown in (set(given) - {"type", "function"}) | (set(function) - set(_FIELDS)):
        raise InvalidInput(f"{where} has the field {str(unknown)[:64]!r}.", hint=near_miss(unknown, _FIELDS))
    name = function.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidInput(f"{where} has a name that is not 1 to 64 letters, digits, underscores and dashes.")
    description = function.get("description")
    if description is not None and not isinstance(description, str):
        raise InvalidInput(f"{where}, {name}, has a description that is no text.")
    if not isinstance(function.get("strict"), (bool, type(None))):
        raise InvalidInput(f"{where}, {name}, has a strict that is neither true nor false.")
    return Tool(name, description or "", _parameters(function.get("parameters"), f"{where}, {name},"))


def _parameters(given: object, where: str) -> Mapping[str, Any]:
    if given is None:
        return _NO_PARAMETERS
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{where} has parameters that are no JSON Schema.", hint="Write an object.")
    if given.get("type", "object") != "object":
        raise InvalidInput(
            f"{where} has parameters of another type than object.", hint='Write "type": "object".'
        )
    return {"type": "object", **given}
