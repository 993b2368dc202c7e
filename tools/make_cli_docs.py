"""Write docs/cli.md from the command line's own --help, so that neither can say what the other does not.

python tools/make_cli_docs.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from edgetts.cli import COMMANDS, main

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 100
_EXITS = """\
## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | who read the output went away, or a question was answered with no |
| 2 | what was asked for cannot be: an option, a budget, a prompt, a chat template |
| 3 | no such model or file |
| 4 | a file cannot be trusted or understood |
| 5 | the network, a server or `--offline` said no |
| 6 | no space, or no permission to write |
| 7 | an optional package is missing |
| 8 | the runtime failed: not a number, out of memory |
| 9 | no answer is given: `--risk` asks for more confidence than there is |
| 10 | too many questions wait for the model already |
| 130 | interrupted; `ask` prints what there was by then |
"""


def render() -> str:
    """Return the document."""
    parts = ["# Command line\n\nMade from `--help` by `tools/make_cli_docs.py`. Do not edit.\n"]
    for command in ("", *_commands()):
        parts.append(f"## edgetts {command}".rstrip() + f"\n\n```\n{_help(command)}\n```\n")
    return "\n".join([*parts, _EXITS])


def _commands() -> Iterator[str]:
    """Name every verb, and behind a group its own verbs."""
    context = click.Context(main)
    for name in COMMANDS:
        yield name
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {verb}" for verb in sorted(command.commands))


def _help(command: str) -> str:
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    arguments = [*command.split(), "--help"]
    result = CliRunner().invoke(main, arguments, prog_name="edgetts", **settings)
    if result.exit_code:
        raise SystemExit(f"edgetts {command} --help failed: {result.output}")
    return click.unstyle(result.stdout).strip()


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
