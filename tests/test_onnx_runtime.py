"""What OnnxSession adds to the contract: bytes counted, memory given back, chunks, options, broken bundles."""

from __future__ import annotations

import errno
import gc
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TinyBundle, TinyModel, sealed_copy
from stored import canonical, stored_matrices

from edgetts.bundle import MODEL, PROMPT, WEIGHTS, TrustRecord
from edgetts.decoding.session import Branch, Cancellation, Cancelled
from edgetts.errors import CorruptFile, InvalidInput, OutOfMemory, RuntimeFailure
from edgetts.runtimes import RUNTIMES, open_session
from edgetts.runtimes.onnx import OnnxOptions, OnnxSession, cache, passes
from edgetts.runtimes.onnx import session as onnx_session
from edgetts.runtimes.onnx.options import session_options
from edgetts.runtimes.reference import ReferenceSession
from edgetts.testing import CancelledBySomebodyElse

PROMPT_TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


@pytest.fixture
def llama(tiny_bundle: TinyBundle) -> TinyModel:
    return tiny_bundle("llama")


def opened(model: TinyModel, **options: Any) -> OnnxSession:
    return OnnxSession.open(model.bundle, threads=1, **options)


def block_of(branch: Branch) -> np.ndarray[Any, Any]:
    assert isinstance(branch, cache.CachedBranch)
    assert branch.arena is not None
    return branch.arena.keys[0]


# Memory


def test_bytes_are_counted_and_given_back(llama: TinyModel) -> None:
    session = opened(llama)
    assert session.cache_bytes == 0
    branch, _ = session.prefill(PROMPT_TOKENS)
    one = session.cache_bytes
    assert one >= len(PROMPT_TOKENS) * session.info.bytes_per_token
    children = session.fork(branch, 4)
    assert session.cache_bytes >= one + 4 * len(PROMPT_TOKENS) * session.info.bytes_per_token
    session.step([children[2], branch, children[0]], [1, 2, 3])  # moves the branches together
    for done in (children[1], branch, children[3], children[0], children[2]):
        session.free(done)
    assert session.cache_bytes == 0
    session.close()


@pytest.mark.parametrize("by_segment", [False, True])
def test_blocks_that_branches_moved_out_of_leave_the_process(llama: TinyModel, by_segment: bool) -> None:
    session = opened(llama, by_segment=by_segment)
    branch, _ = session.prefill(PROMPT_TOKENS)
    children = session.fork(branch, 2)
    session.step(children, [1, 2])  # binds a pass to the children's blocks
    left = weakref.ref(block_of(branch)), weakref.ref(block_of(children[0]))
    session.step([branch, *children], [1, 2, 3])
    gc.collect()
    assert [block() for block in left] == [None, None]
    session.close()


def test_outgrown_blocks_leave_the_process(llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SLACK", 1)
    session = opened(llama)
    branch, _ = session.prefill(PROMPT_TOKENS)
    session.step([branch], [1])
    outgrown = weakref.ref(block_of(branch))
    session.extend(branch, [1] * 100)
    gc.collect()
    assert outgrown() is None
    assert session.cache_bytes == block_of(branch).nbytes * 2 * session.info.layers
    session.close()


def test_closing_frees_what_branches_hold(llama: TinyModel) -> None:
    session = opened(llama)
    branches = [session.prefill(PROMPT_TOKENS)[0] for _ in range(2)]
    blocks = [weakref.ref(block_of(branch)) for branch in branches]
    session.close()
    gc.collect()
    assert [block() for block in blocks] == [None, None]
    assert session.cache_bytes == 0


def test_a_full_cache_refuses_and_loses_nothing(llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_SLACK", 0)
    per_row = 64 * 8 * llama.arch.layers * llama.arch.kv_heads * llama.arch.head_dim
    session, reference = opened(llama, memory_bytes=4 * per_row), llama.reference()
    branch, _ = session.prefill(PROMPT_TOKENS)
    twin, _ = reference.prefill(PROMPT_TOKENS)
    children = session.fork(branch, 2)
    used = session.cache_bytes
    assert used == 3 * per_row
    for refused in (
        lambda: session.fork(branch, 2),
        lambda: session.prefill(PROMPT_TOKENS * 6),
        lambda: session.extend(branch, PROMPT_TOKENS * 5 * 4),  # four times as long as what there is
        lambda: session.step([branch, children[0]], [1, 2]),  # moving them together needs two rows more
    ):
        with pytest.raises(OutOfMemory, match="MB"):
            refused()
        assert session.cache_bytes == used
        assert [b.length for b in (branch, *children)] == [len(PROMPT_TOKENS)] * 3
    logits = session.step([children[1]], [7])
    np.testing.assert_allclose(logits, reference.step([twin], [7]), atol=1e-4)
    session.free(children[0])
    session.free(children[1])
    assert session.step([branch], [7]).shape == (1, session.info.vocab)
    session.free(branch)
    assert session.cache_bytes == 0
    session.close()


def test_memory_that_the_machine_refuses_is_out_of_memory(
    llama: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT_TOKENS)
    used = session.cache_bytes

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "zeros", refuse)
        patch.setattr(cache.mmap, "mmap", refuse)
        for call in (lambda: session.fork(branch, 1), lambda: session.prefill(PROMPT_TOKENS)):
            with pytest.raises(OutOfMemory):
                call()
    assert session.cache_bytes == used
    assert session.extend(branch, [1]).shape == (1, session.info.vocab)
    session.close()


def test_few_passes_stay_bound(llama: TinyModel) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT_TOKENS)
    for length in range(1, 20):
        session.extend(branch, [1] * length)
        session.truncate(branch, len(PROMPT_TOKENS))
    assert len(session._passes) <= onnx_session._BINDINGS
    session.free(branch)
    assert not session._passes
    session.close()


# Passes


@pytest.mark.parametrize("by_segment", [False, True])
def test_a_prefill_is_cancelled_between_and_inside_chunks(llama: TinyModel, by_segment: bool) -> None:
    session = opened(llama, chunk=4, by_segment=by_segment)
    never = CancelledBySomebodyElse(99)
    session.free(session.prefill(PROMPT_TOKENS, never)[0])
    assert never.looks >= 3, "at least one look for each of the three chunks"
    for look in range(1, never.looks + 1):
        with pytest.raises(Cancelled):
            session.prefill(PROMPT_TOKENS, CancelledBySomebodyElse(look))
        assert session.cache_bytes == 0
    session.close()


def test_a_pass_that_fails_changes_nothing(llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    session, reference = opened(llama, chunk=4), llama.reference()
    branch, _ = session.prefill(PROMPT_TOKENS)
    children = session.fork(branch, 2)
    used = session.cache_bytes

    def fail(*arguments: object) -> None:
        raise RuntimeError("the device is lost")

    with monkeypatch.context() as patch:
        patch.setattr(passes.Pass, "run", fail)
        for call in (
            lambda: session.prefill(PROMPT_TOKENS),
            lambda: session.step(children, [1, 2]),
            lambda: session.extend(branch, [1, 2]),
        ):
            with pytest.raises(RuntimeFailure, match="the device is lost"):
                call()
    assert session.cache_bytes == used
    assert [b.length for b in (branch, *children)] == [len(PROMPT_TOKENS)] * 3
    twins = [reference.prefill(PROMPT_TOKENS)[0] for _ in range(2)]
    np.testing.assert_allclose(session.step(children, [1, 2]), reference.step(twins, [1, 2]), atol=1e-4)
    session.close()


def test_logits_lent_to_one_thread_are_not_written_for_another(llama: TinyModel) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT_TOKENS)
    zero, one, _, three = session.fork(branch, 4)
    lent = session.step([zero], [1])
    kept = lent.copy()

    def elsewhere() -> None:
        session.step([one, three], [2, 3])  # moves `zero` out of the first row, and `three` into it
        session.step([three], [4])

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert three.row == 0  # type: ignore[attr-defined]
    np.testing.assert_array_equal(lent, kept)
    session.close()


def test_every_chunk_size_gives_the_same_logits(llama: TinyModel) -> None:
    tokens = [i * i % 300 for i in range(70)]
    whole = opened(llama, chunk=256).prefill(tokens)[1]
    for chunk in (1, 3, 69, 70, 71):
        np.testing.assert_allclose(opened(llama, chunk=chunk).prefill(tokens)[1], whole, atol=1e-5)


def test_exits_are_offered_where_a_pass_can_stop(llama: TinyModel) -> None:
    assert llama.manifest.cuts == (1, 2, 3)
    assert opened(llama).capabilities.exits == ()
    assert opened(llama, by_segment=True).capabilities.exits == (1, 2, 3)


# Long prompts, which have a graph of their own where weights have 4 bits

LONG = [(i * i * 3 + i) % 300 for i in range(200)]


@pytest.fixture
def four_bits(tiny_bundle: TinyBundle) -> TinyModel:
    return tiny_bundle("llama", quantize="keep", quant="Q4_0")


def exact_logits(model: TinyModel, tokens: list[int]) -> np.ndarray[Any, Any]:
    """Run the stored weights, as they are, in float32."""
    vectors = {name: tensor for name, tensor in model.weights.items() if tensor.ndim == 1}
    matrices = canonical(model.arch, stored_matrices(model.bundle))
    return ReferenceSession(model.arch, (matrices | vectors).__getitem__, context=256).prefill(tokens)[1]


def test_long_prompts_are_read_exactly(four_bits: TinyModel) -> None:
    expected = exact_logits(four_bits, LONG)
    session = opened(four_bits, chunk=64, long_prompt=192)
    np.testing.assert_allclose(session.prefill(LONG)[1], expected, atol=1e-3)
    rounded = session.prefill(LONG[:191])[1]
    assert np.abs(rounded - exact_logits(four_bits, LONG[:191])).max() > 1e-3, "shorter ones are not"
    session.close()


@pytest.mark.parametrize(
    "options", [{"long_prompt": None}, {"long_prompt": 201}, {"by_segment": True}], ids=str
)
def test_the_graph_for_long_prompts_can_be_left_out(four_bits: TinyModel, options: dict[str, Any]) -> None:
    session = opened(four_bits, **options)
    assert np.abs(session.prefill(LONG)[1] - exact_logits(four_bits, LONG)).max() > 1e-3
    session.close()


def test_the_graph_for_long_prompts_can_be_turned_off_and_on(four_bits: TinyModel) -> None:
    session = opened(four_bits)
    expected = exact_logits(four_bits, LONG)
    for exact in (True, False, True):
        session.exact_prompts = exact
        assert bool(np.abs(session.prefill(LONG)[1] - expected).max() < 1e-3) is exact
    session.close()


def test_the_graph_for_long_prompts_needs_room(four_bits: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1000

    monkeypatch.setattr(onnx_session.psutil, "virtual_memory", Memory)
    session = opened(four_bits)
    assert np.abs(session.prefill(LONG)[1] - exact_logits(four_bits, LONG)).max() > 1e-3
    session.close()


def test_bundles_without_4_bits_have_no_second_graph(llama: TinyModel, four_bits: TinyModel) -> None:
    assert PROMPT in four_bits.manifest.files
    assert PROMPT not in llama.manifest.files
    assert opened(llama).prefill(LONG)[1].shape == (304,)


def test_a_long_prompt_goes_on_like_any_other(four_bits: TinyModel) -> None:
    session = opened(four_bits, chunk=64)
    branch, _ = session.prefill(LONG)
    rows = session.step(session.fork(branch, 3), [1, 2, 1]).copy()
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)
    expected = exact_logits(four_bits, [*LONG, 1])
    assert np.abs(rows[0] - expected).max() < 0.5  # one token's activations are rounded
    session.truncate(branch, 20)
    assert session.extend(branch, [1]).shape == (1, 304)
    session.close()


def test_a_broken_graph_for_long_prompts_is_told_when_needed(four_bits: TinyModel, tmp_path: Path) -> None:
    def damage(directory: Path, body: dict[str, Any]) -> None:
        (directory / PROMPT).write_bytes(b"not a graph")

    session = OnnxSession.open(sealed_copy(four_bits.bundle, tmp_path, damage), threads=1)
    assert session.prefill(LONG[:50])[1].shape == (304,)
    used = session.cache_bytes
    for _ in range(2):
        with pytest.raises(CorruptFile, match="cannot load the bundle"):
            session.prefill(LONG)
        assert session.cache_bytes == used
    session.close()


def test_a_cancelled_long_prompt_leaves_nothing(four_bits: TinyModel) -> None:
    for look in range(1, 9):
        session = opened(four_bits, chunk=64)
        with pytest.raises(Cancelled):
            session.prefill(LONG, CancelledBySomebodyElse(look))
        assert session.cache_bytes == 0
        np.testing.assert_allclose(session.prefill(LONG)[1], exact_logits(four_bits, LONG), atol=1e-3)
        session.close()


def test_a_session_may_be_closed_between_the_chunks_of_a_prompt(llama: TinyModel) -> None:
    session = opened(llama, chunk=4)

    class Closing(Cancellation):
        looks = 0

        @property
        def requested(self) -> bool:
            self.looks += 1
            if self.looks == 2:
                session.close()
            return False

    with pytest.raises(InvalidInput, match="closed"):
        session.prefill(PROMPT_TOKENS, Closing())
    assert session.cache_bytes == 0


# Options


def test_threads_and_spinning_are_set_on_purpose() -> None:
    settings = session_options(OnnxOptions(threads=3, spin=False, arena=False))
    assert settings.intra_op_num_threads == 3
    assert settings.inter_op_num_threads == 1
    assert settings.enable_cpu_mem_arena is False
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    settings = session_options(OnnxOptions(spin=True))
    assert settings.intra_op_num_threads >= 1
    assert settings.enable_cpu_mem_arena is True
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "1"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": 2000}, "threads is 2000"),
        ({"chunk": 0}, "chunk is 0"),
        ({"providers": ("AbacusExecutionProvider",)}, "no AbacusExecutionProvider. It has: .*CPU"),
        ({"providers": (("AbacusExecutionProvider", {"beads": "10"}),)}, "no AbacusExecutionProvider"),
    ],
)
def test_wrong_options_are_refused(llama: TinyModel, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        OnnxSession.open(llama.bundle, **wrong)


def test_a_provider_may_have_options(llama: TinyModel) -> None:
    providers = (("CPUExecutionProvider", {"use_arena": "0"}),)
    assert OnnxSession.open(llama.bundle, providers=providers).prefill([1])[1].shape == (304,)


def test_runtimes_go_by_name(llama: TinyModel) -> None:
    assert open_session("onnx", llama.bundle, threads=1).info.runtime == "onnx"
    with pytest.raises(InvalidInput, match=r"no runtime .onx.\. Did you mean .onnx."):
        open_session("onx", llama.bundle)
    with pytest.raises(InvalidInput, match="There are: auto, onnx"):
        open_session("abacus", llama.bundle)


@pytest.mark.parametrize("name", [name for name, runtime in RUNTIMES.items() if runtime.opens == "bundle"])
def test_every_runtime_of_bundles_can_be_opened(llama: TinyModel, name: str) -> None:
    session = open_session(name, llama.bundle)
    np.testing.assert_allclose(
        session.prefill(PROMPT_TOKENS)[1],
        llama.reference().prefill(PROMPT_TOKENS)[1],
        atol=session.capabilities.tolerance,
    )
    session.close()


# Bundles whose hashes are right and whose graphs are not


def damage_model(directory: Path, data: bytes) -> None:
    (directory / MODEL).write_bytes(data)


def test_graphs_that_cannot_be_loaded_are_corrupt(llama: TinyModel, tmp_path: Path) -> None:
    model = (llama.bundle / MODEL).read_bytes()
    unknown = model.replace(b"GroupQueryAttention", b"GroupQueryAttentioX")
    assert unknown != model
    for i, bad in enumerate((b"", b"not a graph", model[: len(model) // 2], unknown)):
        directory = tmp_path / str(i)
        directory.mkdir()
        copy = sealed_copy(llama.bundle, directory, lambda d, _, b=bad: damage_model(d, b))
        with pytest.raises(CorruptFile, match="cannot load the bundle"):
            OnnxSession.open(copy)


def test_weights_that_end_early_are_corrupt(llama: TinyModel, tmp_path: Path) -> None:
    def shorten(directory: Path, body: dict[str, Any]) -> None:
        weights = directory / WEIGHTS
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])

    with pytest.raises(CorruptFile, match="cannot load the bundle"):
        OnnxSession.open(sealed_copy(llama.bundle, tmp_path, shorten))


def test_graphs_of_another_architecture_are_corrupt(
    llama: TinyModel, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    other = tiny_bundle("gemma3")  # six layers where the manifest says four

    def swap(directory: Path, body: dict[str, Any]) -> None:
        for name in (MODEL, WEIGHTS):
            shutil.copyfile(other.bundle / name, directory / name)

    with pytest.raises(CorruptFile, match="not those of its manifest"):
        OnnxSession.open(sealed_copy(llama.bundle, tmp_path, swap))


def test_a_trust_record_is_used(llama: TinyModel, tmp_path: Path) -> None:
    trust = TrustRecord(tmp_path)
    OnnxSession.open(llama.bundle, trust=trust).close()
    assert trust.knows(llama.bundle / WEIGHTS, llama.manifest.files[WEIGHTS])
