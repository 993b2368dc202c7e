"""What LlamaCppSession adds to the contract: shared cells that grow, prefixes on disk, hostile files, one real text."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import TinyModel
from golden import model_architecture
from numpy.typing import NDArray
from tiny import tiny_weights, token_id, write_tiny_gguf
from tiny_mamba import write_tiny_mamba

from edgetts.bundle import TOKENIZER, open_bundle
from edgetts.decoding.session import Cancellation, Cancelled, Session
from edgetts.errors import (
    CorruptFile,
    InvalidInput,
    ModelNotFound,
    OutOfMemory,
    PromptTooLong,
    RuntimeFailure,
    UnsupportedModel,
)
from edgetts.runtimes.llamacpp import LlamaCppOptions, LlamaCppSession, context
from edgetts.runtimes.llamacpp.checked_load import check_loads
from edgetts.runtimes.onnx import OnnxSession
from edgetts.testing import CancelledBySomebodyElse
from edgetts.tokenizer import Tokenizer

pytest.importorskip("llama_cpp")

EXACT = {"flash_attention": "off", "cache_type_k": "f32", "cache_type_v": "f32", "threads": 1}
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
LONG = [(7 * i * i + 3 * i) % 304 for i in range(200)]
CELLS = 256  # llama.cpp's contexts are multiples of this


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return written("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mamba") / "mamba.gguf"
    write_tiny_mamba(file)
    return file


def written(name: str, directory: Path, **stored: Any) -> TinyModel:
    arch = model_architecture(name)
    write_tiny_gguf(directory / f"{name}.gguf", arch=arch, **stored)
    return TinyModel(arch, tiny_weights(arch), directory / f"{name}.gguf", directory)


def opened(model: TinyModel | Path, **options: Any) -> LlamaCppSession:
    file = model.source if isinstance(model, TinyModel) else model
    return LlamaCppSession.open(file, trusted=True, **(EXACT | options))


def same(found: NDArray[Any], expected: NDArray[Any], atol: float = 1e-4) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def per_token(model: TinyModel, nbytes: int = 4) -> int:
    return 2 * nbytes * model.arch.layers * model.arch.kv_heads * model.arch.head_dim


def test_info_says_what_the_file_holds(llama: TinyModel) -> None:
    session = opened(llama)
    info = session.info
    assert (info.runtime, info.model, info.vocab, info.layers, info.context) == (
        *("llamacpp", "llama", llama.arch.vocab, llama.arch.layers, llama.arch.context),
    )
    assert token_id("<|im_end|>") in info.end_tokens
    assert info.bytes_per_token == per_token(llama)
    assert session.cache_bytes == CELLS * per_token(llama)
    session.close()
    assert session.cache_bytes == 0
    session = opened(llama, cache_type_k="f16", cache_type_v="f16", context=100, name="mine")
    assert (session.info.bytes_per_token, session.info.context) == (per_token(llama, 2), 100)
    assert session.info.model == "mine"
    session.close()


def test_a_model_without_vocabulary_runs(mamba: Path) -> None:
    session = opened(mamba)
    assert session.info.end_tokens == frozenset()
    assert session.info.bytes_per_token == 0
    assert session.cache_bytes > 0
    session.close()


# Cells


def test_forks_share_the_cells_of_their_prefix(llama: TinyModel) -> None:
    """200 tokens, nine branches of them and 50 tokens more fit into 256 cells."""
    session, reference = opened(llama, memory_bytes=CELLS * per_token(llama)), llama.reference()
    branch, _ = session.prefill(LONG)
    twin, _ = reference.prefill(LONG)
    children, twins = session.fork(branch, 8), reference.fork(twin, 8)
    for i in range(7):
        drawn = [(i + 3 * k) % 304 for k in range(8)]
        same(session.step(children, drawn), reference.step(twins, drawn))
    assert session.cache_bytes == CELLS * per_token(llama)
    with pytest.raises(OutOfMemory):
        session.step(children, drawn)
    session.close()


def test_the_cache_grows_with_everything_in_it(llama: TinyModel) -> None:
    session, reference = opened(llama), llama.reference()
    pairs = [(session.prefill(LONG[:n])[0], reference.prefill(LONG[:n])[0]) for n in (120, 90, 150)]
    pairs += zip(session.fork(pairs[0][0], 12), reference.fork(pairs[0][1], 12), strict=True)
    for i in range(20):
        drawn = [(5 * i + k) % 304 for k in range(len(pairs))]
        found = session.step([branch for branch, _ in pairs], drawn)
        same(found, reference.step([twin for _, twin in pairs], drawn))
    assert session.cache_bytes >= (120 + 90 + 150 + 20 * 15) * per_token(llama)
    for branch, twin in pairs:
        session.truncate(branch, 70)
        reference.truncate(twin, 70)
    same(session.extend(pairs[4][0], LONG[:100]), reference.extend(pairs[4][1], LONG[:100]))
    session.close()


@pytest.mark.parametrize(
    "options", [{}, {"flash_attention": "on", "cache_type_k": "f16", "cache_type_v": "f16"}]
)
def test_moving_changes_no_logit(llama: TinyModel, options: dict[str, Any]) -> None:
    session = opened(llama, **options)
    branch, _ = session.prefill(LONG)
    (child,) = session.fork(branch, 1)
    expected = session.step([child], [7]).copy()
    session.truncate(child, len(LONG))
    session.fork(branch, 30)  # more sequences than a first context has
    np.testing.assert_array_equal(session.step([child], [7]), expected)
    session.close()


def test_a_full_cache_refuses_and_loses_nothing(llama: TinyModel) -> None:
    session = opened(llama, memory_bytes=int(2.5 * CELLS) * per_token(llama))
    reference = llama.reference()
    branch, twin = session.prefill(LONG)[0], reference.prefill(LONG)[0]
    other, _ = session.prefill(LONG[:190])
    for refused in (
        lambda: session.prefill(LONG),
        lambda: [session.prefill(LONG[:100]), session.prefill(LONG[:100])],
    ):
        before = (branch.length, other.length)
        with pytest.raises(OutOfMemory, match="MB are allowed, which hold 512 tokens"):
            refused()
        assert (branch.length, other.length) == before
        for kept in list(session._cells.branches - {branch, other}):
            session.free(kept)
    assert session.cache_bytes <= 2.5 * CELLS * per_token(llama)
    same(session.step([branch], [7]), reference.step([twin], [7]))
    session.free(other)
    session.extend(branch, LONG[:50])
    session.close()


def test_a_prompt_that_never_fits_is_refused_unread(
    llama: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = llama.source
    session = opened(file, memory_bytes=CELLS * per_token(llama))
    monkeypatch.setattr(context.Context, "decode", None)
    with pytest.raises(PromptTooLong):
        session.prefill([1] * 257)
    session.close()


def test_too_little_memory_for_anything_is_said_when_it_is_opened(llama: TinyModel) -> None:
    with pytest.raises(OutOfMemory, match="which hold 0 tokens"):
        opened(llama, memory_bytes=1000)


def test_free_memory_is_looked_at_before_growing(llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(llama)
    branch, _ = session.prefill(LONG)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=400_000))
    with pytest.raises(OutOfMemory, match="are free"):
        session.prefill(LONG)
    with pytest.raises(OutOfMemory, match="are free"):
        session.fork(branch, 20)
    assert session.cache_bytes == CELLS * per_token(llama)
    monkeypatch.undo()
    session.fork(branch, 20)
    session.close()


def test_sequences_are_used_again_and_end_at_llama_cpps_limit(llama: TinyModel) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT)
    for _ in range(300):
        for child in session.fork(branch, 3):
            session.free(child)
    assert session.cache_bytes == CELLS * per_token(llama)
    children = session.fork(branch, 255)
    with pytest.raises(OutOfMemory, match="256 branches at once, and 257"):
        session.fork(branch, 1)
    assert session.step(children, [1] * 255).shape == (255, 304)
    session.free(children[100])
    session.fork(branch, 1)
    session.close()


def test_all_branches_share_one_pass(llama: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(llama, batch=8)
    branch, _ = session.prefill(LONG)
    children = session.fork(branch, 100)
    plain, passes = context.Context.decode, []

    def counted(self: context.Context, tokens: Any, *arguments: Any, **named: Any) -> int:
        passes.append(len(tokens))
        return plain(self, tokens, *arguments, **named)

    monkeypatch.setattr(context.Context, "decode", counted)
    logits = session.step(children, [i % 3 for i in range(100)])
    assert passes[-1] == 100
    assert all(n == 100 for n in passes)  # tried again where cells had run out
    for i in range(100):
        same(logits[i], logits[i % 3])
    session.close()


def test_more_logits_than_one_pass_computes(llama: TinyModel) -> None:
    session, reference = opened(llama, hidden_states=True), llama.reference()
    branch, twin = session.prefill(PROMPT)[0], reference.prefill(PROMPT)[0]
    same(session.extend(branch, LONG), reference.extend(twin, LONG))
    assert session.features().shape == (200, llama.arch.hidden)
    session.close()


@pytest.mark.parametrize(("context_length", "cells"), [(400, 512), (250, 256)])
def test_a_context_stays_on_one_side_of_where_rotations_change(
    tmp_path: Path, context_length: int, cells: int
) -> None:
    """LongRoPE: llama.cpp rotates by the size of the context, and keys of both kinds must not meet."""
    file = tmp_path / "model.gguf"
    write_tiny_gguf(
        file,
        arch=model_architecture("llama", context=1000),
        metadata={"llama.rope.scaling.original_context_length": 300},
    )
    session = opened(file, context=context_length)
    assert session.cache_bytes == cells * session.info.bytes_per_token
    for _ in range(2):
        branch, _ = session.prefill(LONG[:120])
    if cells == CELLS:
        with pytest.raises(OutOfMemory, match="holds 256 tokens when its context is limited to 250"):
            session.extend(branch, LONG[:50])
    else:
        session.extend(branch, LONG)
    session.close()


# What fails


@pytest.mark.parametrize("look", [1, 2, 3, 4, 5])
def test_a_cancelled_prefill_leaves_no_cell_behind(llama: TinyModel, look: int) -> None:
    """From the second look on a pass is under way, or about to be: llama.cpp abandons it."""
    session = opened(llama, batch=64, memory_bytes=CELLS * per_token(llama))
    branch, _ = session.prefill(PROMPT)
    expected = session.step([branch], [1]).copy()
    session.truncate(branch, len(PROMPT))
    with pytest.raises(Cancelled):
        session.prefill(LONG, CancelledBySomebodyElse(look))
    np.testing.assert_array_equal(session.step([branch], [1]), expected)
    session.prefill(LONG + LONG[:40])  # needs all cells that are left
    session.close()


def test_a_request_that_comes_late_stops_nothing(llama: TinyModel) -> None:
    session = opened(llama)
    interrupts = []

    class Kept(Cancellation):
        def register(self, interrupt: Any) -> None:
            interrupts.append(interrupt)
            super().register(interrupt)

    branch, _ = session.prefill(PROMPT, Kept())
    for interrupt in interrupts:
        interrupt()
    session.prefill(PROMPT, Cancellation())
    session.step([branch], [1])
    session.close()


@pytest.mark.parametrize("code", [-1, -3, 2])
def test_a_failed_pass_leaves_branches_as_they_were(
    llama: TinyModel, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    session, reference = opened(llama), llama.reference()
    branch, twin = session.prefill(PROMPT)[0], reference.prefill(PROMPT)[0]
    (child,), (child_twin,) = session.fork(branch, 1), reference.fork(twin, 1)
    plain, calls = context.Context.decode, []

    def failing(self: context.Context, tokens: Any, *arguments: Any, **named: Any) -> int:
        calls.append(plain(self, tokens, *arguments, **named))
        return code if len(calls) > 1 or len(tokens) < 60 else calls[-1]

    monkeypatch.setattr(context.Context, "decode", failing)
    with pytest.raises(RuntimeFailure, match=f"code {code}"):
        session.extend(child, LONG)  # in the second of its passes
    with pytest.raises(RuntimeFailure):
        session.step([branch, child], [1, 2])
    monkeypatch.undo()
    assert (branch.length, child.length) == (len(PROMPT), len(PROMPT))
    same(session.step([branch, child], [7, 8]), reference.step([twin, child_twin], [7, 8]))
    session.close()


def test_a_recurrent_branch_is_as_before_when_a_long_extend_fails(
    mamba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(mamba)
    branch, _ = session.prefill(PROMPT)
    (twin,) = session.fork(branch, 1)
    plain, calls = context.Context.decode, []

    def failing(self: context.Context, *arguments: Any, **named: Any) -> int:
        calls.append(plain(self, *arguments, **named))
        return -3 if len(calls) == 2 else calls[-1]

    monkeypatch.setattr(context.Context, "decode", failing)
    with pytest.raises(RuntimeFailure):
        session.extend(branch, [i % 64 for i in range(150)])
    monkeypatch.undo()
    assert branch.length == len(PROMPT)
    same(session.step([branch], [7]).copy(), session.step([twin], [7]))
    session.close()


def test_a_recurrent_branch_that_cannot_be_restored_is_freed(
    mamba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(mamba)
    branch, _ = session.prefill(PROMPT)
    other, _ = session.prefill(PROMPT)
    plain = context.Context.decode
    monkeypatch.setattr(context.Context, "decode", lambda *given, **named: min(plain(*given, **named), -3))
    with pytest.raises(RuntimeFailure, match="1 branches are lost"):
        session.step([branch], [7])
    monkeypatch.undo()
    with pytest.raises(InvalidInput, match="was freed"):
        session.step([branch], [7])
    same(session.step([other], [7])[0], session.prefill([*PROMPT, 7])[1])
    session.close()


# Hidden states


@pytest.mark.parametrize("options", [{}, {"batch": 8}])
def test_logits_are_made_of_the_hidden_states(llama: TinyModel, options: dict[str, Any]) -> None:
    session = opened(llama, hidden_states=True, **options)
    assert session.capabilities.hidden_states
    head = llama.weights["output.weight"]
    for prompt in (PROMPT, PROMPT[:1]):
        branch, logits = session.prefill(prompt)
        same(session.features() @ head.T, logits[None])
    other, _ = session.prefill(LONG)
    logits = session.extend(other, [3, 4, 5])
    same(session.features() @ head.T, logits)
    logits = session.step([other, branch], [1, 2])
    same(session.features() @ head.T, logits)
    session.close()


# Prefixes on disk


def test_a_branch_comes_back_from_disk(llama: TinyModel, tmp_path: Path) -> None:
    first = opened(llama)
    branch, _ = first.prefill(LONG)
    (child,) = first.fork(branch, 1)
    first.step([branch, child], [1, 2])
    first.save(child, tmp_path / "prefix")
    expected = first.extend(child, [5, 6]).copy()
    first.close()
    session = opened(llama)
    session.prefill(LONG)  # so that the cells have to grow
    loaded = session.load(tmp_path / "prefix")
    assert loaded.length == 201
    same(session.extend(loaded, [5, 6]), expected)
    session.truncate(loaded, 100)
    same(session.step([loaded], [7])[0], session.prefill([*LONG[:100], 7])[1])
    session.close()


@pytest.mark.parametrize("name", ["gemma3", "mamba"])
def test_other_states_come_back_too(name: str, mamba: Path, tmp_path: Path) -> None:
    model = mamba if name == "mamba" else written(name, tmp_path).source
    session = opened(model)
    tokens = [token % 64 for token in LONG]
    branch, _ = session.prefill(tokens)
    session.save(branch, tmp_path / "prefix")
    loaded = session.load(tmp_path / "prefix")
    same(session.step([loaded], [7]), session.step([branch], [7]).copy(), atol=0.01)
    if session.capabilities.truncate:
        for _ in range(3):
            session.prefill(tokens)
        # A saved state holds what is in the window; the rest is read again when it is needed.
        (child,) = session.fork(loaded, 1)
        for branch, length in ((loaded, 200), (loaded, 20), (child, 199), (child, 0)):
            session.truncate(branch, length)
            assert branch.length == length
            found = session.step([branch], [7])[0].copy()
            same(found, session.prefill([*tokens[:length], 7])[1], atol=0.01)
            session.truncate(branch, length)
    session.close()


def test_prefixes_of_others_and_damaged_ones_are_refused(llama: TinyModel, tmp_path: Path) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT)
    path = tmp_path / "prefix"
    session.save(branch, path)
    other = opened(written("qwen2", tmp_path))
    with pytest.raises(CorruptFile, match="another model"):
        other.load(path)
    other.close()
    halves = opened(llama, cache_type_k="f16")
    with pytest.raises(InvalidInput, match="keys f32.*keys f16"):
        halves.load(path)
    halves.close()
    short = opened(llama, context=5)
    with pytest.raises(PromptTooLong):
        short.load(path)
    short.close()
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"garbage" * 100, b""):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFile):
            session.load(path)
    with pytest.raises(ModelNotFound):
        session.load(tmp_path / "absent")
    empty, _ = session.prefill([1])
    session.truncate(empty, 0)
    with pytest.raises(InvalidInput, match="empty"):
        session.save(empty, path)
    session.close()
    for call in (lambda: session.save(branch, path), lambda: session.load(path)):
        with pytest.raises(InvalidInput, match="closed"):
            call()


def test_a_state_that_llama_cpp_refuses_is_corrupt_and_leaves_nothing(
    llama: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(llama, memory_bytes=CELLS * per_token(llama))
    branch, _ = session.prefill(LONG)
    state = context.Context.sequence_state
    monkeypatch.setattr(context.Context, "sequence_state", lambda *given: state(*given)[:-1000])
    session.save(branch, tmp_path / "prefix")
    session.free(branch)
    for _ in range(20):
        with pytest.raises((CorruptFile, OutOfMemory)):
            session.load(tmp_path / "prefix")
    session.prefill([*LONG, *LONG[:56]])
    session.close()


def test_a_model_that_changed_on_disk_saves_nothing(tmp_path: Path) -> None:
    model = written("llama", tmp_path)
    session = opened(model)
    branch, _ = session.prefill(PROMPT)
    model.source.touch()
    with pytest.raises(InvalidInput, match="has changed since it was opened"):
        session.save(branch, tmp_path / "prefix")
    session.close()


# Files that nobody vouches for


def test_a_sound_file_is_opened_after_a_child_has_tried_it(llama: TinyModel) -> None:
    session = LlamaCppSession.open(llama.source, **EXACT)
    same(session.prefill(PROMPT)[1], llama.reference().prefill(PROMPT)[1])
    session.close()


def test_a_file_that_kills_the_process_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deadly.gguf"
    write_tiny_gguf(file, metadata={"llama.block_count": 0})
    with pytest.raises(CorruptFile, match=r"breaks down when it loads deadly.gguf: GGML_ASSERT\(.*\) failed"):
        LlamaCppSession.open(file)


def test_a_file_that_llama_cpp_refuses_is_refused_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_tiny_gguf(file, metadata={"llama.block_count": 7})
    for trusted in (False, True):
        with pytest.raises(CorruptFile, match="cannot load model.gguf: .*'blk.4.attn_norm.weight' not found"):
            LlamaCppSession.open(file, trusted=trusted)
    file.write_bytes(b"GGUF" + bytes(range(256)))
    for trusted in (False, True):
        with pytest.raises((CorruptFile, UnsupportedModel)):
            LlamaCppSession.open(file, trusted=trusted)
    with pytest.raises(ModelNotFound):
        LlamaCppSession.open(tmp_path / "absent.gguf", trusted=True)


def test_options_that_the_model_does_not_allow_are_the_users_mistake(llama: TinyModel) -> None:
    for trusted in (False, True):
        with pytest.raises(InvalidInput, match="q8_0.*does not divide.*=16"):
            LlamaCppSession.open(llama.source, trusted=trusted, cache_type_k="q8_0", threads=1)


def test_a_child_that_takes_too_long_is_given_up(llama: TinyModel) -> None:
    with pytest.raises(CorruptFile, match="within 0 seconds"):
        check_loads(llama.source, LlamaCppOptions(), seconds=0.0)


# The library


def test_the_log_is_silent_unless_it_is_asked_for(llama: TinyModel, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgetts.runtimes.llamacpp import LlamaCppSession\n"
        "session = LlamaCppSession.open(Path(sys.argv[1]), trusted=True, verbose=sys.argv[2] == 'loud')\n"
        "session.prefill([1, 2]); session.close()"
    )
    for how, loud in (("silent", False), ("loud", True)):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(llama.source), how],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert ran.stdout == ""
        assert ("llama" in ran.stderr) is loud


def test_a_session_that_nobody_closes_is_freed(llama: TinyModel) -> None:
    session = opened(llama)
    branch, _ = session.prefill(PROMPT)
    loaded = session._cells
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert branch.length == len(PROMPT)
    assert loaded.context._pointer is None
    assert loaded._model.pointer is None


# A real model

QUESTION = "<|im_start|>user\nName three rivers in Europe.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf: Path) -> Iterator[LlamaCppSession]:
    session = LlamaCppSession.open(smollm2_gguf)
    yield session
    session.close()


def greedy(session: Session, prompt: list[int], length: int) -> list[int]:
    branch, logits = session.prefill(prompt)
    tokens: list[int] = []
    while len(tokens) < length:
        tokens.append(int(logits.argmax()))
        if tokens[-1] in session.info.end_tokens:
            break
        logits = session.step([branch], [tokens[-1]])[0]
    session.free(branch)
    return tokens


def forced(session: Session, tokens: list[int], width: int) -> NDArray[np.float32]:
    branch, _ = session.prefill(tokens[:1])
    rows = [session.extend(branch, tokens[at : at + width]).copy() for at in range(1, len(tokens), width)]
    session.free(branch)
    return np.concatenate(rows)


@pytest.mark.real
def test_it_answers(smollm2: LlamaCppSession, smollm2_bundle: Path) -> None:
    tokenizer = Tokenizer.load(smollm2_bundle / TOKENIZER, open_bundle(smollm2_bundle).tokenizer)
    prompt = tokenizer.encode(QUESTION, special=True)
    tokens = greedy(smollm2, prompt, 40)
    assert tokens == greedy(smollm2, prompt, 40)
    onnx = OnnxSession.open(smollm2_bundle, spin=False)
    other = greedy(onnx, prompt, 40)
    onnx.close()
    same_until = next((i for i, (a, b) in enumerate(zip(tokens, other, strict=False)) if a != b), len(tokens))
    sys.stdout.write(f"\ngreedy: {tokenizer.decode(tokens)!r}; as ONNX Runtime for {same_until} tokens\n")
    assert len(tokens) > 5
    assert same_until >= 1


@pytest.mark.real
@pytest.mark.parametrize("width", [2, 3, 16])
def test_extending_is_near_stepping(smollm2: LlamaCppSession, width: int) -> None:
    tokens = greedy(smollm2, [1, 4093, 198, 6330], 48)
    difference = np.abs(forced(smollm2, tokens, width) - forced(smollm2, tokens, 1))
    sys.stdout.write(f"\npasses of {width} and of 1: largest {difference.max():.4f}\n")
    assert difference.max() < smollm2.capabilities.tolerance
