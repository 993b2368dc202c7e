"""What a plan needs to know of a static bundle that is not opened: who would run it, and how long passes take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgetts.answering.planning import Place
from edgetts.bundle import Manifest
from edgetts.decoding.speculation import UNKNOWN_RATE
from edgetts.errors import InvalidInput, Unsupported
from edgetts.loading import bundle_facts
from edgetts.profiles.curves import EMULATED_TIMES, StepTimes
from edgetts.profiles.device import DeviceProfile, PowerDraw, Processor
from edgetts.profiles.fingerprint import mark_of
from edgetts.profiles.roofline import Shape, shape_of
from edgetts.profiles.roofline_static import NPU, Part, Widths, static_times
from edgetts.profiles.store import ProfileStore
from edgetts.static_form import StaticNote
from edgetts.types import LONGEST_DRAFT

_CPU = "CPUExecutionProvider"
# What says nothing of a device that is not this one.
_OF_THIS_ONE = ("soc", "provider_options", "library", "fallback")


def static_place(
    manifest: Manifest,
    note: StaticNote,
    device: DeviceProfile,
    store: ProfileStore | None,
    options: Mapping[str, Any],
    notify: Callable[[str], None],
) -> Place:
    """Return the npu runtime with a static bundle, as it would run here or, without a store, on a described device.

    options: of the npu runtime. Raises what finding a provider raises, InvalidInput for a described device that has
    no such NPU, and Unsupported where nobody knows how fast this one's is.
    """
    power: PowerDraw | None = device.power
    if store is None:
        layers = _described(manifest, note, device, options, notify)
        times = _modelled(manifest, note, device, layers)
    else:
        _, facts, placed = bundle_facts(manifest, options)
        assert placed is not None  # noqa: S101 - the bundle is static
        layers = dict(placed.layers)
        speed = None if placed.emulated else store.get(mark_of(facts), facts)
        if placed.emulated:
            notify("An emulator's times say nothing of a device, so that the plan has none.")
            times = EMULATED_TIMES
        elif speed is not None:
            times, power = speed.times, speed.power or power
        else:
            times = _modelled(manifest, note, device, layers)
    if set(layers) != {_CPU}:
        power = None  # what a profile states is of processors
    return Place(
        runtime="npu",
        times=times,
        context=manifest.context,
        bytes_per_token=round(_kv(manifest, note)),
        parallel=False,
        guess_rate=UNKNOWN_RATE,
        power=power,
        longest_draft=min(LONGEST_DRAFT, note.draft_width),
        whole_cache=True,
    )


def _described(
    manifest: Manifest,
    note: StaticNote,
    device: DeviceProfile,
    options: Mapping[str, Any],
    notify: Callable[[str], None],
) -> dict[str, int]:
    """Return how many layers each provider would run on a described device."""
    from edgetts.runtimes.npu.placing import parse_place, provider_of
    from edgetts.runtimes.providers.catalogue import find_entry

    if given := [name for name in _OF_THIS_ONE if name in options]:
        raise InvalidInput(
            f"{given[0]} is for this device, and the plan is for {device.name}.", hint="Leave it out."
        )
    wanted, there = provider_of(note.target), "" if device.npu is None else device.npu.provider
    asked = options.get("device", "auto")
    if (name := options.get("provider")) is not None:
        entry = find_entry(name)
        asked = "npu" if entry is not None and entry.provider == there else "cpu"
        if entry is None or entry.provider not in (there, _CPU):
            raise InvalidInput(f"{device.name} is described without {name}.", hint="Name a device instead.")
        wanted = there if asked == "npu" else _CPU

    def runs(kind: str) -> str:
        if kind == "cpu":
            return _CPU
        if kind == "npu" and there and there == wanted:
            return there
        if kind == "auto":
            if wanted not in (_CPU, there):
                notify(f"{device.name} has no NPU for {note.target}, so that its processor is reckoned with.")
            return wanted if wanted == there else _CPU
        raise InvalidInput(
            f"{device.name} is described without a GPU."
            if kind == "gpu"
            else f"{device.name} has no NPU that runs bundles for {note.target}.",
            hint="Plan for its processor: --device cpu",
        )

    boundaries = (0, *manifest.cuts, manifest.architecture.layers)
    rest = runs(asked)
    layers = {rest: boundaries[-1]}
    if (place := options.get("place")) is not None:
        kind, first, stop = parse_place(place, boundaries)
        other, count = runs(kind), boundaries[stop] - boundaries[first]
        layers[rest] -= count
        layers[other] = layers.get(other, 0) + count
    return {name: count for name, count in layers.items() if count}


def _modelled(
    manifest: Manifest, note: StaticNote, device: DeviceProfile, layers: Mapping[str, int]
) -> StepTimes:
    depth = manifest.architecture.layers
    parts = []
    for name, count in layers.items():
        processor, fit = _processor(device, name)
        parts.append(Part(count / depth, _shape(manifest, note, halved=fit == NPU), processor, fit))
    return static_times(parts, Widths(manifest.context, note.chunk, note.draft_width))


def _processor(device: DeviceProfile, provider: str) -> tuple[Processor, str]:
    if provider == _CPU:
        return device.processor, "onnx"
    if device.npu is not None and device.npu.provider == provider:
        return device.npu, NPU
    raise Unsupported(
        f"Nobody knows how fast {provider} is here.", hint="Measure it: edgetts calibrate --device npu"
    )


def _shape(manifest: Manifest, note: StaticNote, *, halved: bool) -> Shape:
    """Return a pass's work. halved: NPUs hold in 16 bits what the file holds in 32."""
    found = shape_of(manifest)
    weights = found.weights
    if halved:
        read = {name: one for name, one in manifest.tensors.items() if one.stored.startswith("float32")}
        weights -= sum(one.bytes for name, one in read.items() if name.startswith("blk.")) / 2
    return Shape(weights, found.operations, found.head, found.layers, found.attention, _kv(manifest, note))


def _kv(manifest: Manifest, note: StaticNote) -> float:
    """Return the bytes of a token in a cache: of 16 bits where ports round or matrices are for Qualcomm, else of 32."""
    rounded = any(one.stored.startswith("int") for one in manifest.tensors.values())
    narrow = bool(note.ports) or (note.target == "qnn-htp" and rounded)
    return shape_of(manifest).kv / (2 if narrow else 1)
