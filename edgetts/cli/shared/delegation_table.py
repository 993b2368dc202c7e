"""Show which operators of a bundle's graphs a provider takes: a table for people, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.output import printable

if TYPE_CHECKING:
    from edgetts.cli.shared.delegating import Delegated
    from edgetts.runtimes.delegation.table import Delegation, Share, TypeRow
    from edgetts.runtimes.providers.finding import Provider

_CPU = "CPUExecutionProvider"
_NAMED = 3


def _to_json(found: Delegated) -> dict[str, Any]:
    """Return everything as plain JSON; shares are of what runs."""
    return {
        "model": found.model,
        "provider": found.provider.name,
        "version": found.provider.version,
        "emulated": found.provider.emulated,
        "options": dict(found.options),
        "passes": [
            {
                "width": width,
                "graphs": list(files),
                "fixed_shapes": one.fixed,
                "operators": [_row_json(row) for row in one.rows],
                "share": {
                    "operators": _share_json(one.operators),
                    "weight_bytes": _share_json(one.weights),
                    "multiplications": _share_json(one.macs),
                },
                "not_counted": list(one.uncounted),
            }
            for width, (files, one) in found.passes.items()
        ],
    }


def _row_json(row: TypeRow) -> dict[str, Any]:
    return {
        "type": row.type,
        "on_provider": row.there,
        "on_cpu": len(row.elsewhere),
        "folded": row.folded,
        "weight_bytes": row.weight_bytes,
        "multiplications": row.macs,
        "cpu_nodes": list(row.elsewhere),
        "reasons": dict(row.reasons),
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {"provider": share.part, "all": share.whole, "ratio": share.ratio}


def show_delegated(found: Delegated, as_json: bool) -> None:
    """Print a table for each width, what there is to add, and one line that sums it up; or all of it as JSON."""
    if as_json:
        click.echo(json.dumps(_to_json(found), indent=2))
        return
    for width, (_, one) in found.passes.items():
        what = (
            "a pass of any width"
            if width is None
            else f"a pass of {width} {'token' if width == 1 else 'tokens'}"
        )
        click.echo(printable(f"{found.model}, {what}"))
        _print_table(_table(one))
        for note in _notes(one):
            click.echo(printable(note))
        click.echo(printable(_summary(one, found.provider)))


def _table(one: Delegation) -> list[tuple[str, ...]]:
    on_cpu = one.provider == _CPU
    weights, macs = (sum(getattr(row, of) for row in one.rows) for of in ("weight_bytes", "macs"))
    table: list[tuple[str, ...]] = [
        (
            "OPERATOR",
            f"ON {_short(one.provider)}",
            "ON CPU",
            "FOLDED",
            "WEIGHTS",
            "MULTIPLIED",
            "WHY ON THE CPU",
        )
    ]
    for row in one.rows:
        cells = (row.type, row.there, len(row.elsewhere), row.folded)
        shares = (_percent(row.weight_bytes, weights), _percent(row.macs, macs))
        table.append((*map(str, cells), *shares, _why(row)))
    return [(line[0], line[1], *line[3:6]) if on_cpu else line for line in table]


def _why(row: TypeRow) -> str:
    if not row.elsewhere:
        return ""
    reasons = "; ".join(reason or "not said" for reason in row.reasons)
    named = ", ".join(row.elsewhere[:_NAMED])
    more = len(row.elsewhere) - _NAMED
    return f"{reasons} ({named}{f' and {more} more' if more > 0 else ''})"


def _notes(one: Delegation) -> list[str]:
    notes = []
    if not one.fixed and one.unsupported:
        notes.append(
            "The graphs' shapes are not fixed, as compilers of NPUs want them: edgetts export --target makes such."
        )
    if one.uncounted:
        notes.append(f"Not among what is multiplied, as shapes do not say: {', '.join(one.uncounted)}.")
    return notes


def _summary(one: Delegation, provider: Provider) -> str:
    operators = one.operators
    return (
        f"{operators.part} of {operators.whole} operators, {_percent(one.weights.part, one.weights.whole)} of the "
        f"weights and {_percent(one.macs.part, one.macs.whole)} of the multiplications run on {provider.name} "
        f"{provider.version}{', emulated here' if provider.emulated else ''}"
    )


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").upper()


def _percent(part: int, whole: int) -> str:
    """Return a share; neither nothing nor all where it is not."""
    if part == 0:
        return "0%"
    if part == whole:
        return "100%"
    ratio = 100 * part / whole
    return "<0.1%" if ratio < 0.1 else ">99.9%" if ratio > 99.9 else f"{ratio:.1f}%"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print words from the left and numbers from the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if 0 < column < 6 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo(printable("  ".join(cells)).rstrip())
