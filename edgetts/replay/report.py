"""Replay several policies over one recording, side by side; knows no files and prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgetts.errors import InvalidInput
from edgetts.replay.averages import Average, averages
from edgetts.replay.comparing import DRAWS, Figures, figures
from edgetts.replay.pareto import frontier, knee
from edgetts.replay.playing import Setting
from edgetts.replay.policies import Policy
from edgetts.replay.reading import Recording
from edgetts.replay.tuning import Half, Price, family, rows_of, tune, with_setting

PRICES = ("0.001", "0.0003", "0.0001", "0.00005", "0.00002", "0.00001", "0.000003")
"""What a token costs in the adaptive policies that are replayed where none is named."""
COUNTS = (1, 2, 4, 8, 16)
KNEE_RULE = (
    "the frontier's point farthest above the chord between its ends, both axes scaled to 0 to 1 (Kneedle)"
)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is tuned on the other half: values of a setting, judged against the first policy. lose: share of answers."""

    key: str
    values: tuple[str, ...]
    lose: float = 0.01
    price: Price = "tokens"


@dataclass(frozen=True, slots=True)
class Front:
    """By one cost: the policies on the frontier, the cheapest first, and the one at its knee."""

    frontier: tuple[str, ...]
    knee: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What was replayed and what it came to, the first policy first. fronts: by tokens, seconds and joules."""

    title: str
    device: str
    half: str
    orders: int
    problems: int
    samples: tuple[int, int]
    figures: tuple[Figures, ...]
    fronts: Mapping[str, Front]

    def to_json(self) -> dict[str, Any]:
        body = asdict(self)
        body["knee_rule"] = KNEE_RULE
        body["joules"] = "modelled: watts by simulated seconds"
        return body


def replay(
    recording: Recording,
    specs: Sequence[str],
    setting: Setting,
    make: Callable[[str], Policy],
    *,
    orders: int = 1,
    half: Half | Literal["both"] = "both",
    tuning: Tuning | None = None,
    risk: float | None = None,
    draws: int = DRAWS,
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Report:
    """Replay each policy on the problems of a half, or on both, and compare it to the first.

    With `tuning`, each half is judged by the setting that the other one chose. Errors: InvalidInput.
    """
    families = {spec: _family(spec, at, specs, tuning) for at, spec in enumerate(specs)}
    made = {one: make(one) for tried in families.values() for one in tried}
    pools = recording.pools
    rows = list(range(len(pools)) if half == "both" else rows_of(half, len(pools)))
    if not rows:
        raise InvalidInput(f"The half {half!r} of {len(pools)} problems is empty.")
    # What is tuned needs both halves, whichever is reported.
    needed = pools if tuning is not None else [pools[row] for row in rows]
    played: dict[str, list[Average]] = {}
    for at, (name, policy) in enumerate(made.items()):
        played[name] = averages(
            needed,
            policy,
            setting,
            count=orders,
            progress=lambda done, of, at=at, name=name: progress(name, (at + done / of) / len(made)),  # type: ignore[misc]
        )
    found: list[Figures] = []
    first: list[Average] | None = None
    for spec, tried in families.items():
        if tuning is None or len(tried) == 1:
            values, chosen = played[tried[0]], None
        else:
            target = played[next(iter(families.values()))[0]]
            done = tune(tried, [played[one] for one in tried], target, lose=tuning.lose, price=tuning.price)
            values, chosen = done.found, {str(judged): name for judged, name in done.settings.items()}
        if tuning is not None:
            values = [values[row] for row in rows]
        found.append(figures(spec, values, first, risk=risk, settings=chosen, draws=draws))
        first = first or values
    return Report(
        title=recording.title,
        device=setting.device.stated,
        half=half,
        orders=orders,
        problems=len(rows),
        samples=recording.samples,
        figures=tuple(found),
        fronts=fronts(found),
    )


def fronts(found: Sequence[Figures]) -> dict[str, Front]:
    """Return the frontier and its knee by tokens, seconds and, where they are known, joules."""
    made = {}
    for cost in ("tokens", "seconds", "joules"):
        amounts = [getattr(one, cost) for one in found]
        if any(amount is None for amount in amounts):
            continue
        points = [(amount, one.accuracy.value) for amount, one in zip(amounts, found, strict=True)]
        bend = knee(points)
        made[cost] = Front(
            tuple(found[at].name for at in frontier(points)), None if bend is None else found[bend].name
        )
    return made


def sweep(most: int) -> list[str]:
    """Return the policies that are compared where none is named: fixed numbers of samples, and adaptive prices."""
    fixed = [f"self_consistency:stop=none@{count}" for count in COUNTS if count <= most]
    return [*fixed, *(f"adaptive:price={price}@{most}" for price in PRICES)]


def _family(spec: str, at: int, specs: Sequence[str], tuning: Tuning | None) -> list[str]:
    """Return the policies among which one is chosen; a policy without the setting is alone."""
    if tuning is None:
        return [spec]
    if not any(f"{{{tuning.key}}}" in one for one in specs) and at > 0:
        spec = with_setting(spec, tuning.key)
    return family(spec, tuning.key, tuning.values) if f"{{{tuning.key}}}" in spec else [spec]
