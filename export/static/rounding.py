"""Choose, from what a model makes of a text, how its matrices are held, and say what that cost."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edgetts.bundle import TOKENIZER
from edgetts.errors import UnsupportedModel
from edgetts.export.calibration import text_tokens
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.static.embedding import LARGEST_HALF, embedded
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.graph import cache_names
from edgetts.export.static.matrices import Ranges
from edgetts.export.static.precision import LADDER, choose_forms
from edgetts.export.static.precision.layerwise import Layerwise
from edgetts.export.static.targets import Target
from edgetts.export.static.tensors import WeightForm, folded
from edgetts.static_form import PortNote, PrecisionNote

Progress = Callable[[float], None]

_WIDTH = 128
# Tokens to measure by and to judge by; and, where nothing is rounded, to see how large values get.
_CALIBRATION, _HELD_OUT, _GLANCE = 1024, 512, 256
_SCRATCH = ".scratch"
# What a text did not show may be so much larger, as in `edgetts.export.static.matrices`.
_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Rounding:
    """How matrices are held and what is rounded beside them; nothing, where all is in floats. notes: for people."""

    forms: Mapping[str, WeightForm] = field(default_factory=dict)
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    note: PrecisionNote | None = None
    notes: tuple[str, ...] = ()

    def ports(self) -> dict[str, PortNote]:
        """Say what the integers mean that go in or out at ports, other than the cache's."""
        names = ("features", "logits")
        found = {name: self.encodings[name] for name in names if name in self.encodings}
        return {name: PortNote(one.scale, one.zero) for name, one in found.items()}


def choose(
    checkpoint: Checkpoint,
    directory: Path,
    target: Target,
    form: WeightForm,
    agreement: float,
    progress: Progress,
) -> Rounding:
    """Run the model over the calibration text, most of it to measure by, the rest to judge by.

    directory: of the bundle, which holds the tokenizer and has room for the weights in float32. Raises
    UnsupportedModel for what cannot be measured, or computes what the target cannot hold.
    """
    if form == "float" and not target.half:
        return Rounding()
    arch = checkpoint.architecture
    width = min(_WIDTH, arch.context)
    rounded = LADDER[LADDER.index(form) : -1]
    scratch = directory / _SCRATCH
    try:
        with Layerwise(
            arch,
            folded(arch, checkpoint.load),
            partial(embedded, checkpoint),
            width,
            scratch,
            forms=rounded,
            halves=cache_names(arch),
            progress=lambda share: progress(0.05 * share),
        ) as model:
            count = _CALIBRATION + _HELD_OUT if rounded else _GLANCE
            windows = _windows(checkpoint, directory, width, count)
            held_out = max(1, len(windows) * _HELD_OUT // count) if rounded else 0
            seen, unseen = windows[: len(windows) - held_out], windows[len(windows) - held_out :]
            ranges = model.ranges(seen, lambda share: progress(0.05 + (0.1 if rounded else 0.95) * share))
            notes = _overflow(ranges, target, refuse=form != "float")
            if not rounded:
                return Rounding(notes=notes)
            choice = choose_forms(
                model,
                form,
                ranges,
                seen[0],
                unseen,
                agreement=agreement,
                progress=lambda share: progress(0.15 + 0.85 * share),
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = choice.held_out
    if not math.isfinite(found.kl):
        raise UnsupportedModel("With its matrices rounded, this model computes what is no number.")
    # A wildly wrong model may be worse than a float can say.
    worse = min(700.0, (found.tested_nll - found.reference_nll) / (found.positions - held_out))
    note = PrecisionNote(
        tokens=sum(map(len, seen)),
        positions=found.positions,
        top1=found.agreements / found.positions,
        mean_kl=found.kl / found.positions,
        perplexity_ratio=math.exp(worse),
        wanted=agreement,
        raised=choice.raised,
    )
    progress(1.0)
    return Rounding(choice.forms, choice.encodings, note, notes)


def _windows(checkpoint: Checkpoint, directory: Path, width: int, count: int) -> list[list[int]]:
    """Return `count` tokens of the calibration text, or all there are, in at least two windows of one width."""
    tokens = text_tokens(checkpoint, directory / TOKENIZER)
    if tokens and max(tokens) >= (vocab := checkpoint.architecture.vocab):
        raise UnsupportedModel(
            f"The tokenizer of this model makes token {max(tokens)}, but its embedding table has {vocab} rows."
        )
    # Every window begins as a text does: the first token of all draws attention as no other.
    first, rest = tokens[:1], tokens[1:]
    starts = range(0, len(rest) - width + 2, width - 1)[: max(2, count // width)]
    windows = [[*first, *rest[at : at + width - 1]] for at in starts]
    if len(windows) < 2:
        raise UnsupportedModel(
            f"The tokenizer of this model makes {len(tokens)} tokens of the text to calibrate by, which are too few.",
            hint="Targets that round nothing need none: --target generic-static",
        )
    return windows


def _overflow(ranges: Ranges, target: Target, *, refuse: bool) -> tuple[str, ...]:
    """Say where values come close to what float16 holds. Raises UnsupportedModel for what is no number, or too large."""
    reach = {name: max(-low, high) for name, (low, high) in ranges.items()}
    if any(not math.isfinite(value) for ends in ranges.values() for value in ends):
        raise UnsupportedModel("This model computes what is no number, on the text to calibrate by.")
    name = max(reach, key=lambda name: reach[name])
    said = f"{name} reaches {reach[name]:,.0f} on the text to calibrate by"
    if refuse and reach[name] > LARGEST_HALF:
        raise UnsupportedModel(
            f"{said}, and {target.name} computes it in float16, which ends at {LARGEST_HALF:,.0f}.",
            hint="Export it for what computes in float32: --target generic-static",
        )
    if reach[name] * _MARGIN <= LARGEST_HALF:
        return ()
    return (f"{said}; in float16, which ends at {LARGEST_HALF:,.0f}, this model may fail.",)
