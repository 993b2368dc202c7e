"""Lines typed in earlier chats, for the arrow keys. Kept in a file that only its owner can read."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = "chat-lines"
_MOST = 1_000
_MOST_BYTES = 1 << 20


@contextmanager
def line_editing(directory: Path | None, commands: Sequence[str]) -> Iterator[None]:
    """Edit lines that are typed, where Python can.

    directory: where lines are kept from one chat to the next; None keeps none. commands: what the tab key completes. A
    file that cannot be read or written is none: no chat is worth less for it.
    """
    try:
        import readline
    except ImportError:  # Windows has none
        yield
        return

    def complete(text: str, state: int) -> str | None:
        fitting = [name for name in commands if text.startswith("/") and name.startswith(text)]
        return fitting[state] if state < len(fitting) else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    readline.clear_history()
    if directory is not None:
        with suppress(OSError):
            for line in _read(directory / _NAME):
                readline.add_history(line)
    try:
        yield
    finally:
        if directory is not None:
            count = readline.get_current_history_length()
            lines = [readline.get_history_item(at + 1) for at in range(max(0, count - _MOST), count)]
            with suppress(OSError):
                _write(directory / _NAME, [line for line in lines if line])
        readline.set_completer(None)


def _read(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        return []
    lines = raw.decode("utf-8", errors="replace").splitlines()
    # What a file holds must not steer the terminal.
    return [line for line in lines[-_MOST:] if line.isprintable()]


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    text = "".join(f"{line}\n" for line in lines if line.isprintable())
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode("utf-8", errors="replace"))
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
