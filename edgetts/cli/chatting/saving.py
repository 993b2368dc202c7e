"""Where a chat is saved, and that it takes no other file's place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgetts.errors import InvalidInput, StorageError

if TYPE_CHECKING:
    from edgetts.conversation import Conversation


class SavePlace:
    """The file that every turn is saved to; `path` is None until one is named."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._own: set[Path] = set()

    def loaded(self, path: Path) -> None:
        """Take it that this file's chat goes on here; where one was saved to, it is this one from now on."""
        self._own.add(_absolute(path))
        if self.path is not None:
            self.path = path

    def name(self, path: Path) -> None:
        """Save to this file from now on. Raises InvalidInput for one that is there and was not loaded; StorageError."""
        place = _absolute(path)
        try:
            taken = place not in self._own and place.exists()
            room = place.parent.is_dir()
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: {getattr(error, 'strerror', None) or error}.") from error
        if taken:
            raise InvalidInput(
                f"{path} is there already, and this chat would take its place.",
                hint="Load it first, to go on with it, or name another file.",
            )
        if not room:
            raise StorageError(f"There is no directory {place.parent}.", hint="Make it, or name another.")
        self.path = path

    def save(self, conversation: Conversation) -> None:
        """Save the chat, if a file was named. Errors: StorageError."""
        if self.path is not None:
            conversation.save(self.path)
            self._own.add(_absolute(self.path))


def _absolute(path: Path) -> Path:
    try:
        return path.absolute().resolve()
    except (OSError, ValueError, RuntimeError):  # a circle of links, a name with a NUL
        return path.absolute()
