"""The laws of the Session contract on llama.cpp: attention, sliding windows, recurrent models, and no room to spare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import TinyModel
from golden import model_architecture
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from test_contract import FP32, Programs
from tiny import tiny_weights, write_tiny_gguf
from tiny_mamba import write_tiny_mamba

from edgetts.decoding.session import Logits, Session
from edgetts.runtimes.llamacpp import LlamaCppSession, cells, context
from edgetts.testing import SessionContract

pytest.importorskip("llama_cpp")

EXACT = {"flash_attention": "off", "cache_type_k": "f32", "cache_type_v": "f32", "threads": 1}

# llama.cpp looks GELU up in a table by the input in half precision: the last bit of a sum moves an entry.
HALF_PRECISION_GELU = 0.01


class TestLlamaCpp(SessionContract):
    tolerance: float | None = FP32
    options: ClassVar[dict[str, Any]] = EXACT | {"batch": 8}
    family: ClassVar[str] = "llama"
    stored: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _model(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = tmp_path_factory.mktemp("llamacpp") / f"{self.family}.gguf"
        self.write(self.file)
        self.read = 0
        plain = context.Context.decode

        def counted(self_: context.Context, tokens: Any, *arguments: Any, **named: Any) -> int:
            code = plain(self_, tokens, *arguments, **named)
            self.read += len(tokens) if code == context.DONE else 0
            return code

        monkeypatch.setattr(context.Context, "decode", counted)

    def write(self, file: Path) -> None:
        write_tiny_gguf(file, arch=model_architecture(self.family), **self.stored)

    def open_session(self) -> Session:
        return LlamaCppSession.open(self.file, trusted=True, context=48, **self.options)

    def tokens_run(self, session: Session) -> int:
        return self.read


class TestLlamaCppAsItIs(TestLlamaCpp):
    tolerance = None
    options: ClassVar[dict[str, Any]] = {"threads": 1}


class TestLlamaCppWithHiddenStates(TestLlamaCpp):
    options: ClassVar[dict[str, Any]] = EXACT | {"batch": 8, "hidden_states": True}


class TestLlamaCppWithSlidingWindow(TestLlamaCpp):
    family = "gemma3"
    tolerance = HALF_PRECISION_GELU


class TestLlamaCppQuantized(TestLlamaCpp):
    family, stored = "qwen2", {"quant": "Q4_1"}
    # Quantised kernels are not batch-invariant. Logits of this model spread by about 1.
    tolerance = 0.05


class TestLlamaCppWithoutSequencesToSpare(TestLlamaCpp):
    @pytest.fixture(autouse=True)
    def _narrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cells, "_BRANCHES", 2)


class TestLlamaCppRecurrent(TestLlamaCpp):
    family = "mamba"

    def write(self, file: Path) -> None:
        write_tiny_mamba(file)

    def test_it_cannot_be_rolled_back(self) -> None:
        with self._session() as session:
            assert not session.capabilities.truncate


class CellPrograms(Programs):
    """Programs whose branches need more cells than a first context has."""

    session: ClassVar[Any]
    tolerance: ClassVar[float]

    def check(self, found: Logits, expected: Logits) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=self.tolerance)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 303), min_size=40, max_size=90))
    def extend_far(self, data: st.DataObject, tokens: list[int]) -> None:
        branch, twin = data.draw(st.sampled_from(self.pairs))
        if branch.length + len(tokens) <= self.session.info.context:
            logits = self.run(lambda: self.session.extend(branch, tokens))
            if logits is not None:
                self.check(logits, self.reference.extend(twin, tokens))

    @invariant()
    def lengths_and_bytes_are_right(self) -> None:
        assert [branch.length for branch, _ in self.pairs] == [twin.length for _, twin in self.pairs]
        assert self.session.cache_bytes <= (self.session._options.memory_bytes or 1 << 40)

    def teardown(self) -> None:
        for branch, _ in self.pairs:
            self.session.free(branch)


@pytest.mark.parametrize("allowed", [768, None], ids=["limited", "free"])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_random_programs_equal_the_reference(
    name: str, allowed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_BRANCHES", 2)
    arch = model_architecture(name)
    file = tmp_path / "model.gguf"
    write_tiny_gguf(file, arch=arch)
    reference: Callable[..., Any] = TinyModel(arch, tiny_weights(arch), file, tmp_path).reference
    per_token = 8 * arch.layers * arch.kv_heads * arch.head_dim
    opened = LlamaCppSession.open(
        file, trusted=True, context=120, memory_bytes=allowed and allowed * per_token, batch=16, **EXACT
    )
    assert opened.info.bytes_per_token == per_token
    tolerance = HALF_PRECISION_GELU if name == "gemma3" else FP32
    machine = type(
        "Machine",
        (CellPrograms,),
        {"session": opened, "reference": reference(context=120), "tolerance": tolerance},
    )
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None)
    )
    opened.close()
