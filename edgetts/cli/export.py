"""`edgetts export`: convert a checkpoint into a bundle."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from edgetts.errors import InvalidInput


@click.command("export")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Default: NAME.edge here.")
@click.option(
    "--quantize",
    default="keep",
    show_default=True,
    help="keep: GGUF's integers as they are, the rest in 8 bits; int4; int8; fp32.",
)
@click.option("--cuts", help="Layers to cut the network before, e.g. 8,15,22. Default: every quarter.")
@click.option("--context", type=int, help="Positions to prepare for. Default: the model's, up to 32768.")
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    source: Path,
    output: Path | None,
    quantize: str,
    cuts: str | None,
    context: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Convert SOURCE, a GGUF file or a Hugging Face directory, into a bundle. Needs no torch.

    The finished bundle is checked against the source, run in float32, on a fixed text.
    """
    from edgetts.bundle import MANIFEST, read_manifest

    name = source.resolve().name.removesuffix(".gguf")
    output = output or Path(f"{name}.edge")
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already.", hint="Name another with --output, or give --force.")
    # What is replaced is removed: never a checkpoint, or a directory that --output named by mistake.
    if output.exists() and not (output / MANIFEST).is_file():
        raise InvalidInput(f"{output} is not a bundle, so it is not replaced.", hint="Name another.")
    try:
        layers = None if cuts is None else [int(cut) for cut in cuts.split(",")]
    except ValueError:
        raise InvalidInput(f"--cuts is {cuts!r}, but it must be layer numbers with commas between.") from None

    from edgetts.export import convert
    from edgetts.store.progress import ProgressLine

    began = time.perf_counter()
    line = ProgressLine(sys.stderr)
    try:
        convert(source, output, quantize=quantize, name=name, cuts=layers, context=context, progress=line)
    finally:
        line.close()
    manifest = read_manifest(output)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in output.iterdir())
    check = manifest.check
    if as_json:
        import json
        from dataclasses import asdict

        body = {
            "bundle": str(output),
            "bytes": size,
            "seconds": seconds,
            "quantize": quantize,
            "cuts": manifest.cuts,
            "check": None if check is None else asdict(check),
            "notes": manifest.notes,
        }
        click.echo(json.dumps(body))
        return
    click.echo(output)
    click.echo(f"{size / 1e6:.1f} MB in {seconds:.1f} s, cut before layers {_join(manifest.cuts)}", err=True)
    if check is not None:
        click.echo(
            f"against the source in float32, {check.tokens} tokens: mean KL {check.mean_kl:.5f} nats, "
            f"same first choice {check.top1:.1%}, largest difference {check.largest:.3f}",
            err=True,
        )
    for note in manifest.notes:
        click.echo(note, err=True)


def _join(cuts: tuple[int, ...]) -> str:
    return ", ".join(map(str, cuts)) or "none"
