"""What `edgetts calibrate` does with a task: its options, the work, and what is printed of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgetts.cli import INTERRUPTED
from edgetts.cli.shared.interrupting import interrupts
from edgetts.cli.shared.output import print_rows
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.control.success.profile import SuccessProfile

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--task",
        help="Measure in place of speeds how often the model is right: on a generator of reasoning-gym, humaneval, or a "
        "JSONL file of questions and answers, as in edgetts eval. With --from, the name to keep it by.",
    ),
    click.option(
        "--size", type=int, help="Questions the task has. Default: all; 100 of those that are generated."
    ),
    click.option("--samples", type=int, help="Samples of each question. Default: 16."),
    click.option("--limit", type=int, help="Questions to do now; the same command goes on later."),
    click.option(
        "--temperature", "-t", type=float, help="Of all samples but the first, greedy one. Default: 0.7."
    ),
    click.option("--max-tokens", type=int, help="Tokens one sample may have. Default: 512."),
    click.option(
        "--record",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where the samples are recorded. Default: a file of profiles/recordings in the cache.",
    ),
    click.option(
        "--from",
        "from_record",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="Fit to this record, of edgetts eval or a calibration, without a model. Several are taken together.",
    ),
    click.option(
        "--approach",
        type=click.Choice(["reason", "direct"]),
        help="With --from: whether the record's answers were reasoned out, which is the default, or asked for alone.",
    ),
)
_NAMES = (
    "task",
    "size",
    "samples",
    "limit",
    "temperature",
    "max_tokens",
    "record",
    "from_record",
    "approach",
)


def task_options(command: _Command) -> _Command:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wants_task(options: dict[str, Any], speed: dict[str, bool]) -> bool:
    """Tell whether a task is to be calibrated. speed: options of the other half, and whether they were given.

    Errors: InvalidInput for options that do not go together.
    """
    given = [name for name in _NAMES if options[name] not in (None, ())]
    source = "from_record" if options["from_record"] else "task"
    if not options[source]:
        if given:
            raise InvalidInput(
                f"{_spelled(given[0])} is of no use without a task.",
                hint="Name one with --task, or a record with --from.",
            )
        return False
    allowed = (
        ("task", "from_record", "approach", "temperature") if source == "from_record" else tuple(_NAMES[:-2])
    )
    wrong = [name for name in given if name not in allowed]
    wrong += [
        name for name, was in speed.items() if was and (source == "from_record" or name in ("quick", "force"))
    ]
    if wrong:
        raise InvalidInput(
            f"{_spelled(wrong[0])} says nothing with {_spelled(source)}.", hint="Leave it out."
        )
    return True


def calibrate_success(
    model: str | None, options: dict[str, Any], load: dict[str, Any], as_json: bool
) -> None:
    """Record and fit, or fit to a record, and print what came of it. load: options for loading the model."""
    from edgetts.cli.shared.calibrating import MAX_TOKENS, SAMPLES, calibrate_task, fit_record
    from edgetts.decoding.session import Cancellation
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)

    def notify(sentence: str) -> None:
        line.close()
        click.echo(sentence, err=True)

    if options["from_record"]:
        try:
            profile = fit_record(
                *options["from_record"],
                model=model,
                task=options["task"],
                approach=options["approach"] or "reason",
                temperature=options["temperature"],
                progress=line,
            )
        finally:
            line.close()
        _show(profile, as_json)
        return
    cancel = Cancellation()
    with interrupts(cancel):
        try:
            done = calibrate_task(
                model,
                options["task"],
                samples=SAMPLES if options["samples"] is None else options["samples"],
                size=options["size"],
                limit=options["limit"],
                temperature=options["temperature"],
                max_tokens=MAX_TOKENS if options["max_tokens"] is None else options["max_tokens"],
                record=options["record"],
                notify=notify,
                progress=line,
                cancel=cancel,
                **load,
            )
        finally:
            line.close()
    if done.profile is not None:
        _show(done.profile, as_json)
        return
    if as_json:
        click.echo(
            json.dumps({"done": done.done, "of": done.of, "record": str(done.record), "profile": None})
        )
    click.echo(
        f"edgetts: {done.done} of {done.of} questions are done; {done.record} has them. Go on with the same command.",
        err=True,
    )
    if done.interrupted:
        click.get_current_context().exit(INTERRUPTED)


def _show(profile: SuccessProfile, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"profile": asdict(profile)}))
    else:
        from edgetts.control.success.store import progress_path
        from edgetts.store.home import find_home

        print_rows(calibration_rows(profile))
        path = progress_path(find_home().root, profile)
        if path.exists():
            name = profile.task.removeprefix("file:").removesuffix(".jsonl")
            click.echo(
                f"To draw as many samples as a question is worth, by what these are like: --task {name}"
            )


def _spelled(name: str) -> str:
    return "--from" if name == "from_record" else f"--{name.replace('_', '-')}"


def calibration_rows(profile: SuccessProfile) -> list[tuple[str, str]]:
    """Return what a profile says, as names and values for a person."""
    rows = [("model", profile.model), ("task", f"{profile.task}, answers: {profile.answer_format}")]
    for drawing in profile.drawings:
        rows.append(
            (
                f"{drawing.approach}, temperature {drawing.temperature:g}",
                f"{drawing.data} {drawing.date}".strip(),
            )
        )
        for name, share in (("  greedy sample", drawing.greedy), ("  other samples", drawing.sampled)):
            if share is not None:
                rows.append((name, f"{share.value:.1%} right ({share.low:.1%} to {share.high:.1%})"))
        for curve in drawing.votes:
            label = curve.verified or curve.aggregator
            points = ", ".join(f"{n}: {found.value:.1%}" for n, found in curve.points)
            rows.append((f"  {label}, {curve.cap} tokens", points))
        if drawing.coverage is not None:
            law = drawing.coverage
            some = ", ".join(f"{n}: {law.at(n).value:.1%}" for n in (1, 4, 16, 64))
            rows.append(("  some sample right", f"{some} (recorded up to {law.most})"))
        for counts in drawing.verifiers:
            passes = f"{counts.passes_right:.1%} of right texts, {counts.passes_wrong:.1%} of wrong ones"
            rows.append((f"  {counts.name} passes", passes))
        if (difficulty := drawing.difficulty) is not None:
            names = " and ".join(name for name, _ in difficulty.weights)
            told = f"by {names} after {difficulty.after}: AUROC {difficulty.auroc:.2f}"
            if difficulty.rescued is not None:
                told += f"; {difficulty.rescued:.2f} among those wrong by then"
            rows.append(("  right in the end", told))
        if drawing.checks:
            errors = ", ".join(f"{check.samples}: {check.error:.3f}" for check in drawing.checks)
            rows.append(("  calibration error", f"{errors} (on questions held out)"))
        lengths = drawing.lengths
        middle = lengths.quantiles(3)[1]
        rows.append(
            ("  length", f"{middle:.0f} tokens in the middle, {lengths.cut:.1%} cut at {lengths.cap}")
        )
    return rows
