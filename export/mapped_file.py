"""Map a weights file into memory, read-only, and name the spans in it. Knows bytes, not what they mean."""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, StorageError

DAMAGED_HINT = "Fetch or convert it again."


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: shape in NumPy's order (rows first), offset in bytes from the file's start."""

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    nbytes: int


def map_file(path: Path) -> mmap.mmap:
    """Map a regular file that is not empty. Raises ModelNotFound, StorageError, CorruptFile."""
    try:
        # Checked before opening: a pipe would block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInput(f"{path} is not a regular file.")
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise CorruptFile(f"{path.name} is empty.", hint=DAMAGED_HINT)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise ModelNotFound(f"There is no file {path}.") from error
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{str(path)!r} cannot be a file's name: {error}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_spans(file: str, start: int, size: int, tensors: Iterable[TensorInfo], *, gaps: bool) -> None:
    """Raise CorruptFile unless all tensors lie in [start, size) without overlap; `gaps` allows padding."""
    end, previous = start, ""
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        name = shorten(tensor.name)
        if tensor.offset < start or tensor.offset + tensor.nbytes > size:
            raise CorruptFile(
                f"{file} is damaged: the tensor {name} lies outside the file "
                f"({tensor.nbytes} bytes at {tensor.offset}, the file has {size}).",
                hint=DAMAGED_HINT,
            )
        if tensor.offset < end:
            raise CorruptFile(
                f"{file} is damaged: the tensors {previous} and {name} overlap.", hint=DAMAGED_HINT
            )
        if tensor.offset > end and not gaps:
            raise CorruptFile(
                f"{file} is damaged: there is a hole before the tensor {name}.", hint=DAMAGED_HINT
            )
        end, previous = tensor.offset + tensor.nbytes, name
    if end != size and not gaps:
        raise CorruptFile(
            f"{file} is damaged: {size - end} bytes at its end belong to nothing.", hint=DAMAGED_HINT
        )


def row_range(tensor: TensorInfo, rows: slice | None) -> tuple[int, int]:
    """Return the first row and the row after the last of a slice over a tensor's first axis."""
    if rows is None:
        return 0, tensor.shape[0]
    first, last, step = rows.indices(tensor.shape[0])
    if step != 1:
        raise InvalidInput(f"Rows are read in ranges, not with a step of {step}.")
    return first, max(first, last)


def shorten(name: str) -> str:
    """Quote a name from an untrusted file so that it fits into a sentence."""
    quoted = repr(name)
    return quoted if len(quoted) <= 80 else quoted[:76] + "...'"
