"""Say what a plan was chosen among, and why the others were not taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edgetts.control.planning.candidates import Judged
from edgetts.control.planning.request import Request
from edgetts.types import Considered

Key = Callable[[Judged], tuple[float, ...]]


def explain(
    chosen: Judged, judged: Sequence[Judged], request: Request, *, key: Key
) -> tuple[Considered, ...]:
    """Return at most `request.keep` candidates: the chosen one, the best of the others, then what was dropped.

    At least one of those that break a limit is shown for each kind of limit, the best of its kind by what it promises.
    """
    fitting = sorted((one for one in judged if not one.broken), key=key, reverse=True)
    broken = sorted(
        (one for one in judged if one.broken), key=lambda one: (one.prediction is not None, key(one))
    )
    broken.reverse()
    kinds: dict[str, Judged] = {}
    for one in broken:
        kinds.setdefault(_kind(one.broken), one)
    shown = [one for one in fitting if one.candidate != chosen.candidate]
    room = max(0, request.keep - 1 - len(kinds))
    rest = [one for one in broken if one not in kinds.values()]
    listed = [*shown[:room], *kinds.values(), *rest[: max(0, room - len(shown))]]
    return (
        _considered(chosen, request, ""),
        *(_considered(one, request, one.broken or _worse(one, chosen, request)) for one in listed),
    )


def _kind(broken: str) -> str:
    """Return the limit's unit: reasons name figures, of which the last word that is none says the kind."""
    return next((unit for unit in (" J ", " s ", " MB", " tokens ") if unit in f"{broken} "), broken)


def _considered(one: Judged, request: Request, reason: str) -> Considered:
    prediction = one.prediction
    utility = None
    if prediction is not None:
        joules = prediction.joules
        found = request.objective.utility(
            one.success, prediction.seconds.value, None if joules is None else joules.value
        )
        utility = found if math.isfinite(found) else None
    return Considered(
        what=in_words(one, request),
        reason=reason,
        fits=not one.broken,
        seconds=None if prediction is None else prediction.seconds,
        joules=None if prediction is None else prediction.joules,
        tokens=None if prediction is None else prediction.tokens,
        success=one.success,
        utility=utility,
        memory_bytes=one.memory,
    )


def in_words(one: Judged, request: Request) -> str:
    """Name a candidate by all that tells it from others."""
    candidate = one.candidate
    if candidate.samples == 1:
        many = "1 sample"
    else:
        many = f"{candidate.samples} samples, {candidate.width} at a time, {candidate.way.strategy}"
        if candidate.rounds:
            many += f" at {'/'.join(map(str, candidate.rounds))}"
        if request.temperature is None and candidate.temperature is not None:
            many += f", temperature {candidate.temperature:g} after a greedy one"
    drafts = ", drafts" if request.decoding != "plain" and candidate.width == 1 else ""
    direct = ", direct" if candidate.asked.approach == "direct" else ""
    return f"{request.runtime}: {many}, cap {candidate.cap}{drafts}{direct}"


def _worse(one: Judged, chosen: Judged, request: Request) -> str:
    """Say in what a candidate that keeps the limits is worse than the one that was chosen."""
    mine, best = one.prediction, chosen.prediction
    if mine is None or best is None:
        return ""
    objective = request.objective
    if one.success is None or chosen.success is None:
        if one.candidate.samples < chosen.candidate.samples:
            return "fewer samples, where nothing is known of what each is worth"
        return _slower(mine.seconds.value, best.seconds.value)
    if objective.goal == "target":
        if objective.reaches(chosen.success) and not objective.reaches(one.success):
            return f"does not reach {objective.target:g}"
        return _dearer(one, chosen) if objective.reaches(one.success) else "less likely right"
    if objective.goal == "pass":
        return "a right answer costs more"
    less = chosen.success.value - one.success.value
    if less > 1e-9:
        paid = objective.price(1.0, 1.0) > 0
        return f"right less often by {100 * less:.1f} points" + (", worth more than it saves" if paid else "")
    if less < -1e-9:
        return f"right more often by {-100 * less:.1f} points, which does not earn what it costs"
    return _slower(mine.seconds.value, best.seconds.value)


def _dearer(one: Judged, chosen: Judged) -> str:
    mine, best = one.prediction, chosen.prediction
    if mine is None or best is None or mine.joules is None or best.joules is None:
        return "takes longer"
    return f"takes {mine.joules.value - best.joules.value:.1f} J more"


def _slower(mine: float, best: float) -> str:
    return f"takes {mine - best:.2f} s longer" if mine > best else "no better"
