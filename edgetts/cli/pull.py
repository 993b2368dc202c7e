"""`edgetts pull`: bring a model into the cache, ready to run."""

from __future__ import annotations

import sys

import click


@click.command("pull")
@click.argument("name")
@click.option(
    "--quantize", help="How to store the weights: keep, int4, int8 or fp32. Default: as registered."
)
@click.option("--offline", is_flag=True, help="Never touch the network: use only what is here.")
def command(name: str, quantize: str | None, offline: bool) -> None:
    """Fetch the model NAME and convert it for this device.

    NAME is a known model ('edgetts ls --all'), hf:owner/repo/file.gguf@revision, or the path of a GGUF
    file or of a Hugging Face directory. Prints where the bundle is.
    """
    from edgetts.store import resolve
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)

    def notify(sentence: str) -> None:
        line.close()
        click.echo(sentence, err=True)

    try:
        bundle = resolve(name, offline=offline, quantize=quantize, progress=line, notify=notify)
    finally:
        line.close()
    click.echo(bundle)
