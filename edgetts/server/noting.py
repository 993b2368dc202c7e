"""What is written to the log of a request: never a prompt, an answer or a key."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edgetts.types import Usage

LOG = logging.getLogger("edgetts.server")
_KEY = "edgetts.note"
_LONGEST_PATH = 100


@dataclass(slots=True)
class Note:
    """Kept while a request is answered."""

    usage: Usage | None = None
    user: str | None = None
    streams: bool = False
    gone: bool = False
    error: str = ""

    @classmethod
    def of(cls, scope: MutableMapping[str, Any]) -> Note:
        """Return the note of a request; a new one where it has none yet."""
        note: Note = scope.setdefault(_KEY, cls())
        return note

    def write(self, method: str, path: str, status: int, seconds: float) -> None:
        """Log the line: method, path, status, seconds, tokens."""
        parts = [f"{quote(method, safe='')} {quote(path, safe='/')[:_LONGEST_PATH]} {status} {seconds:.3f} s"]
        if self.usage is not None:
            parts.append(
                f"prompt {self.usage.prompt_tokens} cached {self.usage.cached_tokens} generated "
                f"{self.usage.generated_tokens} samples {self.usage.samples}"
            )
        if self.streams:
            parts.append("stream")
        if self.gone:
            parts.append("client gone")
        if self.error:
            parts.append("error after the stream began")
        if self.user:
            parts.append(f"user {self.user}")
        LOG.info(", ".join(parts))
