"""What a plan needs to know of a model that is not opened: its manifest or header, and the curves that are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.answering.adapting import find_progress
from edgetts.answering.approaches import Asking
from edgetts.answering.planning import Knowledge, Place, choose
from edgetts.answering.posing import Prompt, pose
from edgetts.bundle import TOKENIZER, WEIGHTS, is_static, read_manifest
from edgetts.chat import ChatTemplate
from edgetts.control.success.model import SuccessModel
from edgetts.control.success.store import find_success
from edgetts.decoding.session import Capabilities
from edgetts.decoding.speculation import UNKNOWN_RATE
from edgetts.device import settle_named
from edgetts.energy.state import Power
from edgetts.engine import available_memory
from edgetts.errors import EdgettsError, InvalidInput
from edgetts.loading import facts_of, find_forms
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.devices import device_here, find_device
from edgetts.profiles.fingerprint import mark_of
from edgetts.profiles.roofline import Dimensions, Shape, modelled_times, shape_from, shape_of
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import ProfileStore
from edgetts.store.home import find_home
from edgetts.tokenizer import Tokenizer
from edgetts.types import Plan
from edgetts.unopened_static import static_place

if TYPE_CHECKING:
    from edgetts.store.ggufs import Gguf

# Bytes of a number in llama.cpp's cache, beside the four of ONNX Runtime's.
_HALF = 0.5
# Of a described device's memory, the share that the system leaves.
_USABLE = 0.8


@dataclass(frozen=True, slots=True)
class Unopened:
    """A model as its files tell. model: its name. weights: bytes that a pass reads."""

    model: str
    tokenizer: Tokenizer
    places: tuple[Place, ...]
    weights: float


def look_at(
    bundle: Path | None,
    gguf: Gguf | None,
    device: DeviceProfile,
    store: ProfileStore | None,
    options: Mapping[str, Any],
    notify: Callable[[str], None],
) -> Unopened:
    """Return what the files of a model tell, and how long passes take: measured here, else modelled of the device.

    store: of what was measured here; None for another device. Raises Unsupported and the like for a model
    whose files do not tell enough.
    """
    places: list[Place] = []
    weights = 0.0
    name, tokenizer = "", None
    if bundle is not None:
        manifest = read_manifest(bundle)
        shape, name = shape_of(manifest), manifest.name
        weights = shape.weights
        if (note := manifest.static) is not None:
            places.append(static_place(manifest, note, device, store, options, notify))
        else:
            facts = facts_of("onnx", manifest.files[WEIGHTS], options)
            places.append(_place("onnx", manifest.context, shape.kv, shape, facts, device, store))
        tokenizer = Tokenizer.load(bundle / TOKENIZER, manifest.tokenizer)
    if gguf is not None:
        facts = facts_of("llamacpp", gguf.identity, options)
        try:
            shape, context = _header(gguf.file)
            places.append(_place("llamacpp", context, shape.kv * _HALF, shape, facts, device, store))
            weights = max(weights, shape.weights)
        except EdgettsError as error:
            if bundle is None:
                raise
            notify(f"llama.cpp is left out: {error}")
        if tokenizer is None:
            name, tokenizer = gguf.name, Tokenizer.load(gguf.tokenizer, gguf.facts())
    if tokenizer is None:
        raise AssertionError("a model has at least one form")
    return Unopened(name, tokenizer, tuple(places), weights)


def plan_unopened(
    prompt: Prompt,
    *,
    model: str | Path | None,
    runtime: str,
    profile: str | None,
    options: Mapping[str, Any],
    notify: Callable[[str], None],
    home: Path | None = None,
    **asked: Any,
) -> Plan:
    """Return the plan for a question, with everything it was chosen among, by what the files of a model tell.

    profile: of a described device, by name; None is this one. options: as of `edgetts.load`, where to run among them.
    asked: as in `Engine.plan`. The model must be here. Raises what `edgetts.load` and `Engine.plan` raise, and
    Unsupported where the files do not tell enough.
    """
    cache = find_home(home).root
    elsewhere = options.get("device", "auto") not in ("auto", "cpu") or options.get("provider") is not None
    if profile is not None and elsewhere and not is_static(model):
        raise InvalidInput(
            "Of described devices, only processors run models of any shape.",
            hint="Leave the device out, or plan for a static bundle: edgetts export --target",
        )
    runtime, options = settle_named(model, runtime, options)
    bundle, gguf = find_forms(
        model,
        runtime,
        options,
        quantize=None,
        offline=True,
        measure=True,
        progress=None,
        notify=notify,
        home=home,
    )
    if profile is None:
        here, store = device_here(cache, notify), ProfileStore(cache / "profiles", notify)
    else:
        here, store = find_device(profile, cache), None
    found = look_at(bundle, gguf, here, store, options, notify)

    def success(task: str | None, answer_format: str) -> SuccessModel:
        return find_success(cache, found.model, task=task, answer_format=answer_format, notify=notify)

    knowledge = Knowledge(here, success, lambda success: find_progress(cache, success, notify))
    memory = available_memory()
    if profile is not None:
        knowledge.state = lambda: Power("mains", "assumed of a device that is described")
        memory = max(0, int(_USABLE * here.memory_bytes.value - found.weights))
    asking = Asking(found.tokenizer, ChatTemplate.for_tokenizer(found.tokenizer))
    posed = pose(prompt, asking, knowledge, Capabilities(), explain=True, **asked)
    return choose(posed, found.places, memory)


def _place(
    runtime: str,
    context: int,
    per_token: float,
    shape: Shape,
    facts: Mapping[str, str],
    device: DeviceProfile,
    store: ProfileStore | None,
) -> Place:
    speed: SpeedProfile | None = None if store is None else store.get(mark_of(facts), facts)
    times: StepTimes = modelled_times(shape, device.processor, runtime) if speed is None else speed.times
    power = device.power if speed is None or speed.power is None else speed.power
    return Place(
        runtime=runtime,
        times=times,
        context=context,
        bytes_per_token=round(per_token),
        guess_rate=UNKNOWN_RATE,
        power=power,
    )


def _header(file: Path) -> tuple[Shape, int]:
    """Return the work and the context of a GGUF file; its weights stay where they are."""
    from edgetts.export.checkpoint import open_checkpoint  # to read a header, not to export

    with open_checkpoint(file) as checkpoint:
        arch = checkpoint.architecture
    sizes = {
        field.name: getattr(arch, field.name) for field in fields(Dimensions) if hasattr(arch, field.name)
    }
    dimensions = Dimensions(**sizes)
    bits = 8 * file.stat().st_size / shape_from(dimensions, 8, 8).weights
    return shape_from(dimensions, bits, bits), arch.context
