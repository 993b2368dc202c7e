"""Find ONNX Runtime's execution providers, built in or as plug-ins, and open graphs with them.

Knows graphs only as files. What there is to know of each provider is data: `edgetts.runtimes.providers.catalogue`.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgetts.errors import InvalidInput, MissingExtra, RuntimeFailure
from edgetts.near_miss import near_miss
from edgetts.runtimes.providers.catalogue import all_entries, find_entry
from edgetts.runtimes.providers.entry import ProviderEntry
from edgetts.runtimes.providers.opening import open_graph, session_options
from edgetts.runtimes.providers.plugins import devices_of, plugins_known, register, registered

__all__ = ["Provider", "find_provider", "open_graph", "session_options"]

_CPU = "CPUExecutionProvider"
_UNKNOWN = "unknown"
_X86 = ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that is there: registered where it is a plug-in, and with a device to run on.

    devices: OrtEpDevices of a plug-in, none of one that is built in. version: of the package that brings it, or of
    ONNX Runtime. emulated: it computes on a processor what an NPU would, so its times say nothing.
    """

    name: str
    version: str
    devices: tuple[Any, ...] = ()
    library: Path | None = None
    emulated: bool = False


def find_provider(name: str, library: Path | None = None) -> Provider:
    """Return a provider by ONNX Runtime's name or the catalogue's short one; register its library once.

    library: of a plug-in; a provider that edgetts does not know is given its own name by it. It is loaded in a
    process of its own first. Raises InvalidInput for a name that nobody knows, MissingExtra where its package is
    missing, RuntimeFailure where its library cannot be loaded, is of another ABI, or finds no device; each with the
    way to get it.
    """
    entry = find_entry(name)
    wanted = name.strip() if entry is None else entry.provider
    library = library or registered(wanted)
    if library is None and entry is None:
        return _by_own_name(name)
    if library is None and entry is not None:
        if _built_in(wanted):
            return Provider(wanted, ort.__version__)
        if not entry.in_package:
            if devices := _registered_devices(wanted):
                return _plugin(entry, wanted, devices, None)
            raise RuntimeFailure(f"This onnxruntime {ort.__version__} has no {wanted}.", hint=entry.get)
    brought = None if entry is None else _from_package(entry, needed=library is None)
    _check_onnxruntime(wanted, entry)
    path = library if library is not None else brought
    if path is None:
        raise RuntimeFailure(f"{wanted} has no library here.")
    register(wanted, path, trusted=brought is not None and path.resolve() == brought.resolve())
    devices = devices_of(wanted)
    if not devices:
        raise RuntimeFailure(
            f"{wanted} is here, but finds no device that it could run on.",
            hint="It needs its maker's hardware, and the driver of that."
            if entry is not None
            else "Give it the name that the library registers, if that is another.",
        )
    return _plugin(entry, wanted, devices, registered(wanted) or path)


def package_version(entry: ProviderEntry) -> str:
    """Return the version of the package that brings a provider. Raises MissingExtra or RuntimeFailure."""
    if importlib.util.find_spec(entry.module) is None:
        if entry.extra:
            raise MissingExtra(entry.distribution, entry.extra)
        raise RuntimeFailure(f"{entry.provider} needs the package {entry.distribution}.", hint=entry.get)
    try:
        found = version(entry.distribution)
    except PackageNotFoundError:
        found = getattr(importlib.import_module(entry.module), "__version__", _UNKNOWN)
    if found != _UNKNOWN and _older(found, entry.version):
        raise RuntimeFailure(
            f"{entry.distribution} is {found}, but edgetts needs {entry.version} or newer.",
            hint=f"Update it: pip install --upgrade {entry.distribution}",
        )
    return found


def _by_own_name(name: str) -> Provider:
    """Return a provider that the catalogue does not know: one of this build, or registered by the program."""
    wanted = name.strip().casefold()
    for one in ort.get_available_providers():
        if wanted == one.casefold():
            return Provider(one, ort.__version__, _registered_devices(one))
    known = [text for entry in all_entries() for text in (entry.name, entry.provider)]
    close = {text.casefold(): text for text in known}
    hint = near_miss(wanted, close, f"There are: {', '.join(entry.name for entry in all_entries())}.")
    for folded, text in close.items():
        hint = hint.replace(repr(folded), repr(text))
    raise InvalidInput(
        f"There is no provider {name!r}.",
        hint=f"{hint} One that edgetts does not know needs its library's path.",
    )


def _built_in(name: str) -> bool:
    """Whether this build has a provider; those of plug-ins are listed too, once they are registered."""
    return name == _CPU or (name in ort.get_available_providers() and not _registered_devices(name))


def _registered_devices(name: str) -> tuple[Any, ...]:
    return devices_of(name) if plugins_known() and name != _CPU else ()


def _check_onnxruntime(name: str, entry: ProviderEntry | None) -> None:
    needed = "1.23" if entry is None or entry.onnxruntime == "0" else entry.onnxruntime
    if not plugins_known() or _older(ort.__version__, needed):
        raise RuntimeFailure(
            f"{name} is a plug-in that needs onnxruntime {needed}, and this is {ort.__version__}.",
            hint=f"Update it: pip install --upgrade 'onnxruntime>={needed}'",
        )


def _from_package(entry: ProviderEntry, *, needed: bool) -> Path | None:
    """Return the library that a provider's package brings; None where another is named and there is no package."""
    if not entry.in_package:
        return None
    try:
        package_version(entry)
        path = importlib.import_module(entry.module).get_library_path()
    except (MissingExtra, RuntimeFailure):
        if needed:
            raise
        return None
    except (ImportError, OSError, AttributeError) as error:
        if needed:
            raise RuntimeFailure(
                f"The package {entry.distribution} does not say where its library is: {error}",
                hint=f"Install it again: pip install --force-reinstall {entry.distribution}",
            ) from error
        return None
    return Path(path)


def _plugin(
    entry: ProviderEntry | None, name: str, devices: tuple[Any, ...], library: Path | None
) -> Provider:
    """Return a plug-in that has devices, the best kind first."""
    kinds = [] if entry is None else [*entry.devices]
    ordered = sorted(devices, key=lambda one: _rank(kinds, one.device.type.name.casefold()))
    own = None if entry is None else _from_package(entry, needed=False)
    if entry is not None and own is not None and library is not None and own.resolve() == library.resolve():
        found = package_version(entry)
    else:
        found = str(ordered[0].ep_metadata.get("version", _UNKNOWN))
    emulated = entry is not None and entry.emulator and all(_is_emulation(one) for one in ordered)
    return Provider(name, found, tuple(ordered), library, emulated)


def _rank(kinds: list[str], kind: str) -> int:
    return kinds.index(kind) if kind in kinds else len(kinds)


def _is_emulation(device: Any) -> bool:
    """Whether a device is a processor that the provider's maker does not make."""
    return device.device.type.name == "CPU" and platform.machine().casefold() in _X86


def _older(found: str, needed: str) -> bool:
    return _release(found) < _release(needed)


def _release(text: str) -> tuple[int, ...]:
    """Read the numbers that a version begins with; trailing zeros say nothing."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
