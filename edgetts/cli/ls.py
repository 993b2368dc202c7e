"""`edgetts ls`: what the cache holds."""

from __future__ import annotations

import click


@click.command("ls")
@click.option("--all", "show_all", is_flag=True, help="Also list known models that are not here yet.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; sizes in bytes.")
def command(show_all: bool, as_json: bool) -> None:
    """List the models in the cache."""
    import json

    from edgetts.store.home import in_megabytes
    from edgetts.store.listing import list_available, list_models

    models = list_models() + (list_available() if show_all else [])
    if as_json:
        click.echo(json.dumps([model.to_json() for model in models], indent=2))
        return
    if not models:
        click.echo("The cache is empty; 'edgetts ls --all' lists models to pull.", err=True)
        return
    rows = [("NAME", "FAMILY", "SIZE", "QUANTISATION", "LICENCE", "STATE")]
    for model in models:
        size = in_megabytes(model.size) if model.size else "-"
        cells = (model.name, model.family, size, model.quantize, model.licence, model.state)
        rows.append((cells[0], cells[1] or "-", cells[2], cells[3] or "-", cells[4] or "-", cells[5]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
