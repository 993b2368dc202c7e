"""Hash files while streaming them. Knows bytes only."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgetts.errors import ChecksumMismatch

BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in lower-case hex, reading one block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_bytes(
    what: str, promised: tuple[int | None, str | None], found: tuple[int, str], hint: str
) -> None:
    """Compare (size, sha256) as promised, None where nothing is, with what was found."""
    for promise, fact, name in zip(promised, found, ("bytes", "sha256"), strict=True):
        if promise is not None and promise != fact:
            raise ChecksumMismatch(
                f"{what} is not what was promised: {name} {fact}, not {promise}.", hint=hint
            )
