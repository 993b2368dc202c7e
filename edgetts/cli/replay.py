"""`edgetts replay`: what other policies would have made of recorded samples, on a simulated clock and meter."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.output import apart, printable
from edgetts.cli.shared.quantities import JOULES, SECONDS
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.replay.report import Report, Tuning

_MOST_ORDERS = 10_000
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("replay")
@click.argument("records", type=_FILE, nargs=-1, required=True)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    help="A strategy, its settings, and how many samples it may have: self_consistency:stop=none@8, "
    "adaptive:price=0.0001@16. May be repeated; the others are compared to the first. Default: fixed numbers of samples "
    "and adaptive ones over several prices.",
)
@click.option("--deadline", type=SECONDS, help="Seconds for one answer, on the simulated clock.")
@click.option("--energy", type=JOULES, help="Joules for one answer, on the simulated meter.")
@click.option("--tokens", type=int, help="Tokens all samples of an answer may take together.")
@click.option("--max-tokens", type=int, help="Tokens one sample may have.")
@click.option(
    "--device",
    "--profile",
    default="here",
    show_default=True,
    help="What is simulated: here, a described device (laptop-x86, raspberry-pi-5, ...), an imported one, or a file of "
    "edgetts profile export.",
)
@click.option(
    "--model",
    help="Whose speed it has: a model that was measured there or whose bundle is here. Default: the one measured, "
    "else one of Qwen2.5-0.5B's size.",
)
@click.option("--runtime", help="Of measured speeds, those on this runtime.")
@click.option(
    "--load",
    "load_spec",
    default="constant",
    show_default=True,
    help="What else runs: constant[:RATIO], on-off[:SECONDS,ratio=R], throttle[:SECONDS,ratio=R] (half speed after 5 s). "
    "Passes take RATIO times as long.",
)
@click.option(
    "--orders",
    type=int,
    default=1,
    show_default=True,
    help="Orders in which the samples of each problem are drawn, the recorded one first; a greedy first sample stays first.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the other orders.")
@click.option("--verify", help="Judge the recorded texts by a verifier, as edgetts ask --verify does.")
@click.option(
    "--calibration",
    type=_FILE,
    help="A file of edgetts runs confidence --fit, for the rule confidence and for --risk.",
)
@click.option(
    "--risk", type=float, help="What a wrong answer costs: give none where confidence is too low for it."
)
@click.option(
    "--split",
    "half",
    type=click.Choice(["tune", "report", "both"]),
    default="both",
    show_default=True,
    help="Problems that are reported: every other one from the first (tune) or the second (report), or both halves.",
)
@click.option(
    "--tune",
    "tune_text",
    help='Values of a setting, "price=0.001,0.0003": the cheapest that is about as often right as the first policy. It '
    "takes the place of {price} in a policy, or else is set in all but the first. Each half is judged by what the other chose.",
)
@click.option(
    "--lose",
    type=float,
    default=1.0,
    show_default=True,
    help="Points that what is tuned may be less often right than the first policy, where it is tuned.",
)
@click.option(
    "--by",
    "price",
    type=click.Choice(["tokens", "seconds", "joules"]),
    default="tokens",
    show_default=True,
    help="What is cheapest.",
)
@click.option(
    "--plot",
    type=_FILE,
    help="Draw accuracy against joules and seconds with the frontier and its knee (extra plots): FILE.png, .svg or .pdf.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(records: tuple[Path, ...], **options: Any) -> None:
    """Replay what RECORDS hold of samples under other policies: files of edgetts eval --record.

    The planner, the controller and the strategies run as in edgetts ask; no model does. Joules are modelled. A trace of
    edgetts ask --trace is replayed, too: without --policy, its controller is run again and must decide the same.
    """
    from edgetts.replay.trace_reading import is_trace

    for path in records:
        apart(path, options["plot"])
    traces = [path for path in records if is_trace(path)]
    if traces and len(records) > 1:
        raise InvalidInput(
            "A decision trace is replayed alone.", hint=f"Leave the other files out, or {traces[0]}."
        )
    if traces:
        from edgetts.cli.shared.retracing import retrace

        retrace(traces[0], options)
    else:
        _compare(records, options)


def _compare(records: tuple[Path, ...], options: dict[str, Any]) -> None:
    from edgetts.cli.shared.simulating import make_setting, policy_maker, verifier_of
    from edgetts.replay.plot import need_plots
    from edgetts.replay.reading import read_recording
    from edgetts.replay.report import replay, sweep
    from edgetts.replay.wording import report_lines
    from edgetts.store.progress import ProgressLine

    # Everything that can be wrong is said before anything is read.
    if not 1 <= options["orders"] <= _MOST_ORDERS:
        raise InvalidInput(f"There cannot be {options['orders']} orders.", hint=f"1 to {_MOST_ORDERS}.")
    tuning = _tuning(options)
    verifier = verifier_of(options)
    make = policy_maker(options, verifier)
    if tuning is None:
        for spec in options["policies"]:
            make(spec)
    setting = make_setting(options, None if verifier is None else verifier.rates)
    if options["plot"] is not None:
        need_plots(options["plot"])
    recording = read_recording(records, verifier)
    specs = list(dict.fromkeys(options["policies"])) or sweep(recording.samples[1])
    line = ProgressLine(sys.stderr)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    try:
        report = replay(
            recording,
            specs,
            setting,
            make,
            orders=options["orders"],
            half=options["half"],
            tuning=tuning,
            risk=options["risk"],
            progress=line if terminal else lambda stage, share: None,
        )
    finally:
        line.close()
    if options["plot"] is not None:
        _plot(options["plot"], report)
    left_out = {
        "problems without graded samples": recording.ungraded,
        "problems without a whole sample": recording.empty,
        "samples that were not recorded to their end": recording.cut,
    }
    if options["as_json"]:
        click.echo(json.dumps({**report.to_json(), "left_out": left_out}))
        return
    for text in report_lines(report):
        click.echo(printable(text))
    for what, count in left_out.items():
        if count:
            click.echo(f"left out: {count} {what}", err=True)


def _tuning(options: dict[str, Any]) -> Tuning | None:
    from edgetts.replay.report import Tuning
    from edgetts.replay.tuning import parse_tune

    if options["tune_text"] is None:
        return None
    if len(options["policies"]) < 2:
        raise InvalidInput(
            "To tune, name the policy to match and the one to tune.",
            hint='For example: --policy self_consistency:stop=none@8 --policy adaptive@16 --tune "price=0.0001,0.00001"',
        )
    if not 0 <= options["lose"] <= 100:
        raise InvalidInput(f"--lose is {options['lose']}, but it must be 0 to 100 points.")
    key, values = parse_tune(options["tune_text"])
    return Tuning(key, values, options["lose"] / 100, options["price"])


def _plot(path: Path, report: Report) -> None:
    from edgetts.replay.plot import Marked, Panel, draw_pareto

    panels = []
    for unit, name in (
        ("joules an answer (modelled)", "joules"),
        ("seconds an answer (simulated)", "seconds"),
    ):
        points = [
            Marked(_label(one.name), cost, one.accuracy, one.name.startswith("self_consistency:stop=none@"))
            for one in report.figures
            if (cost := getattr(one, name)) is not None
        ]
        if len(points) == len(report.figures):
            panels.append(Panel(unit, points))
    draw_pareto(path, f"{report.title}\n{report.device}", panels)
    click.echo(f"plot: {path}", err=True)


def _label(name: str) -> str:
    """Shorten a policy's name to what tells it from others."""
    fixed = name.removeprefix("self_consistency:stop=none@")
    if fixed != name:
        return f"{fixed} samples"
    price = name.removeprefix("adaptive:price=")
    return name if price == name else f"price {price.partition('@')[0]}"
