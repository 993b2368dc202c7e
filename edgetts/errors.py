"""Exceptions a user of edgetts can meet, each with a hint: what to do now.

EdgettsError
├── InvalidInput           what was asked for cannot be: empty prompt, NaN budget, bad option  (exit 2)
│   ├── PromptTooLong      prompt does not fit the model's context
│   └── TemplateError      a chat template failed, looped or reached for what it may not have
├── ModelNotFound          no such model, file or directory; names near misses                 (exit 3)
├── ModelFileError         a file that is there cannot be trusted or understood                (exit 4)
│   ├── CorruptFile        truncated, garbage, wrong magic, offsets outside the file
│   ├── ChecksumMismatch   the bytes are not those that were promised
│   ├── UnsupportedModel   architecture, tensor type or tokenizer that edgetts does not know
│   └── BundleVersionError written by a newer edgetts
├── DownloadError          the network, a server or an offline switch said no                  (exit 5)
├── StorageError           disk full, no permission, no space for the cache                    (exit 6)
├── MissingExtra           an optional package is not installed; names the extra               (exit 7)
├── Busy                   too many questions wait for the model already                       (exit 10)
└── RuntimeFailure         a runtime broke while computing                                     (exit 8)
    ├── InvalidLogits      NaN or all -inf where a distribution should be
    ├── OutOfMemory        a branch or a cache does not fit the memory allowed
    └── Unsupported        the runtime or the model's state cannot do this (e.g. roll back)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class EdgettsError(Exception):
    """Say in one sentence what is wrong; `hint` says what to do now."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.hint}".strip()


class InvalidInput(EdgettsError, ValueError):
    exit_code = 2


class PromptTooLong(InvalidInput):
    pass


class TemplateError(InvalidInput):
    pass


class ModelNotFound(EdgettsError):
    exit_code = 3


class ModelFileError(EdgettsError):
    exit_code = 4


class CorruptFile(ModelFileError):
    pass


class ChecksumMismatch(ModelFileError):
    pass


class UnsupportedModel(ModelFileError):
    pass


class BundleVersionError(ModelFileError):
    pass


class DownloadError(EdgettsError):
    exit_code = 5


class StorageError(EdgettsError):
    exit_code = 6


class MissingExtra(EdgettsError, ImportError):
    exit_code = 7

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed.",
            hint=f"Install it with: pip install 'edgetts[{extra}]'",
        )
        self.package = package
        self.extra = extra


class Busy(EdgettsError):
    exit_code = 10


class RuntimeFailure(EdgettsError, RuntimeError):
    exit_code = 8


class InvalidLogits(RuntimeFailure):
    pass


class OutOfMemory(RuntimeFailure, MemoryError):
    pass


class Unsupported(RuntimeFailure):
    pass


@contextmanager
def storage_errors() -> Iterator[None]:
    """Tell what the file system refuses as a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EdgettsError):
            raise
        raise storage_error(error) from error


def storage_error(error: OSError) -> StorageError:
    """Return what the file system refused as an error that names the file."""
    where = f"{error.filename}: " if error.filename else ""
    return StorageError(f"{where}{error.strerror or error}.")
