"""The laws of the Session contract, on every runtime, on the fake, and on sessions that break them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import TinyBundle, TinyModel
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgetts.decoding.session import Branch, Cancellation, Capabilities, Logits, Session
from edgetts.errors import PromptTooLong
from edgetts.runtimes import onnx
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.reference import Decoder, ReferenceSession
from edgetts.testing import FakeSession, SessionContract, ToyModel

# Tiny fp32 models: sums of 64 to 96 products in another order.
FP32 = 1e-4


class TestFake(SessionContract):
    def open_session(self) -> Session:
        return FakeSession(ToyModel.random(11), context=48, chunk=5)

    def tokens_run(self, session: Session) -> int:
        assert isinstance(session, FakeSession)
        return session.run


class TestFakeThatCanLittle(TestFake):
    def open_session(self) -> Session:
        little = Capabilities(fork=False, extend=False, truncate=False, parallel=False, tolerance=0.0)
        return FakeSession(ToyModel.random(11), context=48, capabilities=little)


class TestReference(SessionContract):
    @pytest.fixture(autouse=True)
    def _model(self, tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = tiny_bundle("llama")
        self.read = 0
        plain = Decoder.layer

        def counted(decoder: Decoder, layer: int, weights: Any, x: Any, *rest: Any) -> Any:
            self.read += len(x) if layer == 0 else 0
            return plain(decoder, layer, weights, x, *rest)

        monkeypatch.setattr(Decoder, "layer", counted)

    def open_session(self) -> Session:
        return self.model.reference(context=48)

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestOnnx(SessionContract):
    tolerance = FP32
    options: dict[str, Any] = {"chunk": 5}
    name = "llama"

    @pytest.fixture(autouse=True)
    def _model(self, tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = tiny_bundle(self.name, context=48)
        self.read = 0
        plain = onnx._Pass.run

        def counted(bound: onnx._Pass, *arguments: Any) -> None:
            self.read += bound.ids.size
            plain(bound, *arguments)

        monkeypatch.setattr(onnx._Pass, "run", counted)

    def open_session(self) -> Session:
        return OnnxSession.open(self.model.bundle, threads=1, **self.options)

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestOnnxBySegment(TestOnnx):
    options = {"chunk": 64, "by_segment": True}


class TestOnnxWithSlidingWindow(TestOnnx):
    name = "gemma3"


class TestOnnxQuantized(TestOnnx):
    # Activations are rounded to 8 bits, in blocks, alike in every pass: small models show no more.
    tolerance = 0.05

    @pytest.fixture(autouse=True)
    def _model(self, tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
        super()._model.__wrapped__(self, tiny_bundle, monkeypatch)  # type: ignore[attr-defined]
        self.model = tiny_bundle("qwen2", quantize="keep", quant="Q4_1", context=48)
