"""`edgetts exits`: train small networks that guess a model's coming tokens, and show what a bundle has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.bundle import ExitsNote


@click.group("exits")
def command() -> None:
    """Small networks that guess a model's coming tokens from what it computes anyway.

    With them a pass yields several tokens, and where that is allowed tokens leave the network early.
    """


@command.command("train")
@click.argument("model")
@click.option(
    "--tokens", type=int, default=150_000, show_default=True, help="Of the model's own text to draw."
)
@click.option("--minutes", type=float, default=20.0, show_default=True, help="To fit all networks in.")
@click.option(
    "--fit",
    "how",
    default="best",
    show_default=True,
    help="gradient (needs torch), closed-form (does not), or best: both, and the better of each is kept.",
)
@click.option("--only", help="Train only these, with commas: recurrent, exit, parallel. Default: all.")
@click.option("--vocabulary", type=int, default=8192, show_default=True, help="Tokens that a guess may be.")
@click.option("--width", type=int, help="Of the networks' inner layers. Default: the model's hidden size.")
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
    how: str,
    only: str | None,
    vocabulary: int,
    width: int | None,
    questions: Path | None,
    threads: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train guessers for MODEL, a name or a bundle, on text that the model itself writes.

    Needs torch, but for --fit closed-form: pip install 'edgetts[train]'.
    """
    from edgetts.bundle import TrustRecord
    from edgetts.export.exits.train import train_exits
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
        note = train_exits(
            bundle,
            tokens=tokens,
            seconds=60 * minutes,
            width=width,
            vocabulary=vocabulary,
            questions=asked,
            how=how,
            kinds=None if only is None else [kind.strip() for kind in only.split(",")],
            threads=threads,
            seed=seed,
            trust=TrustRecord(find_home().root / "trust"),
            progress=line,
            tell=lambda sentence: click.echo(sentence, err=True),
        )
    finally:
        line.close()
    _tell(note, as_json=as_json)


@command.command("show")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(model: str, as_json: bool) -> None:
    """Show the guessers of MODEL, a name or a bundle, and what leaving the network early costs and saves."""
    from edgetts.bundle import read_manifest
    from edgetts.store import resolve

    note = read_manifest(resolve(model, offline=True)).exits
    if note is None:
        raise InvalidInput(f"{model} has no exits.", hint=f"Train some with: edgetts exits train {model}")
    _tell(note, as_json=as_json)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}).") from error
    return [line for line in lines if line]


def _tell(note: ExitsNote, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        import json

        click.echo(json.dumps(asdict(note)))
        return
    made = ", ".join(f"{name} {version}" for name, version in note.made_by.items())
    click.echo(
        f"Trained on {note.tokens:,} tokens of the model's own text in {note.seconds:.0f} s ({made}); "
        f"guesses are among {note.vocabulary:,} tokens."
    )
    click.echo(f"Right on held-out text ({note.positions:,} tokens), by tokens ahead:")
    for one in note.guessers:
        name = f"exit before layer {one.cut}" if one.kind == "exit" else one.kind
        shares = ", ".join(f"{share:.1%}" for share in one.agreement)
        click.echo(f"  {name:24} {shares}  ({one.fitted})")
    if note.leaving:
        click.echo("Leaving early, tokens as at full depth (calibrated, confirmed), and layers run:")
    for row in note.leaving:
        cuts = ", ".join(map(str, row.cuts))
        click.echo(
            f"  {row.criterion:11} {row.strictness:<8g} before {cuts:12} "
            f"{row.agreement[0]:.1%}, {row.agreement[1]:.1%}  {row.depth:.0%}"
        )
