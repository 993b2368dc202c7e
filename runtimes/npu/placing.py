"""Say which layers of a static bundle run on which provider. Knows devices, providers and cuts, but no graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
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
# Of words on who runs a bundle, which are kept in profiles.
_LONGEST = 250
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
    """What would run a bundle, in a line of words that changes when anything does. emulated: whether times say nothing.

    layers: how many each provider runs, by ONNX Runtime's name.
    """

    providers: str
    emulated: bool
    layers: Mapping[str, int]


def placed(manifest: Manifest, options: Mapping[str, Any]) -> Placed:
    """Say who would run a static bundle with options of NpuOptions. Raises as `place_segments` does."""
    note = manifest.static
    if note is None:
        raise InvalidInput(f"The bundle {manifest.name} has no graphs of fixed shapes.")
    boundaries = (0, *manifest.cuts, manifest.architecture.layers)
    chosen = NpuOptions(**options)
    placement = place_segments(note.target, boundaries, chosen)
    parts: list[tuple[int, int, str]] = []
    layers: dict[str, int] = {}
    for start, stop, place in zip(boundaries, boundaries[1:], placement.segments, strict=False):
        here, name = _in_words(place), place.provider.name
        layers[name] = layers.get(name, 0) + stop - start
        if parts and parts[-1][2] == here:
            start = parts.pop()[0]
        parts.append((start, stop, here))
    words = "; ".join(f"{start}-{stop} {here}" for start, stop, here in parts)
    if not all(place.on_cpu for place in placement.segments):
        words += f"; soc {chosen.soc}" * (chosen.soc is not None) + "; fallback" * chosen.fallback
    if len(words) > _LONGEST:  # many options, or many cuts
        words = f"{words[: _LONGEST - 20]}... {sha256(words.encode()).hexdigest()[:16]}"
    return Placed(words, any(place.provider.emulated for place in placement.segments), layers)


def _in_words(place: Place) -> str:
    one = place.provider
    kind = f" ({one.devices[0].device.type.name.casefold()})" if one.devices else ""
    given = "".join(f" {option}={value}" for option, value in sorted(place.options.items()))
    return f"{one.name} {one.version}{kind}{given}"


def place_segments(target: str, boundaries: Sequence[int], options: NpuOptions) -> Placement:
    """Choose a provider for each segment; `boundaries` are layers, from 0 over the cuts to the depth.

    Raises InvalidInput for layers that lie not between cuts, and what finding a provider raises where one was
    asked for.
    """
    if options.soc is not None:
        find_soc(options.soc)  # a wrong name is said, whoever runs the graphs
    remarks: list[str] = []
    rest = _rest(target, options, remarks)
    providers = [rest] * (len(boundaries) - 1)
    if options.place is not None:
        device, first, stop = parse_place(options.place, boundaries)
        for segment in range(first, stop):
            providers[segment] = _device(device, target) if segment == first else providers[first]
    if options.device == "auto" and options.provider is None and rest.name == CPU != provider_of(target):
        own: Mapping[str, str] = {}  # the remark tells that there is nobody to take them
    else:
        own = _own_options(providers, options)
    for one in dict.fromkeys(one.name for one in providers if one.emulated):
        remarks.append(f"{one} is emulated here: times say nothing.")
    places = {id(one): Place(one, own if one.name != CPU else {}) for one in providers}
    return Placement(tuple(places[id(one)] for one in providers), tuple(remarks))


def provider_of(target: str) -> str:
    """Name the provider that a target's graphs are written for; a target of a newer edgetts is anybody's."""
    return _PROVIDERS.get(target, CPU)


def _rest(target: str, options: NpuOptions, remarks: list[str]) -> Provider:
    """Return who runs what no place is named for."""
    if options.provider is not None:
        return find_provider(options.provider, options.library)
    if options.device != "auto":
        return _device(options.device, target)
    wanted = provider_of(target)
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
    wanted = provider_of(target)
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


def parse_place(place: str, boundaries: Sequence[int]) -> tuple[str, int, int]:
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
