"""See whether an emulated NPU computes what the CPU does, on the same graphs and a real text.

Compilers make mistakes for some shapes: QNN 2.7 does for a few, whatever its options, and nothing but the numbers tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, read_manifest
from edgetts.errors import RuntimeFailure
from edgetts.export.check import TEXT
from edgetts.runtimes.npu import StaticSession

Floats = NDArray[np.float32]

# SmolLM2 differs by 0.02, tiny models in float16 by 0.01; graphs that were compiled wrongly by 0.4 and more.
_MOST = 0.2


def check_passes(
    bundle: Path,
    *,
    provider: str,
    soc: str,
    options: Mapping[str, str],
    fallback: bool,
    tell: Callable[[int], None],
) -> float:
    """Run a pass of every width on both; return the largest root mean square difference of logits, relative to them.

    tell is called with each width before its pass. Raises RuntimeFailure where it is too large.
    """
    manifest = read_manifest(bundle)
    note = manifest.static
    if note is None:
        raise ValueError("only static bundles are compiled")
    import tokenizers

    ids = tokenizers.Tokenizer.from_file(str(bundle / TOKENIZER)).encode(TEXT, add_special_tokens=False).ids
    here = StaticSession.open(bundle, device="cpu")
    there = StaticSession.open(
        bundle, provider=provider, soc=soc, provider_options=dict(options), fallback=fallback
    )
    try:
        widths = sorted({note.chunk, note.draft_width + 1, 1}, reverse=True)
        fits = manifest.context - sum(widths[1:])
        tokens = [ids[at % len(ids)] for at in range(manifest.context)]
        largest = 0.0
        tell(widths[0])
        at = min(widths[0], fits)
        pairs = [session.prefill(tokens[:at]) for session in (here, there)]
        branches = [branch for branch, _ in pairs]
        largest = max(largest, _compared(widths[0], soc, *(logits for _, logits in pairs)))
        for width in widths[1:]:
            tell(width)
            part = tokens[at : at + width]
            found = [s.extend(b, part).copy() for s, b in zip((here, there), branches, strict=True)]
            largest = max(largest, _compared(width, soc, *found))
            at += width
        return largest
    finally:
        here.close()
        there.close()


def _compared(width: int, soc: str, wanted: Floats, found: Floats) -> float:
    difference = float(np.sqrt(np.mean(np.square(found - wanted)) / np.mean(np.square(wanted))))
    # Not "difference > _MOST": NaN must not pass.
    if not difference <= _MOST:
        raise RuntimeFailure(
            f"Passes of {width} tokens compiled for {soc} compute something else than the graphs say: their logits "
            f"differ by {difference:.0%} from the CPU's.",
            hint="Export the model with another --chunk or --draft-width: compilers fail at some shapes.",
        )
    return difference
