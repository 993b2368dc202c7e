"""Tiny bundles made once, the one real model, and a fence around the network and the user's cache."""

from __future__ import annotations

import os

# Tests multiply tiny matrices: BLAS threads only wait for each other there, many times longer than they work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hashlib
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from golden import model_architecture
from tiny import Weights, tiny_weights, write_tiny_gguf, write_tiny_hf

from edgetts.architecture import Architecture
from edgetts.bundle import MANIFEST, Manifest, read_manifest
from edgetts.export import convert
from edgetts.profiles.models import load_registry
from edgetts.runtimes.reference import ReferenceSession
from edgetts.store.home import Home, find_home, key_for
from edgetts.store.locks import scratch_space, working_on
from edgetts.store.sources import MODEL_FILE, ensure_source

_REAL_MODEL = "smollm2-135m-instruct"
_USERS_HOME = find_home()


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A tiny checkpoint as a GGUF file or a Hugging Face directory, and the bundle made from it."""

    arch: Architecture
    weights: Weights
    source: Path
    bundle: Path

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.bundle)

    def reference(self, context: int = 256, cuts: tuple[int, ...] = ()) -> ReferenceSession:
        """Run the weights, as they were before anything was quantised, by the NumPy reference."""
        return ReferenceSession(self.arch, self.weights.__getitem__, context=context, cuts=cuts)


TinyBundle = Callable[..., TinyModel]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """Make (once) the bundle of a tiny model: tiny_bundle("qwen2", quantize="int8", cuts=(1,))."""

    @cache
    def make(
        name: str = "llama",
        *,
        quantize: str = "fp32",
        quant: str = "F32",
        source: str = "gguf",
        cuts: tuple[int, ...] | None = None,
        context: int | None = None,
        **changes: Any,
    ) -> TinyModel:
        directory = tmp_path_factory.mktemp(name)
        arch = model_architecture(name, **changes)
        weights = tiny_weights(arch)
        if source == "hf":
            origin = directory / "source"
            write_tiny_hf(origin, arch=arch, weights=weights)
        else:
            origin = directory / "source.gguf"
            write_tiny_gguf(origin, arch=arch, weights=weights, quant=quant)
        bundle = convert(origin, directory / f"{name}.edge", quantize=quantize, cuts=cuts, context=context)
        return TinyModel(arch, weights, origin, bundle)

    return make


def sealed_copy(bundle: Path, directory: Path, change: Callable[[Path, dict[str, Any]], object]) -> Path:
    """Copy a bundle, change it, and state the right hashes again, as somebody who means it could.

    `change` gets the copy and its manifest as JSON.
    """
    copy = directory / bundle.name
    shutil.copytree(bundle, copy)
    body = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    del body["sha256"]
    change(copy, body)
    if isinstance(body.get("files"), dict):
        here = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
        for name in body["files"]:
            if name in here:
                body["files"][name] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    body["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (copy / MANIFEST).write_text(json.dumps(body), encoding="utf-8")
    return copy


class Network:
    """A fence: sockets reach nothing but this machine, unless it is open."""

    def __init__(self) -> None:
        self._open = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def check(self, host: object) -> None:
        """Raise where a host is neither this machine nor a path."""
        if self._open or not isinstance(host, str) or host in ("", "localhost"):
            return
        try:
            local = ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local:
            raise AssertionError(f"a test reached for the network: {host}")


@pytest.fixture(scope="session", autouse=True)
def network() -> Iterator[Network]:
    """Let no test use the network, but for the fetch of the real model."""
    fence = Network()
    plain = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
    resolve = socket.getaddrinfo

    def fenced(name: str) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                fence.check(address[0])
            return plain[name](self, address)

        return call

    def fenced_resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        fence.check(host.decode() if isinstance(host, bytes) else host)
        return resolve(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in plain:
            patch.setattr(socket.socket, name, fenced(name))
        patch.setattr(socket, "getaddrinfo", fenced_resolve)
        yield fence


@pytest.fixture(scope="session", autouse=True)
def edgetts_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep every test out of the user's cache."""
    home = tmp_path_factory.mktemp("edgetts-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGETTS_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def smollm2_gguf(network: Network) -> Path:
    """Return SmolLM2's file in the user's own cache, where it is fetched once."""
    entry = load_registry().find(_REAL_MODEL)
    home: Home = _USERS_HOME
    key = key_for(entry.name)
    with network.opened(), working_on(home, key, _ignore), scratch_space(home) as scratch:
        ensure_source(home, entry, scratch, offline=False, progress=_ignore, notify=_ignore)
    return home.sources / key / MODEL_FILE


@pytest.fixture(scope="session")
def smollm2_bundle(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert SmolLM2 by today's export; a bundle in the user's cache may be older."""
    return convert(smollm2_gguf, tmp_path_factory.mktemp("smollm2") / f"{_REAL_MODEL}.edge", quantize="keep")


def _ignore(*arguments: object) -> None:
    """Tell nobody."""
