"""How fast a device should run graphs of fixed shapes, by the roofline. Measures nothing.

They differ from other graphs in that every pass reads the whole cache, whatever a branch holds, and computes as many
rows as it is wide; that branches run one after the other; and that layers may be parted among processors. See
`edgetts.profiles.roofline`; what NPUs make of their figures is taken from what their makers publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import Processor
from edgetts.profiles.roofline import UNLIKE, Shape, efficiency, pass_seconds, prompt_seconds

NPU = "npu"
"""The fit of processors that are NPUs, by name."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Of the graphs, in tokens. context: that a cache holds; chunk: of a prompt; draft: guesses of a pass at most."""

    context: int
    chunk: int
    draft: int


@dataclass(frozen=True, slots=True)
class Part:
    """The share of the layers that a processor runs, of which `shape` is what it would be to run all. fit: by name."""

    share: float
    shape: Shape
    processor: Processor
    fit: str


def static_times(parts: Sequence[Part], widths: Widths) -> StepTimes:
    """Return the curve that layers on these processors should have, one after the other, with the source "modelled".

    Beyond 1 its widths are those of drafts: one pass as wide as the widest, and two.
    """
    verify = widths.draft + 1
    curve = {1: _pass(parts, widths, 1)}
    if verify > 1:
        several = _pass(parts, widths, verify)
        curve |= {2: several, verify: several, 2 * verify: 2 * several}
    chunk = sum(
        part.share
        * (
            prompt_seconds(part.shape, part.processor, efficiency(part.fit), widths.chunk)
            + _cache_seconds(part, widths)
        )
        for part in parts
    )
    chunks = sorted({1, 2, max(1, widths.context // widths.chunk)})
    return StepTimes(
        widths=tuple(curve),
        seconds=tuple(curve.values()),
        prefill_rate=widths.chunk / chunk,
        source="modelled",
        past=widths.context,
        prompts=tuple((count * widths.chunk, count * chunk) for count in chunks),
        spread=UNLIKE * max(efficiency(part.fit).elsewhere for part in parts),
    )


def _pass(parts: Sequence[Part], widths: Widths, width: int) -> float:
    """Return the seconds of a pass over `width` tokens of one branch, which reads its cache once."""
    return sum(
        part.share
        * (
            pass_seconds(replace(part.shape, kv=0.0), part.processor, efficiency(part.fit), width)
            + _cache_seconds(part, widths)
        )
        for part in parts
    )


def _cache_seconds(part: Part, widths: Widths) -> float:
    return widths.context * part.shape.kv / (efficiency(part.fit).cache * part.processor.bandwidth.value)
