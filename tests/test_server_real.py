"""The whole way with a real model: the official client, over HTTP, to SmolLM2 and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_fixtures import Running, running

from edgetts.loading import open_engine

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server(smollm2_bundle: Path) -> Iterator[Running]:
    with open_engine(smollm2_bundle, measure=False, kept_bytes=1 << 28) as engine, running(engine) as server:
        yield server


def test_a_chat_with_a_real_model(server: Running) -> None:
    with server.client() as client:
        model = client.models.list().data[0].id
        messages: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
        made = client.chat.completions.create(
            model=model, messages=messages, max_tokens=30, logprobs=True, top_logprobs=3
        )
        said = made.choices[0].message.content or ""
        assert "Paris" in said
        told = made.choices[0].logprobs
        assert told is not None
        assert told.content is not None
        assert "".join(token.token for token in told.content) == said
        for token in told.content:
            # Greedy: what was drawn is the likeliest.
            assert token.top_logprobs[0].token == token.token
            assert [t.logprob for t in token.top_logprobs] == sorted(
                (t.logprob for t in token.top_logprobs), reverse=True
            )
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "And of Italy?"}]
        again = client.chat.completions.create(model=model, messages=messages, max_tokens=5)
        assert again.usage is not None
        details = again.usage.prompt_tokens_details
        assert details is not None
        assert details.cached_tokens is not None
        # The turns before were read already.
        assert details.cached_tokens > 30


def test_a_schema_holds_a_real_model(server: Running) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    with server.client() as client:
        model = client.models.list().data[0].id
        made = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Describe a city as JSON."}],
            response_format=form,
            n=3,
            temperature=1,
            seed=1,
            max_tokens=80,
        )
    for choice in made.choices:
        assert choice.finish_reason == "stop"
        assert set(json.loads(choice.message.content or "")) == {"city", "large"}
