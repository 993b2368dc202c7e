"""Rows of a benchmark that are kept as they come, so that what was interrupted can be continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Return the whole rows of a file; none where there is no file."""
    if path is None or not path.exists():
        return []
    # The last line may be half a line.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def keep_row(path: Path | None, row: dict[str, Any]) -> None:
    """Append a row, where it is to be kept."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
