"""`edgetts eval`: put a task's problems to a model, grade the answers, and say how it did and what it cost."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli import INTERRUPTED
from edgetts.cli.shared.budget import budget_options, read_budget, read_sampling
from edgetts.cli.shared.choosing import choosing_options, read_choosing
from edgetts.cli.shared.device import device_options, read_device
from edgetts.cli.shared.interrupting import interrupts
from edgetts.cli.shared.output import apart, print_rows, printable, write_page
from edgetts.errors import InvalidInput, StorageError

if TYPE_CHECKING:
    from edgetts.budget import Budget
    from edgetts.evaluation import ProblemRecord, Recorder, Settings, Task


@click.command("eval")
@click.argument("task")
@click.option(
    "--model", "-m", help="A known model, a path, or hf:owner/repo/file.gguf. Default: SmolLM2-135M."
)
@choosing_options
@click.option(
    "--budget",
    "budget_text",
    help='Limits of one answer in one: "seconds=20,tokens=4000,samples=8,memory=200" (megabytes).',
)
@budget_options
@click.option("--seed", type=int, default=0, show_default=True, help="The i-th problem draws with seed + i.")
@click.option(
    "--size", type=int, help="Problems the task has. Default: all; 100 of those that are generated."
)
@click.option(
    "--task-seed", type=int, default=0, show_default=True, help="What generated problems are made from."
)
@click.option("--limit", type=int, help="Problems to do now; the same command goes on with a record later.")
@click.option("--system", help="A system message, in place of the task's.")
@click.option(
    "--answer", "answer_format", help="How to find answers, as in edgetts ask. Default: the task's."
)
@click.option(
    "--decode",
    type=click.Choice(["plain", "auto", "speculative"]),
    default="plain",
    show_default=True,
    help="As in edgetts ask. plain draws the same tokens again, whatever the device is busy with.",
)
@click.option("--runtime", default="auto", show_default=True, help="onnx, llamacpp, npu, or auto.")
@device_options
@click.option("--quantize", help="How to store weights if a conversion is needed: keep, int4, int8 or fp32.")
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every problem to this file as it is done: token ids, log-probs, times. A file that is there "
    "already, of the same settings, is gone on with.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page of HTML to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(task: str, **options: Any) -> None:
    """Put the problems of TASK to a model: a generator of reasoning-gym, humaneval, or a JSONL file.

    A file has lines like {"question": "...", "answer": "..."}, optionally with id, format and system.
    Figures go to stdout, progress to stderr. Ctrl-C ends with what there is; the rest can be done later where
    there is a record.
    """
    from edgetts.evaluation import Recorder, Run, make_task, report_html, summarize
    from edgetts.evaluation.wording import summary_rows

    # Everything that can be wrong is said before anything is loaded.
    settings = _settings(options)
    if (limit := options["limit"]) is not None and limit < 1:
        raise InvalidInput(f"The limit is {limit}, but it must be at least one problem.")
    for path in (options["record"], options["report"]):
        if path is not None and not path.absolute().parent.is_dir():
            raise StorageError(f"There is no directory {path.parent} to write {path.name} to.")
    apart(options["record"], options["report"])
    made = make_task(
        task, size=options["size"], seed=options["task_seed"], unconfined=options["allow_unconfined"]
    )
    problems = made.problems()
    header = _header(made, settings, options)
    recorder = None if options["record"] is None else Recorder(options["record"], header)
    done = [] if recorder is None else list(recorder.done)
    asked = {problem.id: problem.question for problem in problems}
    for one in done:
        if asked.get(one.id) != one.question:
            raise InvalidInput(
                f"{options['record']} has another problem {one.id[:80]!r} than the task.",
                hint="Use the same task, size and --task-seed to go on with it, or another file.",
            )
    cancelled = False
    if len(done) < len(problems):
        header, cancelled = _go_on(made, settings, options, header, recorder, done)
    elif recorder is not None:
        header = dict(recorder.header)
    run = Run(header, sorted(done, key=lambda one: one.index), str(options["record"] or ""))
    if run.problems:
        summary = summarize(run)
        if options["as_json"]:
            click.echo(json.dumps({"header": header, "interrupted": cancelled, **summary.to_json()}))
        else:
            print_rows(summary_rows(summary))
        if options["report"] is not None:
            write_page(options["report"], report_html(run, summary))
    elif options["as_json"]:
        click.echo(json.dumps({"header": header, "interrupted": cancelled, "problems": 0}))
    if cancelled:
        kept = f" Go on with the same command; {options['record']} has them." if recorder is not None else ""
        click.echo(f"edgetts: interrupted after {len(done)} of {len(problems)} problems.{kept}", err=True)
        click.get_current_context().exit(INTERRUPTED)


def _settings(options: dict[str, Any]) -> Settings:
    from edgetts.evaluation import Settings
    from edgetts.selection.answers import AnswerFormat

    form = options["answer_format"]
    if form is not None:
        form = str(AnswerFormat.parse(form))
    chosen = {name: value for name, value in read_choosing(options).items() if value is not None}
    return Settings(
        budget=_budget(options),
        sampling=read_sampling(options, seed=options["seed"]),
        system=options["system"],
        answer_format=form,
        more={"decode": options["decode"], **chosen},
    )


def _budget(options: dict[str, Any]) -> Budget:
    """Read the limits, each an option of its own or a part of --budget."""
    keys = {
        "seconds": "deadline",
        "joules": "energy",
        "tokens": "tokens",
        "samples": "samples",
        "memory": "memory",
    }
    limits = dict(options)
    for part in filter(None, (options["budget_text"] or "").split(",")):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if name not in keys or not equals:
            raise InvalidInput(
                f"The budget has no limit {part.strip()!r}.", hint='Write for example "seconds=20,samples=8".'
            )
        if limits[keys[name]] is not None:
            raise InvalidInput(f"The budget's {name} is given twice.")
        try:
            limits[keys[name]] = int(text) if name in ("tokens", "samples") else float(text)
        except ValueError:
            raise InvalidInput(f"The budget's {name} is {text!r}, which is no number.") from None
    return read_budget(limits)


def _header(task: Task, settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "task": task.name,
        "task_seed": task.seed,
        "problems": len(task.problems()),
        "strategy": options["strategy"],
        "verify": options["verify"],
        "calibration": options["calibration"],
        "risk": options["risk"],
        "budget": settings.budget.to_json(),
        "sampling": asdict(settings.sampling),
        "decode": options["decode"],
        "system": settings.system,
        "answer_format": settings.answer_format,
        "runtime": options["runtime"],
        "options": {name: options[name] for name in ("threads", "quantize") if options[name] is not None}
        | _elsewhere(options),
        "model_source": options["model"],
    }


def _elsewhere(options: dict[str, Any]) -> dict[str, Any]:
    """Return where the model runs, if that was said: what it answers depends on it a little."""
    usual = {"device": "auto", "provider_options": (), "fallback": False}
    given = {name: options[name] for name in (*usual, "provider", "soc", "place")}
    return {name: value for name, value in given.items() if value != usual.get(name)}


def _go_on(
    task: Task,
    settings: Settings,
    options: dict[str, Any],
    header: dict[str, Any],
    recorder: Recorder | None,
    done: list[ProblemRecord],
) -> tuple[dict[str, Any], bool]:
    """Do the problems that are not done yet, adding to `done`; return the whole header, and whether Ctrl-C came."""
    from datetime import datetime, timezone
    from importlib.metadata import version

    from edgetts.decoding.session import Cancellation
    from edgetts.engine import load
    from edgetts.evaluation import evaluate
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)

    def notify(sentence: str) -> None:
        line.close()
        click.echo(sentence, err=True)

    try:
        engine = load(
            options["model"],
            runtime=options["runtime"],
            quantize=options["quantize"],
            offline=options["offline"],
            # Only deadlines and guesses are planned by how long passes take; a measurement would be for nothing.
            measure=settings.budget.seconds is not None
            or settings.budget.joules is not None
            or options["decode"] != "plain",
            notify=notify,
            progress=line,
            **read_device(options),
            **({} if options["threads"] is None else {"threads": options["threads"]}),
        )
    finally:
        line.close()
    # What it was plugged into must not change what a record says.
    engine.assume("mains")
    header = {
        "edgetts": version("edgetts"),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": engine.model,
        **header,
    }
    planned = len(task.problems())
    before = len(done)
    cancel = Cancellation()
    terminal = sys.stderr is not None and sys.stderr.isatty()
    stage = f"{task.name}, {planned} problems"

    def progress(samples: int, of: int) -> None:
        if terminal:
            line(stage, (len(done) + samples / max(samples, of)) / planned)

    with ExitStack() as stack:
        stack.enter_context(engine)
        if recorder is not None:
            recorder.begin(header)
            header = dict(recorder.header)
            stack.enter_context(recorder)
        stack.enter_context(interrupts(cancel))
        stack.callback(line.close)
        if before:
            notify(f"{before} of {planned} problems are done already.")
        for one in evaluate(
            engine,
            task,
            settings,
            skip={problem.id for problem in done},
            limit=options["limit"],
            cancel=cancel,
            progress=progress,
        ):
            done.append(one)
            if recorder is not None:
                recorder.add(one)
            if one.error is not None:
                notify(printable(f"problem {one.id}: {one.error}"))
            if terminal:
                line(stage, len(done) / planned)
            else:
                click.echo(_line(one, len(done), planned), err=True)
    return header, cancel.requested


def _line(one: ProblemRecord, done: int, planned: int) -> str:
    grade = "failed" if one.error else "abstained" if one.abstained else "right" if one.right else "wrong"
    took = "" if one.seconds is None else f", {one.seconds:.1f} s"
    return f"problem {done} of {planned}: {grade}, {one.tokens} tokens{took}"
