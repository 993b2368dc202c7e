"""What each target wants of a static bundle, as data. Knows no graphs and no models."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss


@dataclass(frozen=True, slots=True)
class Target:
    """How graphs are written for one kind of compiler.

    provider: of ONNX Runtime, which runs them. integers: round activations and weights, in the form of pairs of
    QuantizeLinear and DequantizeLinear; else all is float. convolve: see StaticGraph. half_cache: float16 at the
    cache's ports, where the compiler would compute with 8 bits of an integer cache anyway. half: weights and
    embedding in float16.
    """

    name: str
    provider: str
    integers: bool = False
    convolve: bool = False
    half_cache: bool = False
    purpose: str = ""


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "qnn-htp",
            "QNNExecutionProvider",
            integers=True,
            convolve=True,
            half_cache=True,
            purpose="Qualcomm's NPUs: 16-bit activations, 8- or 4-bit weights, ahead-of-time compilation",
        ),
        Target(
            "openvino-npu",
            "OpenVINOExecutionProvider",
            purpose="Intel's NPUs, which compute in float16",
        ),
        Target("coreml", "CoreMLExecutionProvider", convolve=True, purpose="Apple's Neural Engine"),
        Target(
            "generic-static",
            "CPUExecutionProvider",
            purpose="any provider that wants fixed shapes; float32",
        ),
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
