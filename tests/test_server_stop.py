"""How a server stops: answers under way end, or are what there is by the deadline; nothing is left. And `edgetts serve`."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fakes_engine import tiny_engine_bundle, tiny_tokenizer
from server_fixtures import MODEL, WAIT, echo_engine, running, until

from edgetts.cli import main
from edgetts.tokenizer import Tokenizer

LONG = [{"role": "user", "content": "0" * 4000}]


@pytest.mark.parametrize("stream", [False, True])
def test_answers_under_way_are_what_there_is_once_the_grace_is_over(
    tiny_tokenizer: Tokenizer, stream: bool
) -> None:
    engine, session = echo_engine(tiny_tokenizer, pace=0.005)
    answers: list[httpx.Response] = []
    with engine:
        with running(engine, grace=0.2) as server:
            asking = threading.Thread(
                target=lambda: answers.append(server.chat(messages=LONG, stream=stream))
            )
            asking.start()
            until(lambda: session.passes > 20)
            server.server.should_exit = True
            asking.join(WAIT)
        assert session.live == []
    [answer] = answers
    assert answer.status_code == 200
    if stream:
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"length"' in answer.text
        assert '"stop_reason":"cancelled"' in answer.text
    else:
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        assert answer.json()["edgetts"]["stop_reason"] == "cancelled"
        assert "0000" in answer.json()["choices"][0]["message"]["content"]


def test_answers_that_are_done_in_time_are_whole(tiny_tokenizer: Tokenizer) -> None:
    engine, session = echo_engine(tiny_tokenizer, pace=0.005)
    answers: list[httpx.Response] = []
    text = "0" * 100
    with engine, running(engine, grace=WAIT) as server:
        messages = [{"role": "user", "content": text}]
        asking = threading.Thread(target=lambda: answers.append(server.chat(messages=messages)))
        asking.start()
        until(lambda: session.passes > 10)
        server.server.should_exit = True
        until(lambda: server.server.app.serving.state == "stopping")
        with pytest.raises(httpx.HTTPError):
            server.chat()
        asking.join(WAIT)
    assert answers[0].json()["choices"][0]["message"]["content"] == text


def test_a_second_signal_ends_at_once(tiny_tokenizer: Tokenizer) -> None:
    engine, session = echo_engine(tiny_tokenizer, pace=0.005)
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(server.chat(messages=LONG).status_code)
        except httpx.HTTPError as error:
            answers.append(error)

    with engine:
        with running(engine, grace=1000.0) as server:
            asking = threading.Thread(target=ask)
            asking.start()
            until(lambda: session.passes > 20)
            server.server.handle_exit(signal.SIGTERM, None)
            server.server.handle_exit(signal.SIGTERM, None)
            asking.join(WAIT)
        assert server.server.force_exit
        assert session.live == []
    assert len(answers) == 1


# The command


@contextmanager
def serving(
    bundle: Path, *options: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """Run `edgetts serve` on a tiny bundle; yield it, its port, and the lines that it wrote."""
    command = [sys.executable, "-c", "from edgetts.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "serve", str(bundle), "--port", "0", "--offline", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    lines: list[str] = []
    assert process.stderr is not None
    stderr = process.stderr

    def read() -> None:
        lines.extend(stderr)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        until(lambda: any("Serving on" in line for line in lines) or process.poll() is not None)
        port = int(lines[0].partition("/v1")[0].rpartition(":")[2])
        yield process, port, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_a_bundle_and_stops_when_told(
    tiny_engine_bundle: Path, number: signal.Signals
) -> None:
    key = "a-key-from-the-environment"
    with serving(tiny_engine_bundle, EDGETTS_API_KEY=key) as (process, port, lines):
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=WAIT, headers={"authorization": f"Bearer {key}"}) as client:
            until(lambda: client.get("/health").status_code == 200)
            [model] = client.get("/v1/models").json()["data"]
            body = {"model": model["id"], "prompt": "Once", "max_tokens": 4, "n": 2, "temperature": 1}
            made = client.post("/v1/completions", json=body).json()
            assert made["usage"]["completion_tokens"] in range(1, 9)
            assert httpx.get(f"{url}/v1/models").status_code == 401
        process.send_signal(number)
        assert process.wait(WAIT) == 0
    written = "".join(lines)
    assert "POST /v1/completions 200" in written
    assert "Once" not in written
    assert key not in written
    assert "Traceback" not in written


def test_a_model_that_cannot_be_loaded_ends_the_command(tiny_engine_bundle: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken.edge"
    shutil.copytree(tiny_engine_bundle, broken)
    (broken / "manifest.json").write_text("{", encoding="utf-8")
    with serving(broken) as (process, _, lines):
        assert process.wait(WAIT) == 4
    assert "edgetts: " in lines[-1]
    assert "Traceback" not in "".join(lines)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["nonesuch-model"], 3, "nonesuch-model"),
        (["--port", "99999"], 2, "port"),
        (["--api-key", "short"], 2, "8 printable"),
        (["--api-key", "long-enough-key", "--api-key-file", "x"], 2, "twice"),
        (["--api-key-file", "/nonesuch"], 6, "/nonesuch"),
        (["--allow-origin", "example.org"], 2, "no origin"),
        (["--allow-host", "http://assistant.local"], 2, "without scheme"),
        (["--allow-host", "assistant.local:8080"], 2, "without scheme"),
        (["--allow-host", ""], 2, "without scheme"),
        (["--max-n", "0"], 2, "--max-n"),
        (["--max-requests", "0"], 2, "--max-requests"),
        (["--max-connections", "-1"], 2, "--max-connections"),
        (["--max-seconds", "nan"], 2, "--max-seconds"),
        (["--max-body", "0"], 2, "--max-body"),
        (["--grace", "nan"], 2, "--grace"),
        (["--grace", "-1"], 2, "--grace"),
        (["--kept-memory", "-1"], 2, "--kept-memory"),
        (["--kept-memory", "nan"], 2, "--kept-memory"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(options: list[str], code: int, said: str) -> None:
    ran = CliRunner().invoke(main, ["serve", *options])
    assert ran.exit_code == code, ran.output
    assert said in ran.stderr
    assert "Serving on" not in ran.stderr


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_is_named(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from edgetts.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "serve"], capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert ran.returncode == 7
    assert "edgetts[server]" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = CliRunner().invoke(main, ["serve", "--port", str(taken.getsockname()[1])])
    assert ran.exit_code == 2
    assert "cannot be opened" in ran.stderr


def test_an_address_of_another_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(self: socket.socket, address: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket.socket, "bind", bind)
    ran = CliRunner().invoke(main, ["serve", "--host", "127.0.0.9"])
    assert ran.exit_code == 2
    assert "'127.0.0.9' is no address of this machine" in ran.stderr
