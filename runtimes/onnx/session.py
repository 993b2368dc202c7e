"""The Session contract over ONNX Runtime. Knows graphs, token ids and caches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
from numpy.typing import NDArray

from edgetts.bundle import FUSED, MODEL, PROMPT, Manifest, TrustRecord, open_bundle
from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import InvalidInput, RuntimeFailure, Unsupported
from edgetts.runtimes.checks import (
    check_apart,
    check_cut,
    check_fork,
    check_pairs,
    check_prompt,
    check_room,
    check_tokens,
)
from edgetts.runtimes.onnx.cache import Arena, CachedBranch, CacheLimit, CacheShape
from edgetts.runtimes.onnx.depths import Depths
from edgetts.runtimes.onnx.graphs import first_line, open_graphs
from edgetts.runtimes.onnx.options import OnnxOptions
from edgetts.runtimes.onnx.passes import Pass, Shape

# A session keeps this many shapes of passes bound; speculation uses a handful of widths, in every segment.
_BINDINGS = 12


class OnnxSession:
    """A bundle opened on ONNX Runtime. See `edgetts.decoding.session.Session`."""

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        graphs: list[ort.InferenceSession],
        options: OnnxOptions,
    ) -> None:
        arch = manifest.architecture
        self._bundle = bundle
        self._manifest = manifest
        self._graphs = graphs
        self._prompt_graphs: list[ort.InferenceSession] | None = None
        self._options = options
        self.exact_prompts = (
            options.long_prompt is not None and not options.by_segment and PROMPT in manifest.files
        )
        """Whether long prompts are read by the graph of their own; may be changed at any time."""
        self._arch = arch
        self._shape = CacheShape(arch.layers, arch.kv_heads, arch.head_dim, manifest.context)
        self._limit = CacheLimit(options.memory_bytes)
        self._lock = threading.RLock()
        self._latest = threading.local()
        self._passes: dict[tuple[Arena, tuple[int, ...], Shape], Pass] = {}
        self._closed = False
        cuts = manifest.cuts if options.by_segment else ()
        self._capabilities = Capabilities(exits=cuts, hidden_states=True)
        self._info = SessionInfo(
            runtime="onnx",
            model=manifest.name,
            vocab=arch.vocab,
            end_tokens=frozenset(manifest.tokenizer.end_tokens),
            layers=arch.layers,
            context=manifest.context,
            cuts=manifest.cuts,
            bytes_per_token=self._shape.bytes_per_token,
        )

    @classmethod
    def open(
        cls,
        bundle: Path,
        *,
        options: OnnxOptions | None = None,
        trust: TrustRecord | None = None,
        **changes: Any,
    ) -> OnnxSession:
        """Check a bundle and load it. `changes` are fields of OnnxOptions.

        Raises what `open_bundle` raises, InvalidInput for another exporter's graph, and CorruptFile where
        ONNX Runtime refuses one.
        """
        options = replace(options or OnnxOptions(), **changes)
        manifest = open_bundle(bundle, trust=trust)
        if manifest.static is not None:
            raise InvalidInput(
                f"The bundle {bundle.name} has graphs of fixed shapes only.",
                hint="Open it with the runtime npu.",
            )
        if manifest.graph != FUSED:
            raise InvalidInput(
                f"The bundle {bundle.name} was exported by optimum: its graph has no segments and no features.",
                hint="Export the model without --via optimum, if edgetts knows its family.",
            )
        files = [s.file for s in manifest.segments] if options.by_segment else [MODEL]
        return cls(bundle, manifest, open_graphs(bundle, manifest, files, options), options)

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
            arena = Arena.create(self._shape, self._limit, 1, len(tokens))
            branch = arena.place(0)
        try:
            logits = self._read(branch, tokens, cancel)
        except BaseException:
            if branch.arena is not None:
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
            arena = Arena.create(self._shape, self._limit, n, parent.length)
            children: list[Branch] = []
            for _ in range(n):
                child = arena.place(parent.length)
                arena.copy_from(source, parent.row, child.row, parent.length)
                children.append(child)
            return children

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            check_pairs(branches, tokens)
            self._check_tokens(tokens)
            own = [self._whole(branch)[0] for branch in branches]
            check_apart(own)
            longest = max(b.length for b in own) + 1
            check_room(self._info, longest)
            arena = self._together(own)
            arena.reserve(longest)
            first = arena.gather(own)
            bound = self._bind(arena, Shape(first, len(own), 1, len(own)))
            for i, (branch, token) in enumerate(zip(own, tokens, strict=True)):
                at = branch.row - first
                bound.ids[at, 0] = token
                bound.seqlens[at] = branch.length
                bound.positions[i] = at
            bound.total[0] = longest
            self._run(bound)
            for branch in own:
                branch.length += 1
            return bound.logits

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            own, _ = self._whole(branch)
            self._check_tokens(tokens)
            check_room(self._info, own.length + len(tokens))
            return self._append(own, tokens, range(len(tokens)))

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        with self._lock:
            if cut not in self.capabilities.exits:
                at = ", ".join(map(str, self.capabilities.exits)) or "nowhere"
                raise Unsupported(f"A pass of this session cannot stop at layer {cut}; it can at: {at}.")
            own = self._begin_partial(branch, tokens)
            return self._through(own, tokens, self._info.cuts.index(cut) + 1)

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        with self._lock:
            if not self.capabilities.exits:
                raise Unsupported("A pass of this session cannot stop at a layer.")
            own = self._begin_partial(branch, tokens)
            if not tokens and not own.pending:
                raise InvalidInput("No token of the branch is pending.")
            return self._through(own, tokens, len(self._graphs))

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
            own, arena = self._own(branch)
            arena.release(own)
            if arena.empty:
                self._forget_stale()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._passes.clear()
            self._graphs.clear()
            self._prompt_graphs = None
            for arena in list(self._limit.arenas):
                arena.release_all()

    def _read(self, branch: CachedBranch, tokens: Sequence[int], cancel: Cancellation | None) -> Logits:
        """Append tokens in chunks; return the last one's logits."""
        for at in range(0, len(tokens), self._options.chunk):
            part = tokens[at : at + self._options.chunk]
            last = at + len(part) == len(tokens)
            # Other threads' passes may run between the chunks of a long prompt.
            with self._lock:
                if cancel is not None and cancel.requested:
                    raise Cancelled
                self._own(branch)
                graphs = self._graphs_for(len(tokens), cancel)
                chosen = range(len(part) - 1, len(part)) if last else ()
                logits = self._append(branch, part, chosen, cancel, graphs).copy()
        row: Logits = logits[0]
        return row

    def _append(
        self,
        branch: CachedBranch,
        tokens: Sequence[int],
        selected: Sequence[int],
        cancel: Cancellation | None = None,
        graphs: list[ort.InferenceSession] | None = None,
    ) -> NDArray[np.float32]:
        """Run tokens of one branch; return the logits of the selected ones."""
        arena = branch.arena
        assert arena is not None  # noqa: S101 - narrowed by the callers
        length = branch.length + len(tokens)
        arena.reserve(length)
        bound = self._bind(arena, Shape(branch.row, 1, len(tokens), len(selected)), graphs)
        bound.ids[0] = tokens
        bound.seqlens[0] = length - 1
        bound.total[0] = length
        bound.positions[:] = selected
        self._run(bound, cancel)
        branch.length = length
        return bound.logits

    def _begin_partial(self, branch: Branch, tokens: Sequence[int]) -> CachedBranch:
        """Check that tokens may be appended, and make room for them."""
        own, arena = self._own(branch)
        if tokens:
            self._check_tokens(tokens)
        check_room(self._info, own.length + len(tokens))
        arena.reserve(own.length + len(tokens))
        if own.depths is None or not own.pending:
            # Also where pending tokens were cut off: what was appended since went through all layers.
            own.depths = Depths(len(self._graphs), own.length, self._arch.hidden)
        return own

    def _through(self, branch: CachedBranch, tokens: Sequence[int], segments: int) -> NDArray[np.float32]:
        """Bring every token through the first segments; return what the last of them computed."""
        arena, depths = branch.arena, branch.depths
        assert arena is not None  # noqa: S101 - narrowed by the callers
        assert depths is not None  # noqa: S101 - made by the callers
        out: NDArray[np.float32] = np.zeros((0, self._arch.hidden), np.float32)
        last = len(self._graphs) - 1
        for segment in range(segments):
            count = len(tokens) if segment == 0 else depths.filled[segment - 1] - depths.filled[segment]
            out = out[:0]
            if not count:
                continue
            chosen = count if segment == last else 0
            bound = self._bind(arena, Shape(branch.row, 1, count, chosen), [self._graphs[segment]])
            if segment == 0:
                bound.ids[0] = tokens
            else:
                bound.stream[0] = depths.waiting(segment)
            bound.total[0] = depths.filled[segment] + count
            bound.seqlens[0] = bound.total[0] - 1
            bound.positions[:] = range(chosen)
            self._run(bound)
            out = bound.logits if segment == last else bound.result[0].copy()
            depths.passed(segment, count, None if segment == last else out)
            branch.length = depths.filled[0]
        if segments > last:
            branch.depths = None
        return out

    def _graphs_for(self, prompt: int, cancel: Cancellation | None) -> list[ort.InferenceSession]:
        """Return the graphs to read a prompt with, opening those for long ones when first needed."""
        least = self._options.long_prompt
        if not self.exact_prompts or least is None or prompt < least:
            return self._graphs
        if self._prompt_graphs is None:
            packed = sum(n.bytes for n in self._manifest.tensors.values() if n.stored.startswith("int4"))
            roomy = packed < psutil.virtual_memory().available / 10
            self._prompt_graphs = (
                open_graphs(self._bundle, self._manifest, [PROMPT], self._options, cancel)
                if roomy
                else self._graphs
            )
        return self._prompt_graphs

    def _bind(self, arena: Arena, shape: Shape, graphs: Sequence[ort.InferenceSession] | None = None) -> Pass:
        graphs = self._graphs if graphs is None else graphs
        key = (arena, tuple(map(id, graphs)), shape)
        bound = self._passes.pop(key, None)
        if bound is None or bound.version != arena.version or bound.thread != threading.get_ident():
            self._forget_stale()
            bound = Pass(graphs, arena, self._arch.hidden, self._arch.vocab, shape)
        self._passes[key] = bound
        while len(self._passes) > _BINDINGS * len(self._graphs):
            del self._passes[next(iter(self._passes))]
        return bound

    def _forget_stale(self) -> None:
        """Drop passes over blocks that an arena has replaced or given up, which they would keep in memory."""
        self._passes = {key: bound for key, bound in self._passes.items() if bound.version == key[0].version}

    def _run(self, bound: Pass, cancel: Cancellation | None = None) -> None:
        options = ort.RunOptions()

        def terminate() -> None:
            options.terminate = True

        if cancel is not None:
            cancel.register(terminate)
        try:
            bound.run(options)
        except RuntimeError as error:
            if cancel is not None and cancel.requested:
                raise Cancelled from error
            raise RuntimeFailure(f"ONNX Runtime failed: {first_line(error)}") from error
        else:
            self._latest.features = bound.features
        finally:
            if cancel is not None:
                cancel.unregister(terminate)

    def _together(self, branches: list[CachedBranch]) -> Arena:
        """Return one arena that holds all the branches, moving as few of them as possible."""
        arenas = [b.arena for b in branches if b.arena is not None]
        common = max(arenas, key=lambda arena: sum(other is arena for other in arenas))
        strangers = [b for b in branches if b.arena is not common]
        if not strangers:
            return common
        if common.free_rows < len(strangers):
            common = Arena.create(self._shape, self._limit, len(branches), max(b.length for b in branches))
            strangers = branches
        else:
            common.reserve(max(b.length for b in strangers))
        for branch in strangers:
            common.adopt(branch)
        return common

    def _whole(self, branch: Branch) -> tuple[CachedBranch, Arena]:
        own, arena = self._own(branch)
        if own.pending:
            raise InvalidInput(f"{own.pending} tokens of the branch are pending: complete it first.")
        return own, arena

    def _own(self, branch: Branch) -> tuple[CachedBranch, Arena]:
        if self._closed:
            raise InvalidInput("The session is closed.")
        if (
            not isinstance(branch, CachedBranch)
            or branch.arena is None
            or branch.arena.limit is not self._limit
        ):
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch, branch.arena

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")
        check_tokens(self._info, tokens)
