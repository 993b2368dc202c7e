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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peers import KINDS, Contestant, Figures

OURS = "edgetts"

# Cores that somebody else may keep busy during a measurement.
_DISTURBED = 0.1

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
    foreign_cpu: list[float]
    """Cores that other programs kept busy, for each round the most during one measurement."""

    def values(self, label: str, figure: str) -> list[float]:
        return [figures[figure] for figures in self.rounds[label]]

    def drop_short(self, least: int) -> None:
        """Forget rounds in which a contestant drew fewer tokens: its time says nothing."""
        short = {
            i
            for figures in self.rounds.values()
            for i, f in enumerate(figures)
            if f.get("tokens", least) < least
        }
        for figures in self.rounds.values():
            figures[:] = [f for i, f in enumerate(figures) if i not in short]

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
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait for other programs to rest, and repeat rounds they disturbed, for that long in all",
    )


def open_contestants(arguments: argparse.Namespace, kind: str = OURS) -> list[Contestant]:
    """Start ours and the peers named on the command line; each loads its model while nobody measures."""
    pythons = dict(item.split("=", 1) for item in arguments.python)
    chosen = [(OURS, kind, arguments.model)]
    for item in arguments.peer:
        name, model = item.split("=", 1)
        label, _, its_kind = name.rpartition(":")
        chosen.append((label or its_kind, its_kind, model))
    labels = [label for label, _, _ in chosen]
    if len(set(labels)) < len(labels):
        raise SystemExit(f"Labels must differ: {', '.join(labels)}. Write LABEL:KIND=MODEL.")
    if unknown := [its_kind for _, its_kind, _ in chosen if its_kind not in KINDS]:
        raise SystemExit(f"There is no contestant {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    return [
        Contestant(label, its_kind, model, pythons.get(label, sys.executable), arguments.threads)
        for label, its_kind, model in chosen
    ]


def interleave(
    contestants: Sequence[Contestant],
    call: str,
    asked: dict[str, Any],
    arguments: argparse.Namespace,
    into: Results | None = None,
) -> Results:
    """Have each contestant measure the same, in turns; the first round warms up and is dropped.

    into: results of something else to go on with, after which nothing need be warmed up.

    A round in which other programs kept more than a tenth of a core busy is dropped whole and
    repeated while there is patience.
    """
    results = into or Results({c.label: [] for c in contestants}, {}, [])
    wanted = len(results.foreign_cpu) + arguments.rounds
    idle: dict[str, list[float]] = {c.label: [] for c in contestants}
    give_up = time.perf_counter() + arguments.patience
    if into is None:
        for contestant in contestants:
            contestant.call(call, asked)
    number = len(results.foreign_cpu)
    while len(results.foreign_cpu) < wanted:
        number += 1
        _wait_for_rest(give_up)
        # Whoever follows a hot contestant finds a hot processor: begin with another one each time.
        start = number % len(contestants)
        measured: dict[str, Figures] = {}
        foreign = 0.0
        for contestant in (*contestants[start:], *contestants[:start]):
            pids = {c.label: c.pid for c in contestants} | {"": os.getpid()}
            before, began = {label: _cpu_seconds(pid) for label, pid in pids.items()}, time.perf_counter()
            machine = _machine_seconds()
            measured[contestant.label] = contestant.call(call, asked)
            took = time.perf_counter() - began
            busy = {label: (_cpu_seconds(pid) - before[label]) / took for label, pid in pids.items()}
            foreign = max(foreign, (_machine_seconds() - machine) / took - sum(busy.values()))
            for label in idle.keys() - {contestant.label}:
                idle[label].append(busy[label])
        if foreign > _DISTURBED and time.perf_counter() < give_up:
            continue
        results.foreign_cpu.append(foreign)
        for label, figures in measured.items():
            results.rounds[label].append(figures)
    results.idle_cpu = {label: statistics.fmean(cores) for label, cores in idle.items() if cores}
    return results


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
        if cores > _DISTURBED:
            print(f"warning: {label} kept {cores:.2f} cores busy while others were measured")
    if max(results.foreign_cpu) > _DISTURBED:
        print(f"warning: other programs kept up to {max(results.foreign_cpu):.2f} cores busy")


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
                label: {f: _rounded(spread(result.values(label, f))) for f in figures}
                for label in result.rounds
            },
            "ours_over": {
                label: {f: _rounded(spread(result.ratios(label, f))) for f in figures}
                for label in result.rounds
                if label != OURS
            },
            "idle_cpu": _rounded(result.idle_cpu),
            "foreign_cpu": _rounded(spread(result.foreign_cpu)),
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


def _wait_for_rest(give_up: float) -> None:
    """Return when nobody uses the processor for a second, or it is time to give up."""
    while time.perf_counter() < give_up:
        began, machine = time.perf_counter(), _machine_seconds()
        time.sleep(1)
        if (_machine_seconds() - machine) / (time.perf_counter() - began) <= _DISTURBED:
            return


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    # Guest time is part of user time already; waiting for a disk leaves the processor free.
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
