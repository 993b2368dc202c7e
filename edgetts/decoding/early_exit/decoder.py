"""Run a sample's tokens from cut to cut, and draw from the first that satisfies a criterion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from edgetts.decoding.alone import Situation
from edgetts.decoding.constraint import Matcher
from edgetts.decoding.early_exit.criteria import Arrival, Criterion
from edgetts.decoding.early_exit.head import ExitHead, first_probability
from edgetts.decoding.session import Features, Logits
from edgetts.decoding.trace import TokenDrawn
from edgetts.errors import InvalidInput
from edgetts.types import EarlyExits

MOST_PENDING = 8
"""Tokens that may wait for their late layers, unless told otherwise."""


class EarlyExitDecoder:
    """See `edgetts.decoding.alone.Alone`. Serves the samples of one question.

    A token that leaves stays pending in its branch: the next one that goes on to the end takes it along,
    all of them in one pass over the late layers, so that these miss no token that one of full depth looks
    back at (the "KV recomputation" of EE-LLM, Chen et al., 2023). With `most_pending` tokens waiting, the
    next takes full depth whatever the criterion would say. A monotone criterion never needs the late
    layers again: nothing is completed under it, and the session keeps hidden * 4 bytes a token until
    the branch is freed. Under a constraint a token leaves only where the head's first choice is allowed, or under a
    monotone criterion any token that the head knows; where none is, all go on to the end together.

    The log-prob of a token that left is its head's, over the head's vocabulary. Raises Unsupported
    where the session cannot stop at the head's cut, InvalidLogits where a head computes no numbers.
    """

    def __init__(
        self, heads: Sequence[ExitHead], criterion: Criterion, *, most_pending: int = MOST_PENDING
    ) -> None:
        self._heads = sorted(heads, key=lambda head: head.cut)
        cuts = [head.cut for head in self._heads]
        if not cuts or any(one == next_ for one, next_ in pairwise(cuts)):
            raise InvalidInput(f"Exits need heads at different cuts, but there are {cuts or 'none'}.")
        if most_pending < 1:
            raise InvalidInput(f"At least 1 token must be allowed to be pending, not {most_pending}.")
        self._criterion = criterion
        self._most_pending = most_pending
        # First choices of the pending tokens, by sample.
        self._choices: dict[int, list[int]] = {}
        self._tokens = self._layers_run = self._layers_full = self._compared = self._agreed = 0
        self._left = dict.fromkeys(cuts, 0)

    @property
    def widest(self) -> int:
        return 1 if self._criterion.monotone else 1 + self._most_pending

    def step(self, at: Situation) -> tuple[list[TokenDrawn], int]:
        choices = self._choices.setdefault(at.trace.index, [])
        if not at.branch.pending:
            # Compared when the branch was completed; or not, where another than this decoder did that.
            choices.clear()
        logits, width = self._leave(at, choices), 1
        if logits is None:
            rows = self._stay(at, choices)
            logits, width = rows[-1], len(rows)
        self._tokens += 1
        self._layers_full += at.session.info.layers
        return [at.take(at.trace.sampler.draw(logits))], width

    def summary(self) -> EarlyExits | None:
        """Sum up all tokens so far; None where there were none."""
        if not self._tokens:
            return None
        return EarlyExits(
            tokens=self._tokens,
            left=dict(self._left),
            layers_run=self._layers_run,
            layers_full=self._layers_full,
            compared=self._compared,
            agreed=self._agreed,
        )

    def _leave(self, at: Situation, choices: list[int]) -> Logits | None:
        """Bring the last token from cut to cut; return the logits [V] it leaves with, None where it does not."""
        criterion, trace = self._criterion, at.trace
        may = criterion.monotone or at.branch.pending < self._most_pending
        streams: list[Features] = []
        confidences: list[float] = []
        begun = 0
        for i, head in enumerate(self._heads):
            # Pending tokens that left before this cut come along, ahead of the last one.
            arrived = at.session.advance(at.branch, [] if i else trace.tokens[-1:], head.cut)
            self._layers_run += len(arrived) * (head.cut - begun)
            begun = head.cut
            if not may:
                continue
            stream = arrived[-1].copy()
            streams.append(stream)
            logits: Logits | None = None
            if criterion.needs_confidence:
                logits = head.read(stream)
                confidences.append(head.confidence(first_probability(logits)))
            if criterion.leaves(Arrival(i, len(self._heads), len(trace.tokens), streams, confidences)):
                logits = head.read(stream) if logits is None else logits
                if not self._fits(trace.sampler.matcher, head, logits):
                    continue
                self._left[head.cut] += 1
                if not criterion.monotone:
                    choices.append(int(head.vocabulary[logits.argmax()]))
                whole = np.full(at.session.info.vocab, -np.inf, np.float32)
                whole[head.vocabulary] = logits
                return whole
        return None

    def _fits(self, matcher: Matcher | None, head: ExitHead, logits: Logits) -> bool:
        """Whether a head knows what may come: its first choice, as confidence is in that; anything, if depth only falls."""
        if matcher is None:
            return True
        if not self._criterion.monotone:
            return matcher.allows(int(head.vocabulary[logits.argmax()]))
        return bool((logits[matcher.allowed()[head.vocabulary]] > -np.inf).any())

    def _stay(self, at: Situation, choices: list[int]) -> Logits:
        """Bring the last token and all pending ones to the end; return their logits [1 + pending, V]."""
        rows = at.session.complete(at.branch)
        self._layers_run += len(rows) * (at.session.info.layers - self._heads[-1].cut)
        # What the whole network would have said after each token that left comes with it for nothing.
        # Under a monotone criterion, which comes here where a constraint leaves a head nothing to say, no choice is kept.
        for row, choice in zip(rows[:-1], choices, strict=not self._criterion.monotone):
            self._compared += 1
            self._agreed += int(row.argmax()) == choice
        return rows
