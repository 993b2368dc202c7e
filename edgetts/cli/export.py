"""`edgetts export`: convert a checkpoint into a bundle, or into a GGUF file for llama.cpp."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.quantities import MEGABYTES, SECONDS
from edgetts.cli.shared.static_export import StaticOptions, compile_static, write_static
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.export.to_gguf import Written


@click.command("export")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Default: NAME.edge or NAME-FORM.gguf here."
)
@click.option(
    "--to",
    "form",
    default="bundle",
    show_default=True,
    help="bundle: for edgetts and ONNX Runtime; gguf: a file for llama.cpp.",
)
@click.option(
    "--quantize",
    default="keep",
    show_default=True,
    help="keep: GGUF's integers as they are, the rest in 8 bits; int4; int8; fp32. With --to gguf: keep: "
    "as the source is; f32, f16, bf16; and by llama.cpp q8_0, q4_0, q4_k_m, tq2_0 and its others.",
)
@click.option(
    "--via",
    help="optimum: let Hugging Face's exporter write the graph of a Hugging Face directory, for architectures that "
    "edgetts has no graph of (extra optimum; slower). int4, int8 or fp32; keep is 8 bits.",
)
@click.option("--cuts", help="Layers to cut the network before, e.g. 8,15,22. Default: every quarter.")
@click.option("--context", type=int, help="Positions to prepare for. Default: the model's, up to 32768.")
@click.option(
    "--target",
    help="A bundle of fixed shapes for NPUs: qnn-htp (Qualcomm), openvino-npu (Intel), coreml (Apple), or generic-static. "
    "Its context is 1024 tokens if --context does not say otherwise.",
)
@click.option("--chunk", type=int, help="With --target: tokens of a prompt in one pass. Default: 64.")
@click.option(
    "--draft-width", type=int, help="With --target: draft tokens that one pass can verify. Default: 5."
)
@click.option(
    "--agreement",
    type=float,
    help="With --target: share of first choices that rounding may not change; matrices are held more precisely until "
    "it is met on text held out. Default: 0.97.",
)
@click.option(
    "--soc",
    "socs",
    multiple=True,
    help="With --target qnn-htp, or for a SOURCE that is a static bundle: compile it for this chip, e.g. sm8650. May be "
    "repeated.",
)
@click.option("--compile-time", type=SECONDS, help="With --soc: how long a compilation may take.")
@click.option(
    "--compile-memory", type=MEGABYTES, help="With --soc: memory that a compilation may take, e.g. 4GB."
)
@click.option(
    "--share/--no-share",
    default=None,
    help="With --soc: hold weights once for all widths, a third of the space; the emulator cannot open that. "
    "Default: --share.",
)
@click.option(
    "--check/--no-check",
    default=None,
    help="With --soc: see in the emulator, where there is one, whether what was compiled computes what the CPU does. "
    "Takes minutes. Default: --check.",
)
@click.option("--prune-layers", help="With --to gguf: layers to leave out, counted from 0, e.g. 10,11,12.")
@click.option(
    "--imatrix-text",
    type=click.Path(path_type=Path),
    help="With --to gguf: a text like those the model will meet, to see which weights matter.",
)
@click.option(
    "--draft",
    is_flag=True,
    help="Search for the layers without which the GGUF file SOURCE drafts best for itself on this device, and write it "
    "so (for --draft-model). A search that was stopped goes on.",
)
@click.option("--minutes", type=float, help="With --draft: to search in. Default: 3.")
@click.option("--force", is_flag=True, help="Replace an existing result.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    source: Path,
    output: Path | None,
    form: str,
    quantize: str,
    via: str | None,
    cuts: str | None,
    context: int | None,
    target: str | None,
    chunk: int | None,
    draft_width: int | None,
    agreement: float | None,
    socs: tuple[str, ...],
    compile_time: float | None,
    compile_memory: float | None,
    share: bool | None,
    check: bool | None,
    prune_layers: str | None,
    imatrix_text: Path | None,
    draft: bool,
    minutes: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Convert SOURCE, a GGUF file or a Hugging Face directory, into a bundle or a GGUF file; or compile a static bundle.

    What was written is checked against the source, run in float32, on a fixed text. Needs no torch.
    """
    if via not in (None, "optimum"):
        raise InvalidInput(
            f"--via is {via!r}, but it must be optimum.", hint="Leave it out for our own graphs."
        )
    if via is not None and (draft or form != "bundle" or cuts is not None):
        what = "--draft" if draft else "--cuts" if cuts is not None else f"--to {form}"
        raise InvalidInput(f"{what} does not go with --via optimum, which writes bundles without cuts.")
    if minutes is not None and not draft:
        raise InvalidInput("--minutes goes with --draft.")
    static = StaticOptions(
        target, chunk, draft_width, agreement, socs, compile_time, compile_memory, share, check
    )
    if static.given and (draft or via is not None or form != "bundle"):
        what = "--draft" if draft else "--via" if via is not None else f"--to {form}"
        raise InvalidInput(f"{static.given[0]} does not go with {what}.")
    if draft:
        others = {"--cuts": cuts, "--context": context, "--imatrix-text": imatrix_text}
        others |= {"--prune-layers": prune_layers, "--quantize": None if quantize == "keep" else quantize}
        if given := [name for name, value in others.items() if value is not None]:
            raise InvalidInput(f"{given[0]} does not go with --draft, which changes layers only.")
        _drafter(source, output, 3.0 if minutes is None else minutes, force=force, as_json=as_json)
    elif form == "bundle":
        _only_with("gguf", {"--prune-layers": prune_layers, "--imatrix-text": imatrix_text})
        if static.given:
            _to_static(source, output, quantize, cuts, context, static, force=force, as_json=as_json)
            return
        _to_bundle(source, output, quantize, via, cuts, context, force=force, as_json=as_json)
    elif form == "gguf":
        _only_with("bundle", {"--cuts": cuts, "--context": context})
        _to_gguf(source, output, quantize, prune_layers, imatrix_text, force=force, as_json=as_json)
    else:
        raise InvalidInput(f"--to is {form!r}, but it must be bundle or gguf.")


def _drafter(source: Path, output: Path | None, minutes: float, *, force: bool, as_json: bool) -> None:
    output = output or Path(f"{source.resolve().name.removesuffix('.gguf')}-draft.gguf")
    _check_output(output, force)

    from edgetts.export.to_gguf.drafter import find_drafter
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)
    try:
        found = find_drafter(source, output, minutes=minutes, progress=line)
    finally:
        line.close()
    best = found.best
    if as_json:
        curve = {str(width): round(value, 4) for width, value in found.curve.items()}
        body = {"gguf": str(output), "bytes": output.stat().st_size, "trials": len(found.trials)}
        click.echo(json.dumps(body | asdict(best) | {"curve": curve}))
        return
    click.echo(output)
    click.echo(
        f"best of {len(found.trials)}: without layers {_join(best.layers)} it is right on {best.agreement:.1%} of the "
        f"model's own tokens at {best.cost:.2f} of its time; drafts of {best.length} promise {best.gain:.2f} of "
        "plain decoding's speed"
        + ("" if best.gain > 1 else ": on this device it loses, and will be switched off"),
        err=True,
    )


def _to_static(
    source: Path,
    output: Path | None,
    quantize: str,
    cuts: str | None,
    context: int | None,
    options: StaticOptions,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from edgetts.bundle import is_static

    if is_static(source):
        changed = {"--output": output, "--cuts": cuts, "--context": context}
        changed |= {"--quantize": None if quantize == "keep" else quantize}
        if given := [name for name, value in changed.items() if value is not None]:
            raise InvalidInput(
                f"{given[0]} cannot be changed in {source.name}, which is a static bundle already.",
                hint="Export the model again, or leave it out.",
            )
        compile_static(source, options, as_json=as_json)
        return
    output = output or Path(f"{source.resolve().name.removesuffix('.gguf')}-{options.target}.edge")
    _check_bundle_place(output, force)
    layers = None if cuts is None else _layers("--cuts", cuts)
    write_static(source, output, options, quantize=quantize, cuts=layers, context=context, as_json=as_json)


def _only_with(target: str, options: dict[str, object]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise InvalidInput(f"{given[0]} goes with --to {target}.")


def _to_bundle(
    source: Path,
    output: Path | None,
    quantize: str,
    via: str | None,
    cuts: str | None,
    context: int | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from edgetts.bundle import read_manifest

    name = source.resolve().name.removesuffix(".gguf")
    output = output or Path(f"{name}.edge")
    _check_bundle_place(output, force)
    layers = None if cuts is None else _layers("--cuts", cuts)

    from edgetts.export import convert
    from edgetts.store.progress import ProgressLine

    began = time.perf_counter()
    line = ProgressLine(sys.stderr)
    try:
        if via is not None:
            from edgetts.export.optimum import convert_by_optimum

            convert_by_optimum(source, output, quantize=quantize, name=name, context=context, progress=line)
        else:
            convert(source, output, quantize=quantize, name=name, cuts=layers, context=context, progress=line)
    finally:
        line.close()
    manifest = read_manifest(output)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in output.iterdir())
    check = manifest.check
    if as_json:
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
        _tell_check(check.tokens, check.mean_kl, check.top1, check.largest)
    for note in manifest.notes:
        click.echo(note, err=True)


def _to_gguf(
    source: Path,
    output: Path | None,
    quantize: str,
    prune_layers: str | None,
    imatrix_text: Path | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    prune = [] if prune_layers is None else _layers("--prune-layers", prune_layers)
    parts = [source.resolve().name.removesuffix(".gguf")]
    parts += ["pruned"] if prune else []
    parts += [quantize] if quantize != "keep" else []
    output = output or Path("-".join(parts) + ".gguf")
    _check_output(output, force)

    from edgetts.export.to_gguf import to_gguf
    from edgetts.store.progress import ProgressLine

    began = time.perf_counter()
    line = ProgressLine(sys.stderr)
    try:
        written = to_gguf(
            source, output, quantize=quantize, prune=prune, imatrix_text=imatrix_text, progress=line
        )
    finally:
        line.close()
    seconds, size = time.perf_counter() - began, output.stat().st_size
    if not as_json:
        click.echo(output)
        click.echo(f"{size / 1e6:.1f} MB in {seconds:.1f} s, matrices: {_kinds(written)}", err=True)
        _tell(written)
    else:
        body: dict[str, Any] = {
            "gguf": str(output),
            "bytes": size,
            "seconds": seconds,
            "quantize": quantize,
            "matrices": written.kinds,
            "pruned_layers": written.pruned_layers,
            "check": None if written.check is None else asdict(written.check),
            "perplexity": None if written.perplexity is None else asdict(written.perplexity),
            "notes": written.notes,
        }
        click.echo(json.dumps(body))
    for note in written.notes:
        click.echo(note, err=True)


def _tell(written: Written) -> None:
    if (check := written.check) is not None:
        left_out = written.pruned_layers
        without = f" without layer{'s'[: len(left_out) > 1]} {_join(left_out)}" if left_out else ""
        _tell_check(check.tokens, check.mean_kl, check.top1, check.largest, without)
    if (cost := written.perplexity) is not None:
        steps = [f"{cost.source:.2f} of the source"]
        steps += [] if cost.pruned is None else [f"{cost.pruned:.2f} without the layers"]
        steps += [f"{cost.written:.2f} as written"]
        click.echo(f"perplexity in llama.cpp, {cost.tokens} tokens: {', '.join(steps)}", err=True)


def _tell_check(tokens: int, kl: float, top1: float, largest: float, what: str = "") -> None:
    click.echo(
        f"against the source{what} in float32, {tokens} tokens: mean KL {kl:.5f} nats, "
        f"same first choice {top1:.1%}, largest difference {largest:.3f}",
        err=True,
    )


def _check_output(output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already.", hint="Name another with --output, or give --force.")


def _check_bundle_place(output: Path, force: bool) -> None:
    from edgetts.bundle import MANIFEST

    _check_output(output, force)
    # What is replaced is removed: never a checkpoint, or a directory that --output named by mistake.
    if output.exists() and not (output / MANIFEST).is_file():
        raise InvalidInput(f"{output} is not a bundle, so it is not replaced.", hint="Name another.")


def _layers(option: str, text: str) -> list[int]:
    try:
        return [int(layer) for layer in text.split(",")]
    except ValueError:
        raise InvalidInput(
            f"{option} is {text!r}, but it must be layer numbers with commas between."
        ) from None


def _kinds(written: Written) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in written.kinds.items())


def _join(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers)) or "none"
