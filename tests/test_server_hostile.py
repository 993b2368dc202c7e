"""What hostile requests get: the right status, in OpenAI's form, from a server that goes on serving."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import sys
import threading
from asyncio import selector_events
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fakes_engine import tiny_engine_bundle, tiny_tokenizer
from server_fixtures import MODEL, WAIT, EchoSession, Running, echo_engine, read_all, running, until

from edgetts.engine import Engine
from edgetts.server.bodies import read_json
from edgetts.server.refusing import Refusal
from edgetts.server.sending import within
from edgetts.tokenizer import Tokenizer

CHAT = "/v1/chat/completions"
LIMIT = 200_000


@pytest.fixture(scope="module")
def served(tiny_tokenizer: Tokenizer) -> Iterator[tuple[Running, EchoSession]]:
    engine, session = echo_engine(tiny_tokenizer, pace=0.001)
    limits: dict[str, Any] = {
        "body_bytes": LIMIT,
        "header_seconds": 0.3,
        "body_seconds": 0.3,
        "idle_seconds": 1,
    }
    with engine, running(engine, connections=30, in_flight=8, **limits) as server:
        yield server, session


@pytest.fixture
def server(served: tuple[Running, EchoSession]) -> Iterator[Running]:
    """The server; after each test it still answers, and has freed everything."""
    running_, session = served
    yield running_
    until(lambda: session.live == [])
    until(lambda: running_.server.app.serving.under_way == 0)
    until(lambda: len(running_.server.server_state.connections) == 0)
    assert running_.chat().json()["choices"][0]["message"]["content"] == "Hello"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def raw(head: str, content: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + content


HEAD = f"POST {CHAT} HTTP/1.1\nHost: localhost\nContent-Type: application/json"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "an object"),
        (b"null", "an object"),
        (b'"x"', "an object"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"model": "\xff"}', "UTF-8"),
        (b'{"model": NaN}', "NaN"),
        (b'{"temperature": Infinity}', "Infinity"),
        (b'{"temperature": -Infinity}', "-Infinity"),
        (b'{"temperature": 1e999}', "too large"),
        (b'{"n": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"model": "a", "model": "b"}', "twice"),
        (b'{"model": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "deeper"),
        (b"[" * 100 + b"]" * 100, "deeper"),
        (b'{"a":' * 30_000, "deeper"),
        (b'{"messages": ' + b"[" * 70 + b"]" * 70 + b"}", "deeper"),
    ],
)
def test_what_is_no_sound_json_is_400(server: Running, content: bytes, message: str) -> None:
    refused = server.post(CHAT, content=content)
    assert refused.status_code == 400, refused.text
    assert message in refused.json()["error"]["message"]


def test_json_that_is_as_deep_as_allowed_is_read() -> None:
    assert read_json(b"[" * 9 + b"]" * 9, 10)
    with pytest.raises(Refusal):
        read_json(b"[" * 11 + b"]" * 11, 10)


@pytest.mark.parametrize("said", [True, False])
def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(server: Running, said: bool) -> None:
    large = body(user="x" * LIMIT)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(large), 10_000):
            yield large[at : at + 10_000]

    refused = server.post(CHAT, content=large if said else pieces())
    assert refused.status_code == 413
    assert refused.headers["connection"] == "close"


def test_a_size_that_is_absurd_is_413(server: Running) -> None:
    with server.connected() as one:
        one.sendall(raw(f"{HEAD}\nContent-Length: 99999999999999\nExpect: 100-continue"))
        answer = read_all(one)
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_not_said_to_be_json_is_415(server: Running, kind: str) -> None:
    assert server.post(CHAT, content=body(), headers={"content-type": kind}).status_code == 415


def test_a_compressed_body_is_415(server: Running) -> None:
    refused = server.post(CHAT, content=gzip.compress(body()), headers={"content-encoding": "gzip"})
    assert refused.status_code == 415
    assert "compressed" in refused.json()["error"]["message"]
    assert server.post(CHAT, content=body(), headers={"content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        "NONSENSE",
        "GET / HTTP/9.9",
        "GET /health HTTP/1.1",  # no Host
        "GET /health HTTP/1.1\nHost: localhost\nHost: evil.example",
        f"{HEAD}\nContent-Length: x",
        f"{HEAD}\nContent-Length: 3\nContent-Length: 4",
        f"{HEAD}\nTransfer-Encoding: gzip",
        "GET /health HTTP/1.1\nHost: localhost\nbad header",
        "GET /\x01 HTTP/1.1\nHost: localhost",
    ],
)
def test_what_is_no_http_is_refused_in_json(server: Running, head: str) -> None:
    with server.connected() as one:
        one.sendall(raw(head, b"x"))
        answer = read_all(one)
    assert status_of(answer) in (400, 421, 501), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize("size", [40_000, 100_000, 1_000_000])
def test_headers_that_are_too_large_are_431(server: Running, size: int) -> None:
    with server.connected() as one:
        one.sendall(raw(f"GET /health HTTP/1.1\nHost: localhost\nConnection: close\nX: {'y' * size}"))
        assert status_of(read_all(one)) == 431


def test_a_chunk_that_is_no_chunk_ends_its_connection(server: Running) -> None:
    with server.connected() as one:
        one.sendall(raw(f"{HEAD}\nTransfer-Encoding: chunked", b"zz\r\n"))
        assert status_of(read_all(one)) == 400


def test_a_slow_head_is_408_however_often_a_byte_comes(server: Running) -> None:
    with server.connected() as one:
        stop = threading.Event()

        def drip() -> None:
            for byte in raw("GET /health HTTP/1.1\nHost: localhost\nX: " + "y" * 1000):
                if stop.wait(0.02):
                    return
                try:
                    one.send(bytes([byte]))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        answer = read_all(one)
        stop.set()
        dripping.join()
    assert status_of(answer) == 408


def test_a_connection_that_says_nothing_is_closed(server: Running) -> None:
    with server.connected() as one:
        assert status_of(read_all(one)) == 408


@pytest.mark.skipif(sys.platform == "win32", reason="another event loop")
def test_who_leaves_while_it_is_refused_is_no_error(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    with server.connected() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
        write = transport.write

        def write_and_lose(self: Any, data: bytes) -> None:
            write(self, data)
            if b"request did not come" in data:
                one.close()
                refused.set()

        monkeypatch.setattr(transport, "write", write_and_lose)
        assert refused.wait(WAIT)
        until(lambda: len(server.server.server_state.connections) == 0)
    assert [record.name for record in caplog.records if record.name == "asyncio"] == []


def test_a_second_head_may_not_be_slow_either(server: Running) -> None:
    with server.connected() as one:
        one.sendall(raw("GET /health HTTP/1.1\nHost: localhost"))
        assert status_of(one.recv(65536)) == 200
        one.sendall(b"GET /hea")
        assert status_of(read_all(one)) == 408


def test_a_connection_that_asks_nothing_more_is_closed(server: Running) -> None:
    with server.connected() as one:
        one.sendall(raw("GET /health HTTP/1.1\nHost: localhost") + b"GET /hea")
        assert read_all(one).count(b"HTTP/1.1 ") == 1


def test_a_slow_body_is_408(server: Running) -> None:
    with server.connected() as one:
        one.sendall(raw(f"{HEAD}\nContent-Length: 1000", b'{"model'))
        assert status_of(read_all(one)) == 408


def test_a_client_that_leaves_while_it_sends_costs_nothing(server: Running) -> None:
    for content in (b"", b'{"model'):
        with server.connected() as one:
            one.sendall(raw(f"{HEAD}\nContent-Length: 1000", content))


def test_too_many_connections_are_turned_away_and_others_go_on(server: Running) -> None:
    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        until(lambda: len(server.server.server_state.connections) >= 30)
        assert status_of(read_all(open_ones[-1])) == 503
    finally:
        for one in open_ones:
            one.close()


def test_too_many_requests_are_429_and_say_when_to_come_again(server: Running) -> None:
    long = [{"role": "user", "content": "0" * 3000}]
    with httpx.Client(timeout=30) as client:
        streams = []
        for _ in range(8):
            request = client.build_request(
                "POST", f"{server.url}{CHAT}", json=json.loads(body(messages=long, stream=True))
            )
            streams.append(client.send(request, stream=True))
        refused = server.chat()
        for stream in streams:
            stream.close()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_what_was_computed_for_it(
    served: tuple[Running, EchoSession], server: Running, stream: bool
) -> None:
    _, session = served
    content = body(messages=[{"role": "user", "content": "0" * 3000}], stream=stream, n=4, temperature=1)
    before = session.passes
    with server.connected() as one:
        one.sendall(raw(f"{HEAD}\nContent-Length: {len(content)}", content))
        until(lambda: session.passes > before + 50)
        assert session.live
    until(lambda: session.live == [])
    until(lambda: server.server.app.serving.under_way == 0)
    assert session.passes < before + 2500


def test_a_failure_while_it_computes_is_told_in_the_stream_and_by_the_status(
    tiny_tokenizer: Tokenizer,
) -> None:
    engine, session = echo_engine(tiny_tokenizer)
    step = session.step

    def failing(branches: Any, tokens: Any) -> Any:
        logits = step(branches, tokens)
        if branches[0].length > 40:
            logits[:] = float("nan")
        return logits

    session.step = failing  # type: ignore[method-assign]
    with engine, running(engine) as server:
        long = [{"role": "user", "content": "0123456789" * 5}]
        refused = server.chat(messages=long, seed=1)
        assert refused.status_code == 500
        assert "Traceback" not in refused.text
        streamed = server.chat(messages=long, seed=1, stream=True)
        assert streamed.status_code == 200
        assert '"error"' in streamed.text
        assert "[DONE]" not in streamed.text
        assert session.live == []


def test_memory_that_is_short_is_503(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = echo_engine(tiny_tokenizer, most_branches=2)
    with engine, running(engine) as server:
        refused = server.chat(n=8, temperature=1)
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "out_of_memory"
        assert server.chat().status_code == 200


def test_a_bug_is_500_without_a_word_of_what_was_asked(
    tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine, _ = echo_engine(tiny_tokenizer)

    def broken(self: Engine, prompt: Any, **asked: Any) -> Any:
        raise ZeroDivisionError(f"secret {prompt}")

    monkeypatch.setattr(Engine, "stream", broken)
    with engine, running(engine) as server, caplog.at_level("INFO"):
        refused = server.chat(messages=[{"role": "user", "content": "a secret"}])
        assert refused.status_code == 500
        assert "secret" not in refused.text
    assert "secret" not in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_log_holds_no_prompt_no_answer_no_query_and_no_forged_line(
    tiny_tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    engine, _ = echo_engine(tiny_tokenizer)
    with (
        engine,
        running(engine, keys=("sesame-open",)) as server,
        caplog.at_level("DEBUG", logger="edgetts.server"),
    ):
        bearer = {"authorization": "Bearer sesame-open"}
        said = json.loads(body(messages=[{"role": "user", "content": "marzipan"}], user="me"))
        assert server.post(CHAT, said, headers=bearer).status_code == 200
        server.get("/health?marzipan=1")
        with server.connected() as one:
            one.sendall(raw("GET /x%0aforged%20line HTTP/1.1\nHost: localhost\nConnection: close"))
            read_all(one)
    lines = [record.getMessage() for record in caplog.records if record.name == "edgetts.server"]
    assert len(lines) == 3
    assert lines[0].startswith(f"POST {CHAT} 200 ")
    assert "prompt " in lines[0]
    assert "user me" in lines[0]
    assert "\n" not in "".join(lines)
    assert not any(word in caplog.text for word in ("marzipan", "sesame"))


def test_a_cancelled_wait_is_cancelled_even_where_what_it_waits_for_is_done_just_then() -> None:
    # asyncio.wait_for of Python 3.10 and 3.11 forgets it, and so would compute on for clients that left.
    async def race() -> bool:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def inner() -> None:
            await done

        task = asyncio.ensure_future(within(10, inner()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.set_result(None)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    assert asyncio.run(race())


def test_a_client_that_reads_nothing_is_given_up(tiny_tokenizer: Tokenizer) -> None:
    engine, session = echo_engine(tiny_tokenizer)
    content = body(messages=[{"role": "user", "content": "0" * 15_000}], stream=True)
    with engine, running(engine, stall_seconds=0.3) as server, socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        one.sendall(raw(f"{HEAD}\nContent-Length: {len(content)}", content))
        until(lambda: bool(session.live))
        until(lambda: session.live == [])
        assert session.run < 30_000


def test_bodies_that_are_too_large_together_are_turned_away(tiny_tokenizer: Tokenizer) -> None:
    engine, _ = echo_engine(tiny_tokenizer)
    with engine, running(engine, body_bytes=1000, body_seconds=2.0) as server:
        sending = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(20)]
        try:
            for one in sending:
                one.sendall(raw(f"{HEAD}\nContent-Length: 1000", b" " * 990))
            statuses = [status_of(read_all(one)) for one in sending]
        finally:
            for one in sending:
                one.close()
        assert sorted(statuses) == [408] * 16 + [503] * 4
        assert server.chat().status_code == 200
