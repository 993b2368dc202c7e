"""The command line as a whole: help, versions, exit codes, and never a traceback for what is no fault of ours."""

from __future__ import annotations

import errno
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import edgetts.errors
from edgetts.cli import ABSTAINED, COMMANDS, main
from edgetts.errors import EdgettsError, MissingExtra


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("arguments", [(), *((command,) for command in COMMANDS)])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_help_works_and_says_what_the_verb_does(arguments: tuple[str, ...], flag: str) -> None:
    result = run(*arguments, flag)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""
    verb = main if not arguments else main.get_command(click.Context(main), arguments[0])
    assert verb is not None
    undescribed = [p.name for p in verb.params if isinstance(p, click.Option) and not p.help]
    assert undescribed == []


def test_help_lists_every_verb() -> None:
    listed = re.findall(r"^  ([a-z]+) ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(COMMANDS)
    for name in COMMANDS:
        assert importlib.import_module(f"edgetts.cli.{name}").command.name == name


def test_every_file_of_a_verb_is_a_verb() -> None:
    directory = Path(importlib.import_module("edgetts.cli").__path__[0])
    assert {path.stem for path in directory.glob("*.py")} - {"__init__"} == set(COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    assert version("edgetts") in run("--version").stdout


def test_an_unknown_verb_or_option_is_a_usage_error() -> None:
    for arguments in (("aks",), ("ask", "--dedline", "5"), ("rm",)):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
        assert result.stdout == ""


def errors() -> Iterator[type[EdgettsError]]:
    for value in vars(edgetts.errors).values():
        if isinstance(value, type) and issubclass(value, EdgettsError):
            yield value


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Have `edgetts ls` raise the error that a test puts in the list."""
    error: list[BaseException] = []

    def fail() -> None:
        raise error[0]

    monkeypatch.setattr("edgetts.store.listing.list_models", fail)
    return error


@pytest.mark.parametrize("kind", list(errors()))
def test_every_error_is_one_sentence_and_its_exit_code(
    raising: list[BaseException], kind: type[EdgettsError]
) -> None:
    raising.append(kind("tqdm", "bars") if kind is MissingExtra else kind("It broke.", hint="Mend it."))
    result = run("ls")
    assert result.exit_code == kind.exit_code
    assert result.stdout == ""
    assert result.stderr == f"edgetts: {raising[0]}\n"
    assert kind.exit_code in {*range(1, 11)} - {ABSTAINED}


def test_the_exit_codes_are_those_that_the_errors_module_draws() -> None:
    tree = edgetts.errors.__doc__ or ""
    for name, code in re.findall(r"(\w+) +.*\(exit (\d)\)", tree):
        assert getattr(edgetts.errors, name).exit_code == int(code)
    assert set(re.findall(r"[├└]── (\w+)", tree)) == {e.__name__ for e in errors()} - {"EdgettsError"}


def test_what_the_system_refuses_is_one_sentence(raising: list[BaseException]) -> None:
    raising.append(PermissionError(errno.EACCES, "Permission denied", "/somewhere"))
    result = run("ls")
    assert (result.exit_code, result.stderr) == (6, "edgetts: /somewhere: Permission denied.\n")


def test_a_broken_pipe_ends_quietly(raising: list[BaseException]) -> None:
    raising.append(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    result = run("ls")
    assert (result.exit_code, result.output) == (1, "")


def test_ctrl_c_is_exit_130_and_a_sentence(raising: list[BaseException]) -> None:
    raising.append(KeyboardInterrupt())
    result = run("ls")
    assert result.exit_code == 130
    assert result.stderr.startswith("edgetts: interrupted")


def test_a_fault_of_ours_is_not_hidden(raising: list[BaseException]) -> None:
    raising.append(ZeroDivisionError())
    assert isinstance(run("ls").exception, ZeroDivisionError)


@pytest.mark.skipif(os.name != "posix", reason="needs a script without an ending")
def test_the_installed_command_runs() -> None:
    program = Path(sys.executable).with_name("edgetts")
    if not program.exists():
        pytest.skip("the package is not installed with its command")
    result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip().endswith(version("edgetts"))
