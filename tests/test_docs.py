"""What documents say is true: commands exist, examples run, links lead somewhere."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from fakes_engine import ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

import edgetts
from edgetts.cli import COMMANDS, main
from edgetts.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOREIGN = {"--strict"}  # mypy


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Tokenizer) -> Callable[..., object]:
    """Have `edgetts.load` load a model that needs no download."""

    def scripted(*arguments: object, **options: object) -> object:
        session = ScriptedSession([b"The answer is %d." % (42 + i // 50) for i in range(100)])
        return scripted_engine(tiny_tokenizer, session)

    monkeypatch.setattr("edgetts.engine.load", scripted)
    return scripted


def test_the_command_line_is_documented_as_it_is() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_cli_docs.py"))["render"]()
    # Word by word: releases of click break lines differently.
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written.split() == made.split(), "run: python tools/make_cli_docs.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_that_documents_name_exist(document: Path) -> None:
    known = {"--help", "--version"}
    commands = [main.get_command(click.Context(main), name) for name in COMMANDS]
    for command in commands:
        assert command is not None
        known |= {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)}
        if isinstance(command, click.Group):
            commands += command.commands.values()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", document.read_text(encoding="utf-8")))
    assert named - known - FOREIGN == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_python_in_the_readme_runs(load: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - our own document
    assert "The answer is 42." in capsys.readouterr().out


def test_python_in_the_package_docstring_runs(
    load: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, example = (edgetts.__doc__ or "").partition("\n\n")
    exec(compile(example, "edgetts", "exec"), {})  # noqa: S102 - our own docstring
    assert "The answer is 42." in capsys.readouterr().out


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(
    example: Path,
    load: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", [str(example)])
    runpy.run_path(str(example), run_name="__main__")
    # What a schema describes the scripted model can only say in pieces.
    said = '"city"' if example.name == "structured.py" else "The answer is 4"
    assert said in capsys.readouterr().out


def test_the_house_is_described_as_it_is() -> None:
    """The table of packages in CONTRIBUTING names packages and directories that exist."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(edgetts\.\w+)` \| `([\w/]+)` \|", table, re.M)
    assert len(rows) >= 6
    for name, directory in rows:
        assert (ROOT / directory).is_dir(), name
