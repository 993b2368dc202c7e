"""What the device is in: told by simulated batteries, files and commands."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.energy import heat as heat_module
from edgetts.energy import machine as machine_module
from edgetts.energy import state as state_module
from edgetts.energy.command import Command
from edgetts.energy.heat import Heat
from edgetts.energy.state import Power, Saver, Sources, niceness, power_state


def write(root: Path, name: str, value: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n", encoding="utf-8")


def sources(battery: Any = None, saver: str | None = None, heat: str | None = None, nice: Any = 0) -> Sources:
    return Sources(lambda: battery, lambda: saver, lambda: heat, lambda: nice)


def cell(percent: Any, plugged: Any = False, secsleft: Any = -1) -> Any:
    return SimpleNamespace(percent=percent, power_plugged=plugged, secsleft=secsleft)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "mains"),
        (cell(50, True, -2), "mains"),
        (cell(5, True), "mains"),
        (cell(50), "battery"),
        (cell(20), "battery"),
        (cell(19.9), "low"),
        (cell(0), "low"),
        (cell(50, None), "battery"),
        (cell(math.nan), "battery"),
        (cell(math.inf), "battery"),
        (cell(-4), "battery"),
        (cell(10**400), "battery"),
        (cell("12"), "battery"),
        (cell(True), "battery"),
        (cell(None, None), "battery"),
        (object(), "battery"),
    ],
)
def test_a_battery_tells(found: Any, state: str) -> None:
    power = power_state(sources=sources(found))
    assert power.state == state
    assert power.reason
    assert power.percent is None or 0 <= power.percent <= 100


def test_the_graver_state_counts() -> None:
    order = ["throttled", "low", "background", "battery", "mains"]
    for heat, low, back, unplugged in itertools.product([True, False], repeat=4):
        found = power_state(
            background=back,
            sources=sources(cell(10 if low else 90, not (unplugged or low)), heat="hot" if heat else None),
        )
        holds = [heat, low, back, unplugged, True]
        assert found.state == next(name for name, one in zip(order, holds, strict=True) if one)


def test_the_systems_own_saver_means_low_on_mains_too() -> None:
    assert power_state(sources=sources(None, saver="saver is on")) == Power("low", "saver is on")


def test_the_caller_or_the_process_says_that_nobody_waits() -> None:
    assert power_state(sources=sources(nice=5)).state == "background"
    assert power_state(background=False, sources=sources(nice=5)).state == "mains"
    assert power_state(background=True, sources=sources(nice=-5)).state == "background"
    assert power_state(sources=sources(nice=-5)).state == "mains"
    assert power_state(sources=sources(nice="many")).state == "mains"


@pytest.mark.parametrize("error", [OSError, ValueError, AttributeError, RuntimeError, ZeroDivisionError])
def test_sources_that_break_tell_nothing(error: type[Exception]) -> None:
    def broken() -> Any:
        raise error("no")

    assert power_state(sources=Sources(broken, broken, broken, broken)).state == "mains"


@settings(deadline=None)
@given(
    st.from_type(object) | st.floats() | st.none(), st.none() | st.booleans() | st.integers(), st.integers()
)
def test_whatever_a_battery_says_there_is_a_state(percent: Any, plugged: Any, left: Any) -> None:
    power = power_state(sources=sources(cell(percent, plugged, left)))
    assert power.state in ("mains", "battery", "low")


def test_this_machine_has_a_state() -> None:
    assert power_state().reason == power_state().reason


def test_trip_points_tell_heat(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    write(tmp_path, f"{zone}/type", "cpu-thermal")
    write(tmp_path, f"{zone}/temp", 60_000)
    for index, (kind, limit) in enumerate(
        [("active", 50_000), ("passive", 85_000), ("passive", -274_000), ("critical", 110_000), ("hot", 0)]
    ):
        write(tmp_path, f"{zone}/trip_point_{index}_type", kind)
        write(tmp_path, f"{zone}/trip_point_{index}_temp", limit)
    heat = Heat(tmp_path, "linux")
    assert heat.reason() is None
    write(tmp_path, f"{zone}/temp", 84_500)
    assert heat.reason() == "cpu-thermal is at 84 °C, and is slowed down from 84 °C on"
    for nonsense in ("", "hot", "nan", "9" * 50, -(10**9), 10**9):
        write(tmp_path, f"{zone}/temp", nonsense)
        assert heat.reason() is None
    (tmp_path / zone / "temp").unlink()
    assert heat.reason() is None


def test_a_zone_that_slows_nothing_down_does_not_count(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone3"
    write(tmp_path, f"{zone}/temp", 99_000)
    assert Heat(tmp_path, "linux").reason() is None
    write(tmp_path, f"{zone}/trip_point_0_type", "critical")
    write(tmp_path, f"{zone}/trip_point_0_temp", 103_000)
    assert "thermal_zone3" in str(Heat(tmp_path, "linux").reason())


def test_a_capped_frequency_is_throttling_and_a_resting_one_is_not(tmp_path: Path) -> None:
    for policy in (0, 4):
        place = f"sys/devices/system/cpu/cpufreq/policy{policy}"
        write(tmp_path, f"{place}/cpuinfo_max_freq", 2_000_000)
        write(tmp_path, f"{place}/scaling_max_freq", 2_000_000)
        write(tmp_path, f"{place}/scaling_cur_freq", 600_000)
    write(tmp_path, "proc/loadavg", "0.10 0.10 0.10 1/300 4242")
    heat = Heat(tmp_path, "linux")
    assert heat.reason() is None
    write(tmp_path, "proc/loadavg", "4.00 3.00 2.00 4/300 4242")
    assert heat.reason() == "its processor is held at 30% of its frequency"
    write(tmp_path, "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", 1_900_000)
    assert heat.reason() is None
    write(tmp_path, "proc/loadavg", "nonsense")
    for policy in (0, 4):
        write(tmp_path, f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_max_freq", 800_000)
    assert heat.reason() == "its processor is held at 40% of its frequency"


@pytest.mark.parametrize(
    ("told", "throttled"),
    [("0", False), ("50000", False), ("0x50005", True), ("4", True), ("zz", False), ("", False)],
)
def test_a_raspberry_pis_firmware_tells(tmp_path: Path, told: str, throttled: bool) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", told)
    reason = Heat(tmp_path, "linux").reason()
    assert (reason is not None) is throttled


def told_by(command: list[str]) -> Callable[..., Command]:
    return lambda words: Command([sys.executable, "-c", f"print({command[0]!r})"])


def test_a_raspberry_pi_without_that_file_is_asked_by_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr(heat_module, "Command", told_by(["throttled=0x2"]))
    heat = Heat(tmp_path, "linux")
    assert heat.reason() is None
    heat.wait(60)
    assert "0x2" in str(heat.reason())


def test_macos_tells_by_pmset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heat_module, "Command", told_by(["CPU_Speed_Limit \t= 60"]))
    heat = Heat(tmp_path, "darwin")
    heat.wait(60)
    assert heat.reason() == "macOS holds its processor at 60% (CPU_Speed_Limit)"
    monkeypatch.setattr(state_module, "Command", told_by([" standby 1\n lowpowermode         1"]))
    saver = Saver(tmp_path, "darwin")
    assert saver.reason() is None
    found = Sources(lambda: None, saver.reason, lambda: None, lambda: 0, saver.wait)
    assert power_state(sources=found, patience=60) == Power("low", "macOS' low power mode is on")


@pytest.mark.parametrize(
    "text", ["", "CPU_Speed_Limit = 100", "CPU_Speed_Limit = x", "CPU_Available_CPUs = 4", "= ="]
)
def test_macos_without_limits(text: str) -> None:
    assert heat_module._mac(text) is None


def test_linux_power_profile_is_a_saver(tmp_path: Path) -> None:
    saver = Saver(tmp_path, "linux")
    assert saver.reason() is None
    write(tmp_path, "sys/firmware/acpi/platform_profile", "low-power")
    assert saver.reason() is not None
    write(tmp_path, "sys/firmware/acpi/platform_profile", "balanced")
    assert saver.reason() is None


@pytest.mark.skipif(sys.platform == "win32", reason="nice values are POSIX")
def test_a_process_that_stands_back_is_seen(tmp_path: Path) -> None:
    code = (
        "import os; os.nice(3); from pathlib import Path; from edgetts.energy.state import niceness, power_state;"
        "print(niceness(Path('/')), power_state().state)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    nice, state = ran.stdout.split()
    assert int(nice) >= 3
    assert state in ("background", "low", "throttled")
    write(tmp_path, "proc/self/autogroup", "/autogroup-77 nice 19")
    assert niceness(tmp_path) == 19
    write(tmp_path, "proc/self/autogroup", "/autogroup-77 nice many")
    assert niceness(tmp_path) < 19


def test_a_command_is_never_waited_for() -> None:
    now = [0.0]
    command = Command([sys.executable, "-c", "print('late')"], keep=20.0, clock=lambda: now[0])
    assert command.told() is None
    command.wait(60)
    assert command.told() == "late\n"
    now[0] = 10.0
    assert command.told() == "late\n"
    assert command._running is None
    now[0] = 21.0
    assert command.told() == "late\n"  # the old word, while it is asked again
    assert command._running is not None
    command.wait(60)
    assert command._running is None


def test_a_command_that_hangs_fails_or_is_not_there_tells_nothing() -> None:
    now = [0.0]
    hangs = Command(
        [sys.executable, "-c", "import time; time.sleep(600)"], patience=5.0, clock=lambda: now[0]
    )
    hangs.told()
    running = hangs._running
    assert running is not None
    now[0] = 6.0
    assert hangs.told() is None
    assert running.returncode is not None
    fails = Command([sys.executable, "-c", "print(1); raise SystemExit(1)"])
    fails.told()
    assert fails._running is not None
    fails._running.wait(60)
    assert fails.told() is None
    assert Command(["/nonexistent/pmset"]).told() is None


def test_psutil_may_fail_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def broken() -> Any:
        raise ValueError("battery of nonsense")

    monkeypatch.setattr(psutil, "sensors_battery", broken, raising=False)
    assert machine_module.battery() is None
    monkeypatch.delattr(psutil, "sensors_battery")
    assert machine_module.battery() is None


def test_windows_is_asked_for_its_saver_and_its_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """kernel32 is simulated; that the calls are right was never seen on Windows."""
    import ctypes

    status, ticks = [1], [50_000_000]

    def power(pointer: Any) -> int:
        pointer._obj[3] = status[0]
        return 1

    def interrupt(pointer: Any) -> int:
        pointer._obj.value = ticks[0]
        return 1

    kernel = SimpleNamespace(GetSystemPowerStatus=power, QueryUnbiasedInterruptTime=interrupt)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    saver = Saver(tmp_path, "win32")
    assert saver.reason() == "Windows' battery saver is on"
    status[0] = 0
    assert saver.reason() is None
    assert machine_module._unbiased() == 5.0
