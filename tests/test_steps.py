"""How long passes take: measured on a clock, and interpolated between widths."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes_engine import ENDLESS, FakeClock, ScriptedSession
from hypothesis import given
from hypothesis import strategies as st

from edgetts.decoding.session import Branch, Cancellation, Capabilities, Logits
from edgetts.profiles.curves import DEFAULT_TIMES, StepTimes
from edgetts.profiles.fingerprint import fingerprint
from edgetts.profiles.measuring.first_use import WIDTHS, measure_steps

CURVE = StepTimes((1, 2, 4, 8), (1.0, 1.25, 2.0, 3.5), 40.0, "measured", "2026-01-01")


def measured(times: StepTimes, session: ScriptedSession | None = None, **options: object) -> StepTimes:
    clock = FakeClock()
    session = session or ScriptedSession([ENDLESS] * 100, clock=clock, times=times, **options)  # type: ignore[arg-type]
    found = measure_steps(session, session.clock)
    assert session.live == []
    return found


def test_a_measurement_finds_the_curve_of_the_device() -> None:
    found = measured(CURVE)
    assert found.widths == WIDTHS
    assert found.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])
    assert found.prefill_rate == pytest.approx(40.0)
    assert found.source == "measured"
    assert found.provenance == f"measured {found.date}"


def test_single_slow_passes_do_not_count() -> None:
    hiccups = (9.0 if i % 3 == 0 else 1.0 for i in range(10_000))
    assert measured(CURVE, load=hiccups).seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])


def test_a_wider_pass_is_never_taken_for_cheaper() -> None:
    strange = StepTimes((1, 2, 4, 8), (2.0, 1.0, 4.0, 3.0), 40.0, "measured")
    assert measured(strange).seconds == pytest.approx((2.0, 2.0, 4.0, 4.0, 4.0))


def test_a_runtime_without_parallel_branches_is_measured_alone() -> None:
    found = measured(CURVE, capabilities=Capabilities(parallel=False))
    assert found.widths == (1,)
    assert found.at(1) == pytest.approx(1.0)
    assert found.at(5) == pytest.approx(5.0)


def test_a_small_context_is_measured_with_a_shorter_prompt() -> None:
    assert measured(CURVE, context=20).seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])


class TwoWays(ScriptedSession):
    """Read prompts at one of two speeds, in tokens a second."""

    def __init__(self, exactly: float, plainly: float) -> None:
        super().__init__([ENDLESS] * 100, clock=FakeClock(), times=CURVE)
        self.exact_prompts = True
        self._rates = {True: exactly, False: plainly}

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        result = super().prefill(tokens, cancel)
        self.clock.now += len(tokens) * (1 / self._rates[self.exact_prompts] - 1 / CURVE.prefill_rate)
        return result


@pytest.mark.parametrize(
    ("exactly", "plainly", "chosen"), [(40.0, 20.0, True), (40.0, 41.0, True), (20.0, 40.0, False)]
)
def test_long_prompts_are_read_exactly_unless_that_is_slower(
    exactly: float, plainly: float, chosen: bool
) -> None:
    session = TwoWays(exactly, plainly)
    assert measured(CURVE, session).exact_prompts is chosen
    assert session.exact_prompts, "measuring leaves a session as it was"


def test_what_never_reads_exactly_is_not_made_to() -> None:
    session = TwoWays(10.0, 40.0)
    session.exact_prompts = False
    measured(CURVE, session)
    assert not session.exact_prompts


def test_the_curve_is_exact_where_measured_and_linear_between_and_beyond() -> None:
    assert [CURVE.at(w) for w in CURVE.widths] == pytest.approx(list(CURVE.seconds))
    assert CURVE.at(3) == pytest.approx((1.25 + 2.0) / 2)
    assert CURVE.at(6) == pytest.approx((2.0 + 3.5) / 2)
    assert CURVE.at(16) == pytest.approx(3.5 + 2 * (3.5 - 2.0))


@given(
    seconds=st.lists(st.floats(1e-5, 10), min_size=2, max_size=4),
    width=st.integers(1, 64),
)
def test_a_wider_pass_never_takes_less(seconds: list[float], width: int) -> None:
    times = StepTimes(WIDTHS[: len(seconds)], tuple(sorted(seconds)), 1.0, "measured")
    assert 0 < times.at(width) <= times.at(width + 1) * (1 + 1e-9)


def test_the_default_is_slow_so_that_deadlines_are_kept() -> None:
    assert DEFAULT_TIMES.source == "default"
    assert DEFAULT_TIMES.at(1) >= 0.05
    assert DEFAULT_TIMES.provenance == "default"


def test_a_fingerprint_tells_facts_apart_and_is_a_file_name() -> None:
    one = fingerprint(weights="abc", runtime="onnx", options={"threads": 2})
    assert one == fingerprint(options={"threads": 2}, runtime="onnx", weights="abc")
    others = [
        fingerprint(weights="abd", runtime="onnx", options={"threads": 2}),
        fingerprint(weights="abc", runtime="reference", options={"threads": 2}),
        fingerprint(weights="abc", runtime="onnx", options={"threads": 1}),
        fingerprint(weights="abc", runtime="onnx", options={}),
    ]
    assert len({one, *others}) == 5
    assert one.isalnum()
