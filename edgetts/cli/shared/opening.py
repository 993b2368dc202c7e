"""Load a model for a person who waits: what is done, and how far it is, goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgetts.engine import Engine


def open_told(model: str | None, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Engine:
    """Load a model as a command's `options` say; `settings` go to the runtime. Raises what `load` does."""
    from edgetts.engine import load
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)

    def notify(sentence: str) -> None:
        line.close()
        click.echo(sentence, err=True)

    try:
        return load(
            model,
            runtime=options["runtime"],
            draft_model=options["draft_model"],
            quantize=options["quantize"],
            offline=options["offline"],
            notify=notify,
            progress=line,
            **settings,
        )
    finally:
        line.close()
