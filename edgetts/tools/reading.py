"""Read an answer's text and calls, whole or as it comes. Knows styles of calls; no tokens, no schemas."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edgetts.chat import ToolCall
from edgetts.tools.scanning import Braces, Head, parse_calls, scan_head
from edgetts.tools.styles import PYTHON_TAG, CallStyle

Ids = Callable[[], str]


@dataclass(frozen=True, slots=True)
class TextSaid:
    """Text that is no call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of a function; its arguments follow. index: of the call in the answer."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsSaid:
    """More of a call's arguments, as JSON text."""

    index: int
    text: str


Piece = TextSaid | CallBegun | ArgumentsSaid


def ids_for(style: CallStyle | None) -> Ids:
    """Return what makes ids of calls that nobody can guess, in the form that a template insists on."""
    letters = string.ascii_letters + string.digits
    if style is not None and style.short_ids:
        return lambda: "".join(secrets.choice(letters) for _ in range(9))
    return lambda: "call_" + "".join(secrets.choice(letters) for _ in range(24))


class CallReader:
    """Turn an answer's text into text and calls, as it comes.

    Text is told as soon as it cannot be the opening of a call; spaces before a call are left out. style: None reads
    everything as text. names: of the tools there are; a call of another is text, and without them no call is known by
    its form alone. whole: tell a call when it is complete
    and its arguments are JSON, else as text; for answers that nothing held to a style. Otherwise a call is told when
    its name is there, and its arguments as they come.
    """

    def __init__(
        self,
        style: CallStyle | None,
        ids: Ids | None = None,
        *,
        names: Collection[str] | None = None,
        whole: bool = False,
    ) -> None:
        self._style = style
        self._ids = ids or ids_for(style)
        self._names = names
        self._whole = whole
        self._rest = ""
        self._opened = ""  # what was read of the unit under way: told as text if it turns out to be no call
        self._braces = Braces()
        self._calls = 0
        self._step: Callable[[list[Piece]], bool] = self._free if style is None else self._searching()

    def push(self, text: str) -> list[Piece]:
        """Take text; return what it told."""
        self._rest += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def flush(self, *, cut: bool = False) -> list[Piece]:
        """End the text; return what was held back. cut: a limit ended it: a call is told as far as it goes."""
        pieces: list[Piece] = []
        if self._step in (self._arguments, self._rest_of_call, self._after, self._gap):
            self._rest = ""  # what is held there is the end of a call
        elif self._step in (self._head, self._unit):
            self._end_unit(self._rest, pieces, cut=cut)
        elif self._rest.strip() or self._calls == 0:
            self._tell(self._opened + self._rest, pieces)
        self._rest = self._opened = ""
        self._step = self._free
        return pieces

    def _searching(self) -> Callable[[list[Piece]], bool]:
        assert self._style is not None  # noqa: S101 - without a style nothing is searched
        if self._style.hidden:
            return self._start
        return self._bare if self._style.bare and self._names is not None else self._text

    def _tell(self, text: str, pieces: list[Piece]) -> None:
        if text:
            pieces.append(TextSaid(text))

    def _free(self, pieces: list[Piece]) -> bool:
        """Everything is text."""
        self._tell(self._rest, pieces)
        self._rest = ""
        return False

    def _text(self, pieces: list[Piece]) -> bool:
        """Text, up to an opening."""
        opening = self._style.opening if self._style else ""
        at = self._rest.find(opening)
        if at >= 0:
            before = self._rest[:at].rstrip()
            self._tell(before, pieces)
            end = at + len(opening)
            self._opened, self._rest = self._rest[len(before) : end], self._rest[end:]
            self._step = self._head
            return True
        top = min(len(opening) - 1, len(self._rest))
        held = next((n for n in range(top, 0, -1) if self._rest.endswith(opening[:n])), 0)
        cut = len(self._rest[: len(self._rest) - held].rstrip())
        self._tell(self._rest[:cut], pieces)
        self._rest = self._rest[cut:]
        return False

    def _bare(self, pieces: list[Piece]) -> bool:  # noqa: ARG002 - as every step
        """The beginning of an answer, or what follows a call: a call of a known tool may come without its opening."""
        assert self._style is not None  # noqa: S101 - without a style nothing is searched
        if not self._rest.strip():
            return False
        head = scan_head(self._rest, self._style.key, listed=False)
        if head is None:
            return False
        bare = isinstance(head, Head) and self._known(head.name)
        self._step = self._head if bare else self._text
        if bare:
            at = self._rest.index("{")
            self._opened, self._rest = self._rest[:at], self._rest[at:]
        return True

    def _start(self, pieces: list[Piece]) -> bool:  # noqa: ARG002 - as every step
        """The beginning of an answer that is either calls or text."""
        assert self._style is not None  # noqa: S101 - without a style nothing is searched
        seen = self._rest.lstrip()
        for tag in (PYTHON_TAG, self._style.opening):
            if tag and seen.startswith(tag):
                seen = seen[len(tag) :].lstrip()
            elif tag and tag.startswith(seen):
                return False
        if self._style.listed and seen.startswith("["):
            seen = seen[1:].lstrip()
            if not seen:
                return False
        elif self._style.listed:
            seen = seen and "text"
        if not seen:
            return False
        self._step = self._head if seen.startswith("{") else self._free
        if self._step == self._head:
            at = self._rest.index("[" if self._style.listed else "{")
            self._opened, self._rest = self._rest[:at], self._rest[at:]
        return True

    def _head(self, pieces: list[Piece]) -> bool:
        """A call, up to its arguments."""
        assert self._style is not None  # noqa: S101 - without a style there are no calls
        head = scan_head(self._rest, self._style.key, listed=self._style.listed and self._opened != ",")
        if head is None:
            return False
        if not isinstance(head, Head) or self._whole or not self._known(head.name):
            self._step = self._unit
            return True
        pieces.append(CallBegun(self._calls, self._ids(), head.name))
        self._calls += 1
        self._opened, self._rest = "", self._rest[head.end :]
        self._braces = Braces()
        self._step = self._arguments
        return True

    def _known(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _arguments(self, pieces: list[Piece]) -> bool:
        """A call's arguments."""
        end = self._braces.scan(self._rest)
        told = self._rest if end is None else self._rest[:end]
        if told:
            pieces.append(ArgumentsSaid(self._calls - 1, told))
        self._rest = self._rest[len(told) :]
        if end is None:
            return False
        self._braces = Braces(depth=1)
        self._step = self._rest_of_call
        return True

    def _rest_of_call(self, pieces: list[Piece]) -> bool:  # noqa: ARG002 - as every step
        """What a call has behind its arguments."""
        end = self._braces.scan(self._rest)
        self._rest = "" if end is None else self._rest[end:]
        if end is None:
            return False
        self._step = self._after
        return True

    def _after(self, pieces: list[Piece]) -> bool:  # noqa: ARG002 - as every step
        """What follows a call."""
        assert self._style is not None  # noqa: S101 - without a style there are no calls
        self._rest = self._rest.lstrip()
        if not self._rest:
            return False
        if self._style.listed:
            if self._rest[0] == ",":
                self._opened, self._rest, self._step = ",", self._rest[1:], self._head
            else:
                self._rest, self._step = self._rest.removeprefix("]"), self._gap
            return True
        # A brace too many is what small models write.
        self._rest = self._rest.lstrip("} \t\r\n")
        if not self._rest:
            return False
        closing = self._style.closing
        if closing and self._rest != closing and closing.startswith(self._rest):
            return False
        self._rest, self._step = self._rest.removeprefix(closing), self._gap
        return True

    def _gap(self, pieces: list[Piece]) -> bool:  # noqa: ARG002 - as every step
        """Spaces after calls, which are left out."""
        assert self._style is not None  # noqa: S101 - without a style there are no calls
        self._rest = self._rest.lstrip()
        if self._rest:
            done = not self._style.many or (self._style.listed and self._style.hidden)
            self._step = self._free if done else self._searching()
        return bool(self._rest)

    def _unit(self, pieces: list[Piece]) -> bool:
        """Something that is read when it is complete: up to its closing tag, or all there is."""
        assert self._style is not None  # noqa: S101 - without a style there are no calls
        closing = self._style.closing
        at = self._rest.find(closing) if closing else -1
        if at < 0:
            return False
        unit, self._rest = self._rest[:at], self._rest[at:]
        if self._end_unit(unit, pieces):
            self._step = self._after
        else:
            self._tell(closing, pieces)
            self._rest = self._rest.removeprefix(closing)
            self._step = self._text
        return True

    def _end_unit(self, unit: str, pieces: list[Piece], *, cut: bool = False) -> bool:
        """Tell the calls that a unit holds, or else the unit as text; return whether it held some."""
        assert self._style is not None  # noqa: S101 - without a style there are no calls
        listed = self._style.listed and self._opened != ","
        calls = parse_calls(unit, self._style.key, listed=listed, cut=cut)
        if not calls or not all(self._known(name) for name, _ in calls):
            self._tell(self._opened + unit, pieces)
            self._opened = ""
            return False
        self._opened = ""
        for name, arguments in calls:
            pieces.append(CallBegun(self._calls, self._ids(), name))
            pieces.append(ArgumentsSaid(self._calls, arguments))
            self._calls += 1
        return True


def read_calls(
    text: str,
    style: CallStyle | None,
    ids: Ids | None = None,
    *,
    names: Collection[str] | None = None,
    cut: bool = False,
) -> tuple[str, tuple[ToolCall, ...]]:
    """Return an answer's text and its calls. What is no sound call stays text; cut: as `CallReader.flush` has it."""
    reader = CallReader(style, ids, names=names, whole=True)
    return joined([*reader.push(text), *reader.flush(cut=cut)])


def joined(pieces: list[Piece]) -> tuple[str, tuple[ToolCall, ...]]:
    """Put together what a reader told."""
    said: list[str] = []
    calls: dict[int, ToolCall] = {}
    for piece in pieces:
        if isinstance(piece, TextSaid):
            said.append(piece.text)
        elif isinstance(piece, CallBegun):
            calls[piece.index] = ToolCall(piece.id, piece.name, "")
        else:
            begun = calls[piece.index]
            calls[piece.index] = ToolCall(begun.id, begun.name, begun.arguments + piece.text)
    return "".join(said), tuple(calls.values())
