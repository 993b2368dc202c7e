"""`edgetts heads`: train draft heads for a model, and show what a bundle has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.bundle import HeadsNote


@click.group("heads")
def command() -> None:
    """Draft heads: a small network that guesses a model's coming tokens, so that a pass yields several."""


@command.command("train")
@click.argument("model")
@click.option(
    "--tokens", type=int, default=150_000, show_default=True, help="Of the model's own text to draw."
)
@click.option("--minutes", type=float, default=15.0, show_default=True, help="To fit the network in.")
@click.option("--vocabulary", type=int, default=8192, show_default=True, help="Tokens that a guess may be.")
@click.option("--width", type=int, help="Of the network's inner layer. Default: the model's hidden size.")
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    help="A text file, one question a line, that the text answers. Default: a built-in set.",
)
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    model: str,
    tokens: int,
    minutes: float,
    vocabulary: int,
    width: int | None,
    questions: Path | None,
    threads: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train draft heads for MODEL, a name or a bundle, on text that the model itself writes.

    Needs torch: pip install 'edgetts[train]'. Answers stay as they are; they only come faster.
    """
    from edgetts.bundle import TrustRecord
    from edgetts.export.heads.train import train_heads
    from edgetts.store import resolve
    from edgetts.store.home import find_home
    from edgetts.store.progress import ProgressLine

    if vocabulary < 16:
        raise InvalidInput(f"A vocabulary of {vocabulary} tokens is too small to guess from.")
    if width is not None and (width < 32 or width % 32):
        raise InvalidInput(f"The width is {width}, but it must be a multiple of 32.")
    asked = None if questions is None else _lines(questions)
    line = ProgressLine(sys.stderr)
    try:
        bundle = resolve(model, progress=line, notify=lambda sentence: click.echo(sentence, err=True))
        note = train_heads(
            bundle,
            tokens=tokens,
            seconds=60 * minutes,
            width=width,
            vocabulary=vocabulary,
            questions=asked,
            threads=threads,
            seed=seed,
            trust=TrustRecord(find_home().root / "trust"),
            progress=line,
        )
    finally:
        line.close()
    _tell(note, as_json=as_json)


@command.command("show")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(model: str, as_json: bool) -> None:
    """Show the draft heads of MODEL, a name or a bundle."""
    from edgetts.bundle import read_manifest
    from edgetts.store import resolve

    note = read_manifest(resolve(model, offline=True)).heads
    if note is None:
        raise InvalidInput(
            f"{model} has no draft heads.", hint=f"Train some with: edgetts heads train {model}"
        )
    _tell(note, as_json=as_json)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}).") from error
    return [line for line in lines if line]


def _tell(note: HeadsNote, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        import json

        click.echo(json.dumps(asdict(note)))
        return
    shares = ", ".join(f"{share:.1%}" for share in note.agreement)
    click.echo(f"{note.file}: {note.tokens} tokens of the model's own text, fitted in {note.seconds:.0f} s")
    click.echo(f"right on held-out text, 1, 2 and 3 tokens ahead: {shares} of {note.positions} positions")
