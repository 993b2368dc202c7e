"""Many clients of one server: whose answer is whose, what is left of those that went, and what memory does.

    python benchmarks/serving.py --requests 1000
    python benchmarks/serving.py --requests 1000 --model smollm2-135m-instruct

200 requests at a time: streams, several choices, deadlines, and clients that leave midway, whole and streamed. Every
answer must hold its request's marker. Without --model the server runs a model that repeats the question, made from the
tests; with one, a JSON schema holds each answer to its marker. The server is a process of its own: its memory is only its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("whole", "stream", "n=3", "stream n=3", "deadline", "leaves a stream", "leaves a whole one")
LEAVING = KINDS[-2:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a real one; default: a tiny model that repeats what it is asked")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--together", type=int, default=200)
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds, of the requests that have one")
    parser.add_argument(
        "--serve", action="append", default=[], help="an option of edgetts serve: --serve=--kept-memory=0"
    )
    parser.add_argument("--echo-server", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo_server:
        serve_echo()
        return
    process, url = start(arguments.model, arguments.serve)
    try:
        report = asyncio.run(load(url, process.pid, arguments))
    finally:
        process.terminate()
        stopped = process.wait(60)
    show(report, stopped, arguments)


def serve_echo() -> None:
    """Serve the tests' echo, over the engine, the scheduler and the server as they are."""
    sys.path.insert(0, str(ROOT / "tests"))
    from golden import model_architecture
    from server_fixtures import echo_engine
    from tiny import tiny_weights, write_tiny_gguf

    from edgetts.bundle import TOKENIZER, read_manifest
    from edgetts.export import convert
    from edgetts.server import Settings, serve
    from edgetts.tokenizer import Tokenizer

    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "tiny.gguf")
        architecture = model_architecture("llama")
        write_tiny_gguf(source, arch=architecture, weights=tiny_weights(architecture), quant="F32")
        bundle = convert(source, Path(directory, "tiny.edge"), quantize="fp32")
        tokenizer = Tokenizer.load(bundle / TOKENIZER, read_manifest(bundle).tokenizer)
    serve(
        lambda: echo_engine(tokenizer, context=4000)[0],
        Settings(port=0),
        notify=lambda sentence: print(sentence, file=sys.stderr, flush=True),
    )


def start(model: str | None, options: Sequence[str] = ()) -> tuple[subprocess.Popen[str], str]:
    """Start the server; return it and its address once the model is loaded."""
    command = [sys.executable, str(Path(__file__)), "--echo-server"]
    if model is not None:
        command = [
            sys.executable,
            "-c",
            "from edgetts.cli import main; main()",
            "serve",
            model,
            "--port",
            "0",
            *options,
        ]
    log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - it is read while the server runs
    process = subprocess.Popen(command, stderr=log, text=True)
    url = ""
    while process.poll() is None:
        if not url and (found := re.search(r"http://\S+:\d+", Path(log.name).read_text(encoding="utf-8"))):
            url = found.group()
        try:
            if url and httpx.get(f"{url}/health").status_code == 200:
                return process, url
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"The server ended: {Path(log.name).read_text(encoding='utf-8')}")


class Load:
    """What was asked and what came back."""

    def __init__(self, url: str, model: str, real: bool, deadline: float) -> None:
        self.url, self.model, self.real, self.deadline = url, model, real, deadline
        self.seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.first: list[float] = []
        self.told: dict[str, list[float]] = {}
        """Seconds that answers say they took, from the question to the end."""
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def body(self, kind: str, marker: str) -> dict[str, Any]:
        # Long enough to be left midway: what repeats is told by the question, what is real by its schema.
        text = f"{marker} " * (200 if kind in LEAVING and not self.real else 3)
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": text.strip()}]}
        if self.real:
            words = {"type": "string", "maxLength": 4000 if kind in LEAVING else 40}
            properties = {"marker": {"const": marker}, "note": words}
            schema = {
                "type": "object",
                "properties": properties,
                "required": [*properties],
                "additionalProperties": False,
            }
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "marked", "schema": schema},
            }
            body["max_tokens"] = 200 if kind in LEAVING else 40
        if "n=3" in kind:
            body |= {"n": 3, "temperature": 0.8}
        if "stream" in kind:
            body["stream"] = True
        if kind == "deadline":
            body["edgetts"] = {"budget": {"seconds": self.deadline}}
        return body

    def fits(self, text: str, marker: str) -> bool:
        """Whether a text, which may be cut, is the answer to this marker's question."""
        whole = f'{{"marker":"{marker}"' if self.real else marker
        said = re.sub(r"\s", "", text)
        return said.startswith(whole) or whole.startswith(said)

    async def ask(self, client: httpx.AsyncClient, number: int) -> None:
        kind, marker = KINDS[number % len(KINDS)], f"mark{number:05d}x{number * 7919 % 99991:05d}"
        body = self.body(kind, marker)
        began = time.perf_counter()
        try:
            if "stream" in kind:
                texts = await self.read_stream(client, body, leave=kind in LEAVING, began=began)
            elif kind in LEAVING:
                await asyncio.wait_for(client.post("/v1/chat/completions", json=body), 0.3)
                texts = []
            else:
                answer = await client.post("/v1/chat/completions", json=body)
                answer.raise_for_status()
                self.told.setdefault(kind, []).append(answer.json()["usage"]["seconds"])
                texts = [choice["message"]["content"] for choice in answer.json()["choices"]]
                assert len(texts) == body.get("n", 1)
        except asyncio.TimeoutError:
            self.outcomes[kind, "left"] += 1
            return
        except httpx.HTTPStatusError as error:
            self.outcomes[kind, f"status {error.response.status_code}"] += 1
            return
        self.seconds[kind].append(time.perf_counter() - began)
        fitting = all(self.fits(text, marker) for text in texts)
        self.outcomes[kind, ("left" if kind in LEAVING else "right") if fitting else "WRONG"] += 1

    async def read_stream(
        self, client: httpx.AsyncClient, body: dict[str, Any], *, leave: bool, began: float
    ) -> list[str]:
        texts = [""] * body.get("n", 1)
        chunks, ended = 0, False
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    ended = True
                    break
                for choice in json.loads(line[6:])["choices"]:
                    texts[choice["index"]] += choice["delta"].get("content") or ""
                chunks += 1
                if chunks == 2:
                    self.first.append(time.perf_counter() - began)
                if leave and chunks == 8:
                    return texts
        assert ended, "a stream ended without [DONE]"
        return texts


async def load(url: str, pid: int, arguments: argparse.Namespace) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=arguments.together, max_keepalive_connections=arguments.together)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        under = Load(url, model, arguments.model is not None, arguments.deadline)
        server = psutil.Process(pid)
        memory = [(0, server.memory_info().rss)]
        room = asyncio.Semaphore(arguments.together)
        done = 0
        began = time.perf_counter()

        async def one(number: int) -> None:
            nonlocal done
            async with room:
                await under.ask(client, number)
            done += 1
            if done % max(1, arguments.requests // 10) == 0:
                memory.append((done, server.memory_info().rss))

        await asyncio.gather(*(one(number) for number in range(arguments.requests)))
        seconds = time.perf_counter() - began
        left = await settled(client)
        memory.append((done, server.memory_info().rss))
        metrics = gauges((await client.get("/metrics")).text)
    return {
        "load": under,
        "memory": memory,
        "seconds": seconds,
        "left": left,
        "metrics": metrics,
        "model": model,
    }


def gauges(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, _, value in lines}


async def settled(client: httpx.AsyncClient) -> dict[str, float]:
    """Wait until what clients left is freed; return what is left after 10 s all the same."""
    names = ("edgetts_branches_live", "edgetts_queue", "edgetts_requests_under_way")
    for _ in range(100):
        now = gauges((await client.get("/metrics")).text)
        left = {name: now[name] for name in names}
        if not any(left.values()):
            break
        await asyncio.sleep(0.1)
    return left


def show(report: dict[str, Any], stopped: int, arguments: argparse.Namespace) -> None:
    under: Load = report["load"]
    print(f"{'kind':20} {'outcomes':44} {'p50 s':>8} {'p95 s':>8}")
    for kind in KINDS:
        outcomes = ", ".join(f"{n} {what}" for (k, what), n in sorted(under.outcomes.items()) if k == kind)
        times = under.seconds[kind]
        shown = (
            [f"{value:8.2f}" for value in (statistics.median(times), quantile(times, 0.95))] if times else []
        )
        print(f"{kind:20} {outcomes:44} {' '.join(shown)}")
    tokens = report["metrics"]['edgetts_tokens_total{kind="generated"}']
    print(
        f"\n{arguments.requests} requests in {report['seconds']:.1f} s, {tokens:.0f} tokens that were told of"
    )
    told = under.told["deadline"]
    print(
        f"a deadline of {under.deadline:g} s: the engine took {statistics.median(told):.2f} s (median), "
        f"{quantile(told, 0.95):.2f} s (p95)"
    )
    print(f"first token of a stream after {statistics.median(under.first):.2f} s (median)")
    print(f"left when all were done: {report['left']}; exit code when told to stop: {stopped}")
    print("server's memory, MB: " + ", ".join(f"{n}: {rss / 1e6:.0f}" for n, rss in report["memory"]))
    wrong = sum(n for (_, what), n in under.outcomes.items() if what == "WRONG")
    failed = sum(n for (_, what), n in under.outcomes.items() if what.startswith("status"))
    print(
        json.dumps(
            {
                "benchmark": "serving",
                "model": report["model"],
                "requests": arguments.requests,
                "together": arguments.together,
                "wrong": wrong,
                "refused": failed,
                "left": report["left"],
                "seconds": round(report["seconds"], 2),
                "memory_mb": [[n, round(rss / 1e6, 1)] for n, rss in report["memory"]],
                "deadline_told_p95": round(quantile(told, 0.95), 3),
                "p50_seconds": {k: round(statistics.median(v), 3) for k, v in under.seconds.items() if v},
                "edgetts": version("edgetts"),
                "device": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "command": " ".join(sys.argv),
            }
        )
    )
    if wrong or any(report["left"].values()) or stopped:
        raise SystemExit("Some answers were not their question's, or something was left.")


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
