"""Load llama.cpp's own functions when they are first needed, and listen to its log. Knows no model."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from edgetts.errors import MissingExtra, RuntimeFailure

_WARNING, _ERROR, _CONTINUED = 3, 4, 5
_NEEDED = (
    *("llama_init_from_model", "llama_model_load_from_file", "llama_memory_seq_cp", "llama_memory_seq_rm"),
    *("llama_state_get_data", "llama_state_seq_set_data", "llama_set_abort_callback", "llama_log_set"),
)


@cache
def library() -> Any:
    """Return the module of llama.cpp's functions. Raises MissingExtra, or RuntimeFailure where it is broken."""
    try:
        functions = import_module("llama_cpp.llama_cpp")
    except ModuleNotFoundError as error:
        raise MissingExtra("llama-cpp-python", "llamacpp") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeFailure(
            f"llama-cpp-python cannot load its library: {error}", hint="Install llama-cpp-python again."
        ) from error
    if lacking := [name for name in _NEEDED if not hasattr(functions, name)]:
        raise _unknown_version(lacking[0])
    functions.llama_log_set(_log_callback(functions), ctypes.c_void_p(0))
    functions.llama_backend_init()
    return functions


def library_version() -> str:
    """Return the version of llama-cpp-python."""
    library()
    return str(import_module("llama_cpp").__version__)


def assign(params: Any, **values: Any) -> None:
    """Set fields of one of llama.cpp's structs.

    They come and go between versions, and ctypes would take an unknown name in silence.
    """
    known = {name for name, *_ in params._fields_}
    for name, value in values.items():
        if name not in known:
            raise _unknown_version(name)
        setattr(params, name, value)


class Log:
    """The last lines that llama.cpp logged in this process; it has one log for all models."""

    def __init__(self) -> None:
        self.verbose = False
        self._lines: deque[tuple[int, str]] = deque(maxlen=200)
        self._loading = threading.RLock()

    def add(self, level: int, text: str) -> None:
        if self.verbose:
            sys.stderr.write(text)
        if level == _CONTINUED and self._lines:
            before = self._lines.pop()
            level, text = before[0], before[1] + text
        self._lines.append((level, text))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Forget what was logged before; one thread at a time, so that lines are about its own call."""
        with self._loading:
            self._lines.clear()
            yield

    def reason(self) -> str:
        """Return the first error since `listening`, which the later ones only repeat; else the last warning."""
        for level, text in self._lines:
            if level == _ERROR and text.strip():
                return _sentence(text)
        for level, text in reversed(self._lines):
            if level == _WARNING and text.strip():
                return _sentence(text)
        return "it gives no reason"


LOG = Log()


@cache
def _log_callback(functions: Any) -> Any:
    """Return the C function that llama.cpp logs to. It is cached, since llama.cpp may call it at any time."""

    def logged(level: int, text: bytes | None, _data: object) -> None:
        LOG.add(level, (text or b"").decode("utf-8", "replace"))

    return functions.llama_log_callback(logged)


@cache
def is_set() -> Any:
    """Return a C function that says whether the text it gets is "1" and not "0": the C library's atoi.

    llama.cpp asks its abort callback before each of a pass's thousand operations. A Python function would
    have to take the interpreter's lock each time, and wait whenever another thread computes.
    """
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(libc.atoi, library().ggml_abort_callback)


def _sentence(text: str) -> str:
    # "llama_model_load: error loading model: ..." begins with the function's name.
    return text.strip().splitlines()[0].partition(": ")[2][:300] or text.strip()[:300]


def _unknown_version(name: str) -> RuntimeFailure:
    version = getattr(import_module("llama_cpp"), "__version__", "of no version")
    return RuntimeFailure(
        f"llama-cpp-python {version} has no {name!r}, which edgetts uses.",
        hint="Install a version from 0.3.36 on: pip install 'edgetts[llamacpp]'",
    )
