"""Choose, from what a model makes of a text, how its matrices are held, and say what that cost."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetts.bundle import TOKENIZER
from edgetts.export.calibration import text_tokens
from edgetts.export.checkpoint import Checkpoint
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.precision import choose_forms
from edgetts.export.static.precision.layerwise import Layerwise
from edgetts.export.static.tensors import WeightForm, folded
from edgetts.static_form import PortNote, PrecisionNote

_WIDTH = 128
_CALIBRATION, _HELD_OUT = 8, 4
_SCRATCH = ".scratch"


@dataclass(frozen=True, slots=True)
class Rounding:
    """How matrices are held and what is rounded beside them; nothing, where all is in floats."""

    forms: Mapping[str, WeightForm] = field(default_factory=dict)
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    note: PrecisionNote | None = None

    def ports(self) -> dict[str, PortNote]:
        """Say what the integers mean that go in or out at ports, other than the cache's."""
        names = ("features", "logits")
        found = {name: self.encodings[name] for name in names if name in self.encodings}
        return {name: PortNote(one.scale, one.zero) for name, one in found.items()}


def choose(
    checkpoint: Checkpoint,
    directory: Path,
    form: WeightForm,
    agreement: float,
    progress: Callable[[float], None],
) -> Rounding:
    """Run the model over the calibration text, most of it to measure by, the rest to judge by.

    directory: of the bundle, which holds the tokenizer and has room for the weights in float32.
    """
    if form == "float":
        return Rounding()
    arch = checkpoint.architecture
    width = min(_WIDTH, arch.context)
    wanted = (_CALIBRATION + _HELD_OUT) * (width - 1) + 1
    tokens = text_tokens(checkpoint, directory / TOKENIZER)[:wanted]
    # Every window begins as a text does: the first token of all draws attention as no other.
    first, rest = tokens[0], tokens[1:]
    windows = [[first, *rest[at : at + width - 1]] for at in range(0, len(rest) - width + 2, width - 1)]
    if len(windows) < 2:
        raise RuntimeError("the calibration text is shorter than two windows")
    held_out = max(1, len(windows) * _HELD_OUT // (_CALIBRATION + _HELD_OUT))
    scratch = directory / _SCRATCH
    try:
        with Layerwise(arch, folded(arch, checkpoint.load), width, scratch) as model:
            choice = choose_forms(
                model,
                form,
                windows[:-held_out],
                windows[-held_out:],
                agreement=agreement,
                progress=progress,
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = choice.held_out
    note = PrecisionNote(
        tokens=sum(map(len, windows[:-held_out])),
        positions=found.positions,
        top1=found.agreements / found.positions,
        mean_kl=found.kl / found.positions,
        perplexity_ratio=math.exp((found.tested_nll - found.reference_nll) / (found.positions - held_out)),
        wanted=agreement,
        raised=choice.raised,
    )
    return Rounding(choice.forms, choice.encodings, note)
