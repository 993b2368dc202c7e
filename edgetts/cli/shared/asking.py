"""The question of `ask` and `plan`, and what both are asked to aim for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from edgetts.errors import InvalidInput

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--power",
        type=click.Choice(["saver", "balanced", "performance"]),
        help="How freely to spend: sets the price of a joule and, where nothing is limited, what may be spent in the "
        "device's power state (edgetts doctor shows it). Default: balanced.",
    ),
    click.option(
        "--target",
        type=float,
        help="A probability of being right, such as 0.8, to be reached as cheaply as possible.",
    ),
    click.option(
        "--cost-of-pass",
        is_flag=True,
        help="Aim for the lowest expected cost of a right answer, in joules where they are known, else in seconds.",
    ),
    click.option(
        "--task",
        help="A task of which it was measured how often the model is right (edgetts calibrate --task). Default: the "
        "one with the same --answer, if there is just one.",
    ),
)


def aim_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_aim(options: dict[str, Any]) -> dict[str, Any]:
    """Return what is aimed for, as arguments of `Engine.answer`. Checked before anything is loaded."""
    target = options["target"]
    if target is not None and not 0 < target < 1:
        raise InvalidInput(
            f"The target is {target:g}, but it must be a probability, greater than 0 and less than 1.",
            hint="For example 0.8: right four times of five.",
        )
    if target is not None and options["cost_of_pass"]:
        raise InvalidInput("--target and --cost-of-pass cannot both be aimed for.", hint="Choose one.")
    if options["task"] is not None and not options["task"].strip():
        raise InvalidInput("The task's name is empty.", hint="Name one that was calibrated, or none.")
    return {name: options[name] for name in ("power", "target", "cost_of_pass", "task")}


def read_question(question: str | None, command: str) -> str:
    """Return the question that was given or piped in. command: an example of how to ask. Errors: InvalidInput."""
    if question is not None and question != "-":
        text = question
    elif sys.stdin is None or (question is None and is_terminal(sys.stdin)):
        raise InvalidInput("There is no question.", hint=f'Ask one: edgetts {command} "..." or pipe it in.')
    else:
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"What was piped in is not UTF-8 text (byte {error.start}).",
                hint="Convert it, e.g. with iconv.",
            ) from error
    # Arguments that are no UTF-8 arrive with surrogates in place of their bytes.
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInput("The question is not UTF-8 text.")
    if not text.strip():
        raise InvalidInput("The prompt is empty.", hint="Ask something.")
    return text


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person is at the other end; a stream that the caller closed is None."""
    return stream is not None and stream.isatty()
