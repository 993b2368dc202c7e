"""Counters that zeus reads. Its own classes are used; the drivers under them are simulated, for there are none here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes_energy import LAPTOP, FakeMachine

from edgetts.energy.counter import CannotTell, Unavailable
from edgetts.energy.finding import find_meter
from edgetts.energy.ledger import UnderWay
from edgetts.energy.through_zeus import GpuCounter, SocCounter
from edgetts.errors import EdgettsError, MissingExtra, Unsupported

zeus_device = pytest.importorskip("zeus.device")


class Driver:
    """Stands in for NVML below zeus' NVIDIAGPU."""

    def __init__(self, name: str, millijoules: float = 0) -> None:
        self.name, self.millijoules, self.counts, self.gone = name, millijoules, True, False

    def gpu(self) -> Any:
        from zeus.device.gpu.nvidia import NVIDIAGPU

        driver = self

        class Simulated(NVIDIAGPU):
            def __init__(self) -> None:
                self.gpu_index = 0

            def get_name(self) -> str:
                return driver.name

            def supports_get_total_energy_consumption(self) -> bool:
                return driver.counts

            def get_total_energy_consumption(self) -> int:
                if driver.gone:
                    from zeus.device.gpu.common import ZeusGPULostError

                    raise ZeusGPULostError("GPU is lost")
                return driver.millijoules  # type: ignore[return-value]

        return Simulated()


def gpus(*drivers: Driver) -> Any:
    return SimpleNamespace(gpus=[driver.gpu() for driver in drivers])


def test_graphics_processors_add_up_and_may_be_all_for_others() -> None:
    fake = FakeMachine(Path("/nonexistent"))
    one, two = Driver("NVIDIA A", 5_000), Driver("NVIDIA B", 9_000)
    counter = GpuCounter(gpus(one, two), fake.machine)
    counter.read()
    one.millijoules += 3_000
    two.millijoules += 1_000
    count = counter.read()
    assert (count.low, count.joules, count.high) == pytest.approx((0.0, 4.0, 4.2))
    assert counter.source == "zeus (NVIDIA A, NVIDIA B)"


@pytest.mark.parametrize("bad", ["gone", "back", "nan", "slept"])
def test_a_driver_that_fails_cannot_tell_and_begins_anew(bad: str) -> None:
    fake = FakeMachine(Path("/nonexistent"))
    driver = Driver("NVIDIA A", 5_000)
    counter = GpuCounter(gpus(driver), fake.machine)
    counter.read()
    if bad == "gone":
        driver.gone = True
    elif bad == "slept":
        fake.slept = 100.0
    else:
        driver.millijoules = 4_000 if bad == "back" else float("nan")
    with pytest.raises(CannotTell):
        counter.read()
    driver.gone, driver.millijoules = False, 6_000
    try:
        counter.read()
    except CannotTell:
        counter.read()
    driver.millijoules = 7_000
    before = counter.read().joules
    driver.millijoules = 9_000
    assert counter.read().joules == pytest.approx(before + 2.0)


def test_a_graphics_processor_that_does_not_count_is_told() -> None:
    driver = Driver("NVIDIA Old")
    driver.counts = False
    with pytest.raises(Unavailable, match="does not count"):
        GpuCounter(gpus(driver), FakeMachine(Path("/nonexistent")).machine)
    with pytest.raises(Unavailable):
        GpuCounter(gpus(), FakeMachine(Path("/nonexistent")).machine)


def test_an_apple_chip_is_summed_over_its_parts() -> None:
    from zeus.device.soc.apple import AppleSiliconMeasurement

    fake = FakeMachine(Path("/nonexistent"), platform="darwin")
    told = [
        AppleSiliconMeasurement(cpu_total_mj=1_000, gpu_mj=500, dram_mj=None, efficiency_cores_mj=[1, 2]),
        AppleSiliconMeasurement(cpu_total_mj=1_000, gpu_mj=500),
        AppleSiliconMeasurement(cpu_total_mj=9_000, gpu_mj=700),
    ]
    soc = SimpleNamespace(get_total_energy_consumption=lambda: told.pop(0))
    counter = SocCounter(soc, fake.machine, LAPTOP)
    counter.read()
    fake.passes(2.0, cores=4)
    count = counter.read()
    assert count.joules == pytest.approx(8.2)
    assert count.low == pytest.approx(8.2 * 0.95)
    assert count.high == pytest.approx(8.2 * 1.15 + 5.0 * 2.0)


def test_a_jetson_is_counted_as_its_board() -> None:
    from zeus.device.soc.jetson import JetsonMeasurement

    told = [
        JetsonMeasurement(cpu_energy_mj=1.0, gpu_energy_mj=2.0, total_energy_mj=total)
        for total in (100.0, 100.0, 6100.0)
    ]
    soc = SimpleNamespace(get_total_energy_consumption=lambda: told.pop(0))
    counter = SocCounter(soc, FakeMachine(Path("/nonexistent")).machine, None)
    counter.read()
    assert counter.read().joules == pytest.approx(6.0)


def test_a_chip_that_tells_nothing_is_not_there() -> None:
    from zeus.device.soc.apple import AppleSiliconMeasurement

    soc = SimpleNamespace(get_total_energy_consumption=AppleSiliconMeasurement)
    with pytest.raises(Unavailable):
        SocCounter(soc, FakeMachine(Path("/nonexistent")).machine, None)


def test_the_processor_beside_a_graphics_processor_is_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMachine(tmp_path)
    fake.write("dev/nvidiactl", "")
    driver = Driver("NVIDIA A")
    monkeypatch.setattr(zeus_device, "get_gpus", lambda: gpus(driver))
    meters = find_meter(LAPTOP, machine=fake.machine, under_way=UnderWay())
    meter = meters()
    assert meter is not None
    meter.start()
    fake.passes(1.0)
    driver.millijoules = 10_000
    found = meter.read()
    assert found is not None
    assert (found.joules, found.provenance) == (pytest.approx(14.0), "modelled")
    # With RAPL both parts are measured.
    counter = fake.zone("0", "package-0", 0)
    meters = find_meter(LAPTOP, machine=fake.machine, under_way=UnderWay())
    meter = meters()
    assert meter is not None
    meter.start()
    fake.passes(1.0)
    fake.write(counter, 6_000_000)
    driver.millijoules += 1_000
    found = meter.read()
    assert found is not None
    assert (found.joules, found.provenance) == (pytest.approx(7.0), "measured")
    assert meters.name == "rapl+zeus"
    # A graphics processor alone would leave out what computes.
    (tmp_path / counter).unlink()
    assert find_meter(None, machine=fake.machine).name == "none"


def test_a_jetson_is_read_when_it_is_asked_for_only(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path)
    fake.write("etc/nv_tegra_release", "R36")
    looked = {one.name: one for one in find_meter(LAPTOP, machine=fake.machine).looked}
    assert "EDGETTS_METER=zeus" in looked["zeus"].reason


def test_a_machine_without_any_of_it_says_so_in_a_sentence() -> None:
    """The real zeus, on a machine whose drivers it does not find."""
    fake = FakeMachine(Path("/nonexistent"))
    try:
        find_meter(LAPTOP, name="zeus", machine=fake.machine)
    except Unsupported as error:
        assert "The meter zeus cannot be used: zeus finds nothing to read" in str(error)
        assert "\n" not in str(error)
        assert error.exit_code != 0


def test_a_missing_package_matters_only_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "zeus", None)
    monkeypatch.delitem(sys.modules, "zeus.device", raising=False)
    fake = FakeMachine(tmp_path)
    fake.write("dev/nvidiactl", "")
    with pytest.raises(EdgettsError) as error:
        find_meter(LAPTOP, name="zeus", machine=fake.machine)
    assert isinstance(error.value, MissingExtra)
    assert error.value.hint == "Install it with: pip install 'edgetts[energy]'"
    meters = find_meter(LAPTOP, machine=fake.machine)
    assert meters.name == "model"
    assert "pip install 'edgetts[energy]'" in next(one.reason for one in meters.looked if one.name == "zeus")


def test_looking_for_a_meter_loads_zeus_only_where_it_has_something_to_read() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgetts.energy.finding import find_meter\n"
        "from edgetts.energy.machine import Machine\nfind_meter(None, machine=Machine(root=Path('/nonexistent')))\n"
        "assert 'zeus' not in sys.modules and 'numpy' not in sys.modules, 'loaded'"
    )
    ran = subprocess.run(
        [sys.executable, "-Ic", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
