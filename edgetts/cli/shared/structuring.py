"""The options by which `ask` keeps answers to a structure, read and checked before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgetts.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from edgetts.structure import Structure

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LARGEST_FILE = 1_000_000

_OPTIONS = (
    click.option(
        "--json-schema",
        help="Keep the answer to JSON that this schema describes: a file, or the schema itself (extra structure). "
        "Samples vote as JSON.",
    ),
    click.option(
        "--regex",
        help="Keep the answer to texts that this regular expression matches as a whole (extra structure).",
    ),
    click.option(
        "--grammar",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Keep the answer to the grammar in this file, in llguidance's Lark dialect (extra structure).",
    ),
    click.option(
        "--constraining",
        type=click.Choice(["mask", "rejection"]),
        help="How tokens are drawn under --json-schema, --regex or --grammar: among all that are allowed, or drawn and "
        "drawn again; the same tokens are as likely either way. Default: mask.",
    ),
)


def structure_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_structure(options: dict[str, Any]) -> Structure | None:
    """Make the structure that was named; None for none.

    Errors: InvalidInput for two, a file that is not there or not what it should be, and a schema that cannot be
    guaranteed; MissingExtra.
    """
    named = [name for name in ("json_schema", "regex", "grammar") if options[name] is not None]
    if len(named) > 1:
        first, second = (f"--{name.replace('_', '-')}" for name in named[:2])
        raise InvalidInput(f"{first} and {second} cannot both be kept to.", hint="Choose one.")
    if not named:
        if options["constraining"] is not None:
            raise InvalidInput(
                "--constraining says how to keep to a structure, and none is given.",
                hint="Add --json-schema, --regex or --grammar.",
            )
        return None
    from importlib.util import find_spec

    from edgetts.structure import Grammar, JsonSchema, Regex
    from edgetts.structure.grammars import regex_grammar

    if find_spec("llguidance") is None:
        raise MissingExtra("llguidance", "structure")
    if options["json_schema"] is not None:
        return JsonSchema(_schema(options["json_schema"]))
    if options["regex"] is not None:
        regex_grammar(options["regex"])  # its size, before anything is loaded
        return Regex(options["regex"])
    return Grammar(_read(options["grammar"], "--grammar"))


def answers_in(structure: Structure | None, answer_format: str) -> str:
    """Return how answers are found in texts of a structure, where the user did not say how."""
    from click.core import ParameterSource

    from edgetts.structure import JsonSchema

    source = click.get_current_context().get_parameter_source("answer_format")
    named = source is not ParameterSource.DEFAULT
    return "json" if isinstance(structure, JsonSchema) and not named else answer_format


def _schema(given: str) -> dict[str, Any]:
    from edgetts.structure.schemas import check_schema

    inline = given.lstrip().startswith(("{", "["))
    text = given if inline else _read(Path(given), "--json-schema")
    where = "--json-schema" if inline else f"{given!r}"
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise InvalidInput(
            f"{where} is not JSON{place}.", hint="Give a JSON schema, or a file that has one."
        ) from None
    check_schema(schema)
    return dict(schema)


def _read(path: Path, option: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise InvalidInput(
                f"{str(path)!r} has more than {_LARGEST_FILE} bytes.", hint="Ask for less at once."
            )
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{str(path)!r} is not UTF-8 text (byte {error.start}).") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(
            f"{option} cannot read {str(path)!r}: {reason}.", hint="Name a file that is there."
        ) from None
