"""Where success profiles lie, and which of them is for a question. Knows names of models and tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from edgetts.control.success.model import SuccessModel
from edgetts.control.success.prior import PriorSuccess
from edgetts.control.success.profile import SuccessProfile
from edgetts.control.success.reading import read_success
from edgetts.control.success.writing import write_success
from edgetts.errors import EdgettsError, StorageError
from edgetts.profiles.durable import write_durably
from edgetts.profiles.table import MAX_BYTES

MOST_TASKS = 200
"""Files of one model that are looked at."""


_PATIENCE = 10.0
"""Seconds to wait for another process that writes a few kilobytes."""


def success_directory(home: Path) -> Path:
    return home / "profiles" / "success"


def find_success(
    home: Path,
    model: str,
    *,
    task: str | None = None,
    answer_format: str = "auto",
    notify: Callable[[str], None] | None = None,
) -> SuccessModel:
    """Return what is known of a model at a question's kind of task, or the prior.

    task: by name; of a file, with or without its ending. Without one, the task whose answers have the question's format, where just one was calibrated;
    "auto" says nothing of a question and finds none. notify: told of files that cannot be trusted, which are left out, and of a task
    that was named and never measured.
    """
    if task is not None:
        for name in (task, f"file:{task}", f"file:{task}.jsonl"):
            if (found := load_success(home, model, name, notify)) is not None:
                return found
        if notify is not None:
            known = ", ".join(one.task for one in profiles_of(home, model))
            notify(
                f"Nothing was measured of {model} at {task!r}, so success is guessed: edgetts calibrate --task."
                + (f" Measured are: {known}." if known else "")
            )
        return PriorSuccess(task)
    if answer_format in ("auto", "none"):
        return PriorSuccess()
    fitting = [one for one in profiles_of(home, model, notify) if one.answer_format == answer_format]
    return fitting[0] if len(fitting) == 1 else PriorSuccess()


def profiles_of(
    home: Path, model: str, notify: Callable[[str], None] | None = None
) -> tuple[SuccessProfile, ...]:
    """Return every profile of a model, by the name of its task."""
    try:
        files = sorted(success_directory(home).glob(f"{_short(model)}-*.toml"))[:MOST_TASKS]
    except OSError:
        return ()
    found = [one for file in files if (one := _read(file, notify)) is not None and one.model == model]
    return tuple(sorted(found, key=lambda one: one.task))


def load_success(
    home: Path, model: str, task: str, notify: Callable[[str], None] | None = None
) -> SuccessProfile | None:
    """Return one profile; None where there is none that can be trusted."""
    found = _read(path_of(home, model, task), notify)
    return found if found is not None and (found.model, found.task) == (model, task) else None


def keep_success(home: Path, profile: SuccessProfile) -> SuccessProfile:
    """Write a profile into the table there is, and return that: drawings measured anew stand for the earlier ones.

    Errors: StorageError. Whatever happens, what was there is left whole, or is there whole and new.
    """
    from filelock import FileLock, Timeout

    directory, path = success_directory(home), path_of(home, profile.model, profile.task)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / "success.lock", timeout=_PATIENCE):
            before = load_success(home, profile.model, profile.task)
            whole = profile if before is None else before.merged(profile)
            text = write_success(whole)
            read_success(text.encode(), "The success profile")
            write_durably(path, text)
    except (OSError, NotImplementedError, Timeout) as error:
        why = getattr(error, "strerror", None) or error
        raise StorageError(
            f"The success profile cannot be kept in {directory}: {why}.",
            hint="Set EDGETTS_HOME to a directory that can be written.",
        ) from error
    return whole


def path_of(home: Path, model: str, task: str) -> Path:
    """Return where a profile lies: models and tasks are told apart by hashes of their names."""
    return success_directory(home) / f"{_short(model)}-{_short(task)}.toml"


def progress_path(home: Path, profile: SuccessProfile) -> Path:
    """Return where what the adaptive strategy goes by lies, beside the profile."""
    return path_of(home, profile.model, profile.task).with_suffix(".progress.json")


def _short(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


def _read(path: Path, notify: Callable[[str], None] | None) -> SuccessProfile | None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    try:
        return read_success(raw, str(path))
    except EdgettsError as error:
        if notify is not None:
            notify(f"{error} It is not used; calibrate again with: edgetts calibrate --task")
        return None
