"""Particle filtering over the steps of an answer: who gets how many children, by weights that stay unbiased."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgetts.selection.aggregation.votes import Tally, Vote
from edgetts.selection.search.ballot import weighted_vote
from edgetts.selection.search.frontier import Frontier
from edgetts.selection.search.resampling import (
    annealing_temperature,
    effective_sample_size,
    generator,
    log_sum,
    shares,
    systematic,
)
from edgetts.selection.search.tree import ROOT, Grow, Node, Task

PARTICLE_SHARE = "particle weights (uncalibrated)"
"""What its confidence is: the winner's part of the particles' weight."""

_LEAST_ODDS = 1e-7

Potential = Literal["odds", "score", "progress"]
"""By what a step multiplies a particle's weight, where s is the score of the answer so far.

odds: s / (1 - s), as in the paper. score: s. progress: s over the score one step before, so that the
product over the steps is the last score, whatever their number.
"""


@dataclass(frozen=True, slots=True)
class Particle:
    """A partial answer and the log of its weight; `node` is None for the prompt. One node may be several."""

    node: Node | None
    log_weight: float

    @property
    def ended(self) -> bool:
        return self.node is not None and self.node.ended


class ParticleFilter:
    """Draw answers from the model's distribution times the product of their steps' potentials.

    Every round, each particle takes a step and its weight is multiplied by the step's potential. When
    the effective sample size of the weights is below `resample_below` of their number, particles are drawn
    anew by weight, systematically. A particle that ended stays where it is and is weighed again with its last
    score each round, as in the paper ("Rollout Roulette: A Probabilistic Inference Approach to
    Inference-Time Scaling of LLMs using Particle-Based Monte Carlo Methods").

    successors: steps that each particle tries a round; it is judged by the mean of their potentials, and
    its offspring are drawn among them: a look-ahead of one step, for which each particle stands for that
    many samples. It is the auxiliary particle filter with the trials kept, since a node grown is used up.
    annealing: flatten resampling while few particles have all the weight in the first half of `horizon`
    rounds, by Entropic Annealing. Both are from "Mitigating Premature Exploitation in Particle-based Monte
    Carlo for Inference-Time Scaling". Whatever the distribution q that particles are drawn from, a copy's
    weight is divided by n q, so that the sum of weights is on average what it was: weights are unbiased (that
    correction is ours; the temperature is as a review of the paper and the code of its authors have it).

    Steps that a constraint shaped are weighed by their nodes' `log_weight` too, so that the target is the model's
    distribution over what the constraint allows, and not what drawing token by token within it prefers (Lipkin et al.,
    2025).
    """

    def __init__(
        self,
        task: Task,
        *,
        resample_below: float,
        potential: Potential,
        successors: int,
        annealing: bool,
        horizon: int,
    ) -> None:
        self._successors = min(successors, task.samples)
        self._size = task.samples // self._successors
        self._resample_below = resample_below
        self._potential: Potential = potential
        self._annealing, self._horizon = annealing, horizon
        self._random = generator(task.seed)
        self._frontier = Frontier()
        self._rounds = 0
        self._begun = False
        self.particles: tuple[Particle, ...] = (Particle(None, 0.0),) * self._size

    @property
    def log_evidence(self) -> float:
        """The log of an unbiased estimate of the target's sum over all answers, of which weights are a part.

        The target after t rounds: the model's probability of an answer's first t steps, times their potentials.
        """
        return log_sum([particle.log_weight for particle in self.particles]) - math.log(self._size)

    def next(self, nodes: Sequence[Node]) -> Grow | None:
        self._frontier.take(nodes)
        if self._begun:
            self._advance(nodes)
        self._begun = True
        places = Counter(
            particle.node.id if particle.node else ROOT for particle in self.particles if not particle.ended
        )
        if not places:
            return None
        return self._frontier.grow({node: n * self._successors for node, n in places.items()})

    def choose(self, votes: Sequence[Vote]) -> Tally:
        """Vote by the weights of the particles; a node that no particle is on any more weighs nothing."""
        largest = max(particle.log_weight for particle in self.particles)
        weights = dict.fromkeys(self._frontier.ended, 0.0)
        for particle in self.particles:
            if particle.node is not None:
                share = math.exp(particle.log_weight - largest) if largest > -math.inf else 1.0
                weights[particle.node.id] = weights.get(particle.node.id, 0.0) + share
        return weighted_vote(votes, weights, PARTICLE_SHARE)

    def _advance(self, nodes: Sequence[Node]) -> None:
        self._rounds += 1
        families = self._families(nodes)
        members = [particle for family in families for particle in family]
        if not members:
            # Nothing could be grown: what ended is all there will be.
            self.particles = tuple(particle for particle in self.particles if particle.ended)
        elif all(particle.ended for particle in members):
            # Nobody needs room any more, so that drawing would only lose some.
            self.particles = tuple(members)
        else:
            # A family's weight is its parent's, times the mean of its successors' potentials.
            totals = [log_sum([particle.log_weight for particle in family]) for family in families]
            effective = effective_sample_size(shares(totals))
            if effective < self._resample_below * self._size:
                self.particles = self._resample(members, effective)
            else:
                self.particles = tuple(
                    self._pick(family, total) for family, total in zip(families, totals, strict=True)
                )

    def _families(self, nodes: Sequence[Node]) -> list[list[Particle]]:
        """Return what each particle may become, with weights that sum to its own times a mean potential."""
        children: defaultdict[int, list[Node]] = defaultdict(list)
        for node in nodes:
            children[node.parent].append(node)
        families = []
        for particle in self.particles:
            parent = particle.node
            if parent is not None and parent.ended:
                successors = [parent]
            else:
                waiting = children[parent.id if parent else ROOT]
                successors, waiting[:] = waiting[: self._successors], waiting[self._successors :]
            families.append(
                [
                    Particle(
                        child,
                        particle.log_weight + self._log_increment(child, parent) - math.log(len(successors)),
                    )
                    for child in successors
                ]
            )
        return [family for family in families if family]

    def _log_increment(self, node: Node, parent: Node | None) -> float:
        """Return the log of a step's potential, and of what its constraint weighs."""
        before = 0.0 if parent is None else parent.log_weight
        return self._log_potential(node, parent) + node.log_weight - before

    def _log_potential(self, node: Node, parent: Node | None) -> float:
        scores = self._frontier.scores
        score = scores[node.id]
        if self._potential == "odds":
            score = min(max(score, _LEAST_ODDS), 1 - _LEAST_ODDS)
            return math.log(score / (1 - score))
        before = scores[parent.id] if parent is not None and self._potential == "progress" else 1.0
        return math.log(score) - math.log(before) if score > 0 and before > 0 else -math.inf

    def _resample(self, members: list[Particle], effective: float) -> tuple[Particle, ...]:
        temperature = 1.0
        progress = self._rounds / self._horizon
        if self._annealing and progress < 0.5:
            temperature = annealing_temperature(effective, self._size, progress)
        chances = shares([particle.log_weight for particle in members], temperature)
        counts = systematic(chances, self._size, self._random)
        return tuple(
            Particle(particle.node, particle.log_weight - math.log(self._size * chance))
            for particle, chance, count in zip(members, chances.tolist(), counts.tolist(), strict=True)
            for _ in range(count)
        )

    def _pick(self, family: list[Particle], total: float) -> Particle:
        """Draw one of a particle's successors by weight; it carries the weight of all."""
        if len(family) == 1:
            return family[0]
        chances = shares([particle.log_weight for particle in family])
        return Particle(family[int(systematic(chances, 1, self._random).argmax())].node, total)
