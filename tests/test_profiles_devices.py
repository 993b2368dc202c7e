"""Devices: those that are shipped, which one this machine is like, and how fast one should be."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from conftest import TinyBundle
from hypothesis import given
from hypothesis import strategies as st
from profiles_cases import DEVICE, FULL

from edgetts.errors import CorruptFile, InvalidInput
from edgetts.profiles.device import DefaultBudget, PowerMode, PowerState
from edgetts.profiles.device_figures import each, figures_of
from edgetts.profiles.devices import device_here, find_device, profiles_of, shipped, shipped_names
from edgetts.profiles.roofline import (
    Dimensions,
    efficiency,
    modelled_times,
    pass_seconds,
    prompt_seconds,
    shape_from,
    shape_of,
)
from edgetts.profiles.roofline_fit import errors, fit_runtime, left_out, read_points
from edgetts.profiles.sighting import Sighting, look, most_like
from edgetts.profiles.store import ProfileStore
from edgetts.profiles.writing import write_export

PLAIN = Sighting("Linux", "x86_64", 4, 16 << 30, battery=False, day="2026-11-28")
SMALL = shape_from(Dimensions(30, 576, 9, 3, 64, 1536, 49152), 5.0, 5.0)


def test_the_devices_that_were_promised_are_shipped() -> None:
    assert shipped_names() == sorted(
        [
            "laptop-x86",
            "apple-laptop",
            "raspberry-pi-5",
            "snapdragon-phone",
            "mid-range-phone",
            "generic",
        ]
    )


@pytest.mark.parametrize("name", shipped_names())
def test_what_is_shipped_says_that_it_was_not_measured_and_where_it_comes_from(name: str) -> None:
    device = shipped(name)
    assert device.name == name
    assert device.kind == "modelled"
    for figure in figures_of(device).values():
        assert figure.provenance in ("vendor", "modelled")
        assert len(figure.source) > 10
        assert figure.provenance == "vendor" or figure.spread > 0
    assert device.power.provenance == "modelled"


@pytest.mark.parametrize("name", shipped_names())
def test_every_mode_and_state_has_a_budget_and_scarcity_never_buys_more(name: str) -> None:
    budgets = shipped(name).budgets
    assert set(budgets) == set(get_args(PowerMode))
    for states in budgets.values():
        assert set(states) == set(get_args(PowerState))
    balanced = budgets["balanced"]
    assert balanced["mains"] == DefaultBudget(samples=1), "more than one sample must earn its place"
    assert budgets["performance"]["mains"] == DefaultBudget(samples=8, seconds=30.0)

    def amount(budget: DefaultBudget) -> tuple[float, float, float]:
        limits = (budget.samples, budget.max_tokens, budget.seconds)
        return tuple(math.inf if limit is None else float(limit) for limit in limits)  # type: ignore[return-value]

    for states in budgets.values():
        battery = amount(states["battery"])
        for state in ("low", "throttled", "background"):
            assert amount(states[state])[:2] <= battery[:2]
            assert amount(states[state])[1] < math.inf
        assert amount(states["battery"])[1] < math.inf
    for state in get_args(PowerState):
        saver, usual, most = (amount(budgets[mode][state]) for mode in get_args(PowerMode))
        assert saver[0] <= usual[0] <= most[0]
        assert saver[1] <= usual[1] <= most[1]


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (PLAIN, "generic"),
        (replace(PLAIN, battery=True), "laptop-x86"),
        (replace(PLAIN, system="Windows", machine="AMD64", battery=True), "laptop-x86"),
        (replace(PLAIN, system="Darwin", machine="arm64"), "apple-laptop"),
        (replace(PLAIN, system="Darwin"), "generic"),
        (replace(PLAIN, machine="aarch64", board="Raspberry Pi 5 Model B Rev 1.0"), "raspberry-pi-5"),
        (replace(PLAIN, machine="aarch64", board="Raspberry Pi 4 Model B Rev 1.4"), "generic"),
        (replace(PLAIN, machine="aarch64", android=True, chip="Snapdragon SM8650"), "snapdragon-phone"),
        (replace(PLAIN, machine="aarch64", android=True, chip="Snapdragon SM7435"), "mid-range-phone"),
        (replace(PLAIN, machine="aarch64", android=True), "mid-range-phone"),
    ],
)
def test_a_machine_is_taken_for_what_it_is_most_like(seen: Sighting, name: str, tmp_path: Path) -> None:
    assert most_like(seen) == name
    device = device_here(tmp_path, seen=seen, environment={})
    assert (device.name, device.kind) == (name, "modelled")
    assert device.memory_bytes.value == 16 << 30
    assert device.memory_bytes.provenance == "measured"


def test_the_board_and_chip_are_read_from_where_the_kernel_says_them(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\x00")
    (tmp_path / "sys/devices/soc0").mkdir(parents=True)
    (tmp_path / "sys/devices/soc0/family").write_text("Snapdragon\n")
    (tmp_path / "sys/devices/soc0/machine").write_text("SM8650\n")
    seen = look(tmp_path)
    assert seen.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert seen.chip == "Snapdragon SM8650"
    assert seen.cores >= 1
    assert seen.memory_bytes > 0
    assert look(tmp_path / "nothing").board == ""


def test_a_machine_that_nobody_described_grows_with_its_cores(tmp_path: Path) -> None:
    two, eight = (device_here(tmp_path, seen=replace(PLAIN, cores=cores), environment={}) for cores in (2, 8))
    assert eight.processor.cores == 8
    assert eight.processor.operations.value == pytest.approx(4 * two.processor.operations.value)
    assert eight.power.idle_watts == two.power.idle_watts
    idle = two.power.idle_watts.value
    assert eight.power.busy_watts.value - idle == pytest.approx(4 * (two.power.busy_watts.value - idle))
    assert eight.power.busy_watts.spread > 0.4 * eight.power.busy_watts.value, "nobody knows"
    assert "scaled" in eight.power.busy_watts.source


def test_what_was_measured_here_comes_before_what_is_described(tmp_path: Path) -> None:
    assert ProfileStore(profiles_of(tmp_path)).put_device(DEVICE) is None
    assert device_here(tmp_path, seen=PLAIN, environment={}) == DEVICE
    path = profiles_of(tmp_path) / "device.toml"
    path.write_text(path.read_text()[:100])
    said: list[str] = []
    assert device_here(tmp_path, said.append, seen=PLAIN, environment={}).name == "generic"
    assert len(said) == 1


def test_the_environment_names_another_device_or_is_wrong(tmp_path: Path) -> None:
    named = device_here(tmp_path, seen=PLAIN, environment={"EDGETTS_DEVICE": "raspberry-pi-5"})
    assert named == shipped("raspberry-pi-5")
    with pytest.raises(InvalidInput, match=r"EDGETTS_DEVICE.*Did you mean 'raspberry-pi-5'"):
        device_here(tmp_path, seen=PLAIN, environment={"EDGETTS_DEVICE": "rasberry-pi-5"})
    with pytest.raises(InvalidInput, match=r"There are: apple-laptop"):
        device_here(tmp_path, seen=PLAIN, environment={"EDGETTS_DEVICE": "../../../etc/passwd"})


def test_an_imported_device_never_counts_as_measured_here(tmp_path: Path) -> None:
    folder = profiles_of(tmp_path) / "imported"
    folder.mkdir(parents=True)
    (folder / "theirs.toml").write_text(write_export(DEVICE, [FULL]))
    found = device_here(tmp_path, environment={"EDGETTS_DEVICE": "theirs"})
    assert (found.name, found.kind) == ("theirs", "modelled")
    assert {figure.provenance for figure in figures_of(found).values()} == {"modelled"}
    assert found.power.idle_watts.value == DEVICE.power.idle_watts.value
    assert "another machine" in found.power.idle_watts.source
    assert ProfileStore(profiles_of(tmp_path)).get(FULL.mark) is None
    (folder / "theirs.toml").write_text("format = 1")
    with pytest.raises(CorruptFile):
        find_device("theirs", tmp_path)


@pytest.mark.parametrize("name", shipped_names())
def test_a_modelled_curve_says_so_and_is_a_curve(name: str) -> None:
    times = modelled_times(SMALL, shipped(name).processor)
    assert times.source == "modelled"
    assert times.provenance == "modelled"
    assert list(times.seconds) == sorted(times.seconds)
    rates = [width / seconds for width, seconds in zip(times.widths, times.seconds, strict=True)]
    assert rates == sorted(rates), "a wider pass is never less work a second"
    assert times.at(2) < 1.7 * times.at(1), "the weights are read once"
    assert times.growth > 0
    assert times.spread > 0.3, "a model is not a measurement"
    assert times.prefill(256) < 256 * times.at(1)


@given(st.floats(1.1, 8.0))
def test_a_better_device_is_never_predicted_to_be_slower(better: float) -> None:
    device = shipped("raspberry-pi-5")
    faster = each(device, lambda figure: replace(figure, value=figure.value * better)).processor
    fit = efficiency("onnx")
    for width in (1, 4, 32):
        slow = pass_seconds(SMALL, device.processor, fit, width)
        assert slow / better == pytest.approx(pass_seconds(SMALL, faster, fit, width))
    assert prompt_seconds(SMALL, faster, fit, 200) < prompt_seconds(SMALL, device.processor, fit, 200)


def test_the_work_of_a_bundle_is_that_of_its_matrices(tiny_bundle: TinyBundle) -> None:
    manifest = tiny_bundle("llama").manifest
    arch = manifest.architecture
    shape = shape_of(manifest)
    assert shape.layers == arch.layers
    assert shape.head == arch.hidden * arch.vocab
    assert 0 < shape.weights <= sum(note.bytes for note in manifest.tensors.values())


def test_the_constants_are_those_of_the_fit_and_their_errors_are_stated() -> None:
    for runtime in ("onnx", "llamacpp"):
        points = [point for point in read_points() if point.runtime == runtime]
        made, kept = fit_runtime(points), efficiency(runtime)
        for name in made.__dataclass_fields__:
            assert getattr(kept, name) == pytest.approx(getattr(made, name), rel=0.02), name
        assert statistics.median(map(abs, errors(kept, points))) < 0.12


def test_a_machine_that_was_left_out_is_predicted_within_what_is_claimed() -> None:
    points = [point for point in read_points() if point.runtime == "onnx"]
    away = left_out(points)
    assert set(away) == {"zen3-2core", "zen4-2core"}
    every = [abs(error) for found in away.values() for error in found]
    within = statistics.mean(error <= efficiency("onnx").elsewhere for error in every)
    assert within >= 0.79
