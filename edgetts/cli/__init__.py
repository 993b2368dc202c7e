"""The command line: one file a verb, loaded when it is called, so that --help stays quick."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from typing import Any, NoReturn

import click

from edgetts.errors import EdgettsError, storage_error

COMMANDS = (
    "ask",
    "chat",
    "serve",
    "plan",
    "eval",
    "runs",
    "replay",
    "calibrate",
    "pull",
    "ls",
    "show",
    "rm",
    "export",
    "exits",
    "profile",
    "doctor",
)
INTERRUPTED = 130
ABSTAINED = 9
"""Exit code of `ask --risk` where no answer is given."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgetts.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Where the encoding lacks a character, its escape is written: no answer is lost to it.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except EdgettsError as error:
            _fail(ctx, error)
        except OSError as error:
            if error.errno == errno.EPIPE:  # who read the output went away: click ends quietly
                raise
            _fail(ctx, storage_error(error))
        except KeyboardInterrupt:
            click.echo("edgetts: interrupted; nothing half-written was kept.", err=True)
            ctx.exit(INTERRUPTED)


def _fail(ctx: click.Context, error: EdgettsError) -> NoReturn:
    """Say one sentence on stderr, and exit with the code of the kind of error."""
    click.echo(f"edgetts: {error}", err=True)
    ctx.exit(error.exit_code)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgetts")
def main() -> None:
    """Ask a language model on this device, and let it decide how much to compute.

    edgetts ask "What is 17 + 25?" --deadline 5
    """
