"""Profiles to test with: examples, and any that can be, as hypothesis draws them."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import (
    DefaultBudget,
    DeviceProfile,
    PowerDraw,
    PowerMode,
    PowerState,
    Processor,
)
from edgetts.profiles.figure import Figure, Provenance
from edgetts.profiles.fingerprint import describe, mark_of
from edgetts.profiles.speed import Guessing, Made, MemoryUse, Scope, SpeedProfile, Sustained

DAY = "2026-11-28"
FACTS = describe(weights="0" * 64, runtime="onnx", version="1.30", cores=2, options={})
CURVE = StepTimes((1, 2, 4), (0.01, 0.012, 0.02), 200.0, "measured", DAY, spread=0.05)


def speed(scope: Scope = "full", facts: dict[str, str] | None = None, **more: Any) -> SpeedProfile:
    facts = FACTS if facts is None else facts
    made = more.pop("made", Made(DAY, scope, {"edgetts": "0.1.0", "onnxruntime": "1.30"}))
    return SpeedProfile(mark_of(facts), "tiny", "onnx", facts, made, more.pop("times", CURVE), **more)


FULL = speed(
    memory=MemoryUse(100_000_000, 46_080, 4096),
    threads=((1, 0.02), (2, 0.01)),
    guessing=(Guessing("ngram", 1e-5, 0.4, 1.2),),
    sustained=Sustained(60.0, 1.1),
    power=PowerDraw(
        Figure(4.0, "measured", 0.2, "a meter", DAY), Figure(12.0, "measured", 0.5, "a meter", DAY)
    ),
)


def measured(value: float, spread: float = 0.0) -> Figure:
    return Figure(value, "measured", spread, "measured in a test", DAY)


DEVICE = DeviceProfile(
    "bench",
    "A machine of a test",
    "measured",
    measured(16e9),
    Processor("four cores", 4, measured(30e9, 1e9), Figure(4e11, "modelled", 1e11, "cores x clock")),
    PowerDraw(measured(5.0, 0.5), measured(20.0, 1.0)),
    budgets={"balanced": {"mains": DefaultBudget()}},
)

lines = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp", "Zs"), include_characters=" "),
    max_size=40,
)
days = st.dates().map(lambda day: day.isoformat())
seconds = st.floats(1e-6, 1e3)
shares = st.floats(0, 1)


@st.composite
def step_times(draw: st.DrawFn) -> StepTimes:
    widths = sorted(draw(st.sets(st.integers(1, 64), min_size=1, max_size=8)))
    prompts = sorted(draw(st.sets(st.integers(1, 4096), max_size=4)))
    return StepTimes(
        tuple(widths),
        tuple(sorted(draw(st.lists(seconds, min_size=len(widths), max_size=len(widths))))),
        draw(st.floats(1e-3, 1e6)),
        draw(st.sampled_from(("measured", "modelled", "learned", "default"))),
        draw(days),
        draw(st.booleans()),
        draw(st.floats(0, 100)),
        draw(st.integers(0, 4096)),
        draw(st.floats(0, 0.1)),
        tuple(
            zip(
                prompts,
                sorted(draw(st.lists(seconds, min_size=len(prompts), max_size=len(prompts)))),
                strict=True,
            )
        ),
        draw(st.floats(0, 2)),
    )


@st.composite
def figures(draw: st.DrawFn, low: float = 1.0, high: float = 1e12) -> Figure:
    return Figure(
        draw(st.floats(low, high)),
        draw(st.sampled_from(get_args(Provenance))),
        draw(st.floats(0, low)),
        draw(lines),
        draw(days),
    )


def powers() -> st.SearchStrategy[PowerDraw]:
    return st.builds(PowerDraw, figures(0.0, 10.0), figures(10.0, 300.0))


def processors() -> st.SearchStrategy[Processor]:
    return st.builds(Processor, lines, st.integers(1, 256), figures(), figures())


def budgets() -> st.SearchStrategy[DefaultBudget]:
    return st.builds(
        DefaultBudget,
        st.none() | st.floats(0.01, 1e4),
        st.none() | st.floats(0.01, 1e6),
        st.none() | st.integers(1, 1000),
        st.none() | st.integers(1, 100_000),
    )


def devices() -> st.SearchStrategy[DeviceProfile]:
    return st.builds(
        DeviceProfile,
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        lines,
        st.sampled_from(("measured", "modelled")),
        figures(),
        processors(),
        powers(),
        st.none() | processors(),
        st.dictionaries(
            st.sampled_from(get_args(PowerMode)),
            st.dictionaries(st.sampled_from(get_args(PowerState)), budgets(), max_size=5),
            max_size=3,
        ),
    )


def speeds() -> st.SearchStrategy[SpeedProfile]:
    names = st.dictionaries(st.from_regex(r"[a-z]{1,12}", fullmatch=True), lines, max_size=4)
    counts = st.integers(0, 1 << 40)
    return st.builds(
        SpeedProfile,
        st.from_regex(r"[0-9a-f]{24}", fullmatch=True),
        lines,
        lines,
        names,
        st.builds(
            Made,
            days,
            st.sampled_from(get_args(Scope)),
            names,
            st.dictionaries(st.sampled_from(("memory", "threads")), days, max_size=2),
        ),
        step_times(),
        st.none() | st.builds(MemoryUse, counts, counts, counts),
        st.dictionaries(st.integers(1, 64), seconds, max_size=4).map(lambda d: tuple(d.items())),
        st.lists(st.builds(Guessing, lines, st.floats(0, 1), shares, st.floats(0, 10)), max_size=3).map(
            tuple
        ),
        st.none() | st.builds(Sustained, st.floats(1, 600), st.floats(0.1, 10)),
        st.none() | powers(),
        st.integers(0, 64),
    )
