"""Register the libraries of plug-in providers with ONNX Runtime, each once a process.

A library is a file until it is loaded, and loading one that was cut short ends the process: the system maps more of
it than there is. So its header is read first. What a header does not show, `trial` does, in a process of its own.
"""

from __future__ import annotations

import platform
import re
import struct
import threading
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgetts.errors import RuntimeFailure
from edgetts.runtimes.providers.reasons import LOAD_ERRORS, reason
from edgetts.runtimes.providers.trial import try_library

_LOCK = threading.Lock()
_REGISTERED: dict[str, Path] = {}
_TRIED: set[tuple[str, Path, int, int]] = set()
_ERRORS: tuple[type[Exception], ...] = (*LOAD_ERRORS, UnicodeDecodeError)
_ELF = b"\x7fELF"
# Bytes of a file's header and of a segment's.
_HEAD, _SEGMENT = 64, 56
_MACHINES = {"x86_64": 62, "amd64": 62, "aarch64": 183, "arm64": 183}
# ONNX Runtime's words for it, and those of plug-ins that look first.
_OTHER_VERSION = re.compile(r"API version|requires ORT|\(API \d+\)")
_AGAIN = "Install the package that brings it again, or name another library."


def plugins_known() -> bool:
    """Whether this ONNX Runtime knows plug-ins at all."""
    return hasattr(ort, "register_execution_provider_library") and hasattr(ort, "get_ep_devices")


def registered(name: str) -> Path | None:
    """Return the library that edgetts registered under a name."""
    return _REGISTERED.get(name)


def devices_of(name: str) -> tuple[Any, ...]:
    """Return the OrtEpDevices of a registered provider."""
    return tuple(one for one in ort.get_ep_devices() if one.ep_name == name)


def register(name: str, library: Path, *, trusted: bool) -> None:
    """Register a library under a name, unless it is.

    trusted: a package that was installed brings it, so that it is loaded without a trial. Raises RuntimeFailure where
    it is not there, no library, of another processor, cut short, no plug-in, or where another was registered before.
    """
    with _LOCK:
        library = _existing(library)
        before = _REGISTERED.get(name)
        if before == library or (before is None and devices_of(name)):
            return  # by us, or by the program that edgetts is part of
        check_library(library)
        if before is not None:
            raise RuntimeFailure(
                f"{name} was loaded from {before} and cannot be loaded from {library} too.",
                hint="Start anew for the other library.",
            )
        state = library.stat()
        key = (name, library, state.st_size, state.st_mtime_ns)
        if not trusted and key not in _TRIED:
            try_library(name, library)
            _TRIED.add(key)
        try:
            ort.register_execution_provider_library(name, str(library))
        except _ERRORS as error:
            if "already registered" not in str(error):
                raise not_loadable(library, reason(error)) from error
        _REGISTERED[name] = library
        if not trusted and not devices_of(name):
            # It may have been the wrong name or file, and the next is to have its chance.
            ort.unregister_execution_provider_library(name)
            del _REGISTERED[name]


def not_loadable(library: Path, why: str) -> RuntimeFailure:
    """Say why ONNX Runtime does not load a library, from its words."""
    if "Failed to get symbol" in why:
        return RuntimeFailure(
            f"{library.name} is a library, but no plug-in of ONNX Runtime.",
            hint="Name the provider's own library, such as libonnxruntime_providers_qnn.so.",
        )
    if _OTHER_VERSION.search(why):
        return RuntimeFailure(
            f"{library.name} was made for another version of ONNX Runtime than {ort.__version__}: {why}",
            hint="Update both: pip install --upgrade onnxruntime, and the package that brings it.",
        )
    return RuntimeFailure(f"ONNX Runtime cannot load {library.name}: {why}", hint=_AGAIN)


def check_library(library: Path) -> None:
    """Raise RuntimeFailure for a file that cannot be a whole library of this processor. Reads its headers only.

    Only ELF, of Linux and Android, tells how long a file must be.
    """
    try:
        size = library.stat().st_size
        with library.open("rb") as file:
            head = file.read(_HEAD)
            if head[:4] != _ELF:
                if platform.system() in ("Linux", "Android"):
                    raise RuntimeFailure(f"{library.name} is no shared library.", hint=_AGAIN)
                return
            if head[4:6] != b"\x02\x01" or len(head) < _HEAD:
                raise RuntimeFailure(
                    f"{library.name} is no 64-bit shared library, or cut short.", hint=_AGAIN
                )
            _check_machine(library, int.from_bytes(head[18:20], "little"))
            segments, sections = struct.unpack_from("<QQ", head, 32)
            entry, count, section, sections_count = struct.unpack_from("<HHHH", head, 54)
            needed = [segments + entry * count, sections + section * sections_count]
            if entry >= _SEGMENT and max(needed) <= size:
                file.seek(segments)
                table = file.read(entry * count)
                starts = range(0, len(table) - _SEGMENT + 1, entry)
                needed += [sum(struct.unpack_from("<Q16xQ", table, at + 8)) for at in starts]
    except OSError as error:
        raise RuntimeFailure(
            f"The library {library} cannot be read: {error.strerror}.", hint="Check who may read it."
        ) from error
    if max(needed) > size:
        raise RuntimeFailure(f"The library {library.name} is cut short: it has {size} bytes.", hint=_AGAIN)


def _check_machine(library: Path, machine: int) -> None:
    mine = _MACHINES.get(platform.machine().casefold())
    if mine is not None and machine != mine:
        kind = next(
            (name for name, number in _MACHINES.items() if number == machine), f"ELF machine {machine}"
        )
        raise RuntimeFailure(
            f"{library.name} is for {kind}, and this is {platform.machine()}.",
            hint="Get the library of this processor.",
        )


def _existing(library: Path) -> Path:
    try:
        found = library.expanduser().resolve(strict=True)
        regular = found.is_file()
    except (OSError, RuntimeError) as error:
        raise RuntimeFailure(f"There is no library {library}.", hint="Check the path.") from error
    if not regular:
        raise RuntimeFailure(f"{library} is no file.", hint="Name the library itself.")
    return found
