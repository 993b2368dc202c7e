"""What edgetts knows of providers and chips: data of `profiles/`, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Soc:
    """A chip with an NPU. options: what its compiler wants to know, e.g. htp_arch and soc_model; source: of them."""

    name: str
    title: str
    provider: str
    options: Mapping[str, str]
    source: str


def find_soc(name: str) -> Soc:
    """Return the chip of that name, e.g. sm8650. Raises InvalidInput, with a near miss."""
    raise NotImplementedError
