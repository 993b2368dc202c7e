"""Who is let in: hosts, origins, keys; what is open while the model loads; what anybody may look at."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fakes_engine import tiny_engine_bundle, tiny_tokenizer
from server_fixtures import MODEL, Running, echo_engine, running, until

from edgetts.engine import Engine
from edgetts.errors import InvalidInput, ModelNotFound, StorageError
from edgetts.server import Settings
from edgetts.server.shape import KNOWN
from edgetts.tokenizer import Tokenizer

KEY = "a-key-of-some-length"
PAGE = "https://app.example"


@pytest.fixture(scope="module")
def server(tiny_tokenizer: Tokenizer) -> Iterator[Running]:
    engine, _ = echo_engine(tiny_tokenizer)
    with engine, running(engine, keys=(KEY, "another-key"), origins=(PAGE,), hosts=("box.local",)) as server:
        yield server


def bearer(key: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/toy", "/metrics", "/openapi.json", "/nowhere"])
def test_without_a_key_nothing_is_told(server: Running, path: str) -> None:
    for headers in (
        {},
        bearer("wrong-key-x"),
        bearer(KEY[:-1]),
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
    ):
        refused = server.get(path, **headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert server.get(path, **bearer()).status_code == (404 if path == "/nowhere" else 200)
    assert server.get(path, **bearer("another-key")).status_code != 401


def test_the_client_shows_its_key(server: Running) -> None:
    with server.client(KEY) as client:
        assert client.models.list().data[0].id == MODEL
    with server.client("none-of-them") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    assert server.post("/v1/chat/completions", {}).status_code == 401


def test_health_needs_no_key(server: Running) -> None:
    assert server.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:99", True),
        ("[::1]:80", True),
        ("box.local", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:8080", False),
        ("127.0.0.1@evil.example", False),
        ("192.168.1.5", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_only_known_names_are_answered(server: Running, host: str, let_in: bool) -> None:
    assert server.get("/health", host=host).status_code == (200 if let_in else 421)


def test_a_server_for_everybody_is_reached_by_address_but_by_no_other_name() -> None:
    from edgetts.server.gate import check_host
    from edgetts.server.refusing import Refusal

    everywhere = Settings(host="0.0.0.0")  # noqa: S104 - nothing is bound
    check_host({b"host": b"192.168.1.5:8080"}, everywhere)
    check_host({b"host": b"[fe80::1]:8080"}, everywhere)
    with pytest.raises(Refusal):
        check_host({b"host": b"evil.example"}, everywhere)


def test_only_named_pages_may_call(server: Running) -> None:
    allowed = server.get("/health", origin=PAGE)
    assert allowed.headers["access-control-allow-origin"] == PAGE
    refused = server.get("/health", origin="https://evil.example")
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    assert "access-control-allow-origin" not in server.get("/health").headers


def test_a_browser_may_ask_first(server: Running) -> None:
    asks = {"origin": PAGE, "access-control-request-method": "POST"}
    told = server.http.options(f"{server.url}/v1/chat/completions", headers=asks)
    assert told.status_code == 204
    assert "Authorization" in told.headers["access-control-allow-headers"]
    asks["origin"] = "https://evil.example"
    assert server.http.options(f"{server.url}/v1/chat/completions", headers=asks).status_code == 403


def test_without_origins_no_page_may_call(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = echo_engine(tiny_tokenizer)
    with engine, running(engine) as server:
        refused = server.post("/v1/chat/completions", {}, headers={"origin": "http://127.0.0.1:3000"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


def test_paths_and_methods_that_are_not_there(server: Running) -> None:
    assert server.get("/v1/embeddings", **bearer()).status_code == 404
    refused = server.get("/v1/chat/completions", **bearer())
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["error"]["message"]


def test_the_document_shows_what_is_checked(server: Running) -> None:
    document = server.get("/openapi.json", **bearer()).json()
    assert document["openapi"].startswith("3.1")
    schema = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert schema["additionalProperties"] is False
    assert {"messages", "model", "edgetts", "tools", "response_format"} <= set(schema["properties"])

    def walk(one: Any) -> Iterator[str]:
        yield from one
        for name, below in one.items():
            if name == "properties":
                for each in below.values():
                    yield from walk(each)
            elif name == "anyOf":
                for each in below:
                    yield from walk(each)
            elif name in ("items", "additionalProperties", "propertyNames") and isinstance(below, dict):
                yield from walk(below)

    assert set(walk(schema)) <= KNOWN


def test_metrics_count(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = echo_engine(tiny_tokenizer)
    with engine, running(engine) as server:
        used = server.chat(n=2, temperature=1).json()["usage"]
        server.chat(n=0)
        server.get("/nowhere")
        lines = server.get("/metrics").text.splitlines()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
    assert values['edgetts_requests_total{route="/v1/chat/completions",status="200"}'] == 1
    assert values['edgetts_requests_total{route="/v1/chat/completions",status="400"}'] == 1
    assert values['edgetts_requests_total{route="other",status="404"}'] == 1
    assert values['edgetts_tokens_total{kind="prompt"}'] == used["prompt_tokens"]
    assert values['edgetts_tokens_total{kind="generated"}'] == used["generated_tokens"]
    assert values["edgetts_samples_total"] == 2
    assert values["edgetts_request_seconds_count"] == values['edgetts_request_seconds_bucket{le="+Inf"}'] == 1
    assert values["edgetts_first_token_seconds_count"] == 1
    assert (
        values["edgetts_requests_under_way"]
        == values["edgetts_branches_live"]
        == values["edgetts_queue"]
        == 0
    )
    assert values["edgetts_ready"] == 1


def test_while_the_model_loads_the_port_is_open_and_says_so(tiny_tokenizer: Tokenizer) -> None:
    go_on = threading.Event()
    made: list[Engine] = []

    def load() -> Engine:
        assert go_on.wait(30)
        made.append(echo_engine(tiny_tokenizer)[0])
        return made[0]

    with running(load) as server:
        health = server.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        refused = server.chat()
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert server.get("/metrics").status_code == 200
        go_on.set()
        until(lambda: server.get("/health").status_code == 200)
        assert server.chat().status_code == 200
    with pytest.raises(InvalidInput, match="closed"):
        made[0].answer("Hello")


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    def load() -> Engine:
        raise ModelNotFound("There is no such model.")

    with running(load) as server:
        until(lambda: bool(server.failures))
        assert server.get("/health").json() == {"status": "failed"}
        assert "no such model" in server.chat().json()["error"]["message"]


def test_files_that_cannot_be_reached_are_an_error_of_storage(tmp_path: Path) -> None:
    def load() -> Engine:
        (tmp_path / "nonesuch").read_bytes()
        raise AssertionError

    with running(load) as server:
        until(lambda: bool(server.failures))
        assert isinstance(server.failures[0], StorageError)
        assert "nonesuch: No such file" in str(server.failures[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"host": "a b"},
        {"keys": ("short",)},
        {"keys": ("with spaces in it",)},
        {"origins": ("example.org",)},
        {"origins": ("https://example.org/path",)},
        {"choices": 0},
        {"longest": float("nan")},
        {"grace": -1.0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Settings(**wrong)


def test_keys_are_in_no_text_of_the_settings() -> None:
    assert KEY not in repr(Settings(keys=(KEY,)))
