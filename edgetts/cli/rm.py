"""`edgetts rm`: remove a model from the cache."""

from __future__ import annotations

import click


@click.command("rm")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--forget", is_flag=True, help="Also forget the checksum that its first fetch recorded.")
def command(name: str, yes: bool, forget: bool) -> None:
    """Remove the model NAME: its bundles, its fetched file and partial downloads."""
    from edgetts.store.home import in_megabytes
    from edgetts.store.listing import remove_model, total_size

    size = total_size(name, forget=forget)
    if not yes:
        click.confirm(f"Remove {name} ({in_megabytes(size)})?", abort=True, err=True)
    click.echo(f"Removed {name}: {in_megabytes(remove_model(name, forget=forget))} freed.", err=True)
