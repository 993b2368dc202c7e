"""Read files of one JSON object a line that anybody may have written; knows nothing of what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from edgetts.errors import InvalidInput, StorageError


class Line(NamedTuple):
    """One object, the number of its line counted from 1, and the offsets in bytes where it begins and ends."""

    number: int
    value: dict[str, Any]
    begins: int
    ends: int


def read_objects(path: Path, *, longest: int, torn_end: bool = False) -> Iterator[Line]:
    """Yield the objects of a file; empty lines are passed over.

    longest: bytes that a line may have. torn_end: leave a last line out that is not ended, which is what a
    writer leaves that was killed. Errors: InvalidInput naming the line, StorageError.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}.") from error
    with file:
        offset = number = 0
        while line := file.readline(longest + 1):
            number += 1
            begins, offset = offset, offset + len(line)
            if len(line) > longest:
                refuse(path, number, f"is longer than {longest:,} bytes")
            if torn_end and not line.endswith(b"\n"):
                return
            # Windows' Notepad begins a file with a byte order mark.
            body = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if body.strip():
                yield Line(number, _parse(path, number, body), begins, offset)


def refuse(path: Path, number: int, what: str) -> NoReturn:
    """Raise InvalidInput about one line, in a sentence that goes on with `what`."""
    raise InvalidInput(f"{path}: line {number} {what}.", hint="Every line must be one JSON object.")


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        refuse(path, number, f"is not UTF-8 text (byte {error.start})")
    except RecursionError:
        refuse(path, number, "is nested too deeply")
    except ValueError as error:  # not JSON, or a number with thousands of digits
        refuse(path, number, f"is not JSON ({str(error).partition(':')[0].partition(';')[0]})")
    if not isinstance(value, dict):
        refuse(path, number, f"holds a {type(value).__name__}, not an object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
