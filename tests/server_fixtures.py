"""A real server on a free port of this machine, in a thread, over an engine that a test wants."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
from fakes_engine import scripted_engine
from tiny import END, START, token_id, vocabulary

from edgetts.decoding.session import Capabilities
from edgetts.engine import Engine
from edgetts.errors import EdgettsError
from edgetts.server import Settings, make_app
from edgetts.server.running import Server
from edgetts.testing import FakeSession, ToyModel
from edgetts.tokenizer import Tokenizer

WAIT = 30.0
"""Seconds after which a test has failed, whatever it waits for."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `failures`: why a model could not be loaded."""

    server: Server
    url: str
    failures: list[EdgettsError]
    http: httpx.Client

    @property
    def port(self) -> int:
        assert self.server.port is not None
        return self.server.port

    def client(self, key: str = "none", **options: Any) -> openai.OpenAI:
        """Return the official client, as anybody would make it."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=WAIT, **options)

    def asynchronous(self, key: str = "none") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=WAIT)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(f"{self.url}{path}", headers=headers)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a body as JSON, or the bytes in `content`."""
        headers = {"content-type": "application/json", **options.pop("headers", {})}
        given = {} if body is None else {"json": body}
        return self.http.post(f"{self.url}{path}", headers=headers, **given, **options)

    def chat(self, **fields: Any) -> httpx.Response:
        """Ask "Hello" with these fields."""
        body: Mapping[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
        return self.post("/v1/chat/completions", {**body, **fields})

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Yield a bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT) as one:
            yield one


MODEL = "toy"
"""What a `FakeSession` calls itself."""


@contextmanager
def running(engine: Engine | Callable[[], Engine], **settings: Any) -> Iterator[Running]:
    """Run a server while the block does. What it leaves running fails the test."""
    failures: list[EdgettsError] = []
    app = make_app(engine, Settings(port=0, **settings), failed=failures.append)
    server = Server(app)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        assert server.ready.wait(WAIT)
        # Kept alive, connections would count against limits that tests set.
        with httpx.Client(timeout=WAIT, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            yield Running(server, f"http://127.0.0.1:{server.port}", failures, client)
    finally:
        server.should_exit = True
        thread.join(WAIT)
    assert not thread.is_alive()
    assert app.serving.under_way == 0


def until(true: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def read_all(one: socket.socket) -> bytes:
    """Read until the other end closes."""
    parts = []
    while part := one.recv(65536):
        parts.append(part)
    return b"".join(parts)


class EchoSession(FakeSession):
    """A model that repeats the last message word for word, whoever else is asking, and ends; slowly, if asked to."""

    def __init__(
        self, tokenizer: Tokenizer, *, pace: float = 0.0, context: int = 20_000, **limits: Any
    ) -> None:
        self._size, self._end = len(vocabulary()), token_id(END)
        self._start = token_id(START)
        self._heads = {role: tokenizer.encode(f"{role}\n", special=False) for role in ("user", "assistant")}
        self._pace = pace
        model = ToyModel(self._size, self._next, frozenset({self._end}))
        super().__init__(model, context=context, capabilities=Capabilities(tolerance=0.0), **limits)

    def step(self, branches: Any, tokens: Any) -> Any:
        if self._pace:
            time.sleep(self._pace)
        return super().step(branches, tokens)

    def _next(self, prefix: tuple[int, ...]) -> list[float]:
        starts = [i for i, token in enumerate(prefix) if token == self._start]
        shares = [1e-9] * self._size
        likely = self._end
        if len(starts) >= 2:
            said = len(prefix) - starts[-1] - 1 - len(self._heads["assistant"])
            begin = starts[-2] + 1 + len(self._heads["user"])
            question = prefix[begin : prefix.index(self._end, begin)]
            likely = question[said] if 0 <= said < len(question) else self._end
        shares[likely] = 1.0
        return shares


def echo_engine(tokenizer: Tokenizer, **options: Any) -> tuple[Engine, EchoSession]:
    """Return an engine that echoes, and its session; time passes as it does."""
    session = EchoSession(tokenizer, **options)
    return scripted_engine(tokenizer, session, clock=time.perf_counter), session
