"""Fetch one file from the Hugging Face Hub, going on where an earlier try stopped. Knows no conversion.

The requests are huggingface_hub's, so tokens, proxies and HF_ENDPOINT work as they do there. Its own
`hf_hub_download` may drop a partial file when the process ends (2.x does); here the partial file is ours.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgetts.checksum import check_bytes, sha256_of
from edgetts.errors import DownloadError, InvalidInput, MissingExtra
from edgetts.profiles.models import HubSource
from edgetts.store.home import Home, check_room, full_disk, make_directory
from edgetts.store.progress import Progress

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BARS = "huggingface_hub.http_get"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A downloaded file, and the commit it is from."""

    path: Path
    size: int
    sha256: str
    commit: str


def hub_is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def partial_files(home: Home, key: str) -> list[Path]:
    """Every partial download of one model."""
    return sorted(path for path in home.partial.glob("*.part") if path.name.rpartition("@")[0] == key)


def fetch_from_hub(
    source: HubSource, home: Home, key: str, expect: tuple[int | None, str | None], progress: Progress
) -> HubFile:
    """Download to the cache's partial directory and check what the Hub and `expect` (size, sha256) promise.

    When the connection fails for good the partial file stays, and the next call asks for the rest of it.
    """
    try:
        import huggingface_hub
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error

    endpoint = _endpoint()
    url = huggingface_hub.hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint)
    with _hub_errors(source):
        metadata = huggingface_hub.get_hf_file_metadata(url)
    size, etag, commit = metadata.size, metadata.etag, metadata.commit_hash
    if not size or not etag or not commit:
        raise DownloadError(
            f"The server did not say which version of {source.file} it has.",
            hint="Check that HF_ENDPOINT names a Hugging Face Hub.",
        )
    again = "Pull again; if it stays so, the file has changed at its source."
    # Large files are tagged with their sha256: a first fetch can be checked against that at least.
    declared = etag if _SHA256.fullmatch(etag) else None
    check_bytes(source.place, expect, (size, declared or expect[1] or ""), again)

    partial = make_directory(home.partial) / f"{key}@{re.sub(r'[^0-9A-Za-z]', '', etag)[:64]}.part"
    for other in partial_files(home, key):
        if other != partial or other.stat().st_size > size:
            other.unlink()
    present = partial.stat().st_size if partial.exists() else 0
    check_room(home, size - present, f"The rest of {source.file}" if present else source.file)

    # The commit, not the branch: the branch may move between the two requests.
    url = huggingface_hub.hf_hub_url(source.repo, source.file, revision=commit, endpoint=endpoint)
    stage = f"Downloading {source.file}"
    progress(stage, present / size)
    with (
        _hub_errors(source),
        full_disk(home.root),
        _no_second_bar(),
        _Counted(partial, size, stage, progress) as out,
    ):
        http_get(url, out, resume_size=present, expected_size=size, headers=build_hf_headers())
    found = (partial.stat().st_size, sha256_of(partial))
    try:
        check_bytes(source.place, (size, declared), found, again)
        check_bytes(source.place, expect, found, again)
    except BaseException:
        # Wrong bytes are no start to go on from.
        partial.unlink()
        raise
    return HubFile(partial, *found, commit)


def _endpoint() -> str | None:
    """Return HF_ENDPOINT as it is now; huggingface_hub alone reads it once, when imported."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    try:
        address = urlsplit(endpoint)
        usable = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        usable = False
    if endpoint and not usable:
        raise InvalidInput(f"HF_ENDPOINT is {endpoint!r}, which is not an http(s) address.")
    return endpoint or None


class _Counted(io.BufferedWriter):
    """A file that is appended to and tells how much of it there is."""

    def __init__(self, path: Path, size: int, stage: str, progress: Progress) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._size, self._stage, self._progress = size, stage, progress

    def write(self, data: Buffer, /) -> int:
        written = super().write(data)
        self._progress(self._stage, self.tell() / self._size)
        return written


@contextmanager
def _no_second_bar() -> Iterator[None]:
    """Silence huggingface_hub's bar for the download, since ours is shown."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled(_BARS):
        yield
        return
    disable_progress_bars(_BARS)
    try:
        yield
    finally:
        enable_progress_bars(_BARS)


@contextmanager
def _hub_errors(source: HubSource) -> Iterator[None]:
    """Say in one sentence what the Hub, the network or the offline switch said."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{source.repo} asks you to accept its licence first.",
            hint="Accept it on the repository's page, then set HF_TOKEN.",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise DownloadError(
            f"The Hub has no {source.place}.", hint="Check the names; for a private repository set HF_TOKEN."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{source.place} is not here, and HF_HUB_OFFLINE is set.", hint="Unset it to download."
        ) from error
    # The first base is the HTTP library's own error: httpx's, or in older versions requests', an OSError.
    except (errors.HfHubHTTPError.__bases__[0], OSError) as error:
        raise DownloadError(
            f"{source.place} could not be downloaded: {_first_line(error)}.",
            hint="Check the network and try again; what has arrived is kept.",
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
