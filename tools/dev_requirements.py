"""Print a dependency group of pyproject.toml as arguments for pip, which itself reads groups only since 25.1.

    pip install $(python tools/dev_requirements.py)

One argument a line, without spaces or quotes, since a shell splits what it substitutes at spaces and
takes quotes literally. Runs on a bare Python 3.10 with pip.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def requirements(groups: dict[str, list[Any]], name: str) -> list[str]:
    """Return the arguments of one group, with those of the groups that it includes."""
    if name not in groups:
        raise SystemExit(f"pyproject.toml has no dependency group {name!r}; it has: {', '.join(groups)}.")
    arguments: list[str] = []
    for entry in groups[name]:
        if isinstance(entry, dict):
            arguments += requirements(groups, entry["include-group"])
            continue
        needed = Requirement(entry)
        if needed.marker is None or needed.marker.evaluate():
            extras = f"[{','.join(sorted(needed.extras))}]" if needed.extras else ""
            arguments.append(f"{needed.name}{extras}{f'@{needed.url}' if needed.url else needed.specifier}")
    return arguments


def main(name: str = "dev") -> None:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    groups = tomllib.loads(project.read_text(encoding="utf-8"))["dependency-groups"]
    sys.stdout.write("".join(f"{argument}\n" for argument in requirements(groups, name)))


if __name__ == "__main__":
    main(*sys.argv[1:2])
