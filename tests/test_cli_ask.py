"""`edgetts ask`: what goes to stdout, what to stderr, and one sentence for everything that can be wrong."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes_engine import ENDLESS, ScriptedSession, scripted_engine, tiny_engine_bundle, tiny_tokenizer

from edgetts.bundle import MANIFEST, read_manifest, write_manifest
from edgetts.cli import main
from edgetts.decoding.session import Branch, Logits
from edgetts.tokenizer import Tokenizer

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and pipes")
# Isolated: the directory it runs in holds no installed packages.
PROGRAM = (sys.executable, "-I", "-c", "from edgetts.cli import main; main(prog_name='edgetts')")


def ask(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["ask", *arguments], input=stdin)


def refused(result: Result, code: int, *words: str) -> None:
    """Check that a run ended with one sentence on stderr and an exit code, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    [line] = result.stderr.splitlines()[-1:]
    assert line.startswith("edgetts: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in line


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Tokenizer) -> Callable[..., ScriptedSession]:
    """Have `ask` load a model that says what the test wants."""

    def prepare(*scripts: bytes, session: ScriptedSession | None = None) -> ScriptedSession:
        session = session or ScriptedSession(scripts)
        engine = scripted_engine(tiny_tokenizer, session, clock=session.clock)
        monkeypatch.setattr("edgetts.engine.load", lambda *arguments, **options: engine)
        return session

    return prepare


# Answers


def test_the_answer_is_on_stdout_and_all_else_on_stderr(tiny_engine_bundle: Path) -> None:
    result = ask("Hello", "-m", str(tiny_engine_bundle), "--samples", "3", "--max-tokens", "9")
    again = ask("Hello", "-m", str(tiny_engine_bundle), "--samples", "3", "--max-tokens", "9", "--json")
    assert result.exit_code == again.exit_code == 0
    assert result.stdout == json.loads(again.stdout)["text"] + "\n"
    for part in (
        "plan: 3 samples, 3 at a time of at most 9 tokens on onnx",
        "3 samples",
        "27 tokens for a prompt of",
        "tokens/s",
        "first token after",
        "peak memory",
        "stopped: complete",
    ):
        assert part in result.stderr


def test_json_is_one_object_on_stdout(tiny_engine_bundle: Path) -> None:
    result = ask(
        "Hello", "-m", str(tiny_engine_bundle), "--max-tokens", "9", "--json", "--stream", "--show-samples"
    )
    body = json.loads(result.stdout)
    assert len(result.stdout.splitlines()) == 1
    assert {"text", "confidence", "samples", "plan", "usage", "stop_reason"} <= set(body)
    assert body["usage"]["generated_tokens"] == len(body["samples"][0]["tokens"])
    assert "tokens/s" in result.stderr


def test_streamed_text_is_the_text(scripted: Callable[..., ScriptedSession]) -> None:
    for flag in ("--stream", "--no-stream"):
        scripted("Grüße, Jürgen €".encode())
        assert ask("Hello", flag).stdout == " Grüße, Jürgen €\n"
        scripted(b"It is 5.", b"Yes, 5.")
        assert ask("Hello", flag, "--samples", "2").stdout in (" It is 5.\n", " Yes, 5.\n")


def test_samples_are_shown_when_asked_for(scripted: Callable[..., ScriptedSession]) -> None:
    scripted(b"The answer is 5.", b"I do not know", b"The answer is 5. Surely.")
    result = ask("Hello", "--samples", "3", "--show-samples", "--answer", "number")
    assert result.stdout.startswith(" The answer is 5.")
    for part in ("sample 0: 5 (end, 17 tokens)", "sample 1: no answer (end", "sample 2: 5 (end", "Surely."):
        assert part in result.output
    assert "confidence 1.00 by vote-share" in result.stderr
    scripted(b"The answer is 5.")
    assert "Surely" not in ask("Hello").output


def test_limits_and_sampling_reach_the_engine(scripted: Callable[..., ScriptedSession]) -> None:
    scripted(*[ENDLESS] * 4)
    body = json.loads(
        ask("Hello", "--json", "-n", "4", "--tokens", "300", "--deadline", "500", "--memory", "1.5").stdout
    )
    assert body["budget"] == {
        "samples": 4,
        "tokens": 300,
        "seconds": 500,
        "memory_bytes": 1_500_000,
        "joules": None,
    }
    assert body["usage"]["generated_tokens"] == 300
    assert body["stop_reason"] == "tokens"
    scripted(b"ab|cd")
    assert ask("Hello", "--stop", "x", "--stop", "|").stdout == " ab\n"
    scripted(b"abcdef")
    assert ask("Hello", "--max-tokens", "3").stdout == " ab\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seed", "5", "-t", "1"),
        ("-t", "0"),
        ("-t", "1.5", "--top-k", "3"),
        ("-t", "1.5", "--top-p", "0.3"),
        ("-t", "1.5", "--min-p", "0.5"),
        ("--repetition-penalty", "1.8"),
        ("--system", "Be brief."),
    ],
)
def test_every_option_of_sampling_is_obeyed(tiny_engine_bundle: Path, arguments: tuple[str, ...]) -> None:
    base = ("Hello", "-m", str(tiny_engine_bundle), "--max-tokens", "30", "--json")
    plain = json.loads(ask(*base, "-t", "1.5").stdout)["samples"][0]["tokens"]
    changed = json.loads(ask(*base, *arguments).stdout)["samples"][0]["tokens"]
    assert changed != plain
    assert changed == json.loads(ask(*base, *arguments).stdout)["samples"][0]["tokens"]


def test_a_question_may_be_piped_in(tiny_engine_bundle: Path) -> None:
    options = ("-m", str(tiny_engine_bundle), "--max-tokens", "9")
    asked = ask("Wie geht's?", *options)
    assert asked.exit_code == 0
    assert asked.stdout == ask(*options, stdin="Wie geht's?").stdout
    assert asked.stdout == ask("-", *options, stdin="Wie geht's?").stdout
    # Windows' Notepad begins a file with a byte order mark.
    assert asked.stdout == ask(*options, stdin=b"\xef\xbb\xbfWie geht's?").stdout


def test_a_deadline_too_short_for_the_prompt_is_an_empty_answer(
    scripted: Callable[..., ScriptedSession],
) -> None:
    class Late(ScriptedSession):
        def prefill(self, tokens: Sequence[int], cancel: Any = None) -> tuple[Branch, Logits]:
            self.clock.now += 60
            return super().prefill(tokens, cancel)

    scripted(session=Late([ENDLESS]))
    result = ask("Hello", "--deadline", "50")
    assert (result.exit_code, result.stdout) == (0, "\n")
    assert "no token was drawn in time" in result.stderr
    assert "stopped: deadline" in result.stderr


# What can be wrong

LATE = ("-m", "no-such-model-at-all")
"""A model that does not exist: what is complained about before it was looked at before it."""


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["--deadline", "--memory"])
def test_budgets_that_are_none_are_refused_first(option: str, value: str) -> None:
    refused(
        ask("Hello", option, value, *LATE), 2, value, option.strip("-") if option == "--memory" else "seconds"
    )


@pytest.mark.parametrize("option", ["--tokens", "--samples"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_counts_below_one_are_refused_first(option: str, value: str) -> None:
    refused(ask("Hello", option, value, *LATE), 2, option.strip("-"), value)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--max-tokens", "0", "max_tokens"),
        ("--temperature", "-1", "temperature"),
        ("--temperature", "nan", "temperature"),
        ("--temperature", "inf", "temperature"),
        ("--top-k", "-1", "top_k"),
        ("--top-p", "0", "top_p"),
        ("--top-p", "nan", "top_p"),
        ("--min-p", "1", "min_p"),
        ("--repetition-penalty", "0", "repetition_penalty"),
        ("--seed", "-1", "seed"),
        ("--stop", "", "stop"),
        ("--answer", "numbr", "Did you mean 'number'?"),
        ("--answer", "regex:(", "regular expression"),
        ("--memory", "1e305", "--memory"),
    ],
)
def test_options_that_cannot_be_are_refused_first(option: str, value: str, word: str) -> None:
    refused(ask("Hello", option, value, *LATE), 2, word)


@pytest.mark.parametrize("option", ["--deadline", "--samples", "--memory", "--seed"])
def test_what_is_no_number_is_a_usage_error(option: str) -> None:
    result = ask("Hello", option, "many", *LATE)
    assert result.exit_code == 2
    assert f"'{option}'" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused_first(prompt: str) -> None:
    refused(ask(prompt, *LATE), 2, "prompt is empty")
    refused(ask(*LATE, stdin=prompt), 2, "prompt is empty")


def test_what_is_not_utf8_is_refused_first() -> None:
    refused(ask(*LATE, stdin="café".encode("latin-1")), 2, "not UTF-8 text (byte 3)", "iconv")
    refused(ask("caf\udce9", *LATE), 2, "not UTF-8")


def test_an_unknown_model_is_named_with_a_near_miss() -> None:
    refused(ask("Hello", "-m", "smollm2-135m-instuct"), 3, "smollm2-135m-instuct", "smollm2-135m-instruct")
    refused(ask("Hello", "-m", "./nothing.gguf"), 3, "nothing.gguf")


def test_offline_with_an_empty_cache_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path))
    refused(
        ask("Hello", "--offline"), 5, "smollm2-135m-instruct is not in the cache", "--offline", "edgetts pull"
    )


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.gguf").write_bytes(b"not a model" * 100)
    refused(ask("Hello", "-m", str(tmp_path / "garbage.gguf")), 4, "GGUF")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    refused(ask("Hello", "-m", str(tmp_path / "cut.gguf")), 4)
    refused(ask("Hello", "-m", str(tmp_path)), 4, "neither a bundle")


@pytest.fixture
def copy(tiny_engine_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    place = tmp_path / "copy.edge"
    place.mkdir()
    for file in tiny_engine_bundle.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    return place


def test_a_bundle_of_a_newer_format_is_refused(copy: Path) -> None:
    body = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    (copy / MANIFEST).write_text(json.dumps({**body, "format": 99}), encoding="utf-8")
    refused(ask("Hello", "-m", str(copy)), 4, "format 99", "Update edgetts")


@pytest.mark.parametrize("name", [MANIFEST, "model.onnx", "weights.bin", "tokenizer.json"])
def test_a_tampered_bundle_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    at = data.index(b"llama") if name == MANIFEST else len(data) // 2
    data[at] ^= 1
    (copy / name).write_bytes(data)
    refused(ask("Hello", "-m", str(copy)), 4, "changed after export")


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for i in range(10**9) %}{% for j in range(10**9) %}x{% endfor %}{% endfor %}", "template"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "may not have"),
        ("{{ messages[7].content }}", "template"),
        ("{% if %}", "not a valid Jinja2 template"),
    ],
)
def test_a_chat_template_that_fails_is_refused(copy: Path, template: str, word: str) -> None:
    manifest = read_manifest(copy)
    facts = replace(manifest.tokenizer, chat_template=template)
    write_manifest(copy, replace(manifest, tokenizer=facts))
    refused(ask("Hello", "-m", str(copy)), 2, word)


def test_a_prompt_longer_than_the_context_is_refused(tiny_engine_bundle: Path) -> None:
    refused(ask("x" * 300, "-m", str(tiny_engine_bundle)), 2, "context holds 256", "Shorten the prompt")


def test_options_for_the_runtime_and_the_store_are_checked(tiny_engine_bundle: Path) -> None:
    refused(ask("Hello", "-m", str(tiny_engine_bundle), "--threads", "0"), 2, "threads is 0")
    refused(ask("Hello", "-m", str(tiny_engine_bundle), "--quantize", "int8"), 2, "bundle already")
    refused(ask("Hello", "--quantize", "q9"), 2, "q9")


def test_logits_that_are_no_numbers_are_an_error_of_the_runtime(
    scripted: Callable[..., ScriptedSession],
) -> None:
    class Broken(ScriptedSession):
        def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
            logits = super().step(branches, tokens)
            logits[0, 0] = np.nan
            return logits

    scripted(session=Broken([ENDLESS]))
    refused(ask("Hello", "--no-stream"), 8, "nan", "export the model again")


# Processes of their own


def start(*arguments: str, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*PROGRAM, "ask", *arguments], **pipes)


@POSIX
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_ctrl_c_gives_what_there_is_and_exit_130(tiny_engine_bundle: Path, flags: tuple[str, ...]) -> None:
    terminal, theirs = os.openpty()  # on a terminal, every sample that ends is told
    process = start(
        *("Hello", "-m", str(tiny_engine_bundle), "-n", "9000", "--answer", "none", "--no-stream", *flags),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    while b"sample 3 of" not in told:
        told += os.read(terminal, 65536)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way of telling that the other side is closed
            break
        if not part:
            break
        told += part
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    assert process.wait(30) == 130
    os.close(terminal)
    assert b"stopped: cancelled" in told
    assert b"Traceback" not in told
    if flags:
        body = json.loads(said)
        assert body["stop_reason"] == "cancelled"
        assert body["text"]
        assert {s["finish_reason"] for s in body["samples"]} >= {"cancelled"}
    else:
        assert said.strip()


@POSIX
@pytest.mark.parametrize("flags", [("--stream",), ("--no-stream",), ("--json",)])
def test_a_reader_that_went_away_is_no_traceback(tiny_engine_bundle: Path, flags: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(
        "Hello",
        "-m",
        str(tiny_engine_bundle),
        "--max-tokens",
        "9",
        *flags,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in told
    assert b"Exception" not in told
    assert b"plan:" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_behind_stdout_is_one_sentence(tiny_engine_bundle: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(
            "Hello", "-m", str(tiny_engine_bundle), "--max-tokens", "3", stdout=full, stderr=subprocess.PIPE
        )
        _, told = process.communicate(timeout=60)
    # 6 where Python does not try, and fail, to write what is left when it ends.
    assert process.returncode in (6, 120)
    assert b"edgetts: No space left on device." in told.splitlines()
    assert b"Traceback" not in told


@POSIX
def test_a_closed_stdin_is_no_question() -> None:
    shell = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&-', *PROGRAM, "ask"], capture_output=True, timeout=60, check=False
    )
    assert shell.returncode == 2
    assert shell.stderr.startswith(b"edgetts: There is no question.")


def test_a_console_that_lacks_characters_gets_escapes(scripted: Callable[..., ScriptedSession]) -> None:
    scripted("5 €".encode())
    result = CliRunner(charset="latin-1").invoke(main, ["ask", "Hello"])
    assert result.exit_code == 0
    assert result.stdout == " 5 \\u20ac\n"
    scripted("5 €".encode())
    body = json.loads(CliRunner(charset="latin-1").invoke(main, ["ask", "Hello", "--json"]).stdout)
    assert body["text"] == " 5 €"


def test_llamacpp_cannot_leave_early() -> None:
    result = CliRunner().invoke(
        main, ["ask", "Hi", "--runtime", "llamacpp", "--early-exit", "agreement=0.98"]
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--runtime onnx" in result.stderr
