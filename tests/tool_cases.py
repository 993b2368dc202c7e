"""Tools to test with, and chat templates in few words that write calls as real ones do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetts.tools.tool import Tool, parse_tools

CATALOGUE: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "tool_catalogue.json").read_text(encoding="utf-8")
)
"""60 tools, each with two questions: one in the words of its description, one as people say it otherwise."""


def function(name: str, description: str = "", parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": name, "description": description}
    return {
        "type": "function",
        "function": inner | ({} if parameters is None else {"parameters": parameters}),
    }


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


WEATHER = function(
    "weather",
    "Tell the weather of a city.",
    closed(["city"], city={"enum": ["Rome", "Oslo"]}, days={"type": "integer", "minimum": 1, "maximum": 9}),
)
# Its name begins with another's, and its schema refers to a part of itself.
WEATHER2 = function(
    "weather-2",
    "",
    closed(["where"], where={"$ref": "#/$defs/place"}, tags={"type": "array", "items": {"type": "string"}})
    | {"$defs": {"place": closed(["lat"], lat={"type": "number"}, name={"type": ["string", "null"]})}},
)
NOW = function("now", "Tell the time.")
OPENAI = [WEATHER, WEATHER2, NOW]
TOOLS = parse_tools(OPENAI)
BY_NAME: dict[str, Tool] = {tool.name: tool for tool in TOOLS}


def counting() -> Callable[[], str]:
    """Return what makes the ids call0, call1 ..."""
    made: list[str] = []

    def ids() -> str:
        made.append(f"call{len(made)}")
        return made[-1]

    return ids


HERMES_TEMPLATE = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- 'Tools:' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\nWrite <tool_call>\\n{"name": <name>, "arguments": <args>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- '<|im_start|>assistant\\n' + message.content }}
        {%- for call in message.tool_calls %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' + (call.arguments | tojson) + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
    {%- elif not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
LLAMA_TEMPLATE = """
{%- for message in messages %}
    {%- if 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{- raise_exception("one call at a time") }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|im_start|>assistant\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- '}<|im_end|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>ipython\\n' + (message.content | tojson) + '<|im_end|>' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if loop.last and tools %}{%- for tool in tools %}{{- tool | tojson(indent=4) + '\\n\\n' }}{%- endfor %}{%- endif %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
{%- endfor %}
"""
MISTRAL_TEMPLATE = """
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools and loop.first %}{{- '[AVAILABLE_TOOLS] ' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif %}
        {{- '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.tool_calls is defined %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- if call.id | length != 9 %}{{- raise_exception('ids have 9 characters') }}{%- endif %}
            {%- set written = call.function | tojson %}
            {{- written[:-1] + ', "id": "' + call.id + '"}' }}{{- ', ' if not loop.last else ']</s>' }}
        {%- endfor %}
    {%- elif message.role == 'tool' %}
        {%- if message.tool_call_id | length != 9 %}{{- raise_exception('ids have 9 characters') }}{%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- message.content }}
    {%- endif %}
{%- endfor %}
"""
# A way of writing calls that is not known here.
XML_TEMPLATE = """
{%- for tool in tools or [] %}{{- tool | tojson }}{%- endfor %}
{%- for message in messages %}
    {%- for call in message.tool_calls or [] %}<tool_call><function={{ call.function.name }}></function></tool_call>{%- endfor %}
    {{- message.role + ': ' + message.content + '\\n' }}
{%- endfor %}
"""
# As Gemma's: no tools, no system, and turns that alternate.
STRICT_TEMPLATE = """
{%- for message in messages %}
    {%- if message.role == 'system' %}{{- raise_exception("no system") }}{%- endif %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception("turns must alternate") }}{%- endif %}
    {{- message.role + ': ' + message.content + '\\n' }}
{%- endfor %}
"""
