"""A calibration on devices that are not there: what it finds is what they are, whatever disturbs it meanwhile."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from measured_device import CURVE, DAY, Device

from edgetts.decoding.session import Cancelled, Capabilities
from edgetts.errors import EdgettsError, RuntimeFailure
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.measuring.calibration import Calibrated, calibrate
from edgetts.profiles.measuring.growth import derived_growth
from edgetts.profiles.measuring.passes import WIDTHS
from edgetts.profiles.reading import read_speed
from edgetts.profiles.speed import Scope
from edgetts.profiles.writing import write_speed


def calibrated(device: Device, scope: Scope = "quick", *, force: bool = False) -> Calibrated:
    found = calibrate(device.subject(), scope, device.instruments(), force=force)
    assert all(session.closed for session in device.sessions)
    assert read_speed(write_speed(found.profile).encode(), "it") == found.profile, "a store would keep it"
    return found


def test_a_quick_calibration_finds_what_the_device_is() -> None:
    device = Device()
    found = calibrated(device)
    times = found.profile.times
    assert times.widths == WIDTHS
    assert times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])
    assert times.past == CURVE.past
    assert times.growth == pytest.approx(CURVE.growth, rel=0.02)
    assert times.at(4, 1000) == pytest.approx(CURVE.at(4, 1000), rel=0.01)
    assert times.prefill_rate == pytest.approx(400.0)
    assert dict(times.prompts)[256] == pytest.approx(256 / 400)
    assert times.opening == pytest.approx(0.5)
    assert times.spread == pytest.approx(0.0, abs=1e-9)
    assert (times.source, times.date) == ("measured", DAY)
    assert found.profile.made.scope == "quick"
    assert found.remarks == ()
    assert set(found.missing) == {"sustained", "power"}


def test_a_quick_one_takes_less_than_twenty_seconds_and_says_so_first() -> None:
    device = Device(opening=1.0)
    calibrated(device)
    assert device.elapsed < 18
    (sentence,) = device.said
    assert sentence.startswith("Measuring toy on fake takes up to ")


def test_a_full_one_takes_less_than_three_minutes_and_leaves_nothing_out() -> None:
    device = Device()
    device.watts = (2.0, 9.0)
    found = calibrated(device, "full")
    assert device.elapsed < 175
    assert found.missing == {}
    sustained, power = found.profile.sustained, found.profile.power
    assert sustained is not None
    assert sustained.seconds == pytest.approx(60, abs=2)
    assert sustained.ratio == pytest.approx(1.0)
    assert power is not None
    assert power.idle_watts.value == pytest.approx(2.0)
    assert power.busy_watts.value == pytest.approx(9.0, rel=0.02)
    assert power.provenance == "measured"


def test_progress_goes_from_nothing_to_all_without_going_back() -> None:
    device = Device()
    calibrated(device)
    shares = [share for _, share in device.shown]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.1
    assert 0.4 < shares[-1] <= 1
    stages = list(dict.fromkeys(stage for stage, _ in device.shown))
    assert stages[0] == "fake: threads"
    assert "fake: passes by width" in stages


def test_memory_is_what_loading_and_branches_take() -> None:
    memory = calibrated(Device()).profile.memory
    assert memory is not None
    assert memory.model == 100_000_000
    assert memory.token == 1000
    assert memory.branch == 5000


def test_guessing_is_measured_on_the_text() -> None:
    (ngram,) = calibrated(Device()).profile.guessing
    assert ngram.drafter == "ngram"
    assert ngram.right > 0.9, "the text repeats itself"
    assert 2 < ngram.gain < 9


def test_the_number_of_threads_that_is_fastest_is_taken() -> None:
    device = Device(threads={2: 0.7, None: 1.0})
    profile = calibrated(device).profile
    assert profile.run_threads == 2
    assert profile.threads == ((2, pytest.approx(CURVE.at(1, 8) * 0.7)), (4, pytest.approx(CURVE.at(1, 8))))
    assert profile.times.at(1) == pytest.approx(CURVE.at(1) * 0.7)


@pytest.mark.parametrize("other", [0.98, 1.5])
def test_the_usual_number_of_threads_is_kept_unless_another_is_clearly_faster(other: float) -> None:
    device = Device(threads={2: other})
    profile = calibrated(device).profile
    assert profile.run_threads == 0
    assert len(device.sessions) == 2, "the usual one came last, and stayed open"


def test_threads_are_not_chosen_while_others_disturb() -> None:
    device = Device(threads={2: 0.5})
    device.busy = [1.0, 0.0]
    assert calibrated(device, force=True).profile.run_threads == 0


def test_single_odd_passes_do_not_count() -> None:
    turn = count()
    device = Device(slow=lambda seconds: 7.0 if next(turn) % 9 == 0 else 1.0)
    times = calibrated(device).profile.times
    assert times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])


def test_the_spread_is_that_of_single_passes() -> None:
    turn = count()
    device = Device(slow=lambda seconds: (0.8, 1.0, 1.2)[next(turn) * 7 // 3 % 3])
    times = calibrated(device).profile.times
    assert times.spread == pytest.approx(0.2, abs=0.05)
    assert times.at(8) == pytest.approx(CURVE.at(8), rel=0.1)


def test_a_wider_pass_is_never_taken_for_cheaper() -> None:
    strange = replace(CURVE, seconds=(0.02, 0.01, 0.04, 0.03, 0.03, 0.06), growth=0.0)
    seconds = calibrated(Device(strange)).profile.times.seconds
    assert list(seconds) == sorted(seconds)
    assert max(seconds) == pytest.approx(0.06)


@pytest.mark.parametrize("leap", [3600.0, -500.0])
@pytest.mark.parametrize("when", [60, 200, 400])
def test_a_clock_that_leaps_changes_no_figure(leap: float, when: int) -> None:
    device = Device()

    def after(passes: int) -> None:
        if passes == when:
            device.clock.now += leap

    device.after_pass = after
    found = calibrated(device)
    assert found.profile.times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])
    assert found.profile.times.growth == pytest.approx(CURVE.growth, rel=0.02)
    assert "leapt" in " ".join(found.remarks)
    assert found.profile.times.prefill_rate == pytest.approx(400.0)


@pytest.mark.parametrize("when", [40, 150, 300])
def test_a_pass_a_thousand_times_as_long_as_its_neighbours_is_thrown_away(when: int) -> None:
    device = Device(slow=lambda seconds: 1000.0 if device.passes == when else 1.0)
    found = calibrated(device)
    assert found.profile.times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])
    assert found.profile.times.spread == pytest.approx(0.0, abs=1e-9)


def test_a_clock_that_stands_still_is_refused() -> None:
    device = Device(slow=lambda seconds: 0.0)
    with pytest.raises(RuntimeFailure, match="No time passes"):
        calibrated(device)


@given(share=st.floats(0.03, 0.85))
@example(share=0.1484375)  # slow in a few of the last rounds of the curve only
@settings(max_examples=8, deadline=None)
def test_a_device_that_slows_to_half_its_speed_midway_has_one_curve_and_says_how_it_slows(
    share: float,
) -> None:
    device = Device(slow=lambda seconds: 2.0 if seconds > 110 * share else 1.0)
    found = calibrated(device, "full")
    times, sustained = found.profile.times, found.profile.sustained
    ratios = [seconds / CURVE.at(width) for width, seconds in zip(times.widths, times.seconds, strict=True)]
    assert max(ratios) == pytest.approx(min(ratios), rel=0.01), "a mixture is neither"
    assert sustained is not None
    assert sustained.ratio * ratios[0] == pytest.approx(2.0, rel=0.05), (
        "under load it is as slow as it becomes"
    )
    if "longer" not in found.missing:
        assert times.growth == pytest.approx(CURVE.growth * ratios[0], rel=0.2)


def test_what_slows_the_device_while_long_texts_are_timed_is_not_taken_for_their_length() -> None:
    device = Device()
    device.slow = lambda seconds: 1.5 if len(device.sessions) > 1 and device.passes > slower_from else 1.0
    slower_from = 1 << 30

    def after(passes: int) -> None:
        nonlocal slower_from
        if device.shown[-1][0] == "fake: passes over long texts":
            slower_from = min(slower_from, passes + 30)

    device.after_pass = after
    found = calibrated(device, "full")
    assert found.profile.times.growth == pytest.approx(CURVE.growth, rel=0.1)


def test_a_device_that_throttles_while_its_curve_is_timed_keeps_the_curve_of_before() -> None:
    device = Device(slow=lambda seconds: 1.0 if seconds < 12 else 2.0)
    found = calibrated(device, "full")
    assert found.profile.times.at(1) == pytest.approx(CURVE.at(1))
    assert found.profile.sustained is not None
    assert found.profile.sustained.ratio == pytest.approx(2.0, rel=0.02)
    assert any("timed again" in sentence for sentence in device.said)
    assert any("200%" in remark for remark in found.remarks)


def test_what_disturbed_it_for_a_while_is_measured_away() -> None:
    device = Device(slow=lambda seconds: 1.6 if 4 < seconds < 7 else 1.0)
    found = calibrated(device)
    assert found.profile.times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS], rel=0.01)


def test_a_device_that_goes_on_changing_is_marked_by_its_spread() -> None:
    device = Device(slow=lambda seconds: 1 + seconds / 5)
    found = calibrated(device)
    assert found.profile.times.spread > 0.1
    assert any("changing its speed" in remark for remark in found.remarks)


@pytest.mark.parametrize("slowness", [10.0, 60.0, 300.0])
def test_a_slow_model_is_measured_at_fewer_points_and_not_for_longer(slowness: float) -> None:
    times = replace(
        CURVE,
        seconds=tuple(seconds * slowness for seconds in CURVE.seconds),
        prefill_rate=CURVE.prefill_rate / slowness,
        growth=CURVE.growth * slowness,
    )
    device = Device(times, opening=2.0)
    found = calibrated(device)
    assert found.profile.times.widths[0] == 1
    assert found.profile.times.at(1) == pytest.approx(times.at(1, found.profile.times.past))
    # The least that makes a curve: three passes of one token, and what finds out that there is no time for more.
    assert device.elapsed < max(20.0, 45 * times.at(1))


def test_a_full_calibration_of_a_large_model_may_take_longer_and_says_so() -> None:
    times = replace(CURVE, seconds=tuple(seconds * 20 for seconds in CURVE.seconds), prefill_rate=20.0)
    device = Device(times)
    found = calibrated(device, "full")
    promised = float(device.said[0].rpartition("up to ")[2].partition(" s")[0])
    assert 180 < promised < 1200
    assert device.elapsed < promised * 1.1
    assert found.profile.times.widths == WIDTHS


def test_where_long_texts_are_not_timed_a_cache_is_as_slow_to_read_as_weights() -> None:
    times = StepTimes((1, 2), (0.01, 0.015), 100.0, "measured", "2026-01-01")
    derived = derived_growth(times, bytes_per_token=40_000, weights=80e6)
    assert derived.growth == pytest.approx(5e-6)
    assert derived.at(2, 1000 + times.past) == pytest.approx(0.015 + 2 * 1000 * 5e-6)
    assert derived_growth(times, 40_000, 0.0) == times
    measured = replace(times, growth=1e-6)
    assert derived_growth(measured, 40_000, 80e6) == measured


def test_a_busy_device_is_refused() -> None:
    device = Device()
    device.busy = [2.0]
    with pytest.raises(EdgettsError, match="keep 2 of this device's cores busy.*--force"):
        calibrated(device)
    assert device.sessions == []


def test_a_busy_device_is_measured_when_that_is_insisted_on_and_it_is_told() -> None:
    device = Device()
    device.busy = [2.0, 0.0]
    found = calibrated(device, force=True)
    assert "2 cores busy when it began" in " ".join(found.remarks)
    assert "2 cores busy when it began" in found.profile.made.doubt, "whoever uses it later is told, too"
    assert read_speed(write_speed(found.profile).encode(), "it") == found.profile
    assert not calibrated(Device()).profile.made.doubt


def test_a_device_that_became_busy_meanwhile_is_told() -> None:
    device = Device()
    device.busy = [0.0, 1.0]
    assert "1 cores busy when it ended" in " ".join(calibrated(device).remarks)


def test_a_runtime_without_parallel_branches_is_measured_alone() -> None:
    device = Device(capabilities=Capabilities(parallel=False, tolerance=0.0))
    found = calibrated(device)
    assert found.profile.times.widths == (1,)
    assert found.profile.times.at(1) == pytest.approx(CURVE.at(1))


@pytest.mark.parametrize(
    "able",
    [
        Capabilities(truncate=False, tolerance=0.0),
        Capabilities(extend=False, tolerance=0.0),
        Capabilities(fork=False, tolerance=0.0),
        Capabilities(fork=False, extend=False, truncate=False, parallel=False, tolerance=0.0),
    ],
)
def test_what_a_runtime_cannot_do_is_not_measured(able: Capabilities) -> None:
    device = Device(capabilities=able)
    found = calibrated(device)
    assert found.profile.times.at(1) == pytest.approx(CURVE.at(1), rel=0.01)
    assert ("guessing" in found.missing) == (not (able.extend and able.truncate))


@pytest.mark.parametrize("context", [2, 8, 60, 100])
def test_a_small_context_is_enough(context: int) -> None:
    found = calibrated(Device(context=context))
    assert found.profile.times.at(1) == pytest.approx(CURVE.at(1, min(64, max(1, context - 2))))
    assert "longer" in found.missing


def test_branches_that_do_not_fit_the_memory_are_not_made() -> None:
    device = Device(bytes_per_token=1 << 23)  # 64 tokens are half a gigabyte
    found = calibrated(device)
    assert found.profile.times.widths == (1, 2, 3, 4, 6)
    assert found.profile.times.at(4) == pytest.approx(CURVE.at(4))


def test_interrupted_before_there_is_a_curve_keeps_nothing() -> None:
    device = Device()
    device.after_pass = lambda passes: device.cancel.request() if passes == 80 else None
    with pytest.raises(Cancelled):
        calibrated(device)
    assert device.sessions
    assert all(session.closed for session in device.sessions)


def test_interrupted_later_keeps_the_curve() -> None:
    device = Device()

    def after(passes: int) -> None:
        if device.shown and device.shown[-1][0] == "fake: prompts":
            device.cancel.request()

    device.after_pass = after
    found = calibrated(device)
    assert found.profile.times.seconds == pytest.approx([CURVE.at(width) for width in WIDTHS])
    assert found.missing["guessing"] == "interrupted"
    assert "interrupted" in " ".join(found.remarks)


def test_what_fails_after_the_curve_is_missing_and_the_rest_is_kept() -> None:
    device = Device()

    def broken() -> list[list[int]]:
        raise EdgettsError("The text cannot be made.")

    found = calibrate(device.subject(prompts=broken), "quick", device.instruments())
    assert found.missing["guessing"] == "The text cannot be made."
    assert found.profile.memory is not None


def test_a_meter_that_only_models_is_no_measurement() -> None:
    device = Device()
    found = calibrated(device, "full")
    assert found.profile.power is None
    assert found.missing["power"] == "there is no energy meter that can be read"


@given(
    base=st.floats(1e-3, 0.2),
    wider=st.lists(st.floats(1.0, 2.2), min_size=5, max_size=5),
    growth=st.floats(0, 0.02),
)
@settings(max_examples=20, deadline=None)
def test_whatever_the_device_its_curve_is_found(base: float, wider: list[float], growth: float) -> None:
    seconds = [base]
    for factor in wider:
        seconds.append(seconds[-1] * factor)
    times = StepTimes(
        CURVE.widths, tuple(seconds), 4 / base, "measured", DAY, past=64, growth=growth * base / 1000
    )
    found = calibrated(Device(times)).profile.times
    for width in found.widths:
        assert found.at(width) == pytest.approx(times.at(width, found.past), rel=2e-3)
    assert math.isfinite(found.growth)
    if found.growth:
        assert found.growth == pytest.approx(times.growth, rel=0.05, abs=1e-9)
