"""Write a checkpoint as a GGUF file for llama.cpp: floats by ourselves, everything else by its quantiser.

Knows checkpoints, GGUF's keys and llama.cpp's quantiser; knows no bundles and is never imported while a
model runs.
"""

from __future__ import annotations

from edgetts.export.to_gguf.convert import Written, to_gguf
from edgetts.export.to_gguf.forms import FORMS

__all__ = ["FORMS", "Written", "to_gguf"]
