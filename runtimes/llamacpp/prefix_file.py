"""Write what a branch holds to a file and read it again, checked. Knows bytes and token ids.

Layout: a magic line, the length of a JSON header (little-endian uint32), the header, token ids (int32),
and the state as llama.cpp gives it. The header states the hash of all that follows it: llama.cpp
is never given bytes that it did not write itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, StorageError

_MAGIC = b"edgetts prefix 1\n"
_LENGTH = struct.Struct("<I")
_MOST_HEADER = 1 << 16


@dataclass(frozen=True, slots=True)
class Origin:
    """What a state is of: a state of another model, library or cache is none for this one."""

    model_sha256: str
    model_bytes: int
    library: str
    cache: str

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def write_prefix(path: Path, origin: Origin, tokens: list[int], state: NDArray[np.uint8]) -> None:
    """Write a file whole or not at all. Raises StorageError."""
    ids = np.array(tokens, "<i4").tobytes()
    digest = hashlib.sha256(ids)
    digest.update(state.data)
    header = origin.to_json() | {
        "tokens": len(tokens),
        "state_bytes": len(state),
        "sha256": digest.hexdigest(),
    }
    text = json.dumps(header).encode()
    scratch = None
    try:
        # Readable by its owner alone: it holds what somebody wrote.
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            for part in (_MAGIC, _LENGTH.pack(len(text)), text, ids, state.data):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error


def read_prefix(path: Path, origin: Origin) -> tuple[list[int], NDArray[np.uint8]]:
    """Return the tokens and the state. Raises ModelNotFound, StorageError, CorruptFile, InvalidInput."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _header(path.name, file.read(len(_MAGIC) + _LENGTH.size + _MOST_HEADER))
            _compare(path.name, header, origin)
            count, nbytes = _count(path.name, header, "tokens"), _count(path.name, header, "state_bytes")
            if start + 4 * count + nbytes != size:
                _corrupt(path.name, f"it has {size} bytes and not {start + 4 * count + nbytes}")
            file.seek(start)
            body = np.frombuffer(file.read(4 * count + nbytes), np.uint8)
    except FileNotFoundError as error:
        raise ModelNotFound(f"There is no file {path}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if hashlib.sha256(body.data).hexdigest() != header.get("sha256"):
        _corrupt(path.name, "its bytes are not those that were written")
    return body[: 4 * count].view("<i4").tolist(), body[4 * count :]


def _header(file: str, data: bytes) -> tuple[Mapping[str, Any], int]:
    if not data.startswith(_MAGIC):
        raise CorruptFile(f"{file} holds no prefix that edgetts saved.", hint="Save it again.")
    at = len(_MAGIC) + _LENGTH.size
    if len(data) < at:
        _corrupt(file, "it is cut off")
    (length,) = _LENGTH.unpack(data[len(_MAGIC) : at])
    if length > _MOST_HEADER or len(data) < at + length:
        _corrupt(file, "its header does not fit into it")
    try:
        header = json.loads(data[at : at + length])
    except (ValueError, RecursionError):
        _corrupt(file, "its header is no JSON")
    if not isinstance(header, dict):
        _corrupt(file, "its header is no JSON object")
    return header, at + length


def _compare(file: str, header: Mapping[str, Any], origin: Origin) -> None:
    if (header.get("model_sha256"), header.get("model_bytes")) != (origin.model_sha256, origin.model_bytes):
        raise CorruptFile(f"{file} was saved from another model.", hint="Read the prompt again and save it.")
    if header.get("library") != origin.library:
        raise CorruptFile(
            f"{file} was saved by {str(header.get('library'))[:60]}, and this is {origin.library}.",
            hint="Read the prompt again and save it.",
        )
    if header.get("cache") != origin.cache:
        raise InvalidInput(
            f"{file} was saved from another kind of cache: {str(header.get('cache'))[:60]}, and not {origin.cache}.",
            hint="Open the session with the same cache types and flash attention.",
        )


def _count(file: str, header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or not 0 < value < 1 << 48:
        _corrupt(file, f"it states {str(value)[:40]} {name}")
    return value


def _corrupt(file: str, what: str) -> NoReturn:
    raise CorruptFile(f"{file} is damaged: {what}.", hint="Save the prefix again.")
