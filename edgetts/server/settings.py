"""What a server allows, and how long it waits. Plain data, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

from edgetts.errors import InvalidInput

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of a server. Sizes in bytes, times in seconds, counts as they are.

    host: the address it is bound to, 127.0.0.1 is this machine alone. keys: who shows one of them is let in; none lets
    in everybody. origins: web pages that may call it. hosts: names beside the usual ones that a Host header may hold.
    choices: `n` of one request at most. in_flight: requests that are computed or wait at a time. connections: open at
    a time. header_seconds, body_seconds: in which a request's head and body must have come. idle_seconds: how long a
    connection may stay between requests. stall_seconds: how long a client may read nothing of its answer.
    longest: seconds that one answer may take at most; None is no limit. grace: in which answers under way may end once
    the server is told to stop; then they are what there is by then.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[str, ...] = field(default=(), repr=False)
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    body_bytes: int = 4 << 20
    header_bytes: int = 32 << 10
    depth: int = 64
    messages: int = 1024
    choices: int = 16
    in_flight: int = 256
    connections: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 15.0
    stall_seconds: float = 60.0
    longest: float | None = None
    grace: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= MAX_PORT:
            raise InvalidInput(f"The port is {self.port}, but ports are 0 to {MAX_PORT}; 0 takes a free one.")
        if not self.host or any(c.isspace() for c in self.host):
            raise InvalidInput(f"The host {self.host!r} is no address.", hint="For example 127.0.0.1.")
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "port" or isinstance(value, (str, tuple)) or value is None:
                continue
            if not (math.isfinite(value) and (value > 0 or (one.name == "grace" and value == 0))):
                raise InvalidInput(f"{one.name} is {value}, but it must be greater than zero.")
        for key in self.keys:
            if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
                raise InvalidInput(
                    "An API key must be at least 8 printable ASCII characters without spaces.",
                    hint="Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                )
        for name in self.hosts:
            if not _is_name(name):
                raise InvalidInput(
                    f"{name!r} is no name that a Host header is compared with.",
                    hint="Write it without scheme and port: assistant.local.",
                )
        for origin in self.origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest:
                raise InvalidInput(
                    f"{origin!r} is no origin.",
                    hint="Write it as browsers do: https://example.org or http://localhost:3000.",
                )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def _is_name(text: str) -> bool:
    """Return whether a Host header could hold just this as its name."""
    bare = text.casefold().strip("[]")
    try:
        read = urlsplit(f"//[{bare}]" if ":" in bare else f"//{bare}").hostname
    except ValueError:
        return False
    return bare != "" and bare.isprintable() and " " not in bare and read == bare
