"""Run bundles on ONNX Runtime: any execution provider that has the fused operators.

Knows graphs, token ids and caches. Passes are bound once and run without copies: inputs, logits
and caches are NumPy arrays whose memory ONNX Runtime reads and writes in place.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edgetts.bundle import MODEL, PROMPT, Manifest, TrustRecord, open_bundle
from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import CorruptFile, InvalidInput, PromptTooLong, RuntimeFailure
from edgetts.runtimes.cache import Arena, CachedBranch, CacheLimit, CacheShape
from edgetts.runtimes.hardware import cores_busy_elsewhere, physical_cores

# A session keeps this many shapes of passes bound; speculation uses a handful of widths.
_BINDINGS = 12

# ONNX Runtime's exceptions have no base of their own.
LOAD_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in vars(ort_state).values() if isinstance(e, type) and issubclass(e, Exception)),
)
"""What it may raise while it loads a graph."""


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How ONNX Runtime runs. Lengths in tokens.

    threads: None is one per physical core. spin: threads wait busily inside a pass, which makes small
    models a third faster on an idle device and half as fast on a busy one; None looks, when it opens,
    whether other programs keep a core busy. They sleep between passes. arena: keep freed activations for the next pass.
    providers: execution providers, first choice first. by_segment: open the layers in segments
    instead of whole, so that a pass can stop at a cut. chunk: tokens of a prompt in one pass.
    memory_bytes: limit of all branches' caches. long_prompt: from this many tokens on a prompt is read
    by a graph of its own, exact and on many devices faster (`edgetts.load` measures it); it holds 4-bit weights a second time, is opened when it
    is first needed, and only where that takes less than a tenth of the memory left. None never does.
    """

    threads: int | None = None
    spin: bool | None = None
    arena: bool = True
    providers: tuple[str | tuple[str, Mapping[str, str]], ...] = ("CPUExecutionProvider",)
    by_segment: bool = False
    chunk: int = 256
    memory_bytes: int | None = None
    long_prompt: int | None = 128

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InvalidInput(f"threads is {self.threads}, but it must be between 1 and 1024.")
        if self.chunk < 1:
            raise InvalidInput(f"chunk is {self.chunk}, but it must be at least 1 token.")
        available = ort.get_available_providers()
        for provider in self.providers:
            name = provider if isinstance(provider, str) else provider[0]
            if name not in available:
                raise InvalidInput(
                    f"This onnxruntime has no {name}.",
                    hint=f"It has: {', '.join(available)}. See: edgetts doctor",
                )


class _Pass:
    """One shape of pass over rows [first, first + batch) of an arena, with its memory bound."""

    def __init__(
        self,
        graphs: Sequence[ort.InferenceSession],
        arena: Arena,
        hidden: int,
        vocab: int,
        first: int,
        batch: int,
        sequence: int,
        selected: int,
    ) -> None:
        self.version = arena.version
        # Logits are lent to the thread that asked for them until its own next call.
        self.thread = threading.get_ident()
        self.ids = np.zeros((batch, sequence), np.int64)
        self.seqlens = np.zeros(batch, np.int32)
        self.total = np.zeros(1, np.int32)
        self.positions = np.zeros(selected, np.int64)
        self.logits = np.zeros((selected, vocab), np.float32)
        inputs = {
            "input_ids": self.ids,
            "seqlens": self.seqlens,
            "total_length": self.total,
            "positions": self.positions,
        }
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        values["logits"] = ort.OrtValue.ortvalue_from_numpy(self.logits)
        self.features = np.zeros((selected, hidden), np.float32)
        values["features"] = ort.OrtValue.ortvalue_from_numpy(self.features)
        for layer in range(arena.shape.layers):
            for kind, blocks in (("key", arena.keys), ("value", arena.values)):
                rows = blocks[layer][first : first + batch]
                values[f"past_{kind}.{layer}"] = ort.OrtValue.ortvalue_from_numpy(rows)
        self._steps = []
        # ONNX Runtime does not keep NumPy's memory alive.
        self._alive: list[ort.OrtValue] = []
        for graph in graphs:
            binding = graph.io_binding()
            for node in graph.get_inputs():
                binding.bind_ortvalue_input(node.name, values[node.name])
            for node in graph.get_outputs():
                name = node.name.replace("present_", "past_")
                if name == "hidden.out":
                    stream = ort.OrtValue.ortvalue_from_numpy(np.zeros((batch, sequence, hidden), np.float32))
                    binding.bind_ortvalue_output(node.name, stream)
                    values["hidden"] = stream
                    self._alive.append(stream)
                else:
                    binding.bind_ortvalue_output(node.name, values[name])
            self._steps.append((graph, binding))
        self._alive += values.values()

    def run(self, options: ort.RunOptions) -> None:
        for graph, binding in self._steps:
            graph.run_with_iobinding(binding, options)


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
        self._passes: dict[tuple[Arena, int, int, int, int, int], _Pass] = {}
        self._closed = False
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

        Raises what `open_bundle` raises, and CorruptFile where ONNX Runtime refuses a graph.
        """
        options = replace(options or OnnxOptions(), **changes)
        manifest = open_bundle(bundle, trust=trust)
        files = [s.file for s in manifest.segments] if options.by_segment else [MODEL]
        return cls(bundle, manifest, _open_graphs(bundle, manifest, files, options), options)

    @property
    def info(self) -> SessionInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(exits=self._info.cuts if self._options.by_segment else (), hidden_states=True)

    @property
    def cache_bytes(self) -> int:
        """Bytes that the caches of all live branches take."""
        return self._limit.used

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            self._check_tokens(tokens)
            if len(tokens) > self._info.context:
                raise PromptTooLong(
                    f"The prompt has {len(tokens)} tokens, but the model's context holds {self._info.context}.",
                    hint="Shorten the prompt.",
                )
            arena = Arena.create(self._shape, self._limit, 1, len(tokens))
            branch = arena.place(0)
        try:
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
        except BaseException:
            if branch.arena is not None:
                self.free(branch)
            raise
        return branch, logits[0]

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            parent, source = self._own(branch)
            if n < 1:
                raise InvalidInput(f"A fork makes at least one branch, not {n}.")
            arena = Arena.create(self._shape, self._limit, n, parent.length)
            children: list[Branch] = []
            for _ in range(n):
                child = arena.place(parent.length)
                arena.copy_from(source, parent.row, child.row, parent.length)
                children.append(child)
            return children

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            if not branches or len(branches) != len(tokens):
                raise InvalidInput(
                    f"A step takes one token for each branch, not {len(tokens)} for {len(branches)}."
                )
            self._check_tokens(tokens)
            own = [self._own(branch)[0] for branch in branches]
            if len({id(b) for b in own}) != len(own):
                raise InvalidInput("A step takes each branch once.")
            longest = max(b.length for b in own) + 1
            self._check_room(longest)
            arena = self._together(own)
            arena.reserve(longest)
            first = arena.gather(own)
            bound = self._bind(arena, first, len(own), 1, len(own))
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
            own, _ = self._own(branch)
            self._check_tokens(tokens)
            self._check_room(own.length + len(tokens))
            return self._append(own, tokens, range(len(tokens)))

    def features(self) -> Features:
        latest: Features | None = getattr(self._latest, "features", None)
        if latest is None:
            raise InvalidInput("This thread has computed nothing yet.")
        return latest

    def truncate(self, branch: Branch, length: int) -> None:
        with self._lock:
            own, _ = self._own(branch)
            if not 0 <= length <= own.length:
                raise InvalidInput(f"A branch of {own.length} tokens cannot be cut to {length}.")
            own.length = length

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
        bound = self._bind(arena, branch.row, 1, len(tokens), len(selected), graphs)
        bound.ids[0] = tokens
        bound.seqlens[0] = length - 1
        bound.total[0] = length
        bound.positions[:] = selected
        self._run(bound, cancel)
        branch.length = length
        return bound.logits

    def _graphs_for(self, prompt: int, cancel: Cancellation | None) -> list[ort.InferenceSession]:
        """Return the graphs to read a prompt with, opening those for long ones when first needed."""
        least = self._options.long_prompt
        if not self.exact_prompts or least is None or prompt < least:
            return self._graphs
        if self._prompt_graphs is None:
            packed = sum(n.bytes for n in self._manifest.tensors.values() if n.stored.startswith("int4"))
            roomy = packed < psutil.virtual_memory().available / 10
            self._prompt_graphs = (
                _open_graphs(self._bundle, self._manifest, [PROMPT], self._options, cancel)
                if roomy
                else self._graphs
            )
        return self._prompt_graphs

    def _bind(
        self,
        arena: Arena,
        first: int,
        batch: int,
        sequence: int,
        selected: int,
        graphs: list[ort.InferenceSession] | None = None,
    ) -> _Pass:
        graphs = self._graphs if graphs is None else graphs
        key = (arena, first, batch, sequence, selected, id(graphs))
        bound = self._passes.pop(key, None)
        if bound is None or bound.version != arena.version or bound.thread != threading.get_ident():
            self._forget_stale()
            arch = self._arch
            bound = _Pass(graphs, arena, arch.hidden, arch.vocab, first, batch, sequence, selected)
        self._passes[key] = bound
        while len(self._passes) > _BINDINGS:
            del self._passes[next(iter(self._passes))]
        return bound

    def _forget_stale(self) -> None:
        """Drop passes over blocks that an arena has replaced or given up, which they would keep in memory."""
        self._passes = {key: bound for key, bound in self._passes.items() if bound.version == key[0].version}

    def _run(self, bound: _Pass, cancel: Cancellation | None = None) -> None:
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
        if not tokens:
            raise InvalidInput("There are no tokens to run.")
        if min(tokens) < 0 or max(tokens) >= self._info.vocab:
            raise InvalidInput(f"A token id lies outside the vocabulary of {self._info.vocab}.")

    def _check_room(self, length: int) -> None:
        if length > self._info.context:
            raise PromptTooLong(
                f"A branch would reach {length} tokens, but the model's context holds {self._info.context}."
            )


def _session_options(options: OnnxOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or physical_cores()
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.enable_cpu_mem_arena = options.arena
    settings.log_severity_level = 3
    spin = cores_busy_elsewhere() < 1 if options.spin is None else options.spin
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    # Threads that go on spinning after a pass would steal the cores from sampling and from other segments.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return settings


def _open_graphs(
    bundle: Path,
    manifest: Manifest,
    files: Sequence[str],
    options: OnnxOptions,
    cancel: Cancellation | None = None,
) -> list[ort.InferenceSession]:
    """Load graphs and check their ports. Raises CorruptFile, or Cancelled soon after `cancel` is requested."""
    settings = _session_options(options)

    def terminate() -> None:
        settings.set_load_cancellation_flag(True)

    providers = [(p, {}) if isinstance(p, str) else (p[0], dict(p[1])) for p in options.providers]
    if cancel is not None:
        cancel.register(terminate)
    try:
        graphs = [ort.InferenceSession(bundle / file, settings, providers=providers) for file in files]
    except LOAD_ERRORS as error:
        if cancel is not None and cancel.requested:
            raise Cancelled from error
        raise CorruptFile(
            f"ONNX Runtime cannot load the bundle {bundle.name}: {first_line(error)}",
            hint="Remove it and export the model again.",
        ) from error
    finally:
        if cancel is not None:
            cancel.unregister(terminate)
    if set().union(*map(_ports, graphs)) != _expected_ports(manifest, options.by_segment):
        raise CorruptFile(
            f"The graphs of the bundle {bundle.name} are not those of its manifest's architecture.",
            hint="Remove it and export the model again.",
        )
    return graphs


def _ports(graph: ort.InferenceSession) -> set[str]:
    return {node.name for node in (*graph.get_inputs(), *graph.get_outputs())}


def _expected_ports(manifest: Manifest, by_segment: bool) -> set[str]:
    """Name the inputs and outputs that the graphs of a manifest's model have together."""
    names = {"input_ids", "seqlens", "total_length", "positions", "logits", "features"}
    if by_segment and manifest.cuts:
        names |= {"hidden", "hidden.out"}
    for layer in range(manifest.architecture.layers):
        names |= {f"{when}_{part}.{layer}" for when in ("past", "present") for part in ("key", "value")}
    return names


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
