"""Name the forms a GGUF file's matrices can take, as a table. Knows names and numbers, no tensors."""

from __future__ import annotations

from dataclasses import dataclass

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Form:
    """One form: `ftype` is llama.cpp's number for the mixture of types.

    `block`: columns that share a scale; a matrix whose rows do not divide so gets another type.
    `floats`: written without a quantiser. `needs_importance`: too few bits without an importance matrix.
    """

    name: str
    ftype: int
    block: int = 1
    floats: bool = False
    needs_importance: bool = False


_ALL = (
    Form("f32", 0, floats=True),
    Form("f16", 1, floats=True),
    Form("bf16", 32, floats=True),
    Form("q8_0", 7, 32),
    Form("q6_k", 18, 256),
    Form("q5_k_m", 17, 256),
    Form("q5_k_s", 16, 256),
    Form("q5_1", 9, 32),
    Form("q5_0", 8, 32),
    Form("q4_k_m", 15, 256),
    Form("q4_k_s", 14, 256),
    Form("q4_1", 3, 32),
    Form("q4_0", 2, 32),
    Form("iq4_nl", 25, 32),
    Form("iq4_xs", 30, 256),
    Form("q3_k_l", 13, 256),
    Form("q3_k_m", 12, 256),
    Form("q3_k_s", 11, 256),
    Form("iq3_m", 27, 256),
    Form("iq3_s", 26, 256),
    Form("iq3_xs", 22, 256, needs_importance=True),
    Form("iq3_xxs", 23, 256, needs_importance=True),
    Form("q2_k", 10, 256),
    Form("q2_k_s", 21, 256, needs_importance=True),
    Form("iq2_m", 29, 256, needs_importance=True),
    Form("iq2_s", 28, 256, needs_importance=True),
    Form("iq2_xs", 20, 256, needs_importance=True),
    Form("iq2_xxs", 19, 256, needs_importance=True),
    Form("iq1_m", 31, 256, needs_importance=True),
    Form("iq1_s", 24, 256, needs_importance=True),
    Form("tq2_0", 37, 256),
    Form("tq1_0", 36, 256),
)
FORMS: dict[str, Form] = {form.name: form for form in _ALL}
"""Every form but `keep`, which leaves each matrix as the source has it. From most bits to fewest."""

FLOAT_KINDS = ("F32", "F16", "BF16")
"""Types of GGUF that lose nothing that matters; the others are rounded."""


def find_form(name: str) -> Form | None:
    """Return the form of that name, None for keep. Raises InvalidInput, which names near misses."""
    if name == KEEP:
        return None
    if name not in FORMS:
        raise InvalidInput(f"GGUF has no quantisation {name!r}.", hint=near_miss(name, FORMS, most=3))
    return FORMS[name]
