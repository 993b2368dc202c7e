"""Run mypy --strict on the package as people get it: from a wheel, away from the checkout.

export/, runtimes/ and profiles/ become subpackages of edgetts only when installed, so that in the
checkout mypy would not find them, and would say nothing. Needs the development requirements
(`make setup-dev`) and no network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What a wheel is made of. A copy is built, since building leaves files behind.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edgetts", "export", "profiles", "runtimes")


def build_wheel(scratch: Path) -> Path:
    """Build the wheel in a copy of the sources; return its path."""
    copy = scratch / "source"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(scratch),
        str(copy),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(f"The wheel cannot be built:\n{built.stdout}{built.stderr}")
    [wheel] = scratch.glob("*.whl")
    return wheel


def check(scratch: Path) -> int:
    """Return mypy's exit code, or 1 where it left a file out."""
    installed = scratch / "installed"
    with zipfile.ZipFile(build_wheel(scratch)) as wheel:
        wheel.extractall(installed)
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "-p", "edgetts"),
            *("--config-file", str(ROOT / "pyproject.toml")),
            *("--cache-dir", str(ROOT / ".mypy_cache")),
        ],
        cwd=installed,
        env={**os.environ, "MYPYPATH": str(installed)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    sys.stdout.write(checked.stdout)
    package = installed / "edgetts"
    there = len(list(package.rglob("*.py")))
    # To mypy a directory of data is a namespace package, and counts as a file.
    there += sum(path.is_dir() and not (path / "__init__.py").exists() for path in package.rglob("*"))
    seen = re.search(r"(?:in|checked) (\d+) source files?\)?$", checked.stdout.strip())
    if seen is None or int(seen[1]) != there:
        sys.stdout.write(f"mypy saw {seen[1] if seen else 'none'} of the package's {there} files.\n")
        return 1
    return checked.returncode


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(check(Path(scratch)))
