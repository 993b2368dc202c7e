"""The options by which `ask` and `eval` limit and draw samples, read before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgetts.cli.shared.quantities import JOULES, MEGABYTES, SECONDS
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.budget import Budget
    from edgetts.types import SamplingParams

# Megabytes: more than any machine has, and still a whole number of bytes.
_MOST_MEMORY = 1e15
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--deadline", type=SECONDS, help="Seconds for one answer, once the model is loaded; or 500ms, 2min."
    ),
    click.option("--energy", type=JOULES, help="Joules for one answer; or 1.5kJ, 0.01Wh."),
    click.option("--samples", "-n", type=int, help="How many answers to draw and vote among."),
    click.option("--tokens", type=int, help="Tokens all samples of an answer may take together."),
    click.option("--memory", type=MEGABYTES, help="Megabytes the samples' caches may take; or 2GB, 512MiB."),
    click.option("--max-tokens", type=int, help="Tokens one sample may have."),
    click.option(
        "--temperature", "-t", type=float, help="0 is greedy. Default: greedy alone, 0.7 among several."
    ),
    click.option("--top-k", type=int, default=0, help="Draw among the k most likely tokens only."),
    click.option(
        "--top-p",
        type=float,
        default=1.0,
        help="Draw among the likeliest tokens of this total probability.",
    ),
    click.option(
        "--min-p",
        type=float,
        default=0.0,
        help="Draw among tokens at least this likely, relative to the best.",
    ),
)


def budget_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_budget(options: dict[str, Any]) -> Budget:
    """Make the budget of them."""
    from edgetts.budget import Budget

    memory = options["memory"]
    if memory is not None:
        if not 0 < memory <= _MOST_MEMORY:
            raise InvalidInput(
                f"--memory is {memory}, but it must be megabytes, greater than zero.",
                hint="Leave it out for no limit.",
            )
        memory = max(1, int(memory * 1e6))
    return Budget(
        seconds=options["deadline"],
        tokens=options["tokens"],
        samples=options["samples"],
        memory_bytes=memory,
        joules=options["energy"],
    )


def read_sampling(options: dict[str, Any], **more: Any) -> SamplingParams:
    """Make the way of drawing tokens of them. more: what the command alone has, such as a seed."""
    from edgetts.types import SamplingParams

    names = ("max_tokens", "temperature", "top_k", "top_p", "min_p")
    return SamplingParams(**{name: options[name] for name in names}, **more)
