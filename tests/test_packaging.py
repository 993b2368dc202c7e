"""The wheel and the source distribution hold every file of the package, and nothing beside it."""

from __future__ import annotations

import email
import email.message
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
# Where each top directory of the repository lies in the installed package.
MAPPED = {
    "edgetts": "edgetts",
    "export": "edgetts/export",
    "profiles": "edgetts/profiles",
    "runtimes": "edgetts/runtimes",
}
TOP = ("pyproject.toml", "README.md", "LICENSE")


def package_files() -> set[str]:
    """Return what an installed package should hold: every file of the tree but what Python leaves behind."""
    return {
        f"{target}/{path.relative_to(ROOT / directory).as_posix()}"
        for directory, target in MAPPED.items()
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that is made from it; built from a copy, without a network."""
    copy = tmp_path_factory.mktemp("tree")
    for name in MAPPED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in TOP:
        shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-Im", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, (
        f"'make setup-dev' installs what building needs:\n{built.stdout}{built.stderr}"
    )
    return out


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> zipfile.ZipFile:
    [path] = distributions.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    [name] = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_package_and_only_that(wheel: zipfile.ZipFile) -> None:
    members = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in members} == {"edgetts"}
    tree = package_files()
    assert members - tree == set()
    assert tree - members == set(), "add the package or its data to pyproject.toml"
    assert {name for name in tree if not name.endswith(".py")} >= {
        "edgetts/py.typed",
        "edgetts/profiles/models.toml",
    }


def test_every_directory_of_modules_is_a_package(wheel: zipfile.ZipFile) -> None:
    members = set(wheel.namelist())
    directories = {name.rpartition("/")[0] for name in members if name.endswith(".py")}
    assert {f"{directory}/__init__.py" for directory in directories} <= members


def test_the_source_distribution_builds_the_same_wheel(distributions: Path) -> None:
    # The wheel above was built from it; so it only has to be without rubbish.
    [path] = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert tops == {*MAPPED, *TOP, "PKG-INFO", "setup.cfg", "edgetts.egg-info"}


def test_the_metadata_says_what_pyproject_says(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = metadata(wheel)
    assert (made["Name"], made["Version"]) == ("edgetts", project["version"])
    assert made["License-Expression"] == "Apache-2.0"
    assert made["Requires-Python"] == project["requires-python"] == ">=3.10"
    assert made.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    needed = [r for r in made.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = {re.split(r"[^\w.-]", r)[0].lower() for r in needed}
    assert {"onnxruntime", "numpy", "tokenizers", "click", "psutil"} <= names
    assert names.isdisjoint({"torch", "transformers", "huggingface-hub", "llama-cpp-python"})
    [entry_points] = [n for n in wheel.namelist() if n.endswith("entry_points.txt")]
    assert "edgetts = edgetts.cli:main" in wheel.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_wheel_runs_away_from_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")  # noqa: S202 - of a wheel just built here
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import edgetts.export, edgetts.runtimes\n"
        "from edgetts.profiles.models import load_registry; print(load_registry().default)\n"
        "print(edgetts.export.__file__)"
    )
    ran = subprocess.run(
        [sys.executable, "-Ic", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    default, where = ran.stdout.split()
    assert default == "smollm2-135m-instruct"
    assert Path(where) == tmp_path / "site" / "edgetts" / "export" / "__init__.py"


def test_the_version_is_written_in_the_change_log() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_development_requirements_are_arguments_that_a_shell_may_split() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "dev_requirements.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert ran.stdout.split() == lines
    group = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]["dev"]
    assert lines == [entry.replace(" ", "") for entry in group if ";" not in entry]
    assert any(line.startswith("setuptools>=") for line in lines)


def test_a_group_that_is_not_there_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "dev_requirements.py", "docs"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "no dependency group 'docs'; it has: dev" in ran.stderr
