"""Keep a chat in a file, and read one that anybody may have written. Knows histories; runs no model.

The file is JSON: `format` and `version`, the `model` that answered last, `dropped`, and `messages` as chat interfaces have
them, the system's first, then the user's and the assistant's by turns.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from edgetts.conversation.history import History, Turn
from edgetts.errors import BundleVersionError, CorruptFile, InvalidInput, ModelNotFound, StorageError
from edgetts.selection.doubted import Doubted

KIND = "edgetts-chat"
VERSION = 1
MOST_BYTES = 16 << 20
MOST_MESSAGES = 100_000
_MOST_NAME = 1_000

_FILE = Doubted(
    "chat",
    "Use a file that was saved from a chat.",
    "Name the file that a chat was saved to.",
    MOST_BYTES,
)


def write_history(path: Path, history: History, model: str) -> None:
    """Write a chat whole, readable by its owner alone: beside its place first, then renamed. Errors: StorageError."""
    messages: list[dict[str, str]] = []
    if history.system is not None:
        messages.append({"role": "system", "content": history.system})
    for turn in history.turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer, "finish_reason": turn.finish_reason})
    body = {
        "format": KIND,
        "version": VERSION,
        "model": model,
        "dropped": history.dropped,
        "messages": messages,
    }
    raw = (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()
    # What could not be read again is not written in place of what can.
    if len(raw) > MOST_BYTES or len(messages) > MOST_MESSAGES:
        raise StorageError(
            f"The chat is too long for a file: {len(messages)} messages, {len(raw) / 1e6:.1f} MB.",
            hint="Begin a new one.",
        )
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise StorageError(
            f"The chat cannot be written to {path}: {getattr(error, 'strerror', None) or error}.",
            hint="Name a place that can be written to.",
        ) from error


def read_history(path: Path) -> tuple[History, str]:
    """Read a chat and the name of the model that it was with, believing nothing in it.

    Errors: ModelNotFound for no such file, BundleVersionError for one of another version, CorruptFile for all else.
    """
    try:
        plain = path.is_file() or not path.exists()
    except (OSError, ValueError):  # reading it says what is wrong
        plain = True
    if not plain:  # reading a pipe would wait for somebody to write
        raise ModelNotFound(f"{path} is no file.", hint=_FILE.missing)
    body = _FILE.fields(_FILE.load(path), "it")
    if body.get("format") != KIND:
        _FILE.corrupt("it does not say that it is one")
    version = body.get("version")
    if type(version) is not int or version < 1:
        _FILE.corrupt("it has no version")
    if version != VERSION:
        raise BundleVersionError(
            f"The chat in {path} has version {version}, but this edgetts reads version {VERSION}.",
            hint="Update edgetts, or begin a new chat.",
        )
    _FILE.exactly(body, {"format", "version", "model", "dropped", "messages"}, "it")
    model, dropped = body["model"], body["dropped"]
    if not isinstance(model, str) or len(model) > _MOST_NAME:
        _FILE.corrupt("its model is no name")
    if type(dropped) is not int:
        _FILE.corrupt("dropped is no whole number")
    try:
        return _history(_FILE.entries(body["messages"], "messages", MOST_MESSAGES), dropped), model
    except InvalidInput as error:
        raise CorruptFile(f"The chat in {path} cannot be: {error}", hint=_FILE.again) from error


def _history(messages: list[Any], dropped: int) -> History:
    system = None
    if messages and isinstance(messages[0], dict) and messages[0].get("role") == "system":
        system = _content(messages[0], "system")
        messages = messages[1:]
    if len(messages) % 2:
        _FILE.corrupt("a message of it has no answer")
    turns = []
    for at in range(0, len(messages), 2):
        question, answer = _content(messages[at], "user"), _content(messages[at + 1], "assistant")
        turns.append(Turn(question, answer, messages[at + 1]["finish_reason"]))
    return History(system, tuple(turns), dropped)


def _content(value: object, role: str) -> str:
    """Return what a message says that has to be of this role."""
    message = _FILE.fields(value, "a message")
    if message.get("role") != role:
        _FILE.corrupt(f"a message is of {str(message.get('role'))[:80]!r} where one of {role!r} should be")
    names = {"role", "content"} | ({"finish_reason"} if role == "assistant" else set())
    _FILE.exactly(message, names, "a message")
    if not isinstance(message["content"], str):
        _FILE.corrupt("a message's content is no text")
    if not isinstance(message.get("finish_reason", ""), str):
        _FILE.corrupt("a finish reason is no text")
    return str(message["content"])
