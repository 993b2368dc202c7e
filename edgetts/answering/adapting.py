"""Adapt how the answer is chosen to what was measured of the model at the task: how its samples look, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgetts.answering.choosing import Choosing
from edgetts.control.success.model import SuccessModel
from edgetts.errors import EdgettsError
from edgetts.selection.stopping.progress import Progress

ProgressFinder = Callable[[SuccessModel], Progress | None]
"""Return what samples are like where it was fitted with a success profile; None where it was not."""


def find_progress(
    home: Path, success: SuccessModel, notify: Callable[[str], None] = lambda sentence: None
) -> Progress | None:
    """Return what was fitted with a success profile. notify: told of a file that cannot be trusted, which is left out."""
    from edgetts.control.success.profile import SuccessProfile  # a lone sample needs none
    from edgetts.control.success.store import progress_path
    from edgetts.selection.stopping.progress_file import load_progress

    if not isinstance(success, SuccessProfile):
        return None
    path = progress_path(home, success)
    if not path.is_file():
        return None
    try:
        return load_progress(path)
    except EdgettsError as error:
        notify(f"{error} It is not used; calibrate again with: edgetts calibrate --task")
        return None


def adapted(choosing: Choosing, progress: Progress | None) -> Choosing:
    """Return it with the adaptive strategy going by what was measured.

    Where no strategy was named, and samples would vote, the adaptive one takes the vote's place: it was measured that what it goes by
    tells right from wrong. One that was named with a progress of its own keeps it.
    """
    from edgetts.selection.stopping.progress_default import DEFAULT_PROGRESS  # few questions need it
    from edgetts.selection.strategies.adaptive import Adaptive
    from edgetts.selection.strategies.self_consistency import SelfConsistency

    if progress is None:
        return choosing
    strategy = choosing.strategy
    if isinstance(strategy, Adaptive) and strategy.progress == DEFAULT_PROGRESS:
        made = replace(strategy, progress=progress)
    elif not choosing.named and strategy == SelfConsistency() and _votes_alone(choosing):
        made = Adaptive(progress=progress)
    else:
        return choosing
    return replace(choosing, strategy=made, scorer=made.scorer)


def _votes_alone(choosing: Choosing) -> bool:
    """Whether nothing but the votes decides."""
    return choosing.scorer is None and choosing.verifier is None and choosing.calibration is None
