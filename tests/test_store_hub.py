"""The Hub: what is asked of it, resuming, and whom to believe. Against a small Hub on the loopback device."""

# ruff: noqa: F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import hashlib
import http.server
import random
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_store import Exporter, home, leftovers  # noqa: F401

from edgetts.errors import ChecksumMismatch, DownloadError, EdgettsError, InvalidInput, MissingExtra
from edgetts.profiles.models import HubSource, ModelEntry, Registry
from edgetts.store import resolve
from edgetts.store.listing import describe_model, remove_model

NAME = "hf:owner/repo/dir/model.gguf"
COMMIT = "c" * 40
BLOCK = 4096
# Larger than the library's block below, so that a dropped connection leaves whole blocks behind.
DATA = b"GGUF" + random.Random(0).randbytes(40 * BLOCK)  # noqa: S311


class Hub(http.server.ThreadingHTTPServer):
    """Answers like the Hub for one file; its fields say how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = DATA
        self.declared: str | None = None
        self.drop_after: list[int] = []
        """Bytes of the body after which each following GET loses its connection."""
        self.ranges = True
        self.refusal: tuple[int, str] | None = None
        self.content_host = ""
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        """Method, path, Range, Authorization."""

    @property
    def gets(self) -> list[str | None]:
        """The Range of every GET."""
        return [asked for method, _, asked, _ in self.requests if method == "GET"]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, asked = self.server, self.headers.get("Range")
        hub.requests.append((self.command, self.path, asked, self.headers.get("Authorization")))
        if hub.refusal:
            status, code = hub.refusal
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if hub.content_host and not self.path.startswith("/content/"):
            self._metadata(302, 0)
            self.send_header("Location", f"{hub.content_host}/content/{COMMIT}")
            self.end_headers()
            return
        start = 0
        if asked and hub.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
        part = hub.data[start:]
        self._metadata(206 if start else 200, len(part))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(hub.data) - 1}/{len(hub.data)}")
        self.end_headers()
        if body:
            keep = hub.drop_after.pop(0) if hub.drop_after else len(part)
            self.wfile.write(part[:keep])
            self.close_connection = keep < len(part)

    def _metadata(self, status: int, length: int) -> None:
        hub = self.server
        tag = hub.declared or hashlib.sha256(hub.data).hexdigest()
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{tag}"')
        self.send_header("X-Linked-Size", str(len(hub.data)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Content-Length", str(length))


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that HF_ENDPOINT names; the library waits for nothing and reads in small blocks."""
    import huggingface_hub.constants
    import huggingface_hub.file_download
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(huggingface_hub.file_download, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", BLOCK)
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN_PATH", str(home / "no-token"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        close_session()
        server.shutdown()
        thread.join()


def pull(name: str = NAME, **options: Any) -> bytes:
    return (resolve(name, converter=Exporter(), **options) / "weights.bin").read_bytes()


def pinned(sha256: str | None, size: int | None = None) -> Registry:
    source = HubSource("owner/repo", "dir/model.gguf")
    entry = ModelEntry("a-model", source, "a model", "MIT", "llama", size=size, sha256=sha256)
    return Registry({"a-model": entry}, "a-model")


def test_a_file_is_fetched_by_commit_and_recorded(hub: Hub, home: Path) -> None:
    said: list[str] = []
    assert describe_model(NAME)["checksum"]["sha256"] is None
    assert pull(notify=said.append) == DATA
    assert "licence: see its repository" in said[0]
    assert [(method, path) for method, path, *_ in hub.requests] == [
        ("HEAD", "/owner/repo/resolve/main/dir/model.gguf"),
        ("GET", f"/owner/repo/resolve/{COMMIT}/dir/model.gguf"),
    ]
    described = describe_model(f"{NAME}@main")
    assert described["checksum"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert described["checksum"]["commit"] == COMMIT
    assert "first fetch" in described["checksum"]["promised_by"]
    assert not list((home / "partial").iterdir())
    hub.requests.clear()
    assert pull() == DATA
    assert hub.requests == []


def test_a_dropped_connection_is_resumed_within_the_call(hub: Hub) -> None:
    hub.drop_after = [10 * BLOCK + 7, 5 * BLOCK]
    seen: list[float] = []
    assert pull(progress=lambda stage, fraction: seen.append(fraction)) == DATA
    assert hub.gets == [None, f"bytes={10 * BLOCK}-", f"bytes={15 * BLOCK}-"]
    downloading = seen[: seen.index(1.0) + 1]
    assert downloading == sorted(downloading)


def test_a_later_pull_goes_on_where_a_failed_one_stopped(hub: Hub, home: Path) -> None:
    hub.drop_after = [10 * BLOCK, *[0] * 20]
    with pytest.raises(DownloadError, match="what has arrived is kept"):
        pull()
    assert [path.suffix for path in leftovers(home)] == [".part"]
    hub.drop_after = []
    hub.requests.clear()
    seen: list[float] = []
    assert pull(progress=lambda stage, fraction: seen.append(fraction)) == DATA
    assert hub.gets == [f"bytes={10 * BLOCK}-"]
    assert seen[0] == pytest.approx(10 * BLOCK / len(DATA))


def test_a_server_that_cannot_resume_is_asked_for_all_of_it(hub: Hub) -> None:
    hub.drop_after = [10 * BLOCK, 0]
    hub.ranges = False
    assert pull() == DATA


def test_a_partial_file_of_other_content_is_not_continued(hub: Hub, home: Path) -> None:
    hub.drop_after = [10 * BLOCK, *[0] * 20]
    with pytest.raises(DownloadError):
        pull()
    hub.drop_after = []
    hub.data = DATA[::-1]
    hub.requests.clear()
    assert pull() == DATA[::-1]
    assert hub.gets == [None]
    assert not list((home / "partial").iterdir())


def test_bytes_that_differ_from_what_the_hub_declares_are_dropped(hub: Hub, home: Path) -> None:
    hub.declared = "d" * 64
    with pytest.raises(ChecksumMismatch, match="sha256"):
        pull()
    assert leftovers(home) == []


@pytest.mark.parametrize(("sha256", "size"), [("0" * 64, None), (None, 12)])
def test_a_promise_that_the_hub_does_not_share_is_found_before_downloading(
    hub: Hub, sha256: str | None, size: int | None
) -> None:
    with pytest.raises(ChecksumMismatch, match="owner/repo"):
        pull("a-model", registry=pinned(sha256, size))
    assert hub.gets == []


def test_a_promise_is_checked_where_the_hub_declares_no_checksum(hub: Hub, home: Path) -> None:
    hub.declared = "e" * 40
    with pytest.raises(ChecksumMismatch, match="sha256"):
        pull("a-model", registry=pinned("0" * 64))
    assert leftovers(home) == []
    right = pinned(hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert pull("a-model", registry=right) == DATA


def test_the_first_fetch_is_trusted_and_later_ones_must_agree_until_forgotten(hub: Hub) -> None:
    pull()
    remove_model(NAME)
    hub.requests.clear()
    hub.data = DATA[::-1]
    with pytest.raises(ChecksumMismatch, match=r"first fetched on .*'edgetts rm --forget hf:owner"):
        pull()
    assert f"/resolve/{COMMIT}/" in hub.requests[0][1]
    remove_model(NAME, forget=True)
    assert pull() == DATA[::-1]


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends_us(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # Another origin by its name, though the same server.
    hub.content_host = hub.address.replace("127.0.0.1", "localhost")
    hub.drop_after = [10 * BLOCK]
    assert pull() == DATA
    sent = {path.startswith("/content/"): token for _, path, _, token in hub.requests}
    assert sent == {False: "Bearer hf_secret", True: None}


@pytest.mark.parametrize(
    ("refusal", "complaint"),
    [
        ((404, "RepoNotFound"), "The Hub has no hf:owner/repo/dir/model.gguf@main"),
        ((404, "RevisionNotFound"), "The Hub has no"),
        ((404, "EntryNotFound"), "The Hub has no"),
        ((403, "GatedRepo"), "accept its licence"),
        ((418, ""), "could not be downloaded"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    hub: Hub,
    home: Path,
    refusal: tuple[int, str],
    complaint: str,
) -> None:
    hub.refusal = refusal
    with pytest.raises(DownloadError) as caught:
        pull()
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert leftovers(home) == []


def test_a_hub_that_is_not_there_and_one_that_cannot_be(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="Check the network"):
        pull()
    for endpoint in ("ftp://hub", "hub", "http://[::1", "http://"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        with pytest.raises(InvalidInput, match="HF_ENDPOINT"):
            pull()


def test_offline_mode_sends_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        pull()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        pull()
    assert hub.requests == []


def test_without_the_package_the_extra_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[hub\]"):
        pull()


def test_an_answer_without_a_version_is_not_a_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Handler, "_metadata", lambda self, status, length: self.send_response(status))
    with pytest.raises(EdgettsError, match="HF_ENDPOINT"):
        pull()
