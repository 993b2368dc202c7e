"""Hold matrices in as few bits as the model can do with, and raise those that hurt most for their size.

Starts from the target's own form everywhere. Where text that was not looked at is answered otherwise too often, what
rounding costs is measured at the end of the model, layer by layer and then matrix by matrix: the Kullback-Leibler
divergence of its output from float32's while only that one is rounded. These add up well while they are small, so
that the greatest per byte are raised first, and no more of them than that text needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgetts.export.check import Divergence
from edgetts.export.static.encoding import Encoding
from edgetts.export.static.matrices import Matrix, Ranges, encodings_for, matrices
from edgetts.export.static.precision.costs import measured_costs
from edgetts.export.static.precision.layerwise import Layerwise, Window
from edgetts.export.static.tensors import WeightForm

Progress = Callable[[float], None]

LADDER: tuple[WeightForm, ...] = ("int4", "int8", "float")
Raise = tuple[str, WeightForm]
"""A matrix, and the next better form that it is held in."""

# Between two looks at held-out text the predicted cost is brought down to such shares of what it was.
_LEAST, _MOST = 0.1, 0.85
# How few of all raises are too many: one in so many.
_RESOLUTION = 40


@dataclass(frozen=True, slots=True)
class Choice:
    """Forms of all matrices, encodings of what enters and leaves them, and how far held-out text is answered alike.

    raised: matrices that are held otherwise than the target's own form, and how.
    """

    forms: dict[str, WeightForm]
    encodings: dict[str, Encoding]
    held_out: Divergence
    raised: tuple[str, ...]


def choose_forms(
    model: Layerwise,
    form: WeightForm,
    ranges: Ranges,
    calibration: Sequence[int],
    held_out: Sequence[Sequence[int]],
    *,
    agreement: float,
    progress: Progress = lambda share: None,
) -> Choice:
    """Choose until a share of `agreement` of the held-out positions has the first choice that float32 has.

    form: what matrices begin as. ranges: of what enters and leaves them. calibration: a text to measure costs on.
    Texts are of the width that the model was opened with. Where nothing is left to raise, that is the choice.
    """
    everything = matrices(model.arch)
    parts = _parts(progress)
    unseen = [model.window(tokens) for tokens in held_out]
    plain: dict[str, WeightForm] = {matrix.name: form for matrix in everything}

    def look(steps: Sequence[Raise]) -> Choice:
        raised = dict(steps)
        forms = plain | raised
        encodings = encodings_for(everything, forms, ranges)
        found = _evaluate(model, forms, encodings, unseen, next(parts))
        return Choice(forms, encodings, found, tuple(f"{name} {held}" for name, held in raised.items()))

    choice = look(())
    if _answers(choice, agreement):
        return choice
    costs = measured_costs(model, everything, form, ranges, calibration, next(parts))
    steps, left = _steps(everything, plain, costs)
    failed, enough = 0, len(steps)
    passing: Choice | None = None
    while passing is None and failed < len(steps):
        wanted = left[failed] * _share(choice.held_out, agreement)
        at = next(n for n in range(failed + 1, len(left)) if left[n] <= wanted or n == len(steps))
        choice = look(steps[:at])
        if _answers(choice, agreement):
            passing, enough = choice, at
        else:
            failed = at
    while passing is not None and enough - failed > max(1, len(steps) // _RESOLUTION):
        at = (failed + enough) // 2
        choice = look(steps[:at])
        if _answers(choice, agreement):
            passing, enough = choice, at
        else:
            failed = at
    return passing or choice


def _answers(choice: Choice, agreement: float) -> bool:
    return choice.held_out.agreements >= agreement * choice.held_out.positions


def _share(found: Divergence, agreement: float) -> float:
    """Return the share of its cost to leave: choices change with the size of an error, costs with its square."""
    changed = 1 - found.agreements / found.positions
    return min(_MOST, max(_LEAST, ((1 - agreement) / changed) ** 2))


def _steps(
    everything: Sequence[Matrix], plain: dict[str, WeightForm], costs: dict[str, float]
) -> tuple[list[Raise], list[float]]:
    """Return all there is to raise, the greatest cost per byte first, and what is left before and after each."""
    forms, costs = dict(plain), dict(costs)
    steps: list[Raise] = []
    left = [sum(costs.values())]
    while costs:
        matrix = max((m for m in everything if m.name in costs), key=lambda m: _gain(m, forms, costs))
        name, higher = matrix.name, _above(forms[matrix.name])
        steps.append((name, higher))
        forms[name] = higher
        # Each bit more takes three quarters of the squared error away.
        costs[name] /= 4**4
        if higher == "float":
            del costs[name]
        left.append(sum(costs.values()))
    return steps, left


def _gain(matrix: Matrix, forms: dict[str, WeightForm], costs: dict[str, float]) -> float:
    form = forms[matrix.name]
    return costs[matrix.name] / (matrix.nbytes(_above(form)) - matrix.nbytes(form))


def _above(form: WeightForm) -> WeightForm:
    return LADDER[LADDER.index(form) + 1]


def _evaluate(
    model: Layerwise,
    forms: dict[str, WeightForm],
    encodings: dict[str, Encoding],
    windows: Sequence[Window],
    progress: Progress,
) -> Divergence:
    """Run all layers rounded, as the finished graphs are."""
    streams = [window.rows for window in windows]
    depth = model.arch.layers
    for layer in range(depth):
        step = model.rounded(layer, forms, encodings)
        streams = [step(stream) for stream in streams]
        progress((layer + 1) / (depth + 1))
    step = model.rounded(depth, forms, encodings)
    total = Divergence()
    for window, stream in zip(windows, streams, strict=True):
        total += model.divergence(window, step(stream)[0])
    progress(1.0)
    return total


def _parts(progress: Progress) -> Iterator[Progress]:
    """Give one part of the work after the other its share of a progress that only rises: a third of what is left."""
    done = 0.0
    while True:
        left = (1 - done) / 3

        def tell(share: float, done: float = done, left: float = left) -> None:
            progress(done + left * share)

        yield tell
        done += left
