"""What ONNX Runtime raises, and the one sentence in it that is for people."""

from __future__ import annotations

import re

from edgetts.runtimes.onnx.graphs import LOAD_ERRORS, first_line

__all__ = ["LOAD_ERRORS", "plain", "reason"]

_PREFIX = re.compile(
    r"^(\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Load model from .*? failed: ?|Fatal error: )"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def reason(error: BaseException) -> str:
    """Return the first line of an error's words, without ONNX Runtime's number and name of it."""
    if isinstance(error, UnicodeDecodeError):
        return "its error message is no text, so it is damaged."
    return plain(first_line(error))


def plain(line: str) -> str:
    """Return a line without colours and ONNX Runtime's prefixes, ended by a full stop."""
    words = _COLOUR.sub("", line).strip()
    while (shorter := _PREFIX.sub("", words)) != words:
        words = shorter
    words = "".join(c for c in words if c.isprintable())[:300]
    return words if words.endswith((".", "!", "?")) else f"{words}."
