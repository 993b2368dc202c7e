"""The laws of the Session contract, on every runtime, on the fake, and on sessions that break them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import TinyBundle, TinyModel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgetts.decoding.session import Branch, Cancellation, Capabilities, Logits, Session
from edgetts.errors import OutOfMemory, PromptTooLong
from edgetts.runtimes.onnx import OnnxSession, cache, passes
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


class TestFakeWithExits(TestFake):
    def open_session(self) -> Session:
        able = Capabilities(exits=(2, 5), tolerance=0.0)
        return FakeSession(ToyModel.random(11), context=48, capabilities=able)


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
        return self.model.reference(context=48, cuts=(1, 3))

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestOnnx(SessionContract):
    tolerance = FP32
    options: ClassVar[dict[str, Any]] = {"chunk": 5}
    name: ClassVar[str] = "llama"
    stored: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _model(self, tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = tiny_bundle(self.name, context=48, **self.stored)
        self.read = 0
        plain = passes.Pass.run

        def counted(bound: passes.Pass, *arguments: Any) -> None:
            self.read += bound.tokens
            plain(bound, *arguments)

        monkeypatch.setattr(passes.Pass, "run", counted)

    def open_session(self) -> Session:
        return OnnxSession.open(self.model.bundle, threads=1, **self.options)

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestOnnxBySegment(TestOnnx):
    options: ClassVar[dict[str, Any]] = {"chunk": 64, "by_segment": True}


class TestOnnxWithSlidingWindow(TestOnnx):
    name = "gemma3"


class TestOnnxQuantized(TestOnnx):
    # Quantised kernels are not batch-invariant. Logits of this model spread by about 1.
    tolerance = 0.05
    # Its tied head has offsets, and no token of a prompt's first chunks goes through it.
    name, stored = "qwen2", {"quantize": "keep", "quant": "Q4_1"}


# Sessions that break one law each: the contract must notice.


class ForkShares(FakeSession):
    def fork(self, branch: Branch, n: int) -> list[Branch]:
        children = super().fork(branch, n)
        for child in children:
            child.tokens = self._own(branch).tokens  # type: ignore[attr-defined]
        return children


class ForkReadsAgain(FakeSession):
    def fork(self, branch: Branch, n: int) -> list[Branch]:
        self.run += n * branch.length
        return super().fork(branch, n)


class StepMixesRows(FakeSession):
    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        return super().step(branches, tokens)[::-1]


class StepRefusesTooLate(FakeSession):
    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        for branch, token in zip(branches, tokens, strict=False):
            if branch.length == self.info.context:
                raise PromptTooLong("too late: the branches before this one have grown")
            if 0 <= token < self.info.vocab:
                super().step([branch], [token])
        for branch in branches:
            super().truncate(branch, branch.length - 1)
        return super().step(branches, tokens)


class ExtendReturnsTheLast(FakeSession):
    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        return super().extend(branch, tokens)[-1:]


class TruncateForgetsTooLittle(FakeSession):
    def truncate(self, branch: Branch, length: int) -> None:
        super().truncate(branch, min(length + 1, branch.length) if length else 0)


class TruncateForgetsNothing(FakeSession):
    def truncate(self, branch: Branch, length: int) -> None:
        if not 0 <= length <= branch.length:
            super().truncate(branch, length)


class TakesForeignBranches(FakeSession):
    def _own(self, branch: Branch) -> Any:
        return branch


class ReadsIdsModuloVocabulary(FakeSession):
    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        return super().prefill([token % self.info.vocab for token in tokens], cancel)


class IgnoresCancellation(FakeSession):
    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        return super().prefill(tokens)


class CutsLongPrompts(FakeSession):
    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        return super().prefill(tokens[: self.info.context], cancel)


class WorksWhenClosed(FakeSession):
    def close(self) -> None:
        return


class ForgetsTheStart(FakeSession):
    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        branch, _ = super().prefill(tokens, cancel)
        return branch, self.model.logits(tokens[1:])


class SharesOneBuffer(FakeSession):
    """Lends every thread the same memory."""

    buffer = np.zeros((1, 11), np.float32)

    def _lend(self, logits: Logits) -> Logits:
        if logits.shape != self.buffer.shape:
            return logits
        self.buffer[:] = logits
        return self.buffer


BREAKERS: dict[type[FakeSession], str] = {
    ForkShares: "test_fork_then_step_equals_stepping_alone",
    ForkReadsAgain: "test_a_prefix_is_read_once",
    StepMixesRows: "test_branches_of_different_lengths_share_a_pass",
    StepRefusesTooLate: "test_the_context_is_a_limit",
    ExtendReturnsTheLast: "test_extend_returns_the_logits_of_every_token",
    TruncateForgetsTooLittle: "test_truncate_then_extend_equals_never_having_gone_further",
    TruncateForgetsNothing: "test_truncate_then_extend_equals_never_having_gone_further",
    TakesForeignBranches: "test_wrong_branches_are_refused",
    ReadsIdsModuloVocabulary: "test_wrong_tokens_are_refused",
    IgnoresCancellation: "test_a_cancelled_prefill_leaves_nothing",
    CutsLongPrompts: "test_the_context_is_a_limit",
    WorksWhenClosed: "test_a_closed_session_refuses_everything",
    ForgetsTheStart: "test_every_token_of_a_prompt_matters",
    SharesOneBuffer: "test_siblings_may_live_in_different_threads",
}


@pytest.mark.parametrize(("breaker", "law"), BREAKERS.items(), ids=[breaker.__name__ for breaker in BREAKERS])
def test_the_contract_notices(breaker: type[FakeSession], law: str) -> None:
    class Tested(TestFake):
        def open_session(self) -> Session:
            return breaker(ToyModel.random(11), context=48)

    with pytest.raises(AssertionError, match="The contract says"):
        getattr(Tested(), law)()


class Programs(RuleBasedStateMachine):
    """Run random programs on a session and on the NumPy reference, and compare whatever can be seen."""

    session: ClassVar[OnnxSession]
    reference: ClassVar[ReferenceSession]
    tokens = st.integers(0, 303)

    @initialize()
    def begin(self) -> None:
        self.pairs: list[tuple[Branch, Branch]] = []

    def check(self, found: Logits, expected: Logits) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=FP32)

    def run(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns, or None where the cache had no room; then nothing has changed."""
        before = [branch.length for branch, _ in self.pairs]
        try:
            return call()
        except OutOfMemory:
            assert [branch.length for branch, _ in self.pairs] == before
            return None

    @rule(tokens=st.lists(tokens, min_size=1, max_size=9))
    def prefill(self, tokens: list[int]) -> None:
        if done := self.run(lambda: self.session.prefill(tokens)):
            branch, logits = done
            twin, expected = self.reference.prefill(tokens)
            self.pairs.append((branch, twin))
            self.check(logits, expected)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), n=st.integers(1, 4))
    def fork(self, data: st.DataObject, n: int) -> None:
        branch, twin = data.draw(st.sampled_from(self.pairs))
        if children := self.run(lambda: self.session.fork(branch, n)):
            self.pairs += zip(children, self.reference.fork(twin, n), strict=True)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.pairs), min_size=1, max_size=8, unique_by=id))
        tokens = data.draw(st.lists(self.tokens, min_size=len(chosen), max_size=len(chosen)))
        try:
            logits = self.run(lambda: self.session.step([branch for branch, _ in chosen], tokens))
        except PromptTooLong:
            assert max(branch.length for branch, _ in chosen) == self.session.info.context
            return
        if logits is not None:
            self.check(logits.copy(), self.reference.step([twin for _, twin in chosen], tokens))

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), tokens=st.lists(tokens, min_size=1, max_size=30))
    def extend(self, data: st.DataObject, tokens: list[int]) -> None:
        branch, twin = data.draw(st.sampled_from(self.pairs))
        try:
            logits = self.run(lambda: self.session.extend(branch, tokens))
        except PromptTooLong:
            assert branch.length + len(tokens) > self.session.info.context
            return
        if logits is not None:
            self.check(logits.copy(), self.reference.extend(twin, tokens))

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), share=st.floats(0, 1))
    def truncate(self, data: st.DataObject, share: float) -> None:
        branch, twin = data.draw(st.sampled_from(self.pairs))
        length = round(share * branch.length)
        self.session.truncate(branch, length)
        self.reference.truncate(twin, length)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        self.pairs.remove(pair)
        self.session.free(pair[0])

    @invariant()
    def lengths_and_bytes_are_right(self) -> None:
        assert [branch.length for branch, _ in self.pairs] == [twin.length for _, twin in self.pairs]
        used, info = self.session.cache_bytes, self.session.info
        assert used >= sum(branch.length for branch, _ in self.pairs) * info.bytes_per_token
        assert used <= (self.session._options.memory_bytes or used)
        assert used == 0 or self.pairs

    def teardown(self) -> None:
        for branch, _ in self.pairs:
            self.session.free(branch)
        assert self.session.cache_bytes == 0


@pytest.mark.parametrize(("tokens", "by_segment"), [(120, False), (None, True)], ids=["limited", "cut"])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_random_programs_equal_the_reference(
    tiny_bundle: TinyBundle,
    name: str,
    tokens: int | None,
    by_segment: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Hardly any room to spare, so that programs outgrow what they have; some memory only for `tokens`.
    monkeypatch.setattr(cache, "_STEP", 2)
    monkeypatch.setattr(cache, "_SLACK", 1)
    model: TinyModel = tiny_bundle(name, context=48)
    memory = tokens and tokens * 8 * model.arch.layers * model.arch.kv_heads * model.arch.head_dim
    session = OnnxSession.open(model.bundle, threads=1, chunk=4, by_segment=by_segment, memory_bytes=memory)
    machine = type("Machine", (Programs,), {"session": session, "reference": model.reference(context=48)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None)
    )
    session.close()
