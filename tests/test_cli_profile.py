"""`edgetts profile`: show, list, diff, export, import."""

from __future__ import annotations

import getpass
import json
import platform
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import TinyBundle
from profiles_cases import CURVE, DEVICE, FACTS, FULL, speed

from edgetts.cli import main
from edgetts.profiles.fingerprint import describe
from edgetts.profiles.passing_on import scrub
from edgetts.profiles.speed import SpeedProfile
from edgetts.profiles.store import ProfileStore
from edgetts.profiles.validity import changes
from edgetts.runtimes.hardware import physical_cores


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    monkeypatch.setenv("EDGETTS_HOME", str(place))
    monkeypatch.delenv("EDGETTS_DEVICE", raising=False)
    return place


def current(**more: Any) -> SpeedProfile:
    """Return a profile whose facts hold on this machine."""
    from importlib.metadata import version

    facts = describe(
        weights="0" * 64, runtime="onnx", version=version("onnxruntime"), cores=physical_cores(), options={}
    )
    return speed(facts=facts, **more)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["profile", *arguments])
    assert result.exit_code == code, result.output + result.stderr
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_this_device_is_shown_as_modelled_until_it_is_measured(home: Path) -> None:
    lines = run("show").stdout.splitlines()
    assert "(modelled)" in lines[0]
    assert all("modelled" in line for line in lines if "watts" in line or "bandwidth" in line)
    assert not home.exists(), "looking creates nothing"
    ProfileStore(home / "profiles").put_device(DEVICE)
    assert "(measured)" in run("show").stdout.splitlines()[0]
    assert run_json("show")["device"]["name"] == "bench"


def test_a_calibrated_model_is_shown_by_the_start_of_its_fingerprint(home: Path) -> None:
    profile = current()
    ProfileStore(home / "profiles").put(profile)
    shown = run("show", profile.mark[:6]).stdout
    assert "tiny on onnx, full, 2026-11-28" in shown
    assert "seconds of a pass of 2: 0.012" in shown
    assert "no longer holds" not in shown
    assert profile.mark in run("show").stdout
    body = run_json("show", profile.mark)
    assert body["speeds"][0]["times"]["widths"] == [1, 2, 4]
    assert body["speeds"][0]["changed"] == []


def test_a_modelled_curve_is_marked_on_every_line(home: Path, tiny_bundle: TinyBundle) -> None:
    bundle = str(tiny_bundle("llama").bundle)
    shown = run("show", "raspberry-pi-5", "--model", bundle).stdout
    curve = shown[shown.index(f"{bundle} on onnx") :].splitlines()
    assert len(curve) > 8
    assert all("modelled" in line for line in curve)
    body = run_json("show", "raspberry-pi-5", "--model", bundle)
    assert body["modelled"]["source"] == "modelled"
    assert body["device"]["kind"] == "modelled"


def test_the_list_says_what_no_longer_holds(home: Path) -> None:
    store = ProfileStore(home / "profiles")
    store.put(current())
    old = speed("quick", facts=current().facts | {"version": "0.1"})
    store.put(old)
    rows = {row["name"]: row for row in run_json("list")}
    assert rows[current().mark]["state"] == "holds"
    assert "no longer holds: version was 0.1" in rows[old.mark]["state"]
    assert rows[old.mark]["scope"] == "quick"
    assert rows["generic"] == {
        "name": "generic", "kind": "shipped", "scope": "modelled", "date": None, "model": None,
        "runtime": None, "state": None,
    }  # fmt: skip
    assert "no longer holds" in run("show", old.mark).stdout
    text = run("list").stdout
    assert text.startswith("NAME")
    assert old.mark in text


def test_a_file_that_cannot_be_read_is_said_and_the_rest_is_listed(home: Path) -> None:
    store = ProfileStore(home / "profiles")
    store.put(current())
    (home / "profiles/speeds" / ("f" * 24 + ".toml")).write_text("format = ")
    (home / "profiles/imported").mkdir()
    (home / "profiles/imported/theirs.toml").write_text("\x00")
    result = run("list")
    assert current().mark in result.stdout
    assert "f" * 24 in result.stderr
    assert "theirs" in result.stderr


def test_a_difference_is_told_from_noise(home: Path) -> None:
    store = ProfileStore(home / "profiles")
    one = current()
    other = speed(
        facts=one.facts | {"options": '{"threads": 1}'},
        times=replace(CURVE, seconds=(0.0102, 0.024, 0.04)),
    )
    store.put(one)
    store.put(other)
    found = {row["name"]: row for row in run_json("diff", one.mark, other.mark)}
    assert found["seconds of a pass of 1"]["ratio"] == pytest.approx(1.02)
    assert found["seconds of a pass of 1"]["beyond_spread"] is False
    assert found["seconds of a pass of 2"]["ratio"] == pytest.approx(2.0)
    assert found["seconds of a pass of 2"]["beyond_spread"] is True
    lines = run("diff", one.mark[:8], other.mark[:8]).stdout.splitlines()
    assert next(line for line in lines if "pass of 2" in line).split()[-1] == "yes"
    devices = run("diff", "raspberry-pi-5", "here").stdout
    assert "processor.bandwidth" in devices
    assert "modelled" in devices
    assert "not of one kind" in run("diff", "raspberry-pi-5", one.mark, code=2).stderr


def test_what_is_exported_here_can_be_imported_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ProfileStore(home / "profiles")
    store.put(replace(FULL, model="/home/someone/models/tiny"))
    store.put_device(DEVICE)
    file = tmp_path / "out.toml"
    assert "1 model " in run("export", str(file)).stdout
    assert "there already" in run("export", str(file), code=2).stderr
    run("export", str(file), "--force")
    there = tmp_path / "there"
    monkeypatch.setenv("EDGETTS_HOME", str(there))
    assert run_json("import", str(file)) == {"name": "bench"}
    assert "imported before" in run("import", str(file), code=2).stderr
    run("import", str(file), "--name", "theirs")
    assert run_json("show", "theirs")["speeds"][0]["model"] == "tiny"
    assert ProfileStore(there / "profiles").all() == [], "never a measurement of this machine"
    assert ProfileStore(there / "profiles").device() is None
    assert f"theirs/{FULL.mark}" in run("list").stdout
    assert "seconds of a pass" in run("show", f"theirs/{FULL.mark[:5]}").stdout
    same = run_json("diff", "bench", "theirs")
    assert same
    assert all(row["ratio"] in (1.0, None) for row in same)
    monkeypatch.setenv("EDGETTS_DEVICE", "theirs")
    shown = run("show").stdout
    assert "theirs: A machine of a test (modelled)" in shown
    assert "another machine" in shown


def test_an_export_names_no_person_host_or_directory(home: Path, tmp_path: Path) -> None:
    user, host = getpass.getuser(), platform.node()
    tell = f"{Path.home()}/secret/x.bin on {host} by {user}"
    store = ProfileStore(home / "profiles")
    store.put(
        replace(
            FULL,
            model=f"{home}/m.edge",
            facts=FACTS | {"options": f'{{"cache": "{tmp_path}/deep/cache.bin", "who": "{user}"}}'},
            power=replace(FULL.power, idle_watts=replace(FULL.power.idle_watts, source=tell)),  # type: ignore[type-var, union-attr]
        )
    )
    store.put_device(replace(DEVICE, title=tell))
    file = tmp_path / "out.toml"
    run("export", str(file))
    text = file.read_text()
    for secret in (str(home), str(tmp_path), "secret", str(Path.home()) + "/"):
        assert secret not in text
    for word in (user, host):
        assert len(word) < 3 or not re.search(rf"\b{re.escape(word)}\b", text)
    assert "x.bin" in text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("512 tokens/s past 200", "512 tokens/s past 200"),
        ("/home/ann/x.gguf", "x.gguf"),
        ("C:\\Users\\ann\\x.gguf here", "x.gguf here"),
        ("~/models/x.gguf", "x.gguf"),
        ('{"cache": "/var/tmp/k/v.bin"}', '{"cache": "v.bin"}'),
        ("by ann on box, not annual", "by - on -, not annual"),
    ],
)
def test_what_would_tell_whose_it_is_is_taken_out(text: str, left: str) -> None:
    assert scrub(text, re.compile(r"\bann\b|\bbox\b")) == left


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "format is missing"), (b"\xff", "not readable TOML"), (b"[" * 1500, "not readable TOML")],
)
def test_a_file_that_is_no_profile_is_not_imported(
    home: Path, tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "in.toml"
    file.write_bytes(content)
    assert why in run("import", str(file), code=4).stderr
    assert not home.exists()


def test_names_that_will_not_do_are_refused(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.toml"
    run("export", str(file))
    for name in ("../x", "A", "", "x" * 80, ".x"):
        if name:
            assert "cannot be a profile's name" in run("import", str(file), "--name", name, code=2).stderr
    for name in ("generic", "here"):
        assert "edgetts' own" in run("import", str(file), "--name", name, code=2).stderr
    assert "cannot be read" in run("import", str(tmp_path / "none.toml"), code=2).stderr
    assert "Did you mean 'raspberry-pi-5'" in run("show", "raspbery-pi-5", code=2).stderr
    assert "There is no profile" in run("show", "0" * 24, code=2).stderr
    assert not home.exists()
    shutil.rmtree(home, ignore_errors=True)
    home.write_text("in the way")
    assert "cannot be written" in run("import", str(file), "--name", "x", code=6).stderr


def test_facts_that_hold_have_not_changed() -> None:
    assert changes(current().facts) == []
    assert changes(current().facts | {"cpu": "x"}) == [f"cpu was x, is {current().facts['cpu']}"]
