"""Profiles as TOML: what is written is read again, and nothing else gets through."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles_cases import DEVICE, FULL, devices, speeds

from edgetts.errors import BundleVersionError, CorruptFile
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.reading import Exported, read_device, read_exported, read_speed
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.writing import write_device, write_export, write_speed

TEXT = write_speed(FULL)


@given(speeds())
@settings(max_examples=60, deadline=None)
def test_a_speed_profile_is_read_as_it_was_written(profile: SpeedProfile) -> None:
    assert read_speed(write_speed(profile).encode(), "it") == profile


@given(devices())
@settings(max_examples=60, deadline=None)
def test_a_device_is_read_as_it_was_written(device: DeviceProfile) -> None:
    found, facts = read_device(write_device(device, {"cpu": "x"}).encode(), "it")
    assert (found, facts) == (device, {"cpu": "x"})


@given(devices(), st.lists(speeds(), max_size=2))
@settings(max_examples=20, deadline=None)
def test_an_export_is_read_as_it_was_written(device: DeviceProfile, measured: list[SpeedProfile]) -> None:
    found = read_exported(write_export(device, measured).encode(), "it")
    assert found == Exported(device, tuple(measured))


def test_a_device_alone_can_be_taken_in_too() -> None:
    assert read_exported(write_device(DEVICE, {"cpu": "x"}).encode(), "it") == Exported(DEVICE)


def changed(what: str, to: str) -> str:
    text, count = re.subn(what, to, TEXT, count=1, flags=re.MULTILINE | re.DOTALL)
    assert count == 1, what
    return text


@pytest.mark.parametrize(
    ("what", "to", "why"),
    [
        ("^format = 1", 'format = "1"', "format is not a whole number"),
        ("^format = 1", "format = true", "format is not a whole number"),
        ("^format = 1\n", "", "format is missing"),
        ('^document = "speed"', 'document = "device"', "document is none of speed"),
        ('^mark = "[^"]*"', 'mark = "../../etc/passwd"', "not a fingerprint"),
        ('^model = "tiny"', 'model = "\\\\u001b[2J"', "model is not a line of text"),
        ('^model = "tiny"', f'model = "{"x" * 400}"', "model is not a line of text"),
        ('^model = "tiny"', "model = 3", "model is not a line of text"),
        ('^model = "tiny"', 'model = "tiny"\nmodle = "x"', "does not know: 'modle'"),
        ("0.012", "nan", "seconds is not a number"),
        ("0.012", "inf", "seconds is not a number"),
        ("0.012", "-0.012", "seconds is not a number"),
        ("0.012", "0", "seconds is not a number"),
        ("0.012", "0.9", "seconds must not fall"),
        ("0.012", '"0.012"', "seconds is not a number"),
        ("0.012", "1" + "0" * 400, "seconds is not a number"),
        ("0.012", "1" + "0" * 1900, "seconds is not a number"),
        ("    2,\n", "    1,\n", "must rise"),
        ("    2,\n", "    2,\n    3,\n", "one entry for each"),
        ("    2,\n", "    2.5,\n", "widths is not a whole number"),
        (r"widths = \[.*?\]", "widths = []", "one entry for each"),
        (r"widths = \[.*?\]", "widths = 3", "widths is not a list"),
        ("exact_prompts = true", "exact_prompts = 1", "exact_prompts is neither"),
        ("^spread = 0.05", "spread = -1", "spread is not a number"),
        ('^date = "2026-11-28"', 'date = "2026-13-28"', "date is not a day"),
        ('^date = "2026-11-28"', "date = 2026-11-28T10:00:00", "date is not a day"),
        ('^date = "2026-11-28"', 'date = ""', "date is not a day"),
        ('^scope = "full"', 'scope = "half"', "scope is none of"),
        ("^model = 100000000", "model = -1", "model is not a whole number"),
        ("right = 0.4", "right = 1.4", "right is not a number from 0 to 1"),
        ("threads = 2, seconds", "threads = 1, seconds", "each number of threads once"),
        ("^value = 12.0", "value = 2.0", "busy_watts is below idle_watts"),
        (r"\[facts\]", "[[facts]]", "facts is not a table"),
        ('^source = "measured"', 'source = "guessed"', "source is none of"),
        ("$", "\n[times]\n", "not readable TOML"),
        ("$", "\nx = " + "[" * 900, "not readable TOML"),
        ("$", "\nx = " + "a." * 1000, "line of more than"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(what: str, to: str, why: str) -> None:
    with pytest.raises(CorruptFile) as caught:
        read_speed(changed(what, to).encode(), "The profile x.toml")
    assert why in str(caught.value)
    assert str(caught.value).startswith("The profile x.toml")
    assert "\n" not in str(caught.value)


def test_a_day_may_be_written_without_quotes() -> None:
    assert read_speed(changed('^date = "2026-11-28"', "date = 2026-11-28").encode(), "it") == FULL


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(BundleVersionError, match="newer edgetts.*Upgrade"):
        read_speed(changed("^format = 1", "format = 2").encode(), "it")


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"\x00" * 50, b"# " + b"x\n" * (1 << 20)])
def test_bytes_that_are_no_profile_are_refused(raw: bytes) -> None:
    with pytest.raises(CorruptFile):
        read_speed(raw, "it")


@given(st.integers(0, len(TEXT)), st.integers(1, 40), st.binary(max_size=6))
@settings(max_examples=150, deadline=None)
def test_damage_is_refused_or_harmless_but_never_a_traceback(at: int, size: int, junk: bytes) -> None:
    raw = TEXT.encode()
    try:
        found = read_speed(raw[:at] + junk + raw[at + size :], "it")
    except (CorruptFile, BundleVersionError):
        return
    assert read_speed(write_speed(found).encode(), "it") == found


def test_a_measured_figure_without_a_day_is_refused() -> None:
    power = replace(DEVICE.power, idle_watts=replace(DEVICE.power.idle_watts, date=""))
    with pytest.raises(CorruptFile, match="date is missing"):
        read_device(write_device(replace(DEVICE, power=power)).encode(), "it")
