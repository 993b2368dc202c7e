"""What each target wants of a static bundle, as data. Knows no graphs and no models."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.export.static.tensors import WeightForm
from edgetts.near_miss import near_miss


@dataclass(frozen=True, slots=True)
class Target:
    """How graphs are written for one kind of compiler.

    provider: of ONNX Runtime, which runs them. forms: what matrices may be held in, the usual one first; where one is
    held in integers, what enters and leaves its product is too, in 16 bits, as pairs of QuantizeLinear and
    DequantizeLinear. convolve: see StaticGraph. shard_bytes: of the weights of a
    segment at most, so that a part fits what the device can address at once; None is any number. half: what is in no integers is computed in float16, whatever graphs say.
    """

    name: str
    provider: str
    purpose: str
    forms: tuple[WeightForm, ...] = ("float",)
    convolve: bool = False
    half: bool = False
    shard_bytes: int | None = None

    def form_of(self, quantize: str) -> WeightForm:
        """Return the form that an option names. Raises InvalidInput for one that the target has not."""
        if quantize == "keep":
            return self.forms[0]
        names = {"fp32" if form == "float" else form: form for form in self.forms}
        if quantize not in names:
            raise InvalidInput(
                f"{self.name} has no matrices in {quantize!r}.", hint=f"Choose one of: {', '.join(names)}."
            )
        return names[quantize]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        # HTP rounds the inputs of products with matrices to some 8 bits and of products of two 16-bit tensors too,
        # unless they are convolutions or float16: docs/lab-notes.md has the figures.
        Target(
            "qnn-htp",
            "QNNExecutionProvider",
            "Qualcomm's NPUs: matrices in 8 or 4 bits, their inputs in 16, the rest in float16",
            forms=("int8", "int4", "float"),
            convolve=True,
            half=True,
            # A process of the Hexagon addresses 4 GiB, which caches and the other segments want a part of.
            shard_bytes=1 << 30,
        ),
        Target(
            "openvino-npu",
            "OpenVINOExecutionProvider",
            "Intel's NPUs, whose compiler rounds to float16",
            half=True,
        ),
        Target(
            "coreml",
            "CoreMLExecutionProvider",
            "Apple's Neural Engine, whose compiler rounds to float16",
            convolve=True,
            half=True,
        ),
        Target("generic-static", "CPUExecutionProvider", "any provider that wants fixed shapes, in float32"),
    )
}


def find_target(name: str) -> Target:
    """Return the target of that name. Raises InvalidInput."""
    if name not in TARGETS:
        near = near_miss(name, [*TARGETS])
        raise InvalidInput(
            f"There is no target {name!r}.", hint=near or f"Choose one of: {', '.join(TARGETS)}."
        )
    return TARGETS[name]
