"""Read what is replayed: records of runs, by one piece or several, as pools of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetts.errors import InvalidInput
from edgetts.evaluation.loading import load_run
from edgetts.evaluation.record import ProblemRecord
from edgetts.replay.samples import Pool, pool_of
from edgetts.selection.verification.verifier import Verifier, Work


@dataclass(frozen=True, slots=True)
class Recording:
    """Problems with samples to draw again. ungraded: problems left out since nobody graded their samples.

    empty: problems left out that have no sample recorded to its end. cut: samples left out that were not.
    """

    title: str
    pools: tuple[Pool, ...]
    ungraded: int
    empty: int
    cut: int

    @property
    def samples(self) -> tuple[int, int]:
        """The fewest and the most samples that a problem has."""
        counts = [len(pool.samples) for pool in self.pools]
        return min(counts), max(counts)


def read_recording(paths: Sequence[Path], verifier: Verifier | None = None) -> Recording:
    """Read records; problems of several files stand side by side. verifier: judges every text anew.

    Errors: InvalidInput where nothing is left to replay, and as `load_run`.
    """
    runs = [load_run(path) for path in paths]
    problems = [
        problem if len(runs) == 1 else replace(problem, id=f"{at}:{problem.id}")
        for at, run in enumerate(runs)
        for problem in run.problems
    ]
    if verifier is not None:
        problems = [_verified(problem, verifier) for problem in problems]
    pools = [pool_of(problem) for problem in problems]
    there = [pool for pool in pools if pool.samples]
    graded = [pool for pool in there if any(one.record.right is not None for one in pool.samples)]
    if not graded:
        raise InvalidInput(
            f"{' and '.join(map(str, paths))}: there is no problem whose samples are graded.",
            hint="Grade a record with: edgetts runs grade",
        )
    names = list(dict.fromkeys(f"{run.task or 'a record'} by {run.model or 'a model'}" for run in runs))
    return Recording(
        title="; ".join(names),
        pools=tuple(graded),
        ungraded=len(there) - len(graded),
        empty=len(pools) - len(there),
        cut=sum(pool.cut for pool in pools),
    )


def _verified(problem: ProblemRecord, verifier: Verifier) -> ProblemRecord:
    samples = tuple(
        replace(
            sample,
            passed=verifier.verify(
                Work(problem.question, sample.text, sample.answer, sample.finished)
            ).passed,
        )
        for sample in problem.samples
    )
    return replace(problem, samples=samples)
