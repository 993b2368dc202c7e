"""Read what is said and have it answered until there is no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetts.cli import INTERRUPTED
from edgetts.cli.chatting.commands import obey
from edgetts.cli.chatting.lines import NextLine, Said, read_said
from edgetts.errors import EdgettsError

if TYPE_CHECKING:
    from edgetts.cli.chatting.talk import Talk


def run(talk: Talk, next_line: NextLine, *, interactive: bool) -> int:
    """Return the exit code: of the last line where lines are piped in, where Ctrl-C ends the program, too.

    interactive: a person types; Ctrl-C at the prompt says how to leave, and leaving is no failure.
    """
    code = 0
    while not talk.leaving:
        try:
            said = read_said(next_line)
        except KeyboardInterrupt:
            if not interactive:
                raise
            talk.display.notice("\nTo leave, press Ctrl-D or type /quit.")
            continue
        except EdgettsError as error:
            talk.display.failed(error)
            code = error.exit_code
            continue
        if said is None:
            break
        if not said.text.strip():
            continue
        try:
            code = _handle(talk, said)
        except EdgettsError as error:
            talk.display.failed(error)
            code = error.exit_code
        except KeyboardInterrupt:
            if not interactive:
                raise
            talk.display.notice("interrupted")
        if code == INTERRUPTED and not interactive:
            return code
    return 0 if interactive else code


def _handle(talk: Talk, said: Said) -> int:
    return obey(talk, said.text) if said.is_command else talk.ask(said.text)
