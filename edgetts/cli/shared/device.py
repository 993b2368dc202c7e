"""Where a model is to run, as verbs that open one ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgetts.cli.shared.provider_options import read_provider_options
from edgetts.device import DEVICES, Where

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help=f"Where to run: {', '.join(DEVICES)}. npu takes a static bundle (edgetts export --target).",
    ),
    click.option(
        "--provider",
        help="An execution provider of ONNX Runtime instead of a device, e.g. qnn; edgetts doctor lists them.",
    ),
    click.option(
        "--provider-option",
        "-o",
        "provider_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="An option of the provider. May be repeated.",
    ),
    click.option(
        "--soc", help="Static bundles: the chip that graphs are, or were, compiled for, e.g. sm8650."
    ),
    click.option(
        "--place",
        help="Static bundles: layers that run elsewhere than the rest, from cut to cut, e.g. cpu:15-30.",
    ),
    click.option(
        "--fallback",
        is_flag=True,
        help="Static bundles: let operators that the provider has not run on the CPU.",
    ),
    click.option(
        "--provider-library",
        type=click.Path(path_type=Path),
        help="Static bundles: the library of a provider that edgetts does not know.",
    ),
)

DEVICE_OPTIONS = ("device", "provider", "provider_options", "soc", "place", "fallback", "provider_library")
"""Names of their values."""


def device_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_device(options: dict[str, Any]) -> dict[str, Any]:
    """Return where to run, as arguments of `edgetts.load`. Checked before anything is loaded."""
    own = read_provider_options(options["provider_options"])
    where = Where(options["device"], options["provider"], own)
    settings: dict[str, Any] = {"device": where.device, "provider": where.provider, "provider_options": own}
    settings |= {name: options[name] for name in ("soc", "place") if options[name] is not None}
    if options["fallback"]:
        settings["fallback"] = True
    if options["provider_library"] is not None:
        settings["library"] = options["provider_library"]
    return settings
