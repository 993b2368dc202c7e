"""What the sandbox costs: an empty program, and a checked function, beside a bare Python that does nothing.

    python benchmarks/sandbox.py --rounds 51

Each round runs every contestant once, beginning with another one each time. `bare` is
subprocess.run([python, "-I", "-c", ""]); `bare -S` leaves out site, as the sandbox does. Ratios are taken
within a round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

from interleave import command, device, spread

from edgetts.sandbox import Limits, confinement, run_checks, run_python

_FUNCTION = "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n"
_ONE = ["assert fib(10) == 55"]
_MANY = [
    "import random\nr = random.Random(0)\nfor _ in range(1000):\n    n = r.randrange(50)\n"
    "    assert fib(n + 2) == fib(n + 1) + fib(n)"
]
_BARE = "bare python -I"


def bare(*options: str) -> None:
    subprocess.run([sys.executable, *options, "-I", "-c", ""], check=True)


def program() -> None:
    assert run_python("").finished


def checked(checks: list[str]) -> None:
    assert run_checks(_FUNCTION, checks, limits=Limits(seconds=60)).passed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=51)
    arguments = parser.parse_args()
    contestants: dict[str, Callable[[], None]] = {
        _BARE: bare,
        "bare python -I -S": lambda: bare("-S"),
        "run_python, empty": program,
        "run_checks, 1 call": lambda: checked(_ONE),
        "run_checks, 3000 calls": lambda: checked(_MANY),
    }
    began = time.perf_counter()
    found = confinement()
    probe = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(arguments.rounds + 1):
        start = number % len(names)
        for name in (*names[start:], *names[:start]):
            began = time.perf_counter()
            contestants[name]()
            if number:  # the first round fills the disk cache
                seconds[name].append(time.perf_counter() - began)
    ratios = {
        name: [mine / theirs for mine, theirs in zip(values, seconds[_BARE], strict=True)]
        for name, values in seconds.items()
    }
    print(f"{'':24}{'ms':>8}  {'quartiles':>16}  {'/ bare':>7}  {'quartiles':>13}")
    for name, values in seconds.items():
        s, r = spread([1e3 * value for value in values]), spread(ratios[name])
        quartiles = f"{s['low']:.1f} .. {s['high']:.1f}"
        print(
            f"{name:24}{s['median']:>8.1f}  {quartiles:>16}  {r['median']:>7.2f}  {r['low']:.2f} .. {r['high']:.2f}"
        )
    print(f"the probe, once a process: {1e3 * probe:.0f} ms; enforced: {', '.join(sorted(found.enforced))}")
    body = {"benchmark": "sandbox", "command": command(), "device": device(), "rounds": arguments.rounds}
    results = {
        name: {
            "milliseconds": {key: round(1e3 * value, 3) for key, value in spread(values).items()},
            "over_bare": {key: round(value, 3) for key, value in spread(ratios[name]).items()},
        }
        for name, values in seconds.items()
    }
    enforced = {"enforced": sorted(found.enforced), "probe_milliseconds": round(1e3 * probe, 1)}
    print(json.dumps(body | enforced | {"results": results}))


if __name__ == "__main__":
    main()
