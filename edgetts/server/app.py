"""The ASGI application: routes, and the one door that every request comes in and goes out by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from edgetts.errors import EdgettsError, MissingExtra
from edgetts.server import answering
from edgetts.server.gate import check_host, check_key, check_origin, check_size, cors_headers
from edgetts.server.metrics import CONTENT_TYPE
from edgetts.server.noting import LOG, Note
from edgetts.server.openapi import describe
from edgetts.server.refusing import Refusal, refusal_of
from edgetts.server.replying import dumped
from edgetts.server.sending import send_json
from edgetts.server.serving import Serving
from edgetts.server.settings import Settings

try:
    from starlette.exceptions import HTTPException
    from starlette.routing import Route, Router
except ImportError as error:
    raise MissingExtra("starlette", "server") from error

if TYPE_CHECKING:
    from edgetts.engine import Engine

_STATES = {"ready": "ok"}


def make_app(
    engine: Engine | Callable[[], Engine],
    settings: Settings | None = None,
    *,
    failed: Callable[[EdgettsError], None] | None = None,
) -> App:
    """Return the server as an ASGI application.

    engine: one that is there, which the caller closes; or a function that loads one, which is called in the background
    at startup and closed at shutdown: until then completions are answered 503. failed: is told why none could be loaded.
    Raises MissingExtra without starlette.
    """
    return App(Serving(engine, settings or Settings(), failed))


class App:
    """Everything that comes over HTTP. `serving` is what is behind it."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self._created = int(time.time())
        one = self._endpoint
        self._router = Router(
            routes=[
                Route("/health", one(self._health), methods=["GET"]),
                Route("/metrics", one(self._metrics), methods=["GET"]),
                Route("/openapi.json", one(self._openapi), methods=["GET"]),
                Route("/v1/models", one(self._models), methods=["GET"]),
                Route("/v1/models/{model:path}", one(self._model), methods=["GET"]),
                Route("/v1/chat/completions", answering.chat(serving), methods=["POST"]),
                Route("/v1/completions", answering.completion(serving), methods=["POST"]),
            ],
            redirect_slashes=False,
            lifespan=self._lifespan,
        )
        self._known = {route.path for route in self._router.routes if isinstance(route, Route)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._router(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request in, have it answered, and write down that it was: whatever happens, with a status of its own."""
        settings, headers, note = self.serving.settings, dict(scope["headers"]), Note.of(scope)
        began, status = time.monotonic(), 0
        # Starlette says by an exception what its router does not find, where there is an application.
        scope["app"] = self

        async def put(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(b"x-content-type-options", b"nosniff"), *cors_headers(headers, settings)]
                message = message | {"headers": [*message["headers"], *added]}
            await send(message)

        try:
            check_size(scope, settings)
            check_host(headers, settings)
            check_origin(headers, settings)
            if (
                scope["method"] == "OPTIONS"
                and b"access-control-request-method" in headers
                and settings.origins
            ):
                await put({"type": "http.response.start", "status": 204, "headers": []})
                await put({"type": "http.response.body", "body": b""})
            else:
                check_key(scope["path"], headers, settings)
                await self._router(scope, receive, put)
        except asyncio.CancelledError:
            # The server stops and does not wait; a task that was cancelled is no error of the application.
            if status == 0:
                await self._refuse(Refusal(503, "The server is stopping.", code="stopping"), put)
        except Exception as error:
            refusal = self._refusal(error)
            if status:
                raise
            await self._refuse(refusal, put)
        finally:
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", None) or scope["path"]
            self.serving.metrics.request(route if route in self._known else "other", status, seconds)
            note.write(scope["method"], scope["path"], status, seconds)

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, EdgettsError):
            return refusal_of(error)
        if isinstance(error, HTTPException):
            told = {404: "There is nothing at this path.", 405: "This path does not take this method."}
            return Refusal(
                error.status_code, told.get(error.status_code, error.detail), headers=error.headers
            )
        # Where it came from is for whoever runs the server; a message could hold what was asked.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        LOG.error("%s%s", type(error).__name__, where)
        return Refusal(500, "The server failed at this request.", code="internal_error")

    async def _refuse(self, refusal: Refusal, send: Any) -> None:
        await send_json(send, refusal.status, dumped(refusal.body), refusal.headers)

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:  # noqa: ARG002 - as starlette calls it
        self.serving.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.serving.close)

    def _endpoint(self, look: Callable[[Any], tuple[int, Any]]) -> Any:
        return _Endpoint(look)

    def _health(self, scope: Any) -> tuple[int, Any]:  # noqa: ARG002 - as the others
        state = self.serving.state
        body: dict[str, Any] = {"status": _STATES.get(state, state)}
        return (200 if state == "ready" else 503), body

    def _metrics(self, scope: Any) -> tuple[int, Any]:  # noqa: ARG002
        return 200, self.serving.metrics.write(self.serving.gauges())

    def _openapi(self, scope: Any) -> tuple[int, Any]:  # noqa: ARG002
        return 200, describe(self.serving.settings, self.serving.name)

    def _models(self, scope: Any) -> tuple[int, Any]:  # noqa: ARG002
        return 200, {"object": "list", "data": [self._described(self.serving.engine.model)]}

    def _model(self, scope: Any) -> tuple[int, Any]:
        model, asked = self.serving.engine.model, scope["path_params"]["model"]
        if asked != model:
            raise Refusal(
                404,
                f"There is no model {asked[:200]!r} here, only {model!r}.",
                param="model",
                code="model_not_found",
            )
        return 200, self._described(model)

    def _described(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": self._created, "owned_by": "edgetts"}


class _Endpoint:
    """An ASGI endpoint of something that only looks."""

    def __init__(self, look: Callable[[Any], tuple[int, Any]]) -> None:
        self._look = look

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI's
        status, body = self._look(scope)
        if isinstance(body, str):
            await send_json(send, status, body.encode(), {"content-type": CONTENT_TYPE})
        else:
            await send_json(send, status, dumped(body))
