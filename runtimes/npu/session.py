"""The Session contract over graphs of fixed shapes, one branch a pass. Knows graphs, token ids and caches.

Prompts are read in chunks, the last one padded; drafts of up to the exported width are verified in one pass; other
runs of tokens take as many passes as they need. Each branch has a cache as large as the whole context.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.architecture import Architecture
from edgetts.bundle import Manifest, TrustRecord, open_bundle
from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import CorruptFile, InvalidInput, RuntimeFailure, Unsupported
from edgetts.runtimes.checks import (
    check_apart,
    check_cut,
    check_fork,
    check_pairs,
    check_prompt,
    check_room,
    check_tokens,
)
from edgetts.runtimes.npu.cache import HostCache, StaticBranch, cache_form
from edgetts.runtimes.npu.graphs import StaticGraphs
from edgetts.runtimes.npu.lanes import Head, Lane, passes_over
from edgetts.runtimes.npu.options import NpuOptions
from edgetts.runtimes.npu.placing import place_segments
from edgetts.runtimes.npu.ports import Floats, WrongPort
from edgetts.runtimes.npu.positions import Angles, Positions
from edgetts.runtimes.onnx.cache import CacheLimit
from edgetts.runtimes.onnx.depths import Depths
from edgetts.runtimes.onnx.graphs import first_line
from edgetts.static_form import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGAIN = "Remove it and export the model again."
# Of the same token's logits in passes of other widths: in float32, and where ports or a provider round. Of SmolLM2,
# whose logits spread by 6, 96 tokens differed by at most 0.00008, and by 0.27 with 16-bit activations, 8-bit weights.
_EXACT, _ROUNDED = 1e-4, 0.5
_Made = TypeVar("_Made")


class StaticSession:
    """A static bundle opened. See `edgetts.decoding.session.Session`.

    remarks: sentences on where it runs, where that is not as one might expect. emulated: whether any part runs on a
    processor in place of an NPU, so that its times say nothing.
    """

    def __init__(
        self,
        manifest: Manifest,
        graphs: StaticGraphs,
        embedding: NDArray[Any],
        options: NpuOptions,
        exact: bool,
        emulated: bool,
    ) -> None:
        arch, note = graphs.arch, manifest.static
        assert note is not None  # noqa: S101 - the manifest of a static bundle has one
        self._arch, self._note = arch, note
        self._graphs = graphs
        self._embedding = embedding
        self._starts = [segment.start for segment in manifest.segments]
        self._heads = tuple(sorted({graph.width for graph in note.graphs if graph.is_head}))
        self._angles = Angles.of(arch, manifest.context + note.widths[-1])
        self._lanes: dict[int, Lane] = {}
        self._head_graphs: dict[int, Head] = {}
        self._limit = CacheLimit(options.memory_bytes)
        self._branches: set[StaticBranch] = set()
        self._lock = threading.RLock()
        self._latest = threading.local()
        self._closed = False
        opened = [*graphs.layers(1), graphs.head(1)]
        inputs = {name: port for graph in opened for name, port in graph.inputs.items()}
        self._form = cache_form(inputs, arch.layers)
        self.remarks = graphs.remarks
        self.emulated = emulated
        self._info = SessionInfo(
            runtime="npu",
            model=manifest.name,
            vocab=arch.vocab,
            end_tokens=frozenset(manifest.tokenizer.end_tokens),
            layers=arch.layers,
            context=manifest.context,
            cuts=manifest.cuts,
            bytes_per_token=self._form.bytes_per_token,
            whole_cache=True,
        )
        rounded = not exact or any(port.rounded for port in inputs.values())
        self._capabilities = Capabilities(
            parallel=False,
            exits=manifest.cuts,
            hidden_states=True,
            tolerance=_ROUNDED if rounded else _EXACT,
            widest=note.draft_width + 1,
        )
        self._lane(1)

    @classmethod
    def open(
        cls,
        bundle: Path,
        *,
        options: NpuOptions | None = None,
        trust: TrustRecord | None = None,
        **changes: Any,
    ) -> StaticSession:
        """Check a bundle and load it. `changes` are fields of NpuOptions.

        Raises what `open_bundle` raises, InvalidInput for another kind of bundle or options that do not fit it,
        and what finding a provider and opening graphs raise.
        """
        options = replace(options or NpuOptions(), **changes)
        manifest = open_bundle(bundle, trust=trust)
        note, arch = manifest.static, manifest.architecture
        if note is None or not isinstance(arch, Architecture):
            raise InvalidInput(
                f"The bundle {bundle.name} has no graphs of fixed shapes.",
                hint="Export the model with --target, e.g. generic-static.",
            )
        placement = place_segments(note.target, (0, *manifest.cuts, arch.layers), options)
        embedding = _open_embedding(bundle, arch)
        graphs = StaticGraphs(bundle, manifest, note, placement, options)
        exact = all(place.on_cpu for place in placement.segments)
        emulated = any(place.provider.emulated for place in placement.segments)
        return cls(manifest, graphs, embedding, options, exact, emulated)

    @property
    def info(self) -> SessionInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def cache_bytes(self) -> int:
        """Bytes that the caches of all live branches take."""
        return self._limit.used

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            self._check_tokens(tokens)
            check_prompt(self._info, len(tokens))
            branch = self._new_branch()
        try:
            logits = self._read(branch, tokens, cancel)
        except BaseException:
            if branch.cache is not None:
                self.free(branch)
            raise
        return branch, logits

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        with self._lock:
            own, _ = self._whole(branch)
            self._check_tokens(tokens)
            check_room(self._info, own.length + len(tokens))
        return self._read(own, tokens, cancel)

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            parent, source = self._whole(branch)
            check_fork(n)
            children: list[StaticBranch] = []
            try:
                for _ in range(n):
                    child = self._new_branch()
                    children.append(child)
                    assert child.cache is not None  # noqa: S101 - it is new
                    child.cache.copy_from(source, parent.length)
                    child.length = parent.length
            except BaseException:
                for child in children:
                    self._release(child)
                raise
            return [*children]

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            check_pairs(branches, tokens)
            self._check_tokens(tokens)
            own = [self._whole(branch)[0] for branch in branches]
            check_apart(own)
            check_room(self._info, max(b.length for b in own) + 1)
            with self._unless_it_fails(own), self._running() as options:
                streams = [self._pass(b, 1, [token], options) for b, token in zip(own, tokens, strict=True)]
                return self._logits(np.concatenate(streams), options)

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            own, _ = self._whole(branch)
            self._check_tokens(tokens)
            check_room(self._info, own.length + len(tokens))
            with self._unless_it_fails([own]), self._running() as options:
                streams, at = [], 0
                for width, count in passes_over(len(tokens), self._note.widths):
                    streams.append(self._pass(own, width, tokens[at : at + count], options))
                    at += count
                return self._logits(np.concatenate(streams), options)

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        with self._lock:
            if cut not in self._capabilities.exits:
                at = ", ".join(map(str, self._capabilities.exits)) or "nowhere"
                raise Unsupported(f"A pass of this session cannot stop at layer {cut}; it can at: {at}.")
            own = self._begin_partial(branch, tokens)
            with self._running() as options:
                return self._through(own, tokens, self._starts.index(cut), options)

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        with self._lock:
            if not self._capabilities.exits:
                raise Unsupported("A pass of this session cannot stop at a layer.")
            own = self._begin_partial(branch, tokens)
            if not tokens and not own.pending:
                raise InvalidInput("No token of the branch is pending.")
            with self._running() as options:
                return self._logits(self._through(own, tokens, len(self._starts), options), options)

    def features(self) -> Features:
        latest: Features | None = getattr(self._latest, "features", None)
        if latest is None:
            raise InvalidInput("This thread has computed nothing yet.")
        return latest

    def truncate(self, branch: Branch, length: int) -> None:
        with self._lock:
            own, _ = self._own(branch)
            check_cut(own.length, length)
            own.length = length
            if own.depths is not None:
                own.depths.truncate(length)

    def free(self, branch: Branch) -> None:
        with self._lock:
            self._release(self._own(branch)[0])

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for branch in [*self._branches]:
                self._release(branch)
            self._lanes.clear()
            self._head_graphs.clear()
            self._graphs.close()

    # Passes

    def _pass(
        self, branch: StaticBranch, width: int, tokens: Sequence[int], options: ort.RunOptions
    ) -> Floats:
        """Run tokens of one branch through all layers in one pass; return the stream [n, hidden] behind the last."""
        lane, cache = self._lane(width), branch.cache
        assert cache is not None  # noqa: S101 - narrowed by the callers
        lane.enter(0, self._embedded(tokens))
        for segment in range(len(self._starts)):
            lane.run(segment, cache, branch.length, len(tokens), options)
        branch.length += len(tokens)
        return lane.left(len(self._starts) - 1, len(tokens))

    def _through(
        self, branch: StaticBranch, tokens: Sequence[int], segments: int, options: ort.RunOptions
    ) -> Floats:
        """Bring every token through the first segments; return the stream behind the last of them."""
        cache, depths = branch.cache, branch.depths
        assert cache is not None  # noqa: S101 - narrowed by the callers
        assert depths is not None  # noqa: S101 - made by the callers
        last = len(self._starts) - 1
        for segment in range(segments):
            stream = depths.waiting(segment) if segment else self._embedded(tokens)
            left, at = np.empty_like(stream), 0
            for width, count in passes_over(len(stream), self._note.widths):
                lane = self._lane(width)
                lane.enter(segment, stream[at : at + count])
                lane.run(segment, cache, depths.filled[segment] + at, count, options)
                left[at : at + count] = lane.left(segment, count)
                at += count
            if at:
                depths.passed(segment, at, None if segment == last else left)
            branch.length = depths.filled[0]
        if segments > last:
            branch.depths = None
        return left

    def _logits(self, stream: Floats, options: ort.RunOptions) -> Logits:
        """Return the logits [n, V] of rows of the stream behind the last layer; keep their features."""
        logits = np.empty((len(stream), self._arch.vocab), np.float32)
        features = np.empty((len(stream), self._arch.hidden), np.float32)
        at = 0
        for width, count in passes_over(len(stream), self._heads):
            rows = slice(at, at + count)
            features[rows], logits[rows] = self._head(width).run(stream[rows], options)
            at += count
        self._latest.features = features
        return logits

    @contextmanager
    def _running(self, cancel: Cancellation | None = None) -> Iterator[ort.RunOptions]:
        """Give the options of a pass, which ends soon after `cancel` is requested; say what broke it."""
        if cancel is not None and cancel.requested:
            raise Cancelled
        options = ort.RunOptions()

        def terminate() -> None:
            options.terminate = True

        if cancel is not None:
            cancel.register(terminate)
        try:
            yield options
        except RuntimeFailure:
            raise
        except RuntimeError as error:
            if cancel is not None and cancel.requested:
                raise Cancelled from error
            raise RuntimeFailure(f"ONNX Runtime failed: {first_line(error)}") from error
        finally:
            if cancel is not None:
                cancel.unregister(terminate)

    @contextmanager
    def _unless_it_fails(self, branches: Sequence[StaticBranch]) -> Iterator[None]:
        """Leave branches as long as they were where a pass fails."""
        lengths = [branch.length for branch in branches]
        try:
            yield
        except BaseException:
            for branch, length in zip(branches, lengths, strict=True):
                branch.length = length
            raise

    def _lane(self, width: int) -> Lane:
        if width not in self._lanes:
            made = self._made(lambda: self._make_lane(width))
            self._lanes[width] = made
        return self._lanes[width]

    def _make_lane(self, width: int) -> Lane:
        positions = Positions(self._arch, self._angles, self._info.context, width, self._note.mask)
        graphs = self._graphs.layers(width)
        form = cache_form({n: p for graph in graphs for n, p in graph.inputs.items()}, self._arch.layers)
        if form != self._form:
            raise WrongPort(f"passes of {width} tokens hold the cache otherwise than those of one")
        return Lane(graphs, positions)

    def _head(self, width: int) -> Head:
        if width not in self._head_graphs:
            self._head_graphs[width] = Head(self._graphs.head(width))
        return self._head_graphs[width]

    def _made(self, make: Callable[[], _Made]) -> _Made:
        try:
            return make()
        except WrongPort as error:
            raise self._graphs.wrong(error) from error

    # Branches

    def _embedded(self, tokens: Sequence[int]) -> Floats:
        return np.asarray(self._embedding[np.asarray(tokens, np.int64)], np.float32)

    def _read(self, branch: StaticBranch, tokens: Sequence[int], cancel: Cancellation | None) -> Logits:
        """Append tokens in chunks; return the last one's logits."""
        read = 0
        for width, count in passes_over(len(tokens), self._note.widths):
            part = tokens[read : read + count]
            read += count
            # Other threads' passes may run between those of a long prompt.
            with self._lock, self._running(cancel) as options:
                self._own(branch)
                stream = self._pass(branch, width, part, options)
                if read == len(tokens):
                    logits = self._logits(stream[-1:], options)
        row: Logits = logits[0].copy()
        return row

    def _new_branch(self) -> StaticBranch:
        branch = StaticBranch(self._limit, HostCache(self._form, self._limit))
        self._branches.add(branch)
        return branch

    def _release(self, branch: StaticBranch) -> None:
        self._limit.give(self._form.nbytes)
        self._branches.discard(branch)
        branch.cache = None

    def _begin_partial(self, branch: Branch, tokens: Sequence[int]) -> StaticBranch:
        """Check that tokens may be appended."""
        own, _ = self._own(branch)
        if tokens:
            self._check_tokens(tokens)
        check_room(self._info, own.length + len(tokens))
        if not own.pending:
            # Made anew where there was one: tokens may have gone through all layers since.
            own.depths = Depths(len(self._starts), own.length, self._arch.hidden)
        return own

    def _whole(self, branch: Branch) -> tuple[StaticBranch, HostCache]:
        own, cache = self._own(branch)
        if own.pending:
            raise InvalidInput(f"{own.pending} tokens of the branch are pending: complete it first.")
        return own, cache

    def _own(self, branch: Branch) -> tuple[StaticBranch, HostCache]:
        if self._closed:
            raise InvalidInput("The session is closed.")
        if not isinstance(branch, StaticBranch) or branch.cache is None or branch.limit is not self._limit:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch, branch.cache

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")
        check_tokens(self._info, tokens)


def _open_embedding(bundle: Path, arch: Architecture) -> NDArray[Any]:
    """Map the embedding table [vocab, hidden], times its scale; rows are read when they are looked up."""
    table: Any = None
    with suppress(OSError, ValueError):
        table = np.load(bundle / EMBEDDING, mmap_mode="r", allow_pickle=False)
    if (
        not isinstance(table, np.ndarray)
        or table.shape != (arch.vocab, arch.hidden)
        or table.dtype not in (np.float32, np.float16)
    ):
        raise CorruptFile(
            f"The embedding table of the bundle {bundle.name} is not the one its manifest describes.",
            hint=_AGAIN,
        )
    return table
