"""A session without a network: a language model small enough to enumerate, and counters of what was asked.

It obeys the Session contract, and is strict where real runtimes are only sometimes: logits that a
caller keeps beyond its next call turn into NaN.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from edgetts.decoding.session import (
    Branch,
    Cancellation,
    Cancelled,
    Capabilities,
    Features,
    Logits,
    SessionInfo,
)
from edgetts.errors import InvalidInput, OutOfMemory, PromptTooLong, Unsupported


@dataclass(frozen=True, slots=True)
class ToyModel:
    """A next-token distribution as a function of the whole prefix.

    probabilities: given the prefix, `vocab` numbers that sum to 1; zeros are allowed.
    """

    vocab: int
    probabilities: Callable[[tuple[int, ...]], Sequence[float]]
    end_tokens: frozenset[int] = frozenset()

    @classmethod
    def random(cls, vocab: int, seed: int = 0, end_tokens: frozenset[int] = frozenset()) -> ToyModel:
        """Make a model that draws every prefix's distribution at random, the same each time."""

        @lru_cache(maxsize=4096)
        def probabilities(prefix: tuple[int, ...]) -> tuple[float, ...]:
            generator = np.random.Generator(np.random.PCG64([seed, len(prefix), *prefix]))
            return tuple(generator.dirichlet(np.ones(vocab)).tolist())

        return cls(vocab, probabilities, end_tokens)

    def logits(self, prefix: Sequence[int]) -> Logits:
        """Return the natural logs of the probabilities after a prefix, [vocab]."""
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(self.probabilities(tuple(prefix)), np.float64)).astype(np.float32)

    def samples(self, prompt: Sequence[int], max_tokens: int) -> dict[tuple[int, ...], float]:
        """Return every sample that can follow a prompt, with its probability; end tokens are not part of it."""
        found: dict[tuple[int, ...], float] = {}
        open_ends: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
        while open_ends:
            tokens, probability = open_ends.pop()
            for token, share in enumerate(self.probabilities((*prompt, *tokens))):
                if share <= 0:
                    continue
                longer = (*tokens, token)
                if token in self.end_tokens:
                    found[tokens] = found.get(tokens, 0.0) + probability * share
                elif len(longer) == max_tokens:
                    found[longer] = probability * share
                else:
                    open_ends.append((longer, probability * share))
        return found


@dataclass(eq=False, slots=True)
class FakeBranch:
    """A prefix; `session` is None once it is freed."""

    session: FakeSession | None
    tokens: list[int]
    depths: list[int] = field(default_factory=list)
    """Layers that each pending token has been through."""

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def pending(self) -> int:
        return len(self.depths)


class FakeSession:
    """The Session contract over a ToyModel.

    Counters: `prefilled`, tokens read by prefill; `run`, tokens read in all; `passes`; `widths`,
    branches of every step; `live`, branches not freed. `most_branches` is a memory limit: beyond it,
    prefill and fork raise OutOfMemory. `capabilities` are what it says of itself and does; where it can
    stop at exits, the residual stream there is the finished logits, and `layers_run` counts token by layer.
    """

    def __init__(
        self,
        model: ToyModel,
        *,
        context: int = 64,
        chunk: int = 16,
        most_branches: int | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.model = model
        self.prefilled = 0
        self.run = 0
        self.passes = 0
        self.widths: list[int] = []
        self.layers_run = 0
        self.live: list[FakeBranch] = []
        self.most_branches = most_branches
        self._context, self._chunk = context, chunk
        self._capabilities = capabilities or Capabilities(tolerance=0.0)
        self._closed = False
        self._lock = threading.RLock()
        self._returned = threading.local()

    @property
    def info(self) -> SessionInfo:
        return SessionInfo(
            runtime="fake",
            model="toy",
            vocab=self.model.vocab,
            end_tokens=self.model.end_tokens,
            layers=max(self._capabilities.exits, default=0) + 1,
            context=self._context,
            cuts=self._capabilities.exits,
            bytes_per_token=8,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        with self._lock:
            self._begin()
            self._check_tokens(tokens)
            self._check_length(len(tokens))
            self._check_branches(1)
            self._read(tokens, cancel)
            return self._new(tokens), self.model.logits(tokens)

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        with self._lock:
            self._begin()
            own = self._whole(branch)
            self._check_tokens(tokens)
            self._check_length(own.length + len(tokens))
            self._read(tokens, cancel)
            own.tokens += tokens
            return self.model.logits(own.tokens)

    def fork(self, branch: Branch, n: int) -> list[Branch]:
        with self._lock:
            self._begin("fork")
            own = self._whole(branch)
            if n < 1:
                raise InvalidInput(f"A fork makes at least one branch, not {n}.")
            self._check_branches(n)
            return [self._new(own.tokens) for _ in range(n)]

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        with self._lock:
            self._begin()
            if not branches or len(branches) != len(tokens):
                raise InvalidInput(
                    f"A step takes one token for each branch, not {len(tokens)} for {len(branches)}."
                )
            own = [self._whole(branch) for branch in branches]
            if len({id(branch) for branch in own}) != len(own):
                raise InvalidInput("A step takes each branch once.")
            self._check_tokens(tokens)
            self._check_length(max(branch.length for branch in own) + 1)
            self.widths.append(len(own))
            self.passes += 1 if self._capabilities.parallel else len(own)
            self.run += len(own)
            for branch_, token in zip(own, tokens, strict=True):
                branch_.tokens.append(token)
            return self._lend(np.stack([self.model.logits(branch_.tokens) for branch_ in own]))

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        with self._lock:
            self._begin("extend")
            own = self._whole(branch)
            self._check_tokens(tokens)
            self._check_length(own.length + len(tokens))
            self.passes += 1
            self.run += len(tokens)
            rows = []
            for token in tokens:
                own.tokens.append(token)
                rows.append(self.model.logits(own.tokens))
            return self._lend(np.stack(rows))

    def advance(self, branch: Branch, tokens: Sequence[int], cut: int) -> Features:
        with self._lock:
            self._begin()
            if cut not in self._capabilities.exits:
                raise Unsupported(f"A pass of this session cannot stop at layer {cut}.")
            return self._lend(self._through(self._own(branch), tokens, cut))

    def complete(self, branch: Branch, tokens: Sequence[int] = ()) -> Logits:
        with self._lock:
            self._begin()
            if not self._capabilities.exits:
                raise Unsupported("A pass of this session cannot stop at a layer.")
            own = self._own(branch)
            if not tokens and not own.pending:
                raise InvalidInput("No token of the branch is pending.")
            logits = self._through(own, tokens, self.info.layers)
            own.depths.clear()
            return self._lend(logits)

    def features(self) -> Features:
        raise Unsupported("This session cannot return hidden states.")

    def truncate(self, branch: Branch, length: int) -> None:
        with self._lock:
            self._begin("truncate")
            own = self._own(branch)
            if not 0 <= length <= own.length:
                raise InvalidInput(f"A branch of {own.length} tokens cannot be cut to {length}.")
            whole = own.length - own.pending
            del own.tokens[length:], own.depths[max(0, length - whole) :]

    def free(self, branch: Branch) -> None:
        with self._lock:
            self._begin()
            own = self._own(branch)
            own.session = None
            self.live.remove(own)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self.live.clear()

    def _read(self, tokens: Sequence[int], cancel: Cancellation | None) -> None:
        """Count the passes of a prompt."""
        for at in range(0, len(tokens), self._chunk):
            if cancel is not None and cancel.requested:
                raise Cancelled
            part = tokens[at : at + self._chunk]
            self.passes += 1
            self.prefilled += len(part)
            self.run += len(part)

    def _through(self, branch: FakeBranch, tokens: Sequence[int], layers: int) -> Logits:
        if tokens:
            self._check_tokens(tokens)
        self._check_length(branch.length + len(tokens))
        self.passes += 1
        self.run += len(tokens)
        branch.tokens += tokens
        branch.depths += [0] * len(tokens)
        whole = branch.length - branch.pending
        rows = []
        for i, depth in enumerate(branch.depths):
            if depth < layers:
                self.layers_run += layers - depth
                branch.depths[i] = layers
                rows.append(self.model.logits(branch.tokens[: whole + i + 1]))
        return np.stack(rows) if rows else np.zeros((0, self.model.vocab), np.float32)

    def _new(self, tokens: Sequence[int]) -> FakeBranch:
        branch = FakeBranch(self, list(tokens))
        self.live.append(branch)
        return branch

    def _begin(self, call: str | None = None) -> None:
        if self._closed:
            raise InvalidInput("The session is closed.")
        if call is not None and not getattr(self._capabilities, call):
            raise Unsupported(f"This session cannot {call}.")
        # A caller that still reads what the last call lent it is told by NaN.
        lent = getattr(self._returned, "logits", None)
        if lent is not None:
            lent.fill(np.nan)
            self._returned.logits = None

    def _lend(self, logits: Logits) -> Logits:
        self._returned.logits = logits
        return logits

    def _whole(self, branch: Branch) -> FakeBranch:
        own = self._own(branch)
        if own.pending:
            raise InvalidInput(f"{own.pending} tokens of the branch are pending: complete it first.")
        return own

    def _own(self, branch: Branch) -> FakeBranch:
        if not isinstance(branch, FakeBranch) or branch.session is not self:
            raise InvalidInput("The branch was freed, or belongs to another session.")
        return branch

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        if not tokens:
            raise InvalidInput("There are no tokens to run.")
        if min(tokens) < 0 or max(tokens) >= self.model.vocab:
            raise InvalidInput(f"A token id lies outside the vocabulary of {self.model.vocab}.")

    def _check_length(self, length: int) -> None:
        if length > self._context:
            raise PromptTooLong(f"{length} tokens do not fit the context of {self._context}.")

    def _check_branches(self, more: int) -> None:
        if self.most_branches is not None and len(self.live) + more > self.most_branches:
            raise OutOfMemory(f"Only {self.most_branches} branches are allowed.")
