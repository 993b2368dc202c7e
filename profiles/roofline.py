"""How fast a device should run a model, from what is published of one and known of the other. Measures nothing.

A pass over w tokens reads the weights once and multiplies by them w times, so that it takes

    t(w) = ((bytes / (e_b B))^p + (w operations / (e_o O))^p)^(1/p) + layers * c / s + w past kv / (e_k B)

where B and O are the device's bandwidth and rate of 8-bit multiply-adds, s its rate for each core beside that of the
machine c was fitted on (Williams, Waterman, Patterson: Roofline, 2009; the smooth maximum is ours). The efficiencies e,
the overhead c and the sharpness p of each runtime were fitted on measured machines: see roofline.toml.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgetts.architecture import Architecture
from edgetts.errors import Unsupported
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import Processor
from edgetts.profiles.table import Table, parse_toml

if TYPE_CHECKING:
    from edgetts.bundle import Manifest

FITS = Path(__file__).with_name("roofline.toml")
WIDTHS = (1, 2, 4, 8, 16, 32)
PROMPTS = (64, 256, 1024)
PAST = 200
UNLIKE = 2.0
"""How many times further off the curve may be on a device unlike the machines of the fit: two cores of a server each."""
REFERENCE = 2e11
"""Multiply-adds a second of a core, to which a layer's overhead refers."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as work. weights: bytes that a pass reads. operations: multiply-adds of a token; head: those
    of its logits alone. attention: multiply-adds for each token and token before it. kv: bytes of a token in the cache.
    """

    weights: float
    operations: float
    head: float
    layers: int
    attention: float
    kv: float


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes of a model whose weights are not here."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int


class _Work(TypedDict):
    operations: float
    head: float
    layers: int
    attention: float
    kv: float


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What a runtime makes of a device. bandwidth, operations, prompts and cache: shares of the device's rates that
    weights, passes, prompts and key-values get. layer: seconds of a layer's overhead at REFERENCE. error: median relative error of the fit;
    elsewhere: what four in five errors stay below on a machine that was left out of it (where there is but one machine,
    twice that on it).
    """

    bandwidth: float
    operations: float
    prompts: float
    cache: float
    layer: float
    sharpness: float
    error: float = 0.0
    elsewhere: float = 0.0


def shape_of(manifest: Manifest) -> Shape:
    """Return a bundle's work. Errors: Unsupported, where its graph is another exporter's."""
    arch = manifest.architecture
    if not isinstance(arch, Architecture):
        raise Unsupported(
            f"The work of {manifest.name} is not known, since another exporter made its graph.",
            hint="Measure it instead: edgetts calibrate",
        )
    head = "token_embd" if arch.tied_embeddings else "output"
    read = sum(note.bytes for name, note in manifest.tensors.items() if name.startswith(("blk.", f"{head}.")))
    return Shape(weights=read, **_work(arch))


def shape_from(arch: Dimensions, layer_bits: float, head_bits: float) -> Shape:
    """Return the work of a model whose weights are stored in so many bits each."""
    work = _work(arch)
    layers = work["operations"] - work["head"]
    return Shape(weights=(layers * layer_bits + work["head"] * head_bits) / 8, **work)


def _work(arch: Architecture | Dimensions) -> _Work:
    width = arch.heads * arch.head_dim
    keys = arch.kv_heads * arch.head_dim
    layer = arch.hidden * (2 * width + 2 * keys + 3 * arch.intermediate)
    head = float(arch.hidden * arch.vocab)
    return {
        "operations": arch.layers * layer + head,
        "head": head,
        "layers": arch.layers,
        "attention": 2.0 * arch.layers * width,
        "kv": 8.0 * arch.layers * keys,
    }


def pass_seconds(
    shape: Shape, processor: Processor, fit: Efficiency, width: int, past: float = PAST
) -> float:
    """Return the seconds of a pass over one token of each of `width` branches that hold `past` tokens each."""
    read = shape.weights / (fit.bandwidth * processor.bandwidth.value)
    multiplied = width * shape.operations / (fit.operations * processor.operations.value)
    kept = width * past * shape.kv / (fit.cache * processor.bandwidth.value)
    return _smooth(read, multiplied, fit.sharpness) + _overhead(shape, processor, fit) + kept


def prompt_seconds(shape: Shape, processor: Processor, fit: Efficiency, tokens: int) -> float:
    """Return the seconds of reading a prompt, of whose positions only the last needs logits."""
    read = shape.weights / (fit.bandwidth * processor.bandwidth.value)
    work = tokens * (shape.operations - shape.head) + shape.head + tokens**2 / 2 * shape.attention
    multiplied = work / (fit.prompts * processor.operations.value)
    return _smooth(read, multiplied, fit.sharpness) + _overhead(shape, processor, fit)


def modelled_times(shape: Shape, processor: Processor, runtime: str = "onnx") -> StepTimes:
    """Return the curve a device should have, with the source "modelled" and a spread of UNLIKE errors elsewhere."""
    fit = efficiency(runtime)
    prompts = tuple((tokens, prompt_seconds(shape, processor, fit, tokens)) for tokens in PROMPTS)
    return StepTimes(
        widths=WIDTHS,
        seconds=tuple(pass_seconds(shape, processor, fit, width) for width in WIDTHS),
        prefill_rate=PROMPTS[1] / prompts[1][1],
        source="modelled",
        past=PAST,
        growth=shape.kv / (fit.cache * processor.bandwidth.value),
        prompts=prompts,
        spread=UNLIKE * fit.elsewhere,
    )


@cache
def efficiency(runtime: str) -> Efficiency:
    """Return what was fitted for a runtime."""
    top = parse_toml(FITS.read_bytes(), FITS.name)
    return efficiency_in(top.table("fits").table(runtime))


def efficiency_in(table: Table) -> Efficiency:
    """Take a fit out of a table."""
    return Efficiency(
        **{name: table.number(name, 1e-9, 1e3) for name in Efficiency.__dataclass_fields__ if name in table}
    )


def _smooth(one: float, other: float, sharpness: float) -> float:
    high, low = max(one, other), min(one, other)
    return float(high * (1 + (low / high) ** sharpness) ** (1 / sharpness))


def _overhead(shape: Shape, processor: Processor, fit: Efficiency) -> float:
    return shape.layers * fit.layer * REFERENCE * processor.cores / processor.operations.value
