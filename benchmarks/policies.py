"""What adaptive policies are worth beside fixed numbers of samples, on recordings: issue 6, "Worth".

    python benchmarks/policies.py RECORD... [--device here] [--orders 5] [--family "adaptive:price={x}@16"=0.0001,0.00001]

Every policy answers by the planner, the controller and the loop of live answers, over recorded samples on a simulated
clock and meter (edgetts.replay); joules are modelled: watts by simulated seconds. Each problem counts with the mean
over `--orders` orders of its samples (the first, greedy one stays first; seeded). For each fixed number of samples:

- "as accurate": the setting of a family that spends the fewest tokens (or joules, `--by`) among those that lose at most
  `--lose` points to the fixed number, and
- "as dear": the most accurate setting that costs no more joules,

each chosen on one half of the problems (every other one) and judged on the other, both ways. Intervals are 95%, by
drawing problems anew, in pairs; what choosing on a half of other problems would have done is not in them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgetts.interval import Interval
from edgetts.replay.averages import Average, averages
from edgetts.replay.comparing import Figures, figures
from edgetts.replay.devices import find_device
from edgetts.replay.playing import Setting
from edgetts.replay.policies import make_policy
from edgetts.replay.reading import read_recording
from edgetts.replay.tuning import Tuned, afford, tune
from edgetts.selection.verification.registry import make_verifier
from edgetts.store.home import find_home

FIXED = (4, 8, 16)
PRICES = "0.001,0.0003,0.0002,0.0001,0.00005,0.00003,0.00002,0.00001,0.000005,0.000002"
FAMILIES = {
    "adaptive": ("adaptive:price={x}@16", PRICES),
    "posterior": ("self_consistency:stop=posterior:{x}@16", "0.6,0.7,0.8,0.9,0.95,0.99"),
    "verified": (
        "self_consistency:aggregator=verified,stop=posterior:{x}@16",
        "0.6,0.7,0.8,0.9,0.95,0.99",
    ),
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
        f"{told.name:>14} {kind:12} {100 * told.accuracy.value:5.1f}% [{100 * told.accuracy.low:.0f}, "
        f"{100 * told.accuracy.high:.0f}] {told.tokens:6.0f} {joule:>7} {told.samples:6.2f}  {points:>20} "
        f"{tokens:>17} {joules:>17}  {setting}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--device", default="here", help="what is simulated, as in edgetts replay")
    parser.add_argument("--model", help="whose speed it has")
    parser.add_argument("--orders", type=int, default=5, help="orders of each problem's samples")
    parser.add_argument("--lose", type=float, default=1.0, help="points a setting may lose where it is tuned")
    parser.add_argument("--by", choices=["tokens", "seconds", "joules"], default="tokens")
    parser.add_argument("--verify", default="arithmetic", help="judges the texts, for the family verified")
    parser.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="POLICY=VALUES",
        help="in place of the usual ones; {x} is tuned",
    )
    arguments = parser.parse_args()
    verifier = make_verifier(arguments.verify)
    recording = read_recording(arguments.records, verifier)
    device = find_device(arguments.device, find_home().root, model=arguments.model)
    setting = Setting(device, rates=verifier.rates)
    families = dict(FAMILIES)
    if arguments.family:
        families = {
            spec: (spec, values) for spec, _, values in (one.rpartition("=") for one in arguments.family)
        }
    began = time.perf_counter()

    def played(spec: str, verified: bool) -> list[Average]:
        if sys.stderr.isatty():
            print(f"\r{spec:70}", end="", file=sys.stderr)
        of = setting if verified else Setting(device)
        return averages(recording.pools, make_policy(spec, verifier), of, count=arguments.orders)

    fixed = {count: played(f"self_consistency:stop=none@{count}", False) for count in (1, 2, *FIXED)}
    tried = {
        name: {
            made: played(made, name == "verified")
            for value in values.split(",")
            for made in (spec.replace("{x}", value),)
        }
        for name, (spec, values) in families.items()
    }
    took = time.perf_counter() - began
    if sys.stderr.isatty():
        print(f"\r{'':70}\r", end="", file=sys.stderr)
    fewest, most = recording.samples
    print(
        f"{recording.title}: {len(recording.pools)} problems x {fewest} to {most} samples, {arguments.orders} orders"
    )
    print(f"{device.stated}; joules are modelled")
    print(
        f"{'policy':>14} {'':12} {'right [95%]':>15} {'tokens':>6} {'joules':>7} {'samples':>6}  {'points':>20} "
        f"{'tokens ratio':>17} {'joules ratio':>17}  judged by (half 1 | half 2)"
    )
    results: dict[str, Any] = {}
    for count in (1, 2):
        results[f"fixed {count}"] = {"fixed": (told := figures(f"{count} fixed", fixed[count])).to_json()}
        show(told, "")
    for count in FIXED:
        target = fixed[count]
        told = figures(f"{count} fixed", target)
        show(told, "")
        results[f"fixed {count}"] = {"fixed": told.to_json()}
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


def chosen(
    specs: Sequence[str], tried: Sequence[Sequence[Average]], target: Sequence[Average], arguments: Any
) -> list[tuple[str, Tuned]]:
    """Return what each way of tuning chose."""
    ways: dict[str, Callable[[], Tuned]] = {
        "as accurate": lambda: tune(specs, tried, target, lose=arguments.lose / 100, price=arguments.by),
        "as dear": lambda: afford(specs, tried, target, price="joules"),
    }
    return [(kind, way()) for kind, way in ways.items()]


if __name__ == "__main__":
    main()
