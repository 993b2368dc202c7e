"""Measure contestants in turns, so that whatever else the machine does falls on all of them alike.

Compares by ratios within a round; absolute times drift. Knows no models.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from peers import KINDS, Contestant, Figures

OURS = "edgetts"

PROMPT = (
    "Here is what we know about the place. The village lies on the coast, between two hills and a river. "
    "Some three hundred people live there. In summer they mend nets, paint boats and rent rooms to guests; "
    "in winter the wind keeps them indoors, and they tell each other stories that their grandparents told. "
    "The school has two rooms and one teacher. The harbour was built a hundred years ago, when there was "
    "still enough fish to fill twenty boats a day; today there are four. The lighthouse has not been lit "
    "since the war, but the keeper's daughter, who is eighty now, climbs its stairs every evening and looks "
    "at the sea. Nobody knows what she is looking for. One night in November, during a storm, a light was "
    "seen in the tower again. Write a long and detailed story about that night: who saw the light first, "
    "what they thought it was, what they did, what they found at the top of the stairs, and how the village "
    "was changed by it in the years that followed."
)
"""About 200 tokens, and a request that takes far more than a benchmark's tokens to fulfil."""


@dataclass
class Results:
    """What was measured: rounds[label] holds one dictionary of figures for each round."""

    rounds: dict[str, list[Figures]]
    idle_cpu: dict[str, float]
    """Cores each contestant kept busy while another one was measured."""
    extra: dict[str, Any] = field(default_factory=dict)

    def values(self, label: str, figure: str) -> list[float]:
        return [figures[figure] for figures in self.rounds[label]]

    def ratios(self, over: str, figure: str, label: str = OURS) -> list[float]:
        """Return ours divided by another's, round by round."""
        pairs = zip(self.values(label, figure), self.values(over, figure), strict=True)
        return [ours / theirs for ours, theirs in pairs]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Summarise: median, and the quartiles about it."""
    if len(values) < 2:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


def add_arguments(parser: argparse.ArgumentParser, rounds: int) -> None:
    parser.add_argument("--model", required=True, help="ours: a name, a bundle or a GGUF file")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="KIND=MODEL",
        help=f"another contestant: {', '.join(KINDS)}; LABEL:KIND=MODEL where one kind comes twice",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="LABEL=PYTHON",
        help="the Python that runs a contestant",
    )
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=rounds)


def open_contestants(arguments: argparse.Namespace) -> list[Contestant]:
    """Start ours and the peers named on the command line; each loads its model while nobody measures."""
    pythons = dict(item.split("=", 1) for item in arguments.python)
    chosen = [(OURS, OURS, arguments.model)]
    for item in arguments.peer:
        name, model = item.split("=", 1)
        label, _, kind = name.rpartition(":")
        chosen.append((label or kind, kind, model))
    labels = [label for label, _, _ in chosen]
    if len(set(labels)) < len(labels):
        raise SystemExit(f"Labels must differ: {', '.join(labels)}. Write LABEL:KIND=MODEL.")
    if unknown := [kind for _, kind, _ in chosen if kind not in KINDS]:
        raise SystemExit(f"There is no contestant {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    return [
        Contestant(label, kind, model, pythons.get(label, sys.executable), arguments.threads)
        for label, kind, model in chosen
    ]


def interleave(
    contestants: Sequence[Contestant], call: str, arguments: dict[str, Any], rounds: int
) -> Results:
    """Have each contestant measure the same, in turns; the first round warms up and is dropped."""
    results: dict[str, list[Figures]] = {c.label: [] for c in contestants}
    idle = {c.label: 0.0 for c in contestants}
    elapsed = {c.label: 0.0 for c in contestants}
    for number in range(rounds + 1):
        # Whoever follows a hot contestant finds a hot processor: begin with another one each time.
        start = number % len(contestants)
        for contestant in (*contestants[start:], *contestants[:start]):
            others = [c for c in contestants if c is not contestant]
            before, began = [_cpu_seconds(c.pid) for c in others], time.perf_counter()
            figures = contestant.call(call, arguments)
            took = time.perf_counter() - began
            if not number:
                continue
            results[contestant.label].append(figures)
            for other, busy in zip(others, before, strict=True):
                idle[other.label] += _cpu_seconds(other.pid) - busy
                elapsed[other.label] += took
    return Results(results, {label: idle[label] / elapsed[label] for label in idle if elapsed[label]})


def print_table(results: Results, figure: str, unit: str, digits: int = 1) -> None:
    """Print medians with quartiles, and ours divided by each."""
    width = max(len(label) for label in results.rounds) + 2
    print(f"{'':{width}}{unit:>14}  {'quartiles':>19}  {'ours / it':>9}  {'quartiles':>13}")
    for label in results.rounds:
        s, r = spread(results.values(label, figure)), spread(results.ratios(label, figure))
        quartiles = f"{s['low']:.{digits}f} .. {s['high']:.{digits}f}"
        line = f"{label:{width}}{s['median']:>14.{digits}f}  {quartiles:>19}"
        if label != OURS:
            line += f"  {r['median']:>9.2f}  {r['low']:.2f} .. {r['high']:.2f}"
        print(line)
    for label, cores in results.idle_cpu.items():
        if cores > 0.02:
            print(f"warning: {label} kept {cores:.2f} cores busy while others were measured")


def print_json(
    benchmark: str, contestants: Sequence[Contestant], results: dict[str, Results], **more: Any
) -> None:
    """Print everything as one line, with the device, the versions and the command that made it."""
    body: dict[str, Any] = {"benchmark": benchmark, "command": command(), "device": device()}
    body["versions"] = {c.label: c.versions for c in contestants}
    body["results"] = {}
    for name, result in results.items():
        figures = list(next(iter(result.rounds.values()))[0])
        body["results"][name] = {
            "figures": {
                label: {f: _rounded(spread(result.values(label, f))) for f in figures} for label in result.rounds
            },
            "ours_over": {
                label: {f: _rounded(spread(result.ratios(label, f))) for f in figures}
                for label in result.rounds
                if label != OURS
            },
            "idle_cpu": _rounded(result.idle_cpu),
            **result.extra,
        }
    print(json.dumps(body | more))


def device() -> dict[str, Any]:
    """Describe this machine, and how busy others keep it."""
    name = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        lines = [line for line in facts.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "cpu": name,
        "cores": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in load],
    }


def command() -> str:
    return shlex.join(["python", *sys.argv])


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
