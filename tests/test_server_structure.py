"""`response_format` and `tools`, through the official client: answers that are kept to schemas, calls that are read."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from fakes_engine import tiny_engine_bundle, tiny_tokenizer
from server_fixtures import MODEL, Running, echo_engine, running

from edgetts.tokenizer import Tokenizer

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 10},
        "high": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "high"],
    "additionalProperties": False,
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 17, "b": 25}}\n</tool_call>'


@pytest.fixture(scope="module")
def server(tiny_tokenizer: Tokenizer) -> Iterator[Running]:
    engine, session = echo_engine(tiny_tokenizer)
    with engine, running(engine) as server:
        yield server
        assert session.live == []


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


def ask(client: openai.OpenAI, text: str, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, **fields})


def test_an_answer_is_kept_to_a_schema(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True}}
    said = '{"city": "Oslo", "high": 7}'
    assert json.loads(ask(client, said, response_format=form).choices[0].message.content) == json.loads(said)
    # A model that wants to say something else is held to it all the same.
    for choice in ask(client, "[1, 2]", response_format=form, n=3, temperature=2).choices:
        if choice.finish_reason == "stop":
            assert set(json.loads(choice.message.content)) == {"city", "high"}
    streamed = ask(client, said, response_format=form, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert json.loads(text) == json.loads(said)


def test_the_clients_own_parsing_works(client: openai.OpenAI) -> None:
    class Weather(pydantic.BaseModel):
        city: str
        high: int

    messages: Any = [{"role": "user", "content": '{"city":"Oslo","high":7}'}]
    parsed = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(city="Oslo", high=7)


def test_an_object_is_an_object(client: openai.OpenAI) -> None:
    made = ask(client, '{"a": [1, 2]}', response_format={"type": "json_object"})
    assert json.loads(made.choices[0].message.content) == {"a": [1, 2]}
    assert ask(client, "Hi", response_format={"type": "text"}).choices[0].message.content == "Hi"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
        {"$ref": "#/nowhere"},
        {"enum": [f"x{i}" for i in range(100_000)]},
        {"not": {"type": "string"}},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
    ],
)
def test_a_schema_that_cannot_be_is_refused(server: Running, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    refused = server.chat(response_format=form)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == "response_format"
    assert server.chat(response_format=form, stream=True).status_code == 400


def test_a_call_is_read_whole(client: openai.OpenAI) -> None:
    [choice] = ask(client, CALL, tools=[ADD]).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "add")
    assert json.loads(call.function.arguments) == {"a": 17, "b": 25}


def test_a_call_streams_as_openais_does(client: openai.OpenAI) -> None:
    begun: dict[int, Any] = {}
    arguments = ""
    for chunk in ask(client, f"Let me see. {CALL}", tools=[ADD], stream=True):
        [choice] = chunk.choices
        finish = choice.finish_reason
        for call in choice.delta.tool_calls or []:
            if call.id is not None:
                begun[call.index] = call
            arguments += call.function.arguments or ""
    assert finish == "tool_calls"
    assert begun[0].function.name == "add"
    assert json.loads(arguments) == {"a": 17, "b": 25}


def test_the_clients_stream_helper_gathers_calls(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": CALL}]
    tools: Any = [{**ADD, "function": {**ADD["function"], "strict": True}}]
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == {"a": 17, "b": 25}


def test_text_that_is_no_call_stays_text(client: openai.OpenAI) -> None:
    made = ask(client, "It is 42.", tools=[ADD])
    assert (made.choices[0].message.content, made.choices[0].message.tool_calls) == ("It is 42.", None)
    assert made.choices[0].finish_reason == "stop"
    assert "describes them" in made.edgetts["tools"]


def test_a_call_may_be_required_or_forbidden(client: openai.OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "add"}}
    for choice in ("required", named):
        made = ask(client, "No.", tools=[ADD], tool_choice=choice, max_tokens=200, logit_bias={})
        calls = made.choices[0].message.tool_calls
        assert calls is None or calls[0].function.name == "add"
        assert made.choices[0].message.content is None or made.choices[0].finish_reason == "length"
    made = ask(client, "No.", tools=[ADD], tool_choice="none")
    assert (made.choices[0].message.content, made.choices[0].message.tool_calls) == ("No.", None)


def test_a_call_and_its_result_go_back_into_the_chat(client: openai.OpenAI) -> None:
    first = ask(client, CALL, tools=[ADD]).choices[0].message
    messages: list[Any] = [
        {"role": "user", "content": CALL},
        first,
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "42"},
        {"role": "user", "content": "Thanks"},
    ]
    made = client.chat.completions.create(model=MODEL, messages=messages, tools=[ADD])  # type: ignore[list-item]
    # A template without tools has results told in a user's words.
    said = made.choices[0].message.content or ""
    assert "42" in said
    assert said.endswith("Thanks")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [ADD, ADD]}, "tools"),
        ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "tool_choice"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [ADD], "response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        (
            {"messages": [{"role": "tool", "tool_call_id": "x", "content": "42"}]},
            "messages[0].tool_call_id",
        ),
    ],
)
def test_tools_that_cannot_be_are_refused_by_name(
    server: Running, fields: dict[str, Any], param: str
) -> None:
    refused = server.chat(**fields)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
