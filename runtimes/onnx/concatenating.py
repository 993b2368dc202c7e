"""The Session contract over graphs that concatenate keys and values, as optimum exports them.

Slower than our own graphs, as every pass copies the cache, but for every architecture that can be exported.
Knows graphs, token ids and caches.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.bundle import CONCATENATING, MODEL, Manifest, TrustRecord, open_bundle
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
from edgetts.runtimes.onnx.cache import CacheLimit
from edgetts.runtimes.onnx.graphs import first_line, load_graphs
from edgetts.runtimes.onnx.options import OnnxOptions
from edgetts.runtimes.onnx.past_graph import Block, NotSuchAGraph, PastGraph

_AGAIN = "Remove it and export the model again."


@dataclass(eq=False, slots=True)
class SharingBranch:
    """A prefix: the first `length` tokens of a row of a block, which other branches may be too.

    `block` is None once it is freed.
    """

    owner: ConcatenatingSession
    block: Block | None
    row: int
    length: int

    @property
    def pending(self) -> int:
        """No token waits: passes go through all layers."""
        return 0


class ConcatenatingSession:
    """A bundle with a concatenating graph. See `edgetts.decoding.session.Session`.

    A fork copies nothing: blocks are never written to again, so branches can share them.
    """

    def __init__(self, manifest: Manifest, graph: PastGraph, options: OnnxOptions) -> None:
        self._graph: PastGraph | None = graph
        self._chunk = options.chunk
        self._limit = CacheLimit(options.memory_bytes)
        self._lock = threading.RLock()
        self._branches: set[SharingBranch] = set()
        self._info = SessionInfo(
            runtime="onnx",
            model=manifest.name,
            vocab=graph.vocab,
            end_tokens=frozenset(manifest.tokenizer.end_tokens),
            layers=manifest.architecture.layers,
            context=manifest.context,
            bytes_per_token=graph.bytes_per_token,
        )

    @classmethod
    def open(
        cls,
        bundle: Path,
        *,
        options: OnnxOptions | None = None,
        trust: TrustRecord | None = None,
        **changes: Any,
    ) -> ConcatenatingSession:
        """Check a bundle and load it. `changes` are fields of OnnxOptions.

        Raises what `open_bundle` raises, InvalidInput for options that need segments, and CorruptFile where
        ONNX Runtime refuses the graph.
        """
        options = replace(options or OnnxOptions(), **changes)
        manifest = open_bundle(bundle, trust=trust)
        if manifest.graph != CONCATENATING:
            raise InvalidInput(f"The bundle {bundle.name} has no concatenating graph.")
        if options.by_segment:
            raise InvalidInput(
                f"The bundle {bundle.name} was exported by optimum and has no segments, so no pass can stop "
                "inside the network.",
                hint="Export the model without --via optimum, if edgetts knows its family.",
            )
        try:
            graph = PastGraph(load_graphs(bundle, [MODEL], options)[0])
        except NotSuchAGraph as error:
            raise CorruptFile(f"The bundle {bundle.name} cannot be run: {error}.", hint=_AGAIN) from error
        sizes = manifest.architecture
        if (graph.vocab, graph.layers) != (sizes.vocab, sizes.layers):
            raise CorruptFile(
                f"The graph of the bundle {bundle.name} is not the one its manifest describes.", hint=_AGAIN
            )
        return cls(manifest, graph, options)

    @property
    def info(self) -> SessionInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def cache_bytes(self) -> int:
        """Bytes that the caches of all live branches take."""
        return self._limit.used

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            graph = self._open_graph()
            check_tokens(self._info, tokens)
            check_prompt(self._info, len(tokens))
            branch = SharingBranch(self, graph.empty(), 0, 0)
            self._branches.add(branch)
            self._use(branch.block)
        try:
            logits = self._read(branch, tokens, cancel)
        except BaseException:
            if branch.block is not None:
                self.free(branch)
            raise
        return branch, logits

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        with self._lock:
            own, _ = self._own(branch)
            check_tokens(self._info, tokens)
            check_room(self._info, own.length + len(tokens))
        return self._read(own, tokens, cancel)

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            parent, block = self._own(branch)
            check_fork(n)
            children = [SharingBranch(self, block, parent.row, parent.length) for _ in range(n)]
            self._branches.update(children)
            block.users += n
            return [*children]

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            graph = self._open_graph()
            check_pairs(branches, tokens)
            check_tokens(self._info, tokens)
            own = [self._own(branch)[0] for branch in branches]
            check_apart(own)
            check_room(self._info, max(b.length for b in own) + 1)
            logits = np.empty((len(own), self._info.vocab), np.float32)
            # Beside each other where they lie beside each other already, so that less is copied.
            met: dict[int, int] = {}
            for one in own:
                met.setdefault(id(one.block), len(met))
            order = sorted(range(len(own)), key=lambda i: (met[id(own[i].block)], own[i].row))
            if graph.has_positions:
                groups = [order]
            else:
                # A graph that counts positions itself would count the padding of shorter rows too.
                order.sort(key=lambda i: own[i].length)
                groups = [[*g] for _, g in itertools.groupby(order, key=lambda i: own[i].length)]
            passes = [([own[i] for i in g], np.asarray([[tokens[i]] for i in g], np.int64)) for g in groups]
            for group, found in zip(groups, self._append(passes), strict=True):
                logits[group] = found[:, 0]
            return logits

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            own, _ = self._own(branch)
            check_tokens(self._info, tokens)
            check_room(self._info, own.length + len(tokens))
            [found] = self._append([([own], np.asarray([tokens], np.int64))])
            logits: Logits = found[0]
            return logits

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:  # noqa: ARG002
        raise Unsupported(f"This bundle has no segments, so no pass can stop at layer {cut}.")

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:  # noqa: ARG002
        raise Unsupported("This bundle has no segments, so no token is pending.")

    def features(self) -> Features:
        raise Unsupported("This bundle's graph returns no hidden states.")

    def truncate(self, branch: Branch, length: int) -> None:
        with self._lock:
            own, _ = self._own(branch)
            check_cut(own.length, length)
            own.length = length

    def free(self, branch: Branch) -> None:
        with self._lock:
            own, _ = self._own(branch)
            self._move(own, None)
            self._branches.remove(own)

    def close(self) -> None:
        with self._lock:
            self._graph = None
            for branch in self._branches:
                self._move(branch, None)
            self._branches.clear()

    def _read(self, branch: SharingBranch, tokens: Sequence[int], cancel: Cancellation | None) -> Logits:
        """Append tokens in chunks; return the last one's logits."""
        for at in range(0, len(tokens), self._chunk):
            part = tokens[at : at + self._chunk]
            # Other threads' passes may run between the chunks of a long prompt.
            with self._lock:
                if cancel is not None and cancel.requested:
                    raise Cancelled
                self._own(branch)
                whole = at + len(part) == len(tokens)
                [logits] = self._append([([branch], np.asarray([part], np.int64))], cancel, logits=whole)
        row: Logits = logits[0, -1].copy()
        return row

    def _append(
        self,
        passes: Sequence[tuple[Sequence[SharingBranch], NDArray[np.int64]]],
        cancel: Cancellation | None = None,
        *,
        logits: bool = True,
    ) -> list[NDArray[np.float32]]:
        """Append, in each pass, tokens [B, T] to B branches; return logits [B, T, V] of each.

        Where one pass fails, no branch has changed.
        """
        graph = self._open_graph()
        taken = 0
        done = []
        try:
            for branches, tokens in passes:
                columns = max(branch.length for branch in branches) + tokens.shape[1]
                needed = len(branches) * columns * graph.bytes_per_token
                self._limit.take(needed)
                taken += needed
                done.append(self._run(graph, self._together(graph, branches), tokens, cancel, logits))
        except BaseException:
            self._limit.give(taken)
            raise
        for (branches, tokens), (_, grown) in zip(passes, done, strict=True):
            for row, branch in enumerate(branches):
                self._move(branch, grown)
                branch.row = row
                branch.length += tokens.shape[1]
        return [found for found, _ in done]

    def _run(
        self,
        graph: PastGraph,
        past: Block,
        tokens: NDArray[np.int64],
        cancel: Cancellation | None,
        logits: bool,
    ) -> tuple[NDArray[np.float32], Block]:
        options = ort.RunOptions()

        def terminate() -> None:
            options.terminate = True

        if cancel is not None:
            cancel.register(terminate)
        try:
            return graph.run(past, tokens, options, logits=logits)
        except RuntimeError as error:
            if cancel is not None and cancel.requested:
                raise Cancelled from error
            raise RuntimeFailure(f"ONNX Runtime failed: {first_line(error)}") from error
        finally:
            if cancel is not None:
                cancel.unregister(terminate)

    def _together(self, graph: PastGraph, branches: Sequence[SharingBranch]) -> Block:
        """Return one block whose rows are the branches, in their order and no longer than they are."""
        rows = [(block, b.row, b.length) for b in branches if (block := b.block) is not None]
        first = rows[0][0]
        whole = len(rows) == len(first.pads) and all(
            block is first and row == at and length == first.columns - first.pads[at]
            for at, (block, row, length) in enumerate(rows)
        )
        # A row that all others are shorter than would leave columns that nobody uses.
        return first if whole and min(first.pads) == 0 else graph.gather(rows)

    def _use(self, block: Block | None) -> None:
        if block is not None:
            block.users += 1

    def _move(self, branch: SharingBranch, block: Block | None) -> None:
        """Make a branch a row of another block, or of none; the last to leave a block gives it back."""
        old = branch.block
        self._use(block)
        branch.block = block
        if old is not None:
            old.users -= 1
            if not old.users:
                self._limit.give(sum(array.nbytes for array in old.arrays))

    def _own(self, branch: Branch) -> tuple[SharingBranch, Block]:
        self._open_graph()
        if not isinstance(branch, SharingBranch) or branch.block is None or branch.owner is not self:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch, branch.block

    def _open_graph(self) -> PastGraph:
        if self._graph is None:
            raise InvalidInput("The session is closed.")
        return self._graph
