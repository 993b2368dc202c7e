"""`edgetts export --target`: write a static bundle, and compile one for chips."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.bundle import Manifest
    from edgetts.static_form import CompiledNote, PrecisionNote


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """What the command line says of a static bundle; None is the default of the exporter."""

    target: str | None
    chunk: int | None
    draft_width: int | None
    agreement: float | None
    socs: tuple[str, ...]
    seconds: float | None
    memory: float | None
    share: bool | None = None
    check: bool | None = None

    @property
    def given(self) -> list[str]:
        """Options that mean something for static bundles only."""
        named = {
            "--target": self.target,
            "--chunk": self.chunk,
            "--draft-width": self.draft_width,
            "--agreement": self.agreement,
            "--soc": self.socs or None,
            "--compile-time": self.seconds,
            "--compile-memory": self.memory,
            "--share/--no-share": self.share,
            "--check/--no-check": self.check,
        }
        return [name for name, value in named.items() if value is not None]


def write_static(
    source: Path,
    output: Path,
    options: StaticOptions,
    *,
    quantize: str,
    cuts: Sequence[int] | None,
    context: int | None,
    as_json: bool,
) -> None:
    """Write a static bundle and compile it for the chips named."""
    if options.target is None:
        raise InvalidInput(f"{options.given[0]} goes with --target.", hint="For example: --target qnn-htp")
    _check_chips(options)

    from edgetts.bundle import read_manifest
    from edgetts.export.static import convert_static
    from edgetts.store.progress import ProgressLine

    began = time.perf_counter()
    line = ProgressLine(sys.stderr)
    try:
        convert_static(
            source,
            output,
            target=options.target,
            quantize=quantize,
            agreement=options.agreement,
            name=source.resolve().name.removesuffix(".gguf"),
            context=context,
            chunk=options.chunk,
            draft_width=options.draft_width,
            cuts=cuts,
            progress=line,
        )
    finally:
        line.close()
    seconds = time.perf_counter() - began
    if not as_json:
        click.echo(output)
        _tell(read_manifest(output), output, seconds)
    compiled = _compile(output, options)
    _report(output, seconds, compiled, as_json=as_json)


def compile_static(bundle: Path, options: StaticOptions, *, as_json: bool) -> None:
    """Compile a static bundle that is there for the chips named."""
    if others := [name for name in options.given if name not in _COMPILING]:
        raise InvalidInput(
            f"{others[0]} cannot be changed in {bundle.name}, which is a static bundle already.",
            hint="Export the model again, or leave it out.",
        )
    if not options.socs:
        raise InvalidInput(
            f"{bundle.name} is a static bundle: there is nothing to do but to compile it.",
            hint="Name a chip: --soc sm8650",
        )
    _check_chips(options)
    began = time.perf_counter()
    compiled = _compile(bundle, options)
    if not as_json:
        click.echo(bundle)
    _report(bundle, time.perf_counter() - began, compiled, as_json=as_json)


_COMPILING = ("--soc", "--compile-time", "--compile-memory", "--share/--no-share", "--check/--no-check")


def _check_chips(options: StaticOptions) -> None:
    """Refuse chips that nobody knows before minutes of work."""
    from edgetts.runtimes.providers.catalogue import find_soc

    if not options.socs and (given := [name for name in options.given if name in _COMPILING]):
        raise InvalidInput(f"{given[0]} goes with --soc.")
    for soc in options.socs:
        find_soc(soc)


def _compile(bundle: Path, options: StaticOptions) -> list[CompiledNote]:
    if not options.socs:
        return []
    from edgetts.export.static.compiling import compile_bundle
    from edgetts.store.progress import ProgressLine

    notes = []
    for soc in options.socs:
        line = ProgressLine(sys.stderr)
        try:
            notes.append(
                compile_bundle(
                    bundle,
                    soc=soc,
                    seconds=options.seconds,
                    memory_bytes=None if options.memory is None else int(1e6 * options.memory),
                    progress=line,
                    share=options.share is not False,
                    check=options.check is not False,
                )
            )
        finally:
            line.close()
    return notes


def _tell(manifest: Manifest, bundle: Path, seconds: float) -> None:
    size = sum(file.stat().st_size for file in bundle.iterdir())
    cuts = ", ".join(map(str, manifest.cuts)) or "none"
    click.echo(f"{size / 1e6:.1f} MB in {seconds:.1f} s, cut before layers {cuts}", err=True)
    if manifest.static is not None and manifest.static.precision is not None:
        _tell_precision(manifest.static.precision)
    for note in manifest.notes:
        click.echo(note, err=True)


def _tell_precision(cost: PrecisionNote) -> None:
    click.echo(
        f"against the same graphs in float32, {cost.positions} tokens held out: same first choice {cost.top1:.1%}, "
        f"mean KL {cost.mean_kl:.5f} nats, perplexity times {cost.perplexity_ratio:.4f}",
        err=True,
    )
    if cost.raised:
        click.echo(
            f"held more precisely than the rest, so that it is so: {len(cost.raised)} matrices", err=True
        )
    if cost.top1 < cost.wanted:
        click.echo(f"The agreement of {cost.wanted:.1%} was not reached, whatever was raised.", err=True)


def _report(bundle: Path, seconds: float, compiled: Sequence[CompiledNote], *, as_json: bool) -> None:
    for note in [] if as_json else compiled:
        click.echo(
            f"compiled for {note.soc} by {note.provider} {note.version}: {note.bytes / 1e6:.1f} MB "
            f"in {note.seconds:.1f} s, with up to {note.peak_bytes / 1e6:.0f} MB of memory"
            + (
                ""
                if note.difference is None
                else f"; emulated, logits are {note.difference:.1%} off the CPU's"
            ),
            err=True,
        )
    if as_json:
        from edgetts.bundle import read_manifest

        manifest = read_manifest(bundle)
        static = manifest.static
        body = {
            "bundle": str(bundle),
            "bytes": sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()),
            "seconds": seconds,
            "quantize": manifest.quantize,
            "cuts": manifest.cuts,
            "context": manifest.context,
            "target": None if static is None else static.target,
            "widths": None if static is None else static.widths,
            "precision": None if static is None or static.precision is None else asdict(static.precision),
            "notes": manifest.notes,
            "compiled": [asdict(one) for one in compiled],
        }
        click.echo(json.dumps(body))
