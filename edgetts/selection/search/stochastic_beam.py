"""Stochastic beam search: keep some of the paths, by the model's own probability and a score of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.search.ballot import weighted_vote
from edgetts.selection.search.frontier import Frontier
from edgetts.selection.search.resampling import generator
from edgetts.selection.search.tree import ROOT, Grow, Node, Task

BEAM_SHARE = "beam scores (uncalibrated)"
"""What its confidence is: the winner's part of the path scores of all ended answers."""

_LEAST = 1e-12


class StochasticBeam:
    """Grow every path by some children, and draw the paths to keep, without putting back.

    A step's score is p^l * c^(1-l): p the geometric mean of its tokens' probabilities, c the scorer's
    confidence in it, l `lm_weight`. A path's E is the geometric mean of its steps' scores. Paths are drawn in
    proportion to exp(E / T), T = temperature * decay^depth; at 0 the best are kept. Paths that ended
    compete with their E. Of paths with the same text one counts ("Self-Evaluation Guided Beam Search for
    Reasoning").
    """

    def __init__(
        self, task: Task, *, children: int, lm_weight: float, temperature: float, decay: float
    ) -> None:
        self._samples = task.samples
        self._children = min(children, task.samples)
        self._beams = task.samples // self._children
        self._lm_weight, self._temperature, self._decay = lm_weight, temperature, decay
        self._random = generator(task.seed)
        self._frontier = Frontier()
        self._begun = False
        self._round = 0
        self._paths: dict[int, tuple[float, int]] = {ROOT: (0.0, 0)}
        self._beam: list[Node] = []

    def next(self, nodes: Sequence[Node]) -> Grow | None:
        self._frontier.take(nodes)
        for node in nodes:
            log_score, steps = self._paths[node.parent]
            self._paths[node.id] = (log_score + self._log_step(node), steps + 1)
        if not self._begun:
            self._begun = True
            return self._frontier.grow({ROOT: self._samples})
        ended = [node for node in self._beam if node.ended]
        self._beam = self._select(ended + list(nodes))
        self._round += 1
        copies = {node.id: self._children for node in self._beam if not node.ended}
        return self._frontier.grow(copies) if copies else None

    def choose(self, votes: Sequence[Vote]) -> Tally:
        """Vote by the scores of the paths."""
        scores = {node: self._path_score(node) for node in self._paths if node != ROOT}
        return weighted_vote(votes, scores, BEAM_SHARE)

    def _log_step(self, node: Node) -> float:
        mean = node.step_logprob / node.step_tokens if node.step_tokens else 0.0
        confidence = math.log(max(self._frontier.scores[node.id], _LEAST))
        return self._lm_weight * max(mean, math.log(_LEAST)) + (1 - self._lm_weight) * confidence

    def _path_score(self, node: int) -> float:
        log_score, steps = self._paths[node]
        return math.exp(min(0.0, log_score / steps))

    def _select(self, candidates: list[Node]) -> list[Node]:
        unique = list({(node.text, node.ended): node for node in reversed(candidates)}.values())
        unique.sort(key=lambda node: node.id)
        keys = [self._path_score(node.id) for node in unique]
        temperature = self._temperature * self._decay**self._round
        if temperature > _LEAST:
            # The largest of log-weights with Gumbel noise are a draw without putting back.
            noise = self._random.gumbel(size=len(keys))
            keys = (np.asarray(keys) / temperature + noise).tolist()
        order = sorted(range(len(unique)), key=lambda i: (-keys[i], unique[i].id))
        return [unique[i] for i in order[: self._beams]]
