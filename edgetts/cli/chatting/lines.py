"""Read messages and commands, a line or several each. Knows streams; not what is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from edgetts.cli.shared.asking import is_terminal
from edgetts.errors import InvalidInput

MOST_CHARS = 4 << 20
"""Of one message. No context holds as much, and nobody waits for it to be encoded."""
_QUOTES = '"""'
NextLine = Callable[[str], str | None]
"""Returns a line without its end, or None where there are no more. Told how to prompt for it."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message, or a command with its slash."""

    text: str
    is_command: bool


def read_said(next_line: NextLine) -> Said | None:
    """Return what is said next, None at the end.

    A message may go on over lines between three double quotes, or where a line ends in a backslash. One that begins with two
    slashes is a message that begins with one. Errors: InvalidInput.
    """
    line = next_line(">>> ")
    if line is None:
        return None
    if line.startswith("//"):
        line = line[1:]
    elif line.startswith("/"):
        return Said(line.strip(), True)
    if line.startswith(_QUOTES):
        return Said(_quoted(line.removeprefix(_QUOTES), next_line), False)
    parts = _Parts()
    while line is not None and line.endswith("\\"):
        parts.add(line[:-1])
        line = parts.following(next_line)
    if line is not None:
        parts.add(line)
    return Said(parts.joined(), False)


def _quoted(line: str, next_line: NextLine) -> str:
    parts = _Parts()
    while not line.rstrip().endswith(_QUOTES):
        parts.add(line)
        following = parts.following(next_line)
        if following is None:
            raise InvalidInput(f"The message that begins with {_QUOTES} has no end.", hint="End it likewise.")
        line = following
    parts.add(line.rstrip().removesuffix(_QUOTES))
    return parts.joined().strip("\n")


class _Parts:
    """Lines of one message. What is wrong with one is said at the end: the rest is no message of its own."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._chars = 0
        self._trouble: InvalidInput | None = None

    def add(self, line: str) -> None:
        self._chars += len(line) + 1
        if self._chars > MOST_CHARS:
            self._trouble = self._trouble or _too_long()
            self._lines.clear()
        else:
            self._lines.append(line)

    def following(self, next_line: NextLine) -> str | None:
        try:
            return next_line("... ")
        except InvalidInput as error:
            self._trouble = self._trouble or error
            return ""

    def joined(self) -> str:
        if self._trouble is not None:
            raise self._trouble
        return "\n".join(self._lines)


def _too_long() -> InvalidInput:
    return InvalidInput(f"A message is longer than {MOST_CHARS >> 20} MB.", hint="Shorten it.")


def typed_line(prompt: str) -> str | None:
    """Ask a person for a line. The prompt goes to where the person sees it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if not is_terminal(sys.stdout):
        click.echo(prompt, nl=False, err=True)
        prompt = ""
    try:
        return input(prompt)
    except EOFError:
        click.echo(err=True)  # what follows in the terminal begins a line of its own
        return None
    except UnicodeDecodeError as error:
        raise InvalidInput("What was typed is not UTF-8 text.") from error


def piped_lines() -> NextLine:
    """Return a reader of what is piped in: UTF-8, with or without a byte order mark."""
    first = True

    def next_line(prompt: str) -> str | None:  # noqa: ARG001 - nobody is prompted
        nonlocal first
        if sys.stdin is None:
            return None
        raw = sys.stdin.buffer.readline(MOST_CHARS + 1)
        if not raw:
            return None
        if len(raw) > MOST_CHARS:
            while raw and not raw.endswith(b"\n"):
                raw = sys.stdin.buffer.readline(MOST_CHARS)
            raise _too_long()
        encoding, first = ("utf-8-sig" if first else "utf-8"), False
        try:
            return raw.decode(encoding).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"A line that was piped in is not UTF-8 text (byte {error.start}).",
                hint="Convert it, e.g. with iconv.",
            ) from error

    return next_line
