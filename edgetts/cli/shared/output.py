"""What verbs print and write: rows, pages, and files that must not take a record's place."""

from __future__ import annotations

from pathlib import Path

import click

from edgetts.errors import InvalidInput, StorageError


def print_rows(rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {printable(value)}")


def printable(text: str) -> str:
    """Show control characters as escapes: what comes from a file must not move the cursor of who reads it."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def apart(record: Path | None, *outputs: Path | None) -> None:
    """Refuse to write over a record. Errors: InvalidInput."""
    if record is None:
        return
    if any(one is not None and one.absolute().resolve() == record.absolute().resolve() for one in outputs):
        raise InvalidInput(f"{record} is the record itself.", hint="Name another file to write to.")


def write_page(path: Path, page: str) -> None:
    """Write a report whole, and say where. Errors: StorageError."""
    draft = path.with_name(f".{path.name}.partial")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: {error.strerror or error}.") from error
    click.echo(f"report: {path}", err=True)
