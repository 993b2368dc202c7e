"""Measure on held-out text what leaving the network early costs and saves, by criterion and strictness."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetts.decoding.early_exit import Arrival, Criterion, make_criterion
from edgetts.decoding.early_exit.criteria import cosine
from edgetts.export.exits.calibrate import isotonic
from edgetts.export.exits.guessers import Trial
from edgetts.export.exits.states import States
from edgetts.types import LeavingNote

# Enough positions for shares of a hundredth, few enough to be walked one by one.
_MOST = 6_000
_CONFIDENCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0)
_COSINES = 16
_EVERY = (8, 16, 32, 64, 128, 192)


@dataclass(frozen=True, slots=True)
class _Walk:
    """What each held-out position would show a criterion at every cut, and whether leaving there is right."""

    arrivals: tuple[tuple[Arrival, ...], ...]
    right: NDArray[np.bool_]  # [positions, cuts]
    calibrating: NDArray[np.bool_]


def leaving_notes(exits: Mapping[int, Trial], tests: States, layers: int) -> tuple[LeavingNote, ...]:
    """Return a row for every criterion, set of cuts and strictness, on two halves of the held-out passages.

    exits: how the network at each cut guessed at the held-out positions. Confidences are calibrated on
    the first half, as they are in use.
    """
    notes: list[LeavingNote] = []
    every = tuple(sorted(exits))
    for cuts in ([(cut,) for cut in every] + [every]) if len(every) > 1 else [every]:
        if not cuts:
            continue
        walk = _walk(cuts, exits, tests)
        knobs: dict[str, Sequence[float]] = {"confidence": _CONFIDENCES}
        if len(cuts) > 1:
            knobs |= {"q-exit": _CONFIDENCES, "saturation": _cosines(walk), "schedule": _EVERY}
        for name, values in knobs.items():
            for value in values:
                notes.append(_measure(name, float(value), cuts, walk, layers))
    return tuple(notes)


def _walk(cuts: tuple[int, ...], exits: Mapping[int, Trial], tests: States) -> _Walk:
    rows = exits[cuts[0]].rows[:_MOST]
    calibrating = tests.passage[rows] % 2 == 0
    confidences = []
    for cut in cuts:
        trial = exits[cut]
        half = tests.passage[trial.rows] % 2 == 0
        xs, ys = zip(*isotonic(trial.stated[0][half], trial.right[0][half]), strict=True)
        confidences.append(np.interp(trial.stated[0][:_MOST], xs, ys))
    arrivals = []
    for i, row in enumerate(rows):
        streams = [tests.streams[cut][row].astype(np.float32) for cut in cuts]
        stated = [float(confidence[i]) for confidence in confidences]
        place = int(tests.place[row])
        arrivals.append(
            tuple(
                Arrival(at, len(cuts), place, streams[: at + 1], stated[: at + 1]) for at in range(len(cuts))
            )
        )
    right = np.stack([exits[cut].right[0][:_MOST] for cut in cuts], axis=1)
    return _Walk(tuple(arrivals), right, calibrating)


def _measure(name: str, strictness: float, cuts: tuple[int, ...], walk: _Walk, layers: int) -> LeavingNote:
    criterion = make_criterion(name, strictness)
    left = np.asarray([_leaves(criterion, arrivals) for arrivals in walk.arrivals])
    stayed = left == len(cuts)
    right = np.where(stayed, True, walk.right[np.arange(len(left)), np.minimum(left, len(cuts) - 1)])
    depth = np.asarray([*cuts, layers])[left] / layers
    halves = [float(right[half].mean()) for half in (walk.calibrating, ~walk.calibrating)]
    return LeavingNote(
        criterion=name,
        strictness=strictness,
        cuts=cuts,
        agreement=(round(halves[0], 4), round(halves[1], 4)),
        depth=round(float(depth.mean()), 4),
    )


def _leaves(criterion: Criterion, arrivals: Sequence[Arrival]) -> int:
    """Return the index of the cut where a token leaves; the number of cuts if it does not."""
    return next((i for i, arrival in enumerate(arrivals) if criterion.leaves(arrival)), len(arrivals))


def _cosines(walk: _Walk) -> Sequence[float]:
    """Choose thresholds that occur: quantiles of the cosines between successive cuts."""
    found = []
    for arrivals in walk.arrivals[::7]:
        streams = arrivals[-1].streams
        found += [cosine(one, other) for one, other in itertools.pairwise(streams)]
    return [round(float(q), 5) for q in np.quantile(found, np.linspace(0.3, 1.0, _COSINES))]
