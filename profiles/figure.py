"""One number of a profile, with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provenance = Literal["measured", "modelled", "vendor", "learned", "default"]
"""measured: here; vendor: published by the maker; modelled: computed from other figures; learned: from real use."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value in the unit that its field names. spread: half of the range of the middle 80%, in the same unit.

    source: how it was measured or computed, or where it was published; date: ISO day.
    """

    value: float
    provenance: Provenance
    spread: float = 0.0
    source: str = ""
    date: str = ""
