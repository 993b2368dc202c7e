"""The laws of the Session contract over static graphs, for every family and for layers placed apart."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from static_bundles import StaticBundle, static_bundle  # noqa: F401 - a fixture

from edgetts.decoding.session import Session
from edgetts.runtimes.npu import StaticSession, lanes
from edgetts.testing import SessionContract


class TestStaticLlama(SessionContract):
    name: ClassVar[str] = "llama"
    made: ClassVar[dict[str, Any]] = {}
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _model(self, static_bundle: StaticBundle, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
        self.bundle = static_bundle(self.name, **self.made).bundle
        self.read = 0
        plain = lanes.Lane.run

        def counted(lane: lanes.Lane, segment: int, cache: Any, past: int, count: int, options: Any) -> None:
            # Padding is not counted: that passes are padded is what fixed shapes are.
            self.read += count if segment == 0 else 0
            plain(lane, segment, cache, past, count, options)

        monkeypatch.setattr(lanes.Lane, "run", counted)

    def open_session(self) -> Session:
        return StaticSession.open(self.bundle, threads=1, **self.options)

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestStaticQwen2(TestStaticLlama):
    name = "qwen2"


class TestStaticQwen3(TestStaticLlama):
    name = "qwen3"
    # Products with matrices as convolutions, as the compilers of this target want them.
    made: ClassVar[dict[str, Any]] = {"target": "coreml"}
    options: ClassVar[dict[str, Any]] = {"device": "cpu", "place": "cpu:1-3"}


class TestStaticGemma3(TestStaticLlama):
    name = "gemma3"


class TestStaticWithoutDrafts(TestStaticLlama):
    # One width fewer, no cut, and a chunk that does not divide the context.
    made: ClassVar[dict[str, Any]] = {"draft_width": 0, "cuts": (), "chunk": 7}
