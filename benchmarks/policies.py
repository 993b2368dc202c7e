"""What adaptive policies are worth beside fixed numbers of samples, on recordings: issue 6, "Worth".

    python benchmarks/policies.py RECORD... [--device here] [--orders 3] [--share 0.4]

Every policy answers by the planner, the controller and the loop of live answers, over recorded samples on a simulated
clock and meter (edgetts.replay); joules are modelled: watts by simulated seconds. Each problem counts with the mean
over `--orders` orders of its samples (the first, greedy one stays first; seeded). A family is one policy at a row of prices; what
samples are like is fitted on one half of the problems (every other one) and used on the other, both ways. For each fixed
number of samples four settings of a family are chosen on one half and judged on the other, both ways:

- "tokens", "joules": that spends the fewest among those that lose at most `--lose` points to the fixed number;
- "at 40%": the most accurate of those that spend at most so much of its tokens (`--share`);
- "as dear": the most accurate of those that spend no more joules.

Intervals are 95%, by drawing problems anew, in pairs; what choosing on a half of other problems would have done is not in
them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetts.evaluation.progress import progress_of
from edgetts.interval import Interval
from edgetts.replay.averages import Average, averages
from edgetts.replay.comparing import Figures, figures
from edgetts.replay.devices import find_device
from edgetts.replay.playing import Setting
from edgetts.replay.policies import make_policy
from edgetts.replay.reading import Recording, read_recording
from edgetts.replay.tuning import HALVES, Tuned, afford, rows_of, tune
from edgetts.selection.stopping.progress_file import progress_to_json
from edgetts.selection.verification.registry import make_verifier
from edgetts.store.home import find_home

FIXED = (4, 8, 16)
PRICES = "7e-4,5e-4,4e-4,3e-4,2e-4,1.5e-4,1e-4,7e-5,5e-5,3e-5,2e-5,1e-5"
SURE = "0.6,0.7,0.8,0.9,0.95,0.99"
FAMILIES = {
    "adaptive by effort": ("adaptive:price={x},progress={progress}@16", PRICES),
    "adaptive by tokens": ("adaptive:price={x},by=tokens,progress={progress}@16", PRICES),
    "- and no cutting": ("adaptive:price={x},by=tokens,check=false,progress={progress}@16", PRICES),
    "posterior": ("self_consistency:stop=posterior:{x}@16", SURE),
}


def ratio(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def show(told: Figures, kind: str) -> None:
    points = "-"
    tokens = joules = "-"
    if told.beside is not None:
        gain = told.beside.accuracy
        points = f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        tokens, joules = ratio(told.beside.tokens), ratio(told.beside.joules)
    setting = "" if told.settings is None else " | ".join(told.settings.values())
    joule = "-" if told.joules is None else f"{told.joules:.1f}"
    print(
        f"{told.name:>18} {kind:8} {100 * told.accuracy.value:5.1f}% [{100 * told.accuracy.low:.0f}, "
        f"{100 * told.accuracy.high:.0f}] {told.tokens:6.0f} {joule:>7} {told.samples:6.2f}  {points:>20} "
        f"{tokens:>17} {joules:>17}  {setting}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--device", default="here", help="what is simulated, as in edgetts replay")
    parser.add_argument("--model", help="whose speed it has")
    parser.add_argument("--orders", type=int, default=3, help="orders of each problem's samples")
    parser.add_argument("--lose", type=float, default=1.0, help="points a setting may lose where it is tuned")
    parser.add_argument("--share", type=float, default=0.4, help="of the fixed tokens")
    parser.add_argument("--verify", default="arithmetic", help="judges the texts, for a --family")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="POLICY=VALUES",
        help="in place of the usual ones; {x} is tuned, {progress} fitted",
    )
    arguments = parser.parse_args()
    recording = read_recording(arguments.records, make_verifier(arguments.verify))
    device = find_device(arguments.device, find_home().root, model=arguments.model)
    families = {name: FAMILIES[name] for name in arguments.only}
    if arguments.family:
        families = {
            spec: (spec, values) for spec, _, values in (one.rpartition("=") for one in arguments.family)
        }
    with tempfile.TemporaryDirectory() as directory:
        replayer = Replayer(recording, Setting(device), arguments.verify, arguments.orders, Path(directory))
        began = time.perf_counter()
        fixed = {count: replayer.play(f"self_consistency:stop=none@{count}") for count in (1, 2, *FIXED)}
        tried = {
            name: {value: replayer.play(spec.replace("{x}", value)) for value in values.split(",")}
            for name, (spec, values) in families.items()
        }
    took = time.perf_counter() - began
    fewest, most = recording.samples
    print(
        f"{recording.title}: {len(recording.pools)} problems x {fewest} to {most} samples, {arguments.orders} orders"
    )
    print(f"{device.stated}; joules are modelled")
    print(
        f"{'policy':>18} {'':8} {'right [95%]':>15} {'tokens':>6} {'joules':>7} {'samples':>6}  {'points':>20} "
        f"{'tokens ratio':>17} {'joules ratio':>17}  judged by (half 1 | half 2)"
    )
    results: dict[str, Any] = {}
    for count, target in fixed.items():
        told = figures(f"{count} fixed", target)
        show(told, "")
        results[f"fixed {count}"] = {"fixed": told.to_json()}
        if count not in FIXED:
            continue
        for name, settings in tried.items():
            for kind, found in chosen(list(settings), list(settings.values()), target, arguments):
                told = figures(
                    name, found.found, target, settings={str(k): v for k, v in found.settings.items()}
                )
                show(told, kind)
                results[f"fixed {count}"][f"{name}, {kind}"] = told.to_json()
    print(
        json.dumps(
            {
                "benchmark": "policies",
                "records": [path.name for path in arguments.records],
                "problems": len(recording.pools),
                "orders": arguments.orders,
                "device": device.stated,
                "replay_seconds": round(took, 1),
                "results": results,
            }
        )
    )


class Replayer:
    """Play policies over a recording; each half of the problems by what the samples of the other one are like."""

    def __init__(
        self, recording: Recording, setting: Setting, verify: str, orders: int, directory: Path
    ) -> None:
        self._pools = recording.pools
        self._verifier = make_verifier(verify)
        self._setting = replace(setting, rates=self._verifier.rates)
        self._plain = setting
        self._orders = orders
        self._fitted: list[Path] = []
        for half in HALVES:
            other = [self._pools[at].problem for at in range(len(self._pools)) if at not in self._rows(half)]
            progress = progress_of(other, half)
            if progress is None:
                raise SystemExit(
                    "All samples of one half are right, or all are wrong: there is nothing to fit."
                )
            self._fitted.append(directory / f"{half}.json")
            self._fitted[-1].write_text(json.dumps(progress_to_json(progress)), encoding="utf-8")

    def _rows(self, half: Any) -> range:
        return rows_of(half, len(self._pools))

    def play(self, spec: str) -> list[Average]:
        """Return what a policy comes to on every problem."""
        if sys.stderr.isatty():
            print(f"\r{spec:70}", end="", file=sys.stderr)
        found: dict[int, Average] = {}
        for half, fitted in zip(HALVES, self._fitted, strict=True):
            rows = self._rows(half)
            policy = make_policy(spec.replace("{progress}", str(fitted)), self._verifier)
            setting = self._setting if "verified" in spec else self._plain
            played = averages([self._pools[at] for at in rows], policy, setting, count=self._orders)
            found.update(zip(rows, played, strict=True))
        if sys.stderr.isatty():
            print(f"\r{'':70}\r", end="", file=sys.stderr)
        return [found[at] for at in range(len(self._pools))]


def chosen(
    specs: Sequence[str], tried: Sequence[Sequence[Average]], target: Sequence[Average], arguments: Any
) -> list[tuple[str, Tuned]]:
    """Return what each way of tuning chose."""
    lose = arguments.lose / 100
    fewer = [replace(one, tokens=one.tokens * arguments.share) for one in target]
    ways: dict[str, Callable[[], Tuned]] = {
        "tokens": lambda: tune(specs, tried, target, lose=lose, price="tokens"),
        "joules": lambda: tune(specs, tried, target, lose=lose, price="joules"),
        f"at {arguments.share:.0%}": lambda: afford(specs, tried, fewer, price="tokens"),
        "as dear": lambda: afford(specs, tried, target, price="joules"),
    }
    return [(kind, way()) for kind, way in ways.items()]


if __name__ == "__main__":
    main()
