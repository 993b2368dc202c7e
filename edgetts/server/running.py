"""Run the server: open the port, load the model meanwhile, stop in order. Knows sockets and signals; no requests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from edgetts.errors import EdgettsError, InvalidInput, MissingExtra
from edgetts.server.app import App, make_app
from edgetts.server.settings import Settings

try:
    import uvicorn
except ImportError as error:
    raise MissingExtra("uvicorn", "server") from error

from edgetts.server.protocol import protocol_for

if TYPE_CHECKING:
    from edgetts.engine import Engine

_SETTLE = 5.0
"""Seconds that answers which were told to end have for it, before their tasks are cancelled."""


class Server(uvicorn.Server):
    """A server of one application. The first signal lets answers end within `grace`, the second ends them at once."""

    def __init__(self, app: App) -> None:
        settings = app.serving.settings
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=protocol_for(settings),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, round(settings.idle_seconds)),
                timeout_graceful_shutdown=round(settings.grace + _SETTLE) + 1,
                h11_max_incomplete_event_size=settings.header_bytes,
            )
        )
        self.app = app
        self.port: int | None = None
        """The port that was opened."""
        self.ready = threading.Event()
        """Set when the port is open."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.port = self.servers[0].sockets[0].getsockname()[1]
            self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.serving.stop()
        cut = asyncio.get_running_loop().call_later(self.app.serving.settings.grace, self.app.serving.cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        if self.should_exit:
            self.force_exit = True
            self.app.serving.cut()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Unlike uvicorn's, it does not raise the signal again: a server that was told to stop, and did, has not failed.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(
    load: Callable[[], Engine],
    settings: Settings,
    *,
    notify: Callable[[str], None] = lambda sentence: None,
) -> bool:
    """Serve until told to stop; return whether all answers could end. `load` is called when the port is open.

    Raises InvalidInput where the port cannot be opened, and what `load` raises.
    """
    failures: list[EdgettsError] = []

    def failed(error: EdgettsError) -> None:
        failures.append(error)
        server.should_exit = True

    server = Server(make_app(load, settings, failed=failed))
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    with _opened(settings) as listening:
        port = listening.getsockname()[1]
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        notify(f"Serving on http://{shown}:{port}/v1. The model is being loaded; Ctrl-C stops.")
        if not settings.loopback and not settings.keys:
            notify(
                f"Warning: whoever reaches {shown} may use this server, since there is no API key. Set one with --api-key-file."
            )
        server.run(sockets=[listening])
    server.app.serving.close()
    if failures:
        raise failures[0]
    return not server.force_exit


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[socket.socket]:
    """Yield a socket that listens."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(
            f"{settings.host!r} is no address of this machine.", hint=f"The system says: {error}."
        ) from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1024)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidInput(
                    f"{settings.host!r} is no address of this machine.",
                    hint="127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses.",
                ) from error
            raise InvalidInput(
                f"Port {settings.port} of {settings.host} cannot be opened: {error.strerror or error}.",
                hint="Take another with --port; 0 takes a free one.",
            ) from error
        yield listening
