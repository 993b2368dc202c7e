"""Static graphs say what the dynamic ones say: every way to a token, every place, every number format at the ports."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from conftest import sealed_copy
from golden import TOKENS
from hypothesis import given
from hypothesis import strategies as st
from static_bundles import (  # noqa: F401 - one is a fixture
    CHUNK,
    CONTEXT,
    DRAFT_WIDTH,
    StaticBundle,
    StaticModel,
    rounded,
    static_bundle,
)
from test_early_exit import LensHead
from test_speculation import FREE_WIDTH, Oracle, decode, speculator

from edgetts.decoding.alone import Situation
from edgetts.decoding.session import Cancellation, Cancelled, Capabilities, Logits
from edgetts.decoding.speculation import (
    Acceptance,
    Drafter,
    ExitDrafter,
    NgramDrafter,
    PassCosts,
    Speculator,
    longest_draft,
)
from edgetts.errors import (
    CorruptFile,
    InvalidInput,
    OutOfMemory,
    PromptTooLong,
    RuntimeFailure,
    Unsupported,
)
from edgetts.runtimes.npu import NpuOptions, StaticSession, lanes, placing
from edgetts.runtimes.npu.lanes import passes_over
from edgetts.runtimes.onnx import OnnxSession
from edgetts.runtimes.providers.finding import Provider
from edgetts.types import SamplingParams

FP32 = 1e-4
GREEDY = SamplingParams(temperature=0.0)
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3")


def truth(model: StaticModel) -> Logits:
    """Return the reference's logits after each of TOKENS."""
    session = model.model.reference(context=CONTEXT)
    branch, first = session.prefill(TOKENS[:1])
    return np.concatenate([first[None], session.extend(branch, TOKENS[1:])])


def close(found: Logits, expected: Logits, allowed: float = FP32) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


# Exact tier


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_the_dynamic_graphs_and_of_the_reference(
    static_bundle: StaticBundle,  # noqa: F811
    name: str,
) -> None:
    model = static_bundle(name)
    expected = truth(model)
    session = StaticSession.open(model.bundle, threads=1)
    dynamic = OnnxSession.open(model.model.bundle, threads=1)
    try:
        twin, _ = dynamic.prefill(TOKENS[:1])
        same = dynamic.extend(twin, TOKENS[1:]).copy()
        # A prompt that ends before, at and behind a width; the last one fills the context.
        for length in (1, 2, DRAFT_WIDTH, DRAFT_WIDTH + 1, 7, 15, CHUNK, 17, 22, 33, 47, CONTEXT):
            branch, logits = session.prefill(TOKENS[:length])
            close(logits, expected[length - 1])
            close(session.features()[-1:], _features(dynamic, TOKENS[:length]))
            # All the rest in one call, over all widths of passes and of heads.
            if rest := TOKENS[length:]:
                rows = session.extend(branch, rest)
                close(rows, expected[length:])
                close(rows, same[length - 1 :])
                assert session.features().shape == (len(rest), model.model.arch.hidden)
            # Back to the middle of a chunk, and on by drafts of the exported width.
            session.truncate(branch, length // 2)
            for at in range(length // 2, CONTEXT, DRAFT_WIDTH + 1):
                draft = TOKENS[at : at + DRAFT_WIDTH + 1]
                close(session.extend(branch, draft), expected[at : at + len(draft)])
            with pytest.raises(PromptTooLong):
                session.step([branch], [1])
            session.free(branch)
        assert session.cache_bytes == 0
    finally:
        session.close()
        dynamic.close()


def _features(session: OnnxSession, tokens: Sequence[int]) -> Logits:
    branch, _ = session.prefill(tokens)
    found = session.features().copy()
    session.free(branch)
    return found


@pytest.mark.parametrize(
    ("name", "halves"), [("llama", ()), ("gemma3", ("key", "value")), ("qwen2", ("value",))]
)
def test_ports_of_integers_and_halves(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
    name: str,
    halves: tuple[str, ...],
) -> None:
    model = static_bundle(name)
    expected = truth(model)
    bundle = rounded(model, tmp_path, halves)
    session = StaticSession.open(bundle, threads=1)
    try:
        # Two bytes for each number of the cache, in integers as in halves.
        arch = model.model.arch
        assert session.info.bytes_per_token == 4 * arch.layers * arch.kv_heads * arch.head_dim
        assert session.capabilities.tolerance > FP32
        branch, logits = session.prefill(TOKENS[:20])
        plain = [logits]
        for at in range(20, CONTEXT):
            plain.append(session.step([branch], TOKENS[at : at + 1])[0])
        close(np.stack(plain), expected[19:], 0.06)
        # Codes are copied and never rounded again: whatever the way to a token, what follows is the same.
        session.truncate(branch, 20)
        [child] = session.fork(branch, 1)
        session.advance(child, TOKENS[20:29], 1)
        session.advance(child, TOKENS[29:30], 3)
        rows = [*session.complete(child, TOKENS[30:40]), *session.extend(child, TOKENS[40:])]
        close(np.stack(rows), np.stack(plain[1:]), 2e-3)
        features = session.features()
        assert features.shape == (8, arch.hidden)
        assert np.isfinite(features).all()
        assert float(np.abs(features).max()) > 0.5
    finally:
        session.close()


# Passes


@given(tokens=st.integers(0, 400), draft=st.integers(0, 9), chunk=st.integers(10, 70))
def test_passes_hold_every_token_once_and_are_never_dearer_than_chunks(
    tokens: int, draft: int, chunk: int
) -> None:
    widths = tuple(sorted({1, draft + 1, chunk}))
    found = passes_over(tokens, widths)
    assert sum(count for _, count in found) == tokens
    assert all(0 < count <= width and width in widths for width, count in found)
    assert all(count == width for width, count in found[:-1])
    assert sum(lanes._FIXED + width for width, _ in found) <= -(-tokens // chunk) * (lanes._FIXED + chunk)


@pytest.mark.parametrize(
    ("tokens", "passes"),
    [
        (0, []),
        (1, [(1, 1)]),
        (4, [(6, 4)]),
        (6, [(6, 6)]),
        (7, [(6, 6), (1, 1)]),
        (20, [(64, 20)]),
        (64, [(64, 64)]),
        (65, [(64, 64), (1, 1)]),
        (140, [(64, 64), (64, 64), (6, 6), (6, 6)]),
    ],
)
def test_short_rests_take_narrow_passes(tokens: int, passes: list[tuple[int, int]]) -> None:
    assert list(passes_over(tokens, (1, 6, 64))) == passes


def test_a_prompt_can_be_abandoned_between_passes_and_within_one(
    static_bundle: StaticBundle,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = StaticSession.open(static_bundle().bundle, threads=1)
    ran: list[int] = []
    plain = lanes.Lane.run
    cancel = Cancellation()
    asked = (0, 0)

    def run(
        lane: lanes.Lane, segment: int, cache: Any, past: int, count: int, options: ort.RunOptions
    ) -> None:
        if (past, segment) == asked:
            cancel.request()
        plain(lane, segment, cache, past, count, options)
        ran.append(segment)

    monkeypatch.setattr(lanes.Lane, "run", run)
    try:
        # When the second chunk has passed one of three segments, the graph of the next does not run any more.
        asked = (CHUNK, 1)
        with pytest.raises(Cancelled):
            session.prefill(TOKENS, cancel)
        assert ran == [0, 1, 2, 0]
        assert session.cache_bytes == 0
    finally:
        session.close()


def test_a_pass_that_breaks_leaves_branches_as_they_were(
    static_bundle: StaticBundle,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = static_bundle()
    expected = truth(model)
    session = StaticSession.open(model.bundle, threads=1)
    plain = lanes.Lane.run
    left = 4

    def run(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("Error in execution: the device was lost")
        plain(*arguments)

    try:
        branches = [session.prefill(TOKENS[:n])[0] for n in (3, 9)]
        with monkeypatch.context() as patch:
            patch.setattr(lanes.Lane, "run", run)
            for call in (
                lambda: session.step(branches, [TOKENS[3], TOKENS[9]]),
                lambda: session.extend(branches[0], TOKENS[3:40]),
            ):
                left = 4
                with pytest.raises(RuntimeFailure, match="ONNX Runtime failed: .*device was lost"):
                    call()
                assert [branch.length for branch in branches] == [3, 9]
        close(session.step(branches, [TOKENS[3], TOKENS[9]]), expected[[3, 9]])
    finally:
        session.close()


# Self-speculation


def test_ids_with_speculation_are_those_without(static_bundle: StaticBundle) -> None:  # noqa: F811
    for name in ("llama", "gemma3"):
        model = static_bundle(name)
        session = StaticSession.open(model.bundle, threads=1)
        dynamic = OnnxSession.open(model.model.bundle, threads=1)
        try:
            for first in range(1, 20):
                prompt = [(first + 7 * i) % session.info.vocab for i in range(11)]
                plain = decode(session, GREEDY, 30, prompt=prompt).traces[0]
                if len(plain.tokens) > 20:
                    break
            assert len(plain.tokens) > 20, "a text worth drafting"
            assert decode(dynamic, GREEDY, 30, prompt=prompt).traces[0].tokens == plain.tokens
            for length in (1, 2, DRAFT_WIDTH, 8):
                for wrong_every in (0, 1, 2, 3):
                    oracle = Oracle(len(prompt), plain.tokens, session.info.vocab, wrong_every)
                    drafts = speculator(oracle, length=length)
                    assert decode(session, GREEDY, 30, drafts, prompt).traces[0].tokens == plain.tokens
                    # Never more than one pass of the exported width can verify.
                    assert len(drafts.tally.drafted) <= min(length, DRAFT_WIDTH)
                    if wrong_every == 0:
                        assert drafts.tally.accepted == drafts.tally.drafted
                        assert len(drafts.tally.drafted) == min(length, DRAFT_WIDTH)
                drafts = speculator(None, length=length)
                assert decode(session, GREEDY, 30, drafts, prompt).traces[0].tokens == plain.tokens
            assert session.cache_bytes == 0
        finally:
            session.close()
            dynamic.close()


@pytest.mark.parametrize("place", [None, "cpu:1-4"])
def test_the_first_layers_draft_for_the_others(
    static_bundle: StaticBundle,  # noqa: F811
    place: str | None,
) -> None:
    model = static_bundle()
    session = StaticSession.open(model.bundle, threads=1, place=place)
    try:
        plain = decode(session, GREEDY, 30, prompt=TOKENS[:9]).traces[0].tokens
        for cut in session.capabilities.exits:
            for ngram in (False, True):

                def drafters(at: Situation, cut: int = cut, ngram: bool = ngram) -> Sequence[Drafter]:
                    first: list[Drafter] = [NgramDrafter(at.prompt, at.others)] if ngram else []
                    return [*first, ExitDrafter(at.session, at.branch, LensHead(model.model, cut))]

                drafts = Speculator(drafters, Acceptance(), PassCosts(FREE_WIDTH.at), longest=4, always=True)
                found = decode(session, GREEDY, 30, drafts, TOKENS[:9]).traces[0].tokens
                assert found == plain
                assert drafts.tally.by_drafter["exit"][0] > 0
        assert session.cache_bytes == 0
    finally:
        session.close()


def test_drafts_longer_than_exported_are_refused() -> None:
    able = Capabilities(widest=6)
    assert [longest_draft(able, n) for n in (1, 5)] == [1, 5]
    assert (longest_draft(able), longest_draft(able, usual=4)) == (5, 4)
    assert (longest_draft(Capabilities(), 8), longest_draft(Capabilities(widest=1))) == (8, 0)
    with pytest.raises(
        InvalidInput,
        match=r"^The model was exported for drafts of up to 5 tokens, not of 8\. "
        r"Export it again with --draft-width 8\.$",
    ):
        longest_draft(able, 8)


# Places


def test_layers_placed_apart_say_the_same(static_bundle: StaticBundle) -> None:  # noqa: F811
    model = static_bundle()
    whole = StaticSession.open(model.bundle, threads=1)
    try:
        expected = whole.prefill(TOKENS[:23])[1]
    finally:
        whole.close()
    for changes in ({"place": "cpu:1-4"}, {"provider": "CPUExecutionProvider"}, {"device": "cpu"}):
        session = StaticSession.open(model.bundle, options=NpuOptions(threads=1), **changes)
        try:
            assert (session.remarks, session.capabilities.widest) == ((), DRAFT_WIDTH + 1)
            assert np.array_equal(session.prefill(TOKENS[:23])[1], expected)
        finally:
            session.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"place": "cpu:2-4"}, "the 4 layers of this model are cut at 1, 3"),
        ({"place": "cpu:1-5"}, "cut at 1, 3"),
        ({"place": "cpu:3-1"}, "cut at 1, 3"),
        ({"place": "cpu:1-1"}, "cut at 1, 3"),
        ({"place": "tpu:0-1"}, "such as cpu:0-1"),
        ({"place": "cpu"}, "such as cpu:0-1"),
        ({"place": "auto:0-1"}, "Devices are cpu, npu and gpu"),
        ({"soc": "sm8650"}, "All layers run on the CPU"),
        ({"provider_options": {"htp_arch": "75"}}, "All layers run on the CPU"),
        ({"device": "tpu"}, "There is no device 'tpu'"),
        ({"provider": "QNNNExecutionProvider"}, "There is no provider 'QNNNExecutionProvider'"),
        ({"threads": 0}, "between 1 and 1024"),
        ({"library": Path("x.so")}, "Name the provider too"),
    ],
)
def test_options_that_cannot_be_are_refused(
    static_bundle: StaticBundle,  # noqa: F811
    options: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(InvalidInput, match=words):
        StaticSession.open(static_bundle().bundle, **options)


@pytest.mark.skipif("CoreMLExecutionProvider" in ort.get_available_providers(), reason="it is there")
def test_a_provider_that_is_not_there_is_replaced_or_said(
    static_bundle: StaticBundle,  # noqa: F811
) -> None:
    model = static_bundle("qwen3", target="coreml")
    session = StaticSession.open(model.bundle, threads=1)
    try:
        [remark] = session.remarks
        assert remark.startswith("The graphs are for CoreMLExecutionProvider but run on the CPU: ")
        close(session.prefill(TOKENS[:9])[1], truth(model)[8])
    finally:
        session.close()
    for options in ({"device": "npu"}, {"place": "npu:0-1"}, {"provider": "CoreMLExecutionProvider"}):
        with pytest.raises(RuntimeFailure, match="CoreMLExecutionProvider"):
            StaticSession.open(model.bundle, threads=1, **options)
    with pytest.raises(Unsupported, match="no provider here that runs on a GPU"):
        StaticSession.open(model.bundle, threads=1, device="gpu")


class _Device:
    """What ONNX Runtime says of a device."""

    def __init__(self, kind: str) -> None:
        self.device = self
        self.type = getattr(ort.OrtHardwareDeviceType, kind)


def test_a_device_is_one_of_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[str] = []

    def find(name: str, library: Path | None = None) -> Provider:
        devices = () if name == placing.CPU else tuple(_Device(kind) for kind in there)
        return Provider(name, "1.0", devices, library, emulated=there == ["CPU"] and name != placing.CPU)

    monkeypatch.setattr(placing, "find_provider", find)

    def placed(**options: Any) -> list[str]:
        found = placing.place_segments("openvino-npu", (0, 1, 4), NpuOptions(**options))
        return [
            f"{place.provider.name.removesuffix('ExecutionProvider')}:"
            + ",".join(one.type.name for one in place.provider.devices)
            for place in found.segments
        ]

    there = ["CPU", "GPU", "NPU"]
    assert placed() == placed(device="npu") == ["OpenVINO:NPU", "OpenVINO:NPU"]
    assert placed(device="cpu", place="npu:0-1") == ["OpenVINO:NPU", "CPU:"]
    assert placed(device="gpu", place="cpu:1-4") == ["OpenVINO:GPU", "CPU:"]
    there = ["CPU", "GPU"]
    assert placed() == ["CPU:", "CPU:"]
    with pytest.raises(RuntimeFailure, match="OpenVINOExecutionProvider finds no NPU here"):
        placed(device="npu")
    # What only computes as an NPU would is taken where it is asked for, and not else.
    there = ["CPU"]
    assert (placed(), placed(device="npu")) == (["CPU:", "CPU:"], ["OpenVINO:CPU", "OpenVINO:CPU"])


# What is refused


def test_other_bundles_are_refused(static_bundle: StaticBundle) -> None:  # noqa: F811
    with pytest.raises(InvalidInput, match=r"has no graphs of fixed shapes\. Export the model with --target"):
        StaticSession.open(static_bundle().model.bundle)


def test_a_prompt_longer_than_the_static_context_is_refused(
    static_bundle: StaticBundle,  # noqa: F811
) -> None:
    session = StaticSession.open(static_bundle().bundle, threads=1)
    try:
        with pytest.raises(
            PromptTooLong, match=r"The prompt has 49 tokens, but the model's context holds 48\."
        ):
            session.prefill([1] * 49)
        assert session.cache_bytes == 0
    finally:
        session.close()


def test_memory_is_limited_and_given_back(static_bundle: StaticBundle) -> None:  # noqa: F811
    model = static_bundle()
    arch = model.model.arch
    one = 8 * arch.layers * arch.kv_heads * arch.head_dim * CONTEXT
    session = StaticSession.open(model.bundle, threads=1, memory_bytes=3 * one)
    try:
        branch, _ = session.prefill(TOKENS[:3])
        # A branch takes what the whole context takes.
        assert session.cache_bytes == one == session.info.bytes_per_token * CONTEXT
        with pytest.raises(OutOfMemory, match="MB are allowed"):
            session.fork(branch, 3)
        assert session.cache_bytes == one
        children = session.fork(branch, 2)
        with pytest.raises(OutOfMemory):
            session.prefill([1])
        for child in children:
            session.free(child)
        close(session.step(session.fork(branch, 1), TOKENS[3:4])[0], truth(model)[3])
    finally:
        session.close()
    assert session.cache_bytes == 0


def test_a_token_after_pending_ones_were_taken_back_goes_where_it_belongs(
    static_bundle: StaticBundle,  # noqa: F811
) -> None:
    model = static_bundle()
    expected = truth(model)
    session = StaticSession.open(model.bundle, threads=1)
    try:
        branch, _ = session.prefill(TOKENS[:4])
        session.advance(branch, TOKENS[4:6], 1)
        session.truncate(branch, 4)
        session.step([branch], TOKENS[4:5])
        session.advance(branch, TOKENS[5:6], 3)
        assert (branch.length, branch.pending) == (6, 1)
        close(session.complete(branch, TOKENS[6:7]), expected[5:7])
    finally:
        session.close()


def test_logits_of_one_thread_outlive_passes_of_another(
    static_bundle: StaticBundle,  # noqa: F811
) -> None:
    session = StaticSession.open(static_bundle().bundle, threads=1)
    try:
        branch, _ = session.prefill(TOKENS[:4])
        other, _ = session.prefill(TOKENS[10:14])
        logits = session.extend(branch, TOKENS[4:6])
        features = session.features()
        kept, felt = logits.copy(), features.copy()
        thread = threading.Thread(target=session.extend, args=(other, TOKENS[14:16]))
        thread.start()
        thread.join()
        assert np.array_equal(logits, kept)
        assert np.array_equal(session.features(), felt)
    finally:
        session.close()


def _table(kind: str) -> Any:
    def change(bundle: Path, _body: dict[str, Any]) -> None:
        path = bundle / "embedding.npy"
        table = np.load(path)
        if kind == "text":
            path.write_text("no table")
        elif kind == "truncated":
            path.write_bytes(path.read_bytes()[:-100])
        elif kind == "pickled":
            np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        else:
            np.save(path, table[:-1] if kind == "short" else table.astype(np.float64))

    return change


@pytest.mark.parametrize("kind", ["text", "truncated", "pickled", "short", "double"])
def test_wrong_embedding_tables_are_refused(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
    kind: str,
) -> None:
    bundle = sealed_copy(static_bundle().bundle, tmp_path, _table(kind))
    with pytest.raises(CorruptFile, match="embedding table of the bundle"):
        StaticSession.open(bundle, threads=1)


def _swap(one: str, other: str) -> Any:
    def change(bundle: Path, _body: dict[str, Any]) -> None:
        (bundle / one).write_bytes((bundle / other).read_bytes())

    return change


def _unnoted(_bundle: Path, body: dict[str, Any]) -> None:
    del body["static"]["ports"]["mask"]


def _mad(_bundle: Path, body: dict[str, Any]) -> None:
    body["static"]["ports"]["logits"] = {"scale": -1.0, "zero": 0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_swap("layers_0_1.w1.onnx", "layers_0_1.w6.onnx"), "has the shape"),
        (_swap("layers_0_1.w1.onnx", "layers_1_3.w1.onnx"), "lacks, or should not have"),
        (_swap("head.w1.onnx", "layers_0_1.w1.onnx"), "lacks, or should not have"),
        (_unnoted, "does not say what the integers of mask mean"),
        (_mad, "scale and zero point of logits cannot be"),
    ],
)
def test_graphs_that_are_not_the_manifests_are_refused(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
    change: Any,
    words: str,
) -> None:
    bundle = rounded(static_bundle(), tmp_path / "rounded")
    with pytest.raises(CorruptFile, match=f"are not those of its manifest: .*{words}"):
        StaticSession.open(sealed_copy(bundle, tmp_path / "changed", change), threads=1)


def test_a_width_that_is_first_needed_later_is_checked_then(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    bundle = sealed_copy(static_bundle().bundle, tmp_path, _swap("layers_0_1.w6.onnx", "layers_0_1.w1.onnx"))
    session = StaticSession.open(bundle, threads=1)
    try:
        branch, _ = session.prefill(TOKENS[:1])
        with pytest.raises(CorruptFile, match="are not those of its manifest"):
            session.extend(branch, TOKENS[1:5])
        assert branch.length == 1
        close(session.step([branch], TOKENS[1:2])[0], truth(static_bundle())[1])
    finally:
        session.close()
