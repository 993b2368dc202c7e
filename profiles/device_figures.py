"""The figures of a device, one by one: by name, to be compared and merged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgetts.profiles.device import DeviceProfile, PowerDraw, Processor
from edgetts.profiles.figure import Figure
from edgetts.profiles.table import LONGEST_TEXT as _LONGEST


def figures_of(device: DeviceProfile) -> dict[str, Figure]:
    """Return every figure by name, in the units of its field."""
    found = {
        "memory_bytes": device.memory_bytes,
        "processor.bandwidth": device.processor.bandwidth,
        "processor.operations": device.processor.operations,
        "power.idle_watts": device.power.idle_watts,
        "power.busy_watts": device.power.busy_watts,
    }
    if device.npu is not None:
        found["npu.bandwidth"] = device.npu.bandwidth
        found["npu.operations"] = device.npu.operations
    return found


def measured_of(old: DeviceProfile, new: DeviceProfile) -> DeviceProfile:
    """Return `new`, but for figures that were measured in `old` and were not in it."""
    idle, busy = (
        _better(old.power.idle_watts, new.power.idle_watts),
        _better(old.power.busy_watts, new.power.busy_watts),
    )
    if idle.value > busy.value:  # of two measurements under different conditions, the newer
        idle, busy = new.power.idle_watts, new.power.busy_watts
    return replace(
        new,
        memory_bytes=_better(old.memory_bytes, new.memory_bytes),
        processor=_processor(old.processor, new.processor),
        power=PowerDraw(idle, busy),
        npu=new.npu if old.npu is None or new.npu is None else _processor(old.npu, new.npu),
    )


def _processor(old: Processor, new: Processor) -> Processor:
    return replace(
        new,
        bandwidth=_better(old.bandwidth, new.bandwidth),
        operations=_better(old.operations, new.operations),
    )


def _better(old: Figure, new: Figure) -> Figure:
    return old if old.provenance == "measured" and new.provenance != "measured" else new


def each(device: DeviceProfile, change: Callable[[Figure], Figure]) -> DeviceProfile:
    """Return the device with every figure changed."""

    def changed(processor: Processor) -> Processor:
        return replace(
            processor, bandwidth=change(processor.bandwidth), operations=change(processor.operations)
        )

    return replace(
        device,
        memory_bytes=change(device.memory_bytes),
        processor=changed(device.processor),
        power=PowerDraw(change(device.power.idle_watts), change(device.power.busy_watts)),
        npu=None if device.npu is None else changed(device.npu),
    )


def as_modelled(device: DeviceProfile, name: str) -> DeviceProfile:
    """Return another machine's device for use on this one: what was measured there was not measured here."""

    def elsewhere(figure: Figure) -> Figure:
        if figure.provenance not in ("measured", "learned"):
            return figure
        source = f"{figure.provenance} on another machine, {figure.date}: {figure.source}"
        return replace(figure, provenance="modelled", source=source[:_LONGEST], date="")

    return replace(each(device, elsewhere), name=name, kind="modelled")


def scaled(device: DeviceProfile, cores: int, *, power: bool) -> DeviceProfile:
    """Return the device with another number of cores; bandwidth stays. power: whether watts of computing grow too."""
    share = cores / device.processor.cores
    idle, busy = device.power.idle_watts, device.power.busy_watts
    if share == 1:
        return device
    how = f"; scaled from {device.processor.cores} to {cores} cores"
    if power:
        watts = idle.value + (busy.value - idle.value) * share
        busy = replace(
            busy, value=watts, spread=busy.spread * watts / busy.value, source=(busy.source + how)[:_LONGEST]
        )
    rate = device.processor.operations
    rate = replace(
        rate, value=rate.value * share, spread=rate.spread * share, source=(rate.source + how)[:_LONGEST]
    )
    processor = replace(device.processor, cores=cores, operations=rate)
    return replace(device, processor=processor, power=PowerDraw(idle, busy))
