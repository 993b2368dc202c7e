"""`edgetts runs`: look at records of evaluations: report, compare, grade, and how well confidence tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.output import apart, print_rows, write_page
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.evaluation import Run
    from edgetts.evaluation.certainty import Certainty
    from edgetts.selection.aggregation import Aggregator

_RECORD = click.Path(dir_okay=False, path_type=Path)
_AGGREGATOR = click.option(
    "--aggregator",
    help="How an answer is chosen among the recorded samples: majority, rpc, probability, ... Default: majority.",
)


@click.group("runs")
def command() -> None:
    """Records of evaluations, as edgetts eval --record writes them."""


@command.command("report")
@click.argument("run", type=_RECORD)
@click.option("--html", type=_RECORD, help="Write a page of HTML to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(run: Path, html: Path | None, as_json: bool) -> None:
    """Show what RUN says: accuracy, pass@k, confidence, costs."""
    from edgetts.evaluation import load_run, report_html, summarize
    from edgetts.evaluation.wording import summary_rows

    apart(run, html)
    made = load_run(run)
    summary = summarize(made)
    if as_json:
        click.echo(json.dumps({"header": made.header, **summary.to_json()}))
    else:
        print_rows(summary_rows(summary))
    if html is not None:
        write_page(html, report_html(made, summary))


@command.command("compare")
@click.argument("first", type=_RECORD)
@click.argument("second", type=_RECORD)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Test whether SECOND is better than FIRST on the problems that both have."""
    from edgetts.evaluation import compare as compare_runs
    from edgetts.evaluation import load_run
    from edgetts.evaluation.wording import comparison_rows

    found = compare_runs(load_run(first), load_run(second))
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        print_rows(comparison_rows(found))


@command.command("confidence")
@click.argument("run", type=_RECORD)
@click.option(
    "--signal",
    help="What tells how sure to be: share, vote-share, margin, certaindex, sample-logprob, winner-logprob, ..., or "
    "recorded, the confidence that answers came with. Default: every one there is; to fit, vote-share or, of "
    "single samples, sample-logprob.",
)
@_AGGREGATOR
@click.option(
    "--fit",
    "fit_file",
    type=_RECORD,
    help="Calibrate on one half, test on the other, and save the calibration for edgetts ask --calibration.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "platt", "isotonic"]),
    default="auto",
    show_default=True,
    help="Of the calibration.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split in halves.")
@click.option(
    "--html", type=_RECORD, help="Write a page with the reliability diagram of the recorded confidence."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def confidence(
    run: Path,
    signal: str | None,
    aggregator: str | None,
    fit_file: Path | None,
    method: Any,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show how well confidence tells right from wrong in RUN: reliability, ECE, Brier, AUROC, selective accuracy."""
    from edgetts.evaluation import load_run, report_html
    from edgetts.evaluation.certainty import RECORDED, fit, measure, measure_all
    from edgetts.selection.confidence import save_calibration
    from edgetts.selection.confidence import signal as find_signal

    apart(run, fit_file, html)
    if fit_file is None and method != "auto":
        raise InvalidInput("The method is that of a calibration.", hint="Name a file for it with --fit.")
    if signal is not None and signal != RECORDED:
        find_signal(signal)
    by = _aggregator(aggregator)
    made = load_run(run)
    if fit_file is not None:
        several = any(len(problem.samples) > 1 for problem in made.problems)
        name = signal or ("vote-share" if several else "sample-logprob")
        calibration = fit(made, name, method=method, seed=seed, aggregator=by)
        save_calibration(calibration, fit_file)
        _tell_fit(calibration, fit_file, as_json=as_json)
        if html is not None:
            write_page(html, report_html(made))
        return
    found = (
        [one] if signal and (one := measure(made, signal, by)) else [] if signal else measure_all(made, by)
    )
    if not found:
        raise InvalidInput(
            f"{run} has no graded answer with {'a confidence' if signal is None else 'the signal ' + signal}.",
            hint="Record several samples a problem; grade records that are not with: edgetts runs grade",
        )
    if as_json:
        click.echo(json.dumps({"header": made.header, "signals": [_certainty_json(one) for one in found]}))
    else:
        _tell(found)
    if html is not None:
        write_page(html, report_html(made))


@command.command("grade")
@click.argument("run", type=_RECORD)
@click.argument("output", type=_RECORD)
@click.option(
    "--task", help="The task, where the record does not name one that is found. Default: the record's."
)
@click.option("--size", type=int, help="Problems the task has. Default: as many as the record says or shows.")
@click.option("--task-seed", type=int, help="What generated problems are made from. Default: the record's.")
@_AGGREGATOR
@click.option(
    "--allow-unconfined",
    is_flag=True,
    help="Run programs that a model wrote even where this platform cannot confine them.",
)
def grade(
    run: Path,
    output: Path,
    task: str | None,
    size: int | None,
    task_seed: int | None,
    aggregator: str | None,
    allow_unconfined: bool,
) -> None:
    """Grade the samples of RUN by its task, vote on them, and write the record to OUTPUT."""
    from edgetts.evaluation import load_run, make_task
    from edgetts.evaluation.recording import write_run
    from edgetts.evaluation.regrading import regrade
    from edgetts.store.progress import ProgressLine

    by = _aggregator(aggregator)
    if output.exists():
        raise InvalidInput(f"{output} is there already.", hint="Name a new file, or delete it first.")
    made = load_run(run)
    found = make_task(
        task or made.task,
        size=size or _size(made),
        seed=(made.task_seed or 0) if task_seed is None else task_seed,
        unconfined=allow_unconfined,
    )
    line = ProgressLine(sys.stderr)
    try:
        graded = regrade(
            made, found, aggregator=by, progress=lambda done, of: line(f"grading {made.task}", done / of)
        )
    finally:
        line.close()
    write_run(output, graded)
    right = sum(problem.right is True for problem in graded.problems)
    click.echo(f"{right} of {len(graded.problems)} right; written to {output}")


def _size(run: Run) -> int:
    from edgetts.evaluation.tasks.jsonl import MOST_PROBLEMS

    said = run.header.get("problems")
    shown = 1 + max(problem.index for problem in run.problems)
    return said if isinstance(said, int) and shown <= said <= MOST_PROBLEMS else shown


def _aggregator(name: str | None) -> Aggregator | None:
    from edgetts.selection.aggregation import make_aggregator

    return None if name is None else make_aggregator(name)


def _tell(found: list[Certainty]) -> None:
    from edgetts.evaluation.wording import quality_rows
    from edgetts.selection.confidence import reliability

    first = found[0]
    print_rows(quality_rows(first.quality, first.name))
    click.echo("\nreliability")
    for bar in reliability(first.probabilities, first.right):
        drawn = "#" * round(30 * bar.accuracy)
        click.echo(
            f"  {bar.low:4.0%} to {bar.high:4.0%}  {drawn:30}  {bar.accuracy:4.0%} right of {bar.count}, "
            f"said {bar.confidence:.0%}"
        )
    if len(found) < 2:
        return
    click.echo(f"\n{'signal':28} {'n':>5} {'AUROC':>7} {'ECE':>7} {'Brier':>7} {'at 50%':>7} {'at 80%':>7}")
    for one in found:
        told = one.quality
        auroc = "-" if told.auroc is None else f"{told.auroc:.3f}"
        click.echo(
            f"{one.name:28.28} {told.n:5} {auroc:>7} {told.ece:7.3f} {told.brier:7.3f} "
            f"{told.at_50:7.1%} {told.at_80:7.1%}"
        )


def _tell_fit(calibration: Any, path: Path, *, as_json: bool) -> None:
    from edgetts.evaluation.wording import quality_rows
    from edgetts.selection.confidence import calibration_to_json

    if as_json:
        click.echo(json.dumps(calibration_to_json(calibration)))
        return
    click.echo(f"{calibration.source}; held out: {len(calibration.split.held_out)} problems; saved to {path}")
    for when, told in (("before", calibration.before), ("after", calibration.after)):
        click.echo(f"\n{when}")
        print_rows(quality_rows(told, calibration.signal))


def _certainty_json(one: Certainty) -> dict[str, Any]:
    from dataclasses import asdict

    from edgetts.selection.confidence import reliability, selective_curve

    return {
        "signal": one.name,
        **asdict(one.quality),
        "reliability": [asdict(bar) for bar in reliability(one.probabilities, one.right)],
        "selective": [asdict(point) for point in selective_curve(one.values, one.right)],
    }
