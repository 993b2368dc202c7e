"""Time from process start: the help page, an import, and the first token of an answer.

    python benchmarks/startup.py --model smollm2-135m-instruct

Everything must be in the cache already (run `edgetts pull MODEL` first). A bare interpreter is timed
beside them: what it takes no package can save.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from interleave import command, device, spread

_QUESTION = "What is the capital of France?"
_HEAVY = (
    "onnxruntime",
    "tokenizers",
    "numpy",
    "onnx",
    "gguf",
    "jinja2",
    "torch",
    "llama_cpp",
    "huggingface_hub",
)
# What the installed script does, by the Python that runs this.
_COMMAND = ["-c", "from edgetts.cli import main; main()"]
_IMPORTED = f"import sys, edgetts; print(*[m for m in {_HEAVY!r} if m in sys.modules])"


def seconds_of(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def seconds_to_first_text(model: str) -> float:
    question = [
        *_COMMAND,
        "ask",
        _QUESTION,
        "--model",
        model,
        "--offline",
        "--stream",
        "--max-tokens",
        "16",
    ]
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen([sys.executable, *question], stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        took = time.perf_counter() - began
        process.stdout.read()
        if process.wait() or not first:
            complaints.seek(0)
            raise SystemExit(f"edgetts ask failed: {complaints.read()}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    loaded = subprocess.run([sys.executable, "-c", _IMPORTED], check=True, capture_output=True, text=True)
    heavy = loaded.stdout.split()
    measures: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: seconds_of(["-c", "pass"]),
        "import edgetts": lambda: seconds_of(["-c", "import edgetts"]),
        "edgetts --help": lambda: seconds_of([*_COMMAND, "--help"]),
        "edgetts ask, first text": lambda: seconds_to_first_text(arguments.model),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(arguments.rounds + 1):
        for name, measure in measures.items():
            took = measure()
            if number:  # the first round fills the disk cache
                seconds[name].append(took)
    print(f"{'':26}{'seconds':>9}  {'quartiles':>15}")
    for name, values in seconds.items():
        s = spread(values)
        print(f"{name:26}{s['median']:>9.3f}  {s['low']:.3f} .. {s['high']:.3f}")
    print(f"import edgetts loads of the heavy packages: {', '.join(heavy) or 'none'}")
    results = {name: {k: round(v, 4) for k, v in spread(values).items()} for name, values in seconds.items()}
    body = {"benchmark": "startup", "command": command(), "device": device()}
    print(json.dumps(body | {"results": results, "imports": heavy}))


if __name__ == "__main__":
    main()
