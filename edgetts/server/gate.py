"""Who may come in: Host headers, web pages' origins, API keys. Knows headers; no bodies, no answers."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from edgetts.server.refusing import Refusal
from edgetts.server.settings import Settings

_OPEN = ("/health",)
"""Paths that need no key: they say nothing but whether the server is there."""
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def check_size(scope: Mapping[str, Any], settings: Settings) -> None:
    """Refuse, with 431, a head that is too large; h11 measures it only where it comes in pieces."""
    size = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > settings.header_bytes:
        raise Refusal(
            431,
            f"The request's head is larger than {settings.header_bytes} bytes.",
            headers={"connection": "close"},
        )


def check_host(headers: Mapping[bytes, bytes], settings: Settings) -> None:
    """Refuse, with 421, a Host header of another name: a page could have its own name lead here (DNS rebinding).

    Addresses are let in where the server is bound to all of them: nobody can rebind an address.
    """
    given = headers.get(b"host", b"").decode("latin-1")
    try:
        name = (urlsplit(f"//{given}").hostname or "").rstrip(".")
    except ValueError:
        name = ""
    known = {
        "localhost",
        "127.0.0.1",
        "::1",
        *(one.casefold().strip("[]") for one in (settings.host, *settings.hosts)),
    }
    if (
        not name
        or "@" in given
        or not (name in known or (settings.host in _EVERYWHERE and _is_address(name)))
    ):
        raise Refusal(
            421,
            f"This server does not go by the name {given[:100]!r}; whoever runs it may add it with --allow-host.",
            code="wrong_host",
        )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check_origin(headers: Mapping[bytes, bytes], settings: Settings) -> None:
    """Refuse, with 403, what a web page of an origin that is not allowed sends."""
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") not in settings.origins:
        raise Refusal(
            403,
            "Web pages of this origin may not call this server; --allow-origin lets them.",
            code="wrong_origin",
        )


def check_key(path: str, headers: Mapping[bytes, bytes], settings: Settings) -> None:
    """Refuse, with 401, who shows none of the keys. All of them are compared, in constant time."""
    if not settings.keys or path in _OPEN:
        return
    scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
    fits = [hmac.compare_digest(shown.strip(), key.encode()) for key in settings.keys]
    if scheme.lower() != b"bearer" or not any(fits):
        raise Refusal(
            401,
            "The API key is missing or wrong: send it as 'Authorization: Bearer KEY'.",
            code="invalid_api_key",
            headers={"www-authenticate": 'Bearer realm="edgetts"'},
        )


def cors_headers(headers: Mapping[bytes, bytes], settings: Settings) -> list[tuple[bytes, bytes]]:
    """Return what lets an allowed page read the answer."""
    origin = headers.get(b"origin")
    if not settings.origins or origin is None or origin.decode("latin-1") not in settings.origins:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"Authorization, Content-Type"),
        (b"access-control-max-age", b"600"),
    ]
