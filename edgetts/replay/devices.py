"""Find what is simulated: a device by name, and how fast it runs a model, measured or modelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgetts.errors import EdgettsError, InvalidInput
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import Processor
from edgetts.profiles.reading import read_exported
from edgetts.profiles.referring import Referred, refer
from edgetts.profiles.roofline import Dimensions, Shape, modelled_times, shape_from, shape_of
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import read_bounded
from edgetts.replay.simulation import Device

_STAND_IN = "a model of Qwen2.5-0.5B's size at 4 bits"
# Of weights in blocks of 32 with a scale of 32 bits each; the head has 8 bits.
_LAYER_BITS, _HEAD_BITS = 5.0, 9.0


def find_device(
    name: str,
    home: Path,
    *,
    model: str | None = None,
    runtime: str | None = None,
    notify: Callable[[str], None] = lambda sentence: None,
) -> Device:
    """Return a device of this name ("here" is this one), or that of a profile's file.

    model: a name or a bundle's directory whose speed it has; without one, the only one that was measured, or else a stand-in's. A
    speed that was measured is used before one that is modelled. Errors: InvalidInput, with near misses; a file's own.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        brought = read_exported(read_bounded(path), f"The profile {path.name!r}")
        referred = Referred(brought.device.name, brought.device, brought.speeds)
    else:
        referred = refer(name, home, notify)
    speed = _speed(referred, model, runtime)
    power = None if referred.device is None else referred.device.power
    if speed is not None:
        called = f"{referred.name}, {speed.model} on {speed.runtime}"
        return Device(called, speed.times, power if speed.power is None else speed.power)
    if referred.device is None:
        raise InvalidInput(f"{name!r} is not a device.", hint="Leave --model out, or name a device.")
    times, what = _modelled(referred.device.processor, model, notify)
    return Device(f"{referred.name}, {what}", times, power)


def _speed(referred: Referred, model: str | None, runtime: str | None) -> SpeedProfile | None:
    found = [
        one
        for one in referred.speeds
        if (model is None or one.model == model) and (runtime is None or one.runtime == runtime)
    ]
    if model is None and len({one.model for one in found}) > 1:
        return None
    # What was measured at length goes before what was measured on first use.
    order = ("full", "quick", "first-use")
    return min(found, key=lambda one: order.index(one.made.scope), default=None)


def _modelled(
    processor: Processor, model: str | None, notify: Callable[[str], None]
) -> tuple[StepTimes, str]:
    if model is None:
        return modelled_times(_stand_in(), processor), _STAND_IN
    from edgetts.bundle import read_manifest
    from edgetts.store import resolve

    directory = Path(model)
    try:
        manifest = read_manifest(
            directory if directory.is_dir() else resolve(model, offline=True, notify=notify)
        )
    except EdgettsError as error:
        raise InvalidInput(
            f"How fast {model!r} runs is not known: {error.args[0]}",
            hint="Name a model that is here, or none.",
        ) from error
    return modelled_times(shape_of(manifest), processor), manifest.name


def _stand_in() -> Shape:
    sizes = Dimensions(
        layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, intermediate=4864, vocab=151_936
    )
    return shape_from(sizes, _LAYER_BITS, _HEAD_BITS)
