"""A fuzz of the server that its own /openapi.json drives: whatever is sent, no 500, and what is told is what is done.

Skipped without schemathesis, which `make test-server` installs. EDGETTS_FUZZ_URL: a server that runs already, so that
this file runs where edgetts is not installed (pytest --noconftest); EDGETTS_FUZZ_EXAMPLES: cases an operation.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402 - it comes with schemathesis

EXAMPLES = int(os.environ.get("EDGETTS_FUZZ_EXAMPLES", "15"))


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if given := os.environ.get("EDGETTS_FUZZ_URL"):
        yield given
        return
    from server_fixtures import running

    from edgetts.loading import open_engine

    bundle = request.getfixturevalue("tiny_bundle")("llama").bundle
    with open_engine(bundle, measure=False) as engine, running(engine) as server:
        yield server.url


@pytest.fixture(scope="module")
def api(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json", wait_for_schema=30)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    "operation",
    [
        ("get", "/health"),
        ("get", "/metrics"),
        ("get", "/openapi.json"),
        ("get", "/v1/models"),
        ("get", "/v1/models/{model}"),
        ("post", "/v1/chat/completions"),
        ("post", "/v1/completions"),
    ],
    ids=" ".join,
)
def test_the_api_keeps_its_word(api: Any, operation: tuple[str, str], mode: Any) -> None:
    method, path = operation
    if mode is schemathesis.GenerationMode.NEGATIVE and method == "get":
        pytest.skip("it has no body that could be wrong")

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def fuzz(case: Any) -> None:
        response = case.call(timeout=60)
        # Some rules are about two fields at once (stream_options needs stream), or about what a text means.
        excluded = [schemathesis.checks.positive_data_acceptance]
        if response.status_code == 413:
            excluded.append(schemathesis.checks.negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)
        assert response.status_code not in (500, 502, 504), response.text

    fuzz()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_what_says_something_sound_is_computed_whatever_else_it_asks(api: Any, path: str) -> None:
    """Most of what is drawn from a schema is refused for what texts mean; with those given, the rest is computed."""
    seen: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=api[path]["post"].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    def fuzz(case: Any) -> None:
        body = case.body
        body["model"] = body["model"].partition(":")[0]
        if "messages" in body:
            body["messages"] = [{"role": "user", "content": "Say something."}]
        if not body.get("stream"):
            body.pop("stream_options", None)
        body["max_tokens"] = 8
        body.pop("max_completion_tokens", None)
        response = case.call(timeout=60)
        seen[response.status_code] += 1
        case.validate_response(response, excluded_checks=[schemathesis.checks.positive_data_acceptance])
        assert response.status_code not in (500, 502, 504), response.text

    fuzz()
    assert seen[200] > 0, seen
    print(path, dict(seen))  # noqa: T201 - shown by pytest -rP
