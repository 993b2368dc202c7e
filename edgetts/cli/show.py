"""`edgetts show`: all that is known of one model."""

from __future__ import annotations

from typing import Any

import click


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, as_json: bool) -> None:
    """Show where the model NAME comes from, what vouches for its bytes, and what the cache holds of it."""
    import json

    from edgetts.store.listing import describe_model

    described = describe_model(name)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for line in _outline(described, ""):
        click.echo(line)


def _outline(value: dict[str, Any], indent: str) -> list[str]:
    """Write nested data as indented 'name: value' lines; what is unknown is left out."""
    lines = []
    for name, part in value.items():
        inner = part if isinstance(part, (list, tuple)) else [part]
        for item in inner:
            if isinstance(item, dict):
                lines += [f"{indent}{name}:", *_outline(item, indent + "  ")]
            elif item is not None and item != "":
                lines.append(f"{indent}{name}: {item}")
    return lines
