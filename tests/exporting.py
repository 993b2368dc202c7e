"""Run `edgetts export` as a person does, and hold what it refuses against what it should say."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from edgetts.cli import main


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()[-1:]
    assert line.startswith("edgetts: ")
    for word in words:
        assert word in line
