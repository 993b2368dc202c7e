"""Say which layers of a static bundle run on which provider. Knows devices, providers and cuts, but no graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnxruntime as ort

from edgetts.bundle import Manifest
from edgetts.errors import InvalidInput, MissingExtra, RuntimeFailure, Unsupported
from edgetts.runtimes.npu.options import NpuOptions
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.finding import Provider, find_provider

CPU = "CPUExecutionProvider"
# Whose compiler the graphs of a target are written for; `edgetts.export.static.targets` writes them.
_PROVIDERS: Mapping[str, str] = {
    "qnn-htp": "QNNExecutionProvider",
    "openvino-npu": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "generic-static": CPU,
}
_GPUS = ("CUDAExecutionProvider", "DmlExecutionProvider", "WebGpuExecutionProvider")
_PLACE = re.compile(r"(cpu|npu|gpu):([0-9]{1,5})-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """A provider, and the options it is given."""

    provider: Provider
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def on_cpu(self) -> bool:
        """Whether ONNX Runtime's own kernels compute here, exactly where the graphs' numbers are exact."""
        return self.provider.name == CPU


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each segment runs; the head goes with the last. remarks: sentences on what was not as one might expect."""

    segments: tuple[Place, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """What would run a bundle, in words that change when anything does; emulated: whether times say nothing."""

    providers: str
    emulated: bool


def placed(manifest: Manifest, options: Mapping[str, Any]) -> Placed:
    """Say who would run a static bundle with options of NpuOptions. Raises as `place_segments` does."""
    note = manifest.static
    if note is None:
        raise InvalidInput(f"The bundle {manifest.name} has no graphs of fixed shapes.")
    placement = place_segments(
        note.target, (0, *manifest.cuts, manifest.architecture.layers), NpuOptions(**options)
    )
    found = [place.provider for place in placement.segments]
    return Placed(", ".join(f"{one.name} {one.version}" for one in found), any(one.emulated for one in found))


def place_segments(target: str, boundaries: Sequence[int], options: NpuOptions) -> Placement:
    """Choose a provider for each segment; `boundaries` are layers, from 0 over the cuts to the depth.

    Raises InvalidInput for layers that lie not between cuts, and what finding a provider raises where one was
    asked for.
    """
    remarks: list[str] = []
    rest = _rest(target, options, remarks)
    providers = [rest] * (len(boundaries) - 1)
    if options.place is not None:
        device, first, stop = _parsed(options.place, boundaries)
        for segment in range(first, stop):
            providers[segment] = _device(device, target) if segment == first else providers[first]
    if options.device == "auto" and options.provider is None and rest.name == CPU != _provider_of(target):
        own: Mapping[str, str] = {}  # the remark tells that there is nobody to take them
    else:
        own = _own_options(providers, options)
    for one in dict.fromkeys(one.name for one in providers if one.emulated):
        remarks.append(f"{one} is emulated here: times say nothing.")
    places = {id(one): Place(one, own if one.name != CPU else {}) for one in providers}
    return Placement(tuple(places[id(one)] for one in providers), tuple(remarks))


def _provider_of(target: str) -> str:
    """Name the provider that a target's graphs are written for; a target of a newer edgetts is anybody's."""
    return _PROVIDERS.get(target, CPU)


def _rest(target: str, options: NpuOptions, remarks: list[str]) -> Provider:
    """Return who runs what no place is named for."""
    if options.provider is not None:
        return find_provider(options.provider, options.library)
    if options.device != "auto":
        return _device(options.device, target)
    wanted = _provider_of(target)
    if wanted == CPU:
        return find_provider(CPU)
    try:
        found = _with_npu(find_provider(wanted))
    except (MissingExtra, RuntimeFailure) as error:
        remarks.append(f"The graphs are for {wanted} but run on the CPU: {error}")
        return find_provider(CPU)
    if found.emulated:
        remarks.append(
            f"The graphs are for {wanted} but run on the CPU, as it would only be emulated here. "
            "Ask for device npu to have it nevertheless."
        )
        return find_provider(CPU)
    return found


def _device(device: str, target: str) -> Provider:
    """Return the provider of a device that was asked for. Raises RuntimeFailure or MissingExtra."""
    wanted = _provider_of(target)
    if device == "cpu":
        return find_provider(CPU)
    if device == "npu" and wanted != CPU:
        return _with_npu(find_provider(wanted))
    others = [one for one in _PROVIDERS.values() if one != CPU] if device == "npu" else [wanted, *_GPUS]
    for name in others:
        if name == CPU or (name in _GPUS and name not in ort.get_available_providers()):
            continue
        try:
            return _with_npu(find_provider(name)) if device == "npu" else _with_gpu(find_provider(name))
        except (MissingExtra, RuntimeFailure, InvalidInput):
            continue
    raise Unsupported(
        f"There is no provider here that runs on {'an NPU' if device == 'npu' else 'a GPU'}.",
        hint="See which there are with: edgetts doctor",
    )


def _with_npu(provider: Provider) -> Provider:
    """Keep a provider's NPUs of its devices. Raises RuntimeFailure where it has devices, but none of them."""
    kept = tuple(one for one in provider.devices if one.device.type == ort.OrtHardwareDeviceType.NPU)
    if provider.devices and not kept and not provider.emulated:
        raise RuntimeFailure(f"{provider.name} finds no NPU here.")
    return replace(provider, devices=kept or provider.devices)


def _with_gpu(provider: Provider) -> Provider:
    """Keep a provider's GPUs. Raises RuntimeFailure where there are none; one that is built in has no list of them."""
    kept = tuple(one for one in provider.devices if one.device.type == ort.OrtHardwareDeviceType.GPU)
    if not kept and provider.name not in _GPUS:
        raise RuntimeFailure(f"{provider.name} finds no GPU here.")
    return replace(provider, devices=kept)


def _own_options(providers: Sequence[Provider], options: NpuOptions) -> Mapping[str, str]:
    """Return the options of providers other than the CPU's: the chip's, and over them the caller's."""
    others = {one.name for one in providers} - {CPU}
    if (options.soc is not None or options.provider_options) and not others:
        raise InvalidInput(
            "All layers run on the CPU, which takes no chip and no provider options.",
            hint="Name a device or provider too.",
        )
    if options.soc is None:
        return dict(options.provider_options)
    soc = find_soc(options.soc)
    if soc.provider not in others:
        raise InvalidInput(f"The chip {soc.name} is for {soc.provider}, not for {', '.join(sorted(others))}.")
    return {**soc.options, **options.provider_options}


def _parsed(place: str, boundaries: Sequence[int]) -> tuple[str, int, int]:
    """Read "cpu:15-30" as a device and segments [first, stop)."""
    cuts, depth = ", ".join(map(str, boundaries[1:-1])), boundaries[-1]
    found = _PLACE.fullmatch(place)
    if found is None:
        raise InvalidInput(
            f"place is {place!r}, but it must be a device and layers, such as cpu:0-{boundaries[1]}.",
            hint="Devices are cpu, npu and gpu.",
        )
    start, stop = int(found[2]), int(found[3])
    if not start < stop or start not in boundaries or stop not in boundaries:
        where = f"at {cuts}" if cuts else "nowhere"
        raise InvalidInput(
            f"Layers {start} to {stop} cannot be placed by themselves: "
            f"the {depth} layers of this model are cut {where}."
        )
    return found[1], boundaries.index(start), boundaries.index(stop)
