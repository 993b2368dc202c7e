"""What a policy comes to on every problem of a record, over several orders of its samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgetts.control.cost.drift import Drift
from edgetts.control.cost.lengths import LengthBook
from edgetts.errors import InvalidInput
from edgetts.replay.planning import Learning
from edgetts.replay.playing import Outcome, Setting, lacking, play
from edgetts.replay.policies import Policy
from edgetts.replay.recorded import Scores
from edgetts.replay.samples import Pool, orders


@dataclass(frozen=True, slots=True)
class Average:
    """One problem, the mean over the orders its samples were drawn in. joules: None where no watts are known.

    late, short, abstained: share of the orders in which it ended after the deadline, would have drawn more samples than
    recorded, gave no answer. stops: share of the orders by why it ended.
    """

    right: float
    tokens: float
    seconds: float
    joules: float | None
    samples: float
    abstained: float
    late: float
    short: float
    stops: Mapping[str, float]


def averages(
    pools: Sequence[Pool],
    policy: Policy,
    setting: Setting,
    *,
    count: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Average]:
    """Replay every problem in `count` orders. Lengths of samples are learned from problem to problem, as live.

    Errors: InvalidInput where the policy needs what was not recorded.
    """
    missing = lacking(policy.strategy, [pool.samples for pool in pools])
    if missing:
        raise InvalidInput(
            f"The policy {policy.spec!r} needs a {' and a '.join(missing)}, which the recorded samples do not have.",
            hint="Name a verifier with --verify, or take another policy.",
        )
    limits = (setting.budget.seconds, setting.budget.tokens, setting.budget.joules)
    predicts = any(limit is not None for limit in limits)
    spread = setting.device.times.spread
    learnings = [Learning(LengthBook(), Drift(spread) if predicts else None) for _ in range(count)]
    scorer = policy.strategy.scorer
    scores = None if scorer is None or scorer.judges else Scores(scorer)
    found = []
    for done, pool in enumerate(pools, 1):
        outcomes = []
        for learning, samples in zip(learnings, orders(pool, count, setting.seed), strict=True):
            outcomes.append(play(pool.problem, samples, policy, setting, learning, scores))
        found.append(average(outcomes))
        if progress is not None:
            progress(done, len(pools))
    return found


def average(outcomes: Sequence[Outcome]) -> Average:
    """Return the mean of one problem's outcomes. An answer that nobody graded counts as wrong."""
    n = len(outcomes)
    joules = [one.joules for one in outcomes if one.joules is not None]
    stops = Counter(one.stop for one in outcomes)
    return Average(
        right=sum(one.right is True for one in outcomes) / n,
        tokens=sum(one.tokens for one in outcomes) / n,
        seconds=math.fsum(one.seconds for one in outcomes) / n,
        joules=math.fsum(joules) / n if len(joules) == n else None,
        samples=sum(one.samples for one in outcomes) / n,
        abstained=sum(one.abstained for one in outcomes) / n,
        late=sum(one.late for one in outcomes) / n,
        short=sum(one.short for one in outcomes) / n,
        stops={reason: times / n for reason, times in stops.items()},
    )
