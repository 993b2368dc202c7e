"""What the official `openai` client, unmodified, gets from a server: every endpoint and option."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fakes_engine import tiny_engine_bundle, tiny_tokenizer
from server_fixtures import MODEL, Running, echo_engine, running

from edgetts.tokenizer import Tokenizer

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def server(tiny_tokenizer: Tokenizer) -> Iterator[Running]:
    engine, session = echo_engine(tiny_tokenizer)
    with engine, running(engine, messages=20, choices=4) as server:
        yield server
        assert session.live == []


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **fields})


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "edgetts"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.models.retrieve("gpt")


def test_a_chat_is_answered_whole(client: openai.OpenAI) -> None:
    made = chat(client)
    [choice] = made.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello there")
    assert (choice.finish_reason, choice.index, made.object) == ("stop", 0, "chat.completion")
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.completion_tokens == made.usage.generated_tokens > 0
    assert made.edgetts["stop_reason"] == "complete"
    assert made.edgetts["plan"]["samples"] == made.edgetts["samples"] == 1


def test_a_chat_streams_with_its_usage(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].edgetts["streams"] == "live"
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == "Hello there"
    assert len(pieces) > 2
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].edgetts["stop_reason"] == "complete"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 2
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_stream_that_asks_for_no_usage_has_choices_in_every_chunk(client: openai.OpenAI) -> None:
    assert all(len(chunk.choices) == 1 for chunk in chat(client, stream=True, n=2, temperature=1))


def test_the_asynchronous_client_gets_the_same(server: Running) -> None:
    async def ask(client: openai.AsyncOpenAI, text: str) -> str:
        messages: Any = [{"role": "user", "content": text}]
        whole = await client.chat.completions.create(model=MODEL, messages=messages)
        parts = []
        async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            parts.append(chunk.choices[0].delta.content or "")
        assert whole.choices[0].message.content == "".join(parts)
        return "".join(parts)

    async def all_of_them() -> list[str]:
        async with server.asynchronous() as client:
            return await asyncio.gather(*(ask(client, f"marker {i}") for i in range(8)))

    assert asyncio.run(all_of_them()) == [f"marker {i}" for i in range(8)]


@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize("stream", [False, True])
def test_n_choices_cost_one_reading_of_the_prompt(
    tiny_tokenizer: Tokenizer, temperature: float, stream: bool
) -> None:
    engine, session = echo_engine(tiny_tokenizer)
    with engine, running(engine) as server, server.client() as client:
        texts = dict.fromkeys(range(3), "")
        if stream:
            options = {"include_usage": True}
            finished = []
            for chunk in chat(client, n=3, temperature=temperature, stream=True, stream_options=options):
                usage = chunk.usage
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
                    finished += [choice.index] if choice.finish_reason == "stop" else []
            assert sorted(finished) == [0, 1, 2]
        else:
            made = chat(client, n=3, temperature=temperature)
            usage = made.usage
            texts = {choice.index: choice.message.content for choice in made.choices}
        assert texts == dict.fromkeys(range(3), "Hello there")
        assert usage.samples == (3 if temperature else 1)
        assert session.prefilled == usage.prompt_tokens
        assert session.live == []


def test_log_probs_come_with_the_tokens_of_the_text(client: openai.OpenAI) -> None:
    made = chat(client, logprobs=True, top_logprobs=2).choices[0]
    tokens = made.logprobs.content
    assert "".join(token.token for token in tokens) == made.message.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == made.message.content
    assert all(math.isclose(token.logprob, 0.0, abs_tol=1e-3) for token in tokens)
    assert all(len(token.top_logprobs) == 2 for token in tokens)
    assert all(token.top_logprobs[0].token == token.token for token in tokens)
    streamed = [c.choices[0].logprobs for c in chat(client, logprobs=True, stream=True)]
    told = [token.token for one in streamed if one is not None for token in one.content]
    assert told == [token.token for token in tokens]


def test_stop_strings_end_a_text_and_are_not_in_it(client: openai.OpenAI) -> None:
    made = chat(client, stop=["there", "zzz"], logprobs=True).choices[0]
    assert (made.message.content, made.finish_reason) == ("Hello ", "stop")
    assert "".join(token.token for token in made.logprobs.content).startswith("Hello")
    assert len(made.logprobs.content) < 10
    assert chat(client, stop="lo").choices[0].message.content == "Hel"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_cuts_and_says_so(client: openai.OpenAI, field: str) -> None:
    made = chat(client, **{field: 3})
    assert made.choices[0].finish_reason == "length"
    assert made.usage.completion_tokens == 3


def test_a_bias_changes_what_is_drawn(client: openai.OpenAI, tiny_tokenizer: Tokenizer) -> None:
    [q] = tiny_tokenizer.encode("Q", special=False)
    assert chat(client, logit_bias={str(q): 100}, max_tokens=3).choices[0].message.content == "QQQ"
    assert (
        chat(client, logit_bias={str(q): 100}, presence_penalty=0, max_tokens=1).choices[0].message.content
        == "Q"
    )


def test_a_seed_is_told_and_repeats(client: openai.OpenAI) -> None:
    assert chat(client, seed=7, temperature=1).edgetts["seed"] == 7
    first, second = (chat(client, temperature=1).edgetts["seed"] for _ in range(2))
    assert first != second


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    made = client.completions.create(
        model=MODEL, prompt="x", max_tokens=3, logprobs=1, logit_bias={"65": 100}, n=2, temperature=1
    )
    assert [choice.text for choice in made.choices] == ["AAA", "AAA"]
    told = made.choices[1].logprobs
    assert told.tokens == ["A", "A", "A"]
    assert told.text_offset == [0, 1, 2]
    assert len(told.token_logprobs) == len(told.top_logprobs) == 3
    parts = client.completions.create(
        model=MODEL, prompt=["x"], max_tokens=3, logit_bias={"65": 100}, stream=True
    )
    assert "".join(part.choices[0].text for part in parts) == "AAA"


def test_messages_may_have_parts_roles_and_what_an_answer_held(client: openai.OpenAI) -> None:
    before = chat(client).choices[0].message
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "a"},
        before,
        {"role": "user", "content": [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]},
    ]
    assert chat(client, messages=messages).choices[0].message.content == "two parts"


# Budgets and strategies


def test_a_budget_of_samples_chooses_one_answer(client: openai.OpenAI) -> None:
    for made in (
        chat(client, extra_body={"edgetts": {"budget": {"samples": 3}}}),
        chat(client, model=f"{MODEL}:samples=3"),
        chat(client, model=f"{MODEL}:samples=3,strategy=self_consistency"),
        chat(client, model=f"{MODEL}:samples=3", extra_body={"edgetts": {"budget": {"samples": 3}}}),
    ):
        assert len(made.choices) == 1
        # Two that agree decide among three.
        assert made.edgetts["plan"]["samples"] == 3
        assert made.usage.samples == made.edgetts["samples"] >= 2
        assert made.usage.generated_tokens >= 2 * made.usage.completion_tokens > 0
        assert made.edgetts["plan"]["strategy"] == "self_consistency"
        assert made.edgetts["confidence"] == 1.0


def test_what_is_chosen_streams_after_selecting_and_says_so(client: openai.OpenAI) -> None:
    chunks = list(chat(client, model=f"{MODEL}:samples=3", stream=True))
    assert chunks[0].edgetts["streams"] == "after selecting"
    texts = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    assert texts == ["Hello there"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_verifier_by_name_is_asked(client: openai.OpenAI) -> None:
    own = {"verifier": "regex:there$", "budget": {"samples": 2}}
    assert chat(client, extra_body={"edgetts": own}).edgetts["plan"]["strategy"] == "best_of_n"


def test_a_deadline_is_kept_and_told(tiny_tokenizer: Tokenizer) -> None:
    engine, session = echo_engine(tiny_tokenizer, pace=0.01)
    with engine, running(engine, longest=60) as server, server.client() as client:
        long: Any = [{"role": "user", "content": "0" * 5000}]
        made = chat(
            client, messages=long, extra_body={"edgetts": {"budget": {"seconds": 0.3}}}, n=2, temperature=1
        )
        assert [choice.finish_reason for choice in made.choices] == ["length", "length"]
        assert made.edgetts["stop_reason"] == "deadline"
        assert set(made.choices[0].message.content) == {"0"}
        assert session.live == []
        with pytest.raises(openai.BadRequestError, match="computes 60 s at most"):
            chat(client, extra_body={"edgetts": {"budget": {"seconds": 61}}})


# Refusals


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"temprature": 1}, "temprature"),
        ({"top_k": 3}, "top_k"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"store": True}, "store"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"n": 5}, "n"),
        ({"n": 10**30}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 21}, "messages"),
        ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages[0].name"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"model": "gpt-4"}, "model"),
        ({"model": f"{MODEL}:samples=x"}, "model"),
        ({"model": f"{MODEL}:sample=3"}, "model"),
        ({"model": f"{MODEL}:samples=3,samples=3"}, "model"),
        ({"model": f"{MODEL}:seconds=nan"}, "model"),
        ({"model": f"{MODEL}:samples=99999"}, "edgetts.budget.samples"),
        ({"model": f"{MODEL}:samples=3", "edgetts": {"budget": {"samples": 4}}}, "edgetts.budget.samples"),
        ({"model": f"{MODEL}:samples=3", "n": 2}, "n"),
        ({"edgetts": {"bugdet": {}}}, "edgetts.bugdet"),
        ({"edgetts": {"strategy": "nonesuch"}}, "edgetts.strategy"),
        ({"edgetts": {"strategy": "adaptive:progress=/etc/passwd"}}, "edgetts.strategy"),
        ({"edgetts": {"verifier": "tests:/etc/passwd"}}, "edgetts.verifier"),
        ({"edgetts": {"verifier": "arithmetic+schema:/etc/passwd"}}, "edgetts.verifier"),
        ({"edgetts": {"answer_format": "nonesuch"}}, "edgetts.answer_format"),
        ({"edgetts": {"budget": {"seconds": -1}}}, "edgetts.budget.seconds"),
        ({"edgetts": {"risk": 0}}, "edgetts.risk"),
        ({"edgetts": {"constraining": "rejection"}}, "edgetts.constraining"),
        ({"logit_bias": {"01": 1}}, "logit_bias"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    server: Running, fields: dict[str, Any], param: str
) -> None:
    refused = server.chat(**fields)
    error = refused.json()["error"]
    assert refused.status_code == (404 if fields.get("model") == "gpt-4" else 400), error
    assert error["param"] == param, error
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"prompt": [1, 2]}, "prompt"),
    ],
)
def test_completions_refuse_what_they_cannot(server: Running, fields: dict[str, Any], param: str) -> None:
    refused = server.post("/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 1, **fields})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith(param)


def test_null_is_as_if_a_field_were_not_there(server: Running) -> None:
    names = [
        "n",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "store",
        "edgetts",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "modalities",
        "service_tier",
    ]
    assert server.chat(**dict.fromkeys(names)).status_code == 200


def test_a_prompt_that_is_too_long_is_refused_as_openai_does(client: openai.OpenAI) -> None:
    long: Any = [{"role": "user", "content": "0" * 50_000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            list(chat(client, messages=long, stream=stream))
        assert caught.value.code == "context_length_exceeded"
