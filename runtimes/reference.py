"""Run a checkpoint in plain NumPy float32: slow, and the definition of what a model computes.

Reads weights by their canonical names through a function; knows token ids and arrays only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetts.architecture import Architecture, rope_tables
from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import InvalidInput, PromptTooLong, Unsupported

Floats = NDArray[np.float32]
Load = Callable[[str], Floats]
Observe = Callable[[str, Floats], None]

_LAYER_PARTS = (
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
)


@dataclass(slots=True)
class LayerCache:
    """Keys (rotated) and values of one layer and branch, [kv_heads, tokens, head_dim]."""

    keys: Floats
    values: Floats


class Decoder:
    """The network, layer by layer, so that a caller decides how many layers' weights are in memory."""

    def __init__(self, arch: Architecture, load: Load, *, positions: int) -> None:
        self._arch = arch
        self._load = load
        self._rope = rope_tables(arch, positions)
        self._rope_local = rope_tables(arch, positions, local=True)

    def empty_cache(self) -> LayerCache:
        arch = self._arch
        none = np.zeros((arch.kv_heads, 0, arch.head_dim), np.float32)
        return LayerCache(none, none)

    def embed(self, tokens: Sequence[int], table: Floats | None = None) -> Floats:
        """Return the residual stream [T, hidden] before the first layer."""
        table = self._load("token_embd.weight") if table is None else table
        scale = self._arch.embedding_scale
        return np.asarray(table[np.asarray(tokens)] * np.float32(1 if scale is None else scale), np.float32)

    def layer_weights(self, layer: int) -> dict[str, Floats]:
        """Load one layer's tensors, by their names within the layer."""
        arch = self._arch
        parts = list(_LAYER_PARTS)
        if arch.attention_bias:
            parts += ["attn_q.bias", "attn_k.bias", "attn_v.bias"]
        if arch.qk_norm:
            parts += ["attn_q_norm.weight", "attn_k_norm.weight"]
        if arch.post_norms:
            parts += ["post_attention_norm.weight", "post_ffw_norm.weight"]
        return {part: self._load(f"blk.{layer}.{part}") for part in parts}

    def layer(
        self,
        layer: int,
        weights: dict[str, Floats],
        x: Floats,
        cache: LayerCache,
        observe: Observe | None = None,
    ) -> Floats:
        """Run one layer over new tokens [T, hidden], appending to its cache.

        `observe` is shown the input of every matrix, by the matrix's name within the layer.
        """
        see = observe or (lambda name, array: None)
        arch = self._arch
        normed = self._norm(x, weights["attn_norm.weight"])
        see("attn_qkv", normed)
        attended = self._attention(layer, weights, normed, cache)
        see("attn_output", attended)
        delta = attended @ weights["attn_output.weight"].T
        if arch.post_norms:
            delta = self._norm(delta, weights["post_attention_norm.weight"])
        x = x + delta
        normed = self._norm(x, weights["ffn_norm.weight"])
        see("ffn_gate_up", normed)
        gate = normed @ weights["ffn_gate.weight"].T
        active = _silu(gate) if arch.activation == "silu" else _gelu_tanh(gate)
        product = active * (normed @ weights["ffn_up.weight"].T)
        see("ffn_down", product)
        delta = product @ weights["ffn_down.weight"].T
        if arch.post_norms:
            delta = self._norm(delta, weights["post_ffw_norm.weight"])
        return np.asarray(x + delta, np.float32)

    def final(self, x: Floats) -> Floats:
        """Normalise the residual stream for the head."""
        return self._norm(x, self._load("output_norm.weight"))

    def head(self) -> Floats:
        """Load the matrix [vocab, hidden] that turns normalised hidden states into logits."""
        return self._load("token_embd.weight" if self._arch.tied_embeddings else "output.weight")

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        mean = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
        return np.asarray(x / np.sqrt(mean + np.float32(self._arch.norm_eps)) * weight, np.float32)

    def _attention(self, layer: int, w: dict[str, Floats], x: Floats, cache: LayerCache) -> Floats:
        arch, tokens, past = self._arch, len(x), cache.keys.shape[1]
        local = layer in arch.sliding_layers
        heads: dict[str, Floats] = {}
        for part, count in (("q", arch.heads), ("k", arch.kv_heads), ("v", arch.kv_heads)):
            y = x @ w[f"attn_{part}.weight"].T
            if arch.attention_bias:
                y = y + w[f"attn_{part}.bias"]
            y = y.reshape(tokens, count, arch.head_dim)
            if part != "v":
                if arch.qk_norm:
                    y = self._norm(y, w[f"attn_{part}_norm.weight"])
                y = self._rotate(y, past, local)
            heads[part] = y.swapaxes(0, 1)
        cache.keys = np.concatenate([cache.keys, heads["k"]], axis=1)
        cache.values = np.concatenate([cache.values, heads["v"]], axis=1)
        group = arch.heads // arch.kv_heads
        queries = heads["q"].reshape(arch.kv_heads, group, tokens, arch.head_dim)
        scores = queries @ cache.keys[:, None].swapaxes(-1, -2) * np.float32(arch.scale)
        query_at = np.arange(past, past + tokens)[:, None]
        key_at = np.arange(past + tokens)[None]
        visible = key_at <= query_at
        if local and arch.sliding_window is not None:
            visible &= key_at > query_at - arch.sliding_window
        scores = np.where(visible, scores, np.float32(-np.inf))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = scores / scores.sum(axis=-1, keepdims=True)
        out = weights @ cache.values[:, None]
        return np.asarray(out.transpose(2, 0, 1, 3).reshape(tokens, -1), np.float32)

    def _rotate(self, x: Floats, past: int, local: bool) -> Floats:
        cos, sin = self._rope_local if local else self._rope
        rows = slice(past, past + len(x))
        c, s = cos[rows, None], sin[rows, None]
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def hidden_states(
    decoder: Decoder, layers: int, tokens: Sequence[int], progress: Callable[[float], None] | None = None
) -> Floats:
    """Run one text through the network; return its normalised hidden states [T, hidden].

    Loads each layer once and forgets it, so that memory holds one layer's weights.
    """
    x = decoder.embed(tokens)
    for layer in range(layers):
        x = decoder.layer(layer, decoder.layer_weights(layer), x, decoder.empty_cache())
        if progress is not None:
            progress((layer + 1) / layers)
    return decoder.final(x)


@dataclass(eq=False, slots=True)
class ReferenceBranch:
    """A prefix of one session, with one cache per layer; None once it is freed.

    stream: what each token, by its place, was when it last left a layer; of pending tokens only.
    """

    session: ReferenceSession
    caches: list[LayerCache] | None
    length: int = 0
    stream: dict[int, Floats] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        return len(self.stream)


@dataclass(eq=False, slots=True)
class ReferenceSession:
    """The Session contract over `Decoder`, all weights in memory, one branch at a time."""

    arch: Architecture
    load: Load
    end_tokens: frozenset[int] = frozenset()
    context: int = 512
    name: str = "reference"
    cuts: tuple[int, ...] = ()
    _decoder: Decoder = field(init=False)
    _layers: list[dict[str, Floats]] = field(init=False)
    _table: Floats = field(init=False)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._decoder = Decoder(self.arch, self.load, positions=self.context)
        self._layers = [self._decoder.layer_weights(i) for i in range(self.arch.layers)]
        self._table = self.load("token_embd.weight")

    @property
    def info(self) -> SessionInfo:
        arch = self.arch
        return SessionInfo(
            runtime="reference",
            model=self.name,
            vocab=arch.vocab,
            end_tokens=self.end_tokens,
            layers=arch.layers,
            context=self.context,
            cuts=self.cuts,
            bytes_per_token=8 * arch.layers * arch.kv_heads * arch.head_dim,
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(parallel=False, exits=self.cuts)

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        if len(tokens) > self.context:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens, but the model's context holds {self.context}.",
                hint="Shorten the prompt.",
            )
        branch = ReferenceBranch(self, [self._decoder.empty_cache() for _ in self._layers])
        return branch, self._append(branch, tokens, cancel)[-1]

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        own = self._whole(branch)[0]
        length = own.length
        try:
            last: Logits = self._append(own, tokens, cancel)[-1]
        except Cancelled:
            self.truncate(branch, length)
            raise
        return last

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        _, caches = self._whole(branch)
        if n < 1:
            raise InvalidInput(f"A fork makes at least one branch, not {n}.")
        # Caches are replaced when they grow, never written, so children may share the arrays.
        return [
            ReferenceBranch(self, [LayerCache(c.keys, c.values) for c in caches], branch.length)
            for _ in range(n)
        ]

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        if not branches or len(branches) != len(tokens):
            raise InvalidInput(
                f"A step takes one token for each branch, not {len(tokens)} for {len(branches)}."
            )
        if len({id(b) for b in branches}) != len(branches):
            raise InvalidInput("A step takes each branch once.")
        own = [self._whole(branch)[0] for branch in branches]
        self._check_tokens(tokens)
        if max(b.length for b in own) + 1 > self.context:
            raise PromptTooLong(f"A branch would outgrow the model's context of {self.context} tokens.")
        return np.stack([self._append(b, [t])[0] for b, t in zip(own, tokens, strict=True)])

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        return self._append(self._whole(branch)[0], tokens)

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        if cut not in self.cuts:
            raise Unsupported(f"A pass of this session cannot stop at layer {cut}.")
        return self._through(branch, tokens, cut)

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        if not self.cuts:
            raise Unsupported("A pass of this session cannot stop at a layer.")
        own, _ = self._own(branch)
        if not tokens and not own.pending:
            raise InvalidInput("No token of the branch is pending.")
        x = self._through(branch, tokens, self.arch.layers)
        own.stream.clear()
        return np.asarray(self._decoder.final(x) @ self._decoder.head().T, np.float32)

    def features(self) -> Features:
        raise Unsupported("This session cannot return hidden states.")

    def truncate(self, branch: Branch, length: int) -> None:
        own, caches = self._own(branch)
        if not 0 <= length <= own.length:
            raise InvalidInput(f"A branch of {own.length} tokens cannot be cut to {length}.")
        own.caches = [LayerCache(c.keys[:, :length], c.values[:, :length]) for c in caches]
        own.length = length
        own.stream = {at: x for at, x in own.stream.items() if at < length}

    def free(self, branch: Branch) -> None:
        own, _ = self._own(branch)
        own.caches = None

    def close(self) -> None:
        self._closed = True
        self._layers = []

    def _append(
        self, branch: ReferenceBranch, tokens: Sequence[int], cancel: Cancellation | None = None
    ) -> Logits:
        self._check_tokens(tokens)
        if branch.length + len(tokens) > self.context:
            raise PromptTooLong(f"A branch would outgrow the model's context of {self.context} tokens.")
        _, caches = self._own(branch)
        x = self._decoder.embed(tokens, self._table)
        for i, weights in enumerate(self._layers):
            if cancel is not None and cancel.requested:
                raise Cancelled
            x = self._decoder.layer(i, weights, x, caches[i])
        branch.length += len(tokens)
        return np.asarray(self._decoder.final(x) @ self._decoder.head().T, np.float32)

    def _through(self, branch: Branch, tokens: Sequence[int], layers: int) -> Floats:
        """Bring all tokens through the first layers; return what the last of them made of those new to it."""
        own, caches = self._own(branch)
        if tokens:
            self._check_tokens(tokens)
            if own.length + len(tokens) > self.context:
                raise PromptTooLong(f"A branch would outgrow the model's context of {self.context} tokens.")
            for x in self._decoder.embed(tokens, self._table):
                own.stream[own.length] = x
                own.length += 1
        nothing: Floats = np.zeros((0, self.arch.hidden), np.float32)
        out, arrived = nothing, own.length
        for layer in range(layers):
            begun, out = caches[layer].keys.shape[1], nothing
            if begun < arrived:
                entering = np.stack([own.stream[at] for at in range(begun, arrived)])
                out = self._decoder.layer(layer, self._layers[layer], entering, caches[layer])
                own.stream |= dict(zip(range(begun, arrived), out, strict=True))
        return out

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")
        if not tokens:
            raise InvalidInput("There are no tokens to run.")
        if min(tokens) < 0 or max(tokens) >= self.arch.vocab:
            raise InvalidInput(f"A token id lies outside the vocabulary of {self.arch.vocab}.")

    def _whole(self, branch: Branch) -> tuple[ReferenceBranch, list[LayerCache]]:
        own, caches = self._own(branch)
        if own.pending:
            raise InvalidInput(f"{own.pending} tokens of the branch are pending: complete it first.")
        return own, caches

    def _own(self, branch: Branch) -> tuple[ReferenceBranch, list[LayerCache]]:
        if self._closed:
            raise InvalidInput("The session is closed.")
        if not isinstance(branch, ReferenceBranch) or branch.caches is None or branch.session is not self:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch, branch.caches


def _silu(x: Floats) -> Floats:
    # exp overflows to inf for very negative x, and x / inf is the right -0.
    with np.errstate(over="ignore"):
        return np.asarray(x / (1 + np.exp(-x)), np.float32)


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)), np.float32)
