"""Say no as OpenAI's API does: a status, and a body that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgetts.errors import (
    Busy,
    EdgettsError,
    InvalidInput,
    MissingExtra,
    OutOfMemory,
    PromptTooLong,
    Unsupported,
)

RETRY_SECONDS = 2
"""What a client that comes when the queue is full is told to wait."""


class Refusal(Exception):
    """A request that is not answered. param: the field that is at fault, such as `messages[0].content`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """Return it in OpenAI's form."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def refusal_of(error: EdgettsError, param: str | None = None) -> Refusal:
    """Return what a client is told of one of our errors. param: the field that it was about, where that is known."""
    message = str(error)
    if isinstance(error, PromptTooLong):
        return Refusal(400, message, param=param, code="context_length_exceeded")
    if isinstance(error, (InvalidInput, Unsupported)):
        return Refusal(400, message, param=param)
    if isinstance(error, Busy):
        return Refusal(429, message, code="busy", headers={"retry-after": str(RETRY_SECONDS)})
    if isinstance(error, OutOfMemory):
        return Refusal(503, message, code="out_of_memory", headers={"retry-after": str(RETRY_SECONDS)})
    if isinstance(error, MissingExtra):
        return Refusal(501, message, param=param, code=f"missing_extra_{error.extra}")
    return Refusal(500, message, code=type(error).__name__)
