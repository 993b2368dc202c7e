"""An OpenAI-compatible HTTP server over one engine (extra `server`). Knows HTTP and JSON; no tokens, no sessions.

Everything is answered through `Engine.astream`. What a request may hold is one table of schemas (`wanting`): it checks
every body, and is what /openapi.json shows. What is not supported is refused by name; nothing is accepted and dropped.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgetts.server.settings import Settings

if TYPE_CHECKING:
    from edgetts.server.app import make_app
    from edgetts.server.running import serve

__all__ = ["Settings", "make_app", "serve"]

# Names that need starlette or uvicorn.
_LAZY = {"make_app": "edgetts.server.app", "serve": "edgetts.server.running"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'edgetts.server' has no attribute {name!r}")
