"""`edgetts serve`: an OpenAI-compatible server on this device."""

from __future__ import annotations

import logging
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli import INTERRUPTED
from edgetts.cli.shared.device import device_options, read_device
from edgetts.cli.shared.quantities import MEGABYTES
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.engine import Engine

# Megabytes: more than any machine has.
_MOST_KEPT = 1e9
_KEY_VARIABLE = "EDGETTS_API_KEY"


@click.command("serve")
@click.argument("model", required=False)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at; this one is reached from this machine only.",
)
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--api-key",
    "keys",
    multiple=True,
    help="Let in only who shows this key; may be repeated. Others of this machine see it in the list of processes.",
)
@click.option(
    "--api-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"A file of keys, one a line. Without either, the variable {_KEY_VARIABLE}.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    help="Let web pages of this origin call it, e.g. http://localhost:3000. May be repeated.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    help="A name that it goes by, beside localhost and --host. May be repeated.",
)
@click.option("--max-body", type=float, default=4.0, show_default=True, help="Megabytes of a request.")
@click.option("--max-n", type=int, default=16, show_default=True, help="Choices of a request.")
@click.option(
    "--max-requests", type=int, default=256, show_default=True, help="Requests under way at a time."
)
@click.option(
    "--max-connections", type=int, default=512, show_default=True, help="Connections open at a time."
)
@click.option(
    "--max-seconds",
    type=float,
    help="Seconds that an answer may take; what is there by then is sent. Default: no limit.",
)
@click.option(
    "--grace",
    type=float,
    default=20.0,
    show_default=True,
    help="Seconds in which answers under way may end when it is told to stop.",
)
@click.option(
    "--kept-memory",
    type=MEGABYTES,
    help="Memory for prompts that were read, so that others that begin alike need not be; 0 keeps none. Default: an "
    "eighth of what is free, 1 GB at most.",
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="onnx, llamacpp (extra llamacpp), npu, or auto, as in edgetts ask.",
)
@device_options
@click.option("--quantize", help="How to store weights if a conversion is needed: keep, int4, int8 or fp32.")
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
def command(model: str | None, **options: Any) -> None:
    """Serve MODEL to programs that speak OpenAI's API, at http://127.0.0.1:8080/v1.

    Needs starlette and uvicorn: pip install 'edgetts[server]'. One line a request goes to stderr, without its text.
    """
    from edgetts.profiles.models import load_registry
    from edgetts.server import Settings, serve
    from edgetts.store.names import find_model

    # Everything that can be wrong is said before a port is opened.
    _check_limits(options)
    settings = Settings(
        host=options["host"],
        port=options["port"],
        keys=_keys(options["keys"], options["api_key_file"]),
        origins=options["origins"],
        hosts=tuple(name.casefold() for name in options["hosts"]),
        body_bytes=_megabytes(options["max_body"]),
        choices=options["max_n"],
        in_flight=options["max_requests"],
        connections=options["max_connections"],
        longest=options["max_seconds"],
        grace=options["grace"],
    )
    place = read_device(options)
    if options["kept_memory"] is not None:
        place["kept_bytes"] = _kept(options["kept_memory"])
    if options["threads"] is not None:
        place["threads"] = options["threads"]
    find_model(model, load_registry())

    def notify(sentence: str) -> None:
        click.echo(sentence, err=True)

    def load() -> Engine:
        import edgetts

        engine = edgetts.load(
            model,
            runtime=options["runtime"],
            quantize=options["quantize"],
            offline=options["offline"],
            notify=notify,
            **place,
        )
        notify(f"{engine.model} is loaded.")
        return engine

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("edgetts.server").setLevel(logging.INFO)
    if not serve(load, settings, notify=notify):
        click.get_current_context().exit(INTERRUPTED)


def _check_limits(options: dict[str, Any]) -> None:
    """Name the option that is wrong; `Settings` would name its own field."""
    for name in ("max_n", "max_requests", "max_connections", "max_seconds", "grace"):
        value, least = options[name], "0 or more" if name == "grace" else "greater than zero"
        if value is None or (math.isfinite(value) and (value > 0 or (name == "grace" and value == 0))):
            continue
        raise InvalidInput(f"--{name.replace('_', '-')} is {value:g}, but it must be {least}.")


def _keys(given: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    if given and file is not None:
        raise InvalidInput("Keys are given twice.", hint="Use --api-key or --api-key-file.")
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{file} is not UTF-8 text (byte {error.start}).") from error
        keys = tuple(line for line in lines if line)
        if not keys:
            raise InvalidInput(f"{file} holds no key.", hint="Write one a line.")
        return keys
    if given:
        return given
    key = os.environ.get(_KEY_VARIABLE)
    if key is not None and not key.strip():
        raise InvalidInput(f"{_KEY_VARIABLE} is empty.", hint="Unset it, or set a key.")
    return () if key is None else (key.strip(),)


def _kept(megabytes: float) -> int:
    if not 0 <= megabytes <= _MOST_KEPT:
        raise InvalidInput(f"--kept-memory is {megabytes:g}, but it must be megabytes, 0 or more.")
    return int(megabytes * 1e6)


def _megabytes(value: float) -> int:
    if not 0 < value <= 1024:
        raise InvalidInput(f"--max-body is {value:g}, but it must be megabytes, above 0 and 1024 at most.")
    return max(1, int(value * 1e6))
