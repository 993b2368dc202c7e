"""The half of `edgetts calibrate` that puts a task to a model, records its samples, and fits what they tell."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.control.success.model import Approach
    from edgetts.control.success.profile import SuccessProfile
    from edgetts.decoding.session import Cancellation
    from edgetts.evaluation import ProblemRecord, Recorder, Settings, Task

SAMPLES = 16
MAX_TOKENS = 512
"""Tokens a sample may have; what a smaller cap would cost is found out from those that are longer."""
STRATEGY = "self_consistency:stop=none"
"""Every question gets all of its samples: a rule that stops early would count easy questions by few."""

_Notify = Callable[[str], None]
_Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class TaskCalibration:
    """What came of it. profile: None where there are questions to do yet; `record` has those that are done."""

    profile: SuccessProfile | None
    record: Path
    done: int
    of: int
    interrupted: bool = False


def calibrate_task(
    model: str | Path | None,
    task: str,
    *,
    samples: int = SAMPLES,
    size: int | None = None,
    limit: int | None = None,
    task_seed: int = 0,
    temperature: float | None = None,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    record: Path | None = None,
    home: Path | None = None,
    notify: _Notify = lambda sentence: None,
    progress: _Progress | None = None,
    cancel: Cancellation | None = None,
    **options: Any,
) -> TaskCalibration:
    """Record samples of a task's questions, fit a success profile to them, and keep it.

    task: as in `edgetts eval`. samples: of each question; size: questions the task has; limit: to do now. temperature:
    of all samples but the first; None is as in an answer. record: where they are written; None is a file in
    `home`/profiles/recordings that is named for all of this, so that the same call goes on where one was interrupted.
    options: of `edgetts.engine.load`. The profile is fitted when every question is done.
    Errors: what tasks, models and files are refused for; nothing is loaded before what was asked for is checked.
    """
    from edgetts.budget import Budget
    from edgetts.evaluation import Recorder, Settings, make_task
    from edgetts.store.home import find_home
    from edgetts.types import SamplingParams

    if samples < 2:
        raise InvalidInput(
            f"A calibration draws at least 2 samples of a question, not {samples}.",
            hint="Leave --samples out for 16.",
        )
    if limit is not None and limit < 1:
        raise InvalidInput(f"The limit is {limit}, but it must be at least one question.")
    root = find_home(home).root
    made = make_task(task, size=size, seed=task_seed)
    settings = Settings(
        budget=Budget(samples=samples),
        sampling=SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed),
        more={"strategy": STRATEGY},
    )
    header = _header(model, made, settings, options)
    path = record or root / "profiles" / "recordings" / _file_name(model, task, len(made.problems()), header)
    recorder = Recorder(path, header)
    done = _known(path, recorder, made)
    interrupted = False
    if len(done) < len(made.problems()):
        interrupted = _draw(
            model, made, settings, recorder, header, done, limit, home, notify, progress, cancel, options
        )
    count = len(made.problems())
    if len(done) < count:
        return TaskCalibration(None, path, len(done), count, interrupted)
    profile = fit_record(path, home=home, progress=progress)
    return TaskCalibration(profile, path, count, count)


def fit_record(
    *records: Path,
    home: Path | None = None,
    model: str | None = None,
    task: str | None = None,
    approach: Approach = "reason",
    temperature: float | None = None,
    today: str | None = None,
    progress: _Progress | None = None,
) -> SuccessProfile:
    """Fit a success profile to records of `edgetts eval`, or older ones, taken together, and keep it.

    What the adaptive strategy goes by is fitted, too, and kept beside it (`control.success.store.progress_path`).

    No model is loaded. model, task: the names that it is looked up by; None is the record's. today: for records without a
    date. Returns the whole table of the model and task, with what was measured before at other temperatures.
    Errors: InvalidInput, StorageError.
    """
    from edgetts.bundle import read_manifest
    from edgetts.control.success.store import keep_success, progress_path
    from edgetts.evaluation.loading import load_run
    from edgetts.evaluation.progress import progress_of
    from edgetts.evaluation.success import Conditions, fit_success, pooled
    from edgetts.profiles.durable import write_durably
    from edgetts.selection.stopping.progress_file import progress_to_json
    from edgetts.store.home import find_home

    run = pooled([load_run(record) for record in records])
    if model is None and not run.model:
        raise InvalidInput(
            f"{records[0]} does not say which model it is of.", hint="Name the model with --model."
        )
    if model is not None and Path(model).is_dir():
        # As the engine calls it, whatever its directory is called.
        model = read_manifest(Path(model)).name
    if task is not None:
        run = replace(run, header={**run.header, "task": task})
    conditions = Conditions(approach, temperature, date=today or date.today().isoformat())
    root = find_home(home).root
    profile = keep_success(root, fit_success(run, model=model, conditions=conditions, progress=progress))
    if (fitted := progress_of(run.problems, f"{run.model} at {run.task}")) is not None:
        # A disk that refuses has said so of the profile.
        write_durably(progress_path(root, profile), json.dumps(progress_to_json(fitted)) + "\n")
    return profile


def _draw(
    model: str | Path | None,
    task: Task,
    settings: Settings,
    recorder: Recorder,
    header: dict[str, Any],
    done: list[ProblemRecord],
    limit: int | None,
    home: Path | None,
    notify: _Notify,
    progress: _Progress | None,
    cancel: Cancellation | None,
    options: dict[str, Any],
) -> bool:
    """Do the questions that are not done yet, adding to `done`; return whether it was interrupted."""
    from importlib.metadata import version

    from edgetts.engine import load
    from edgetts.evaluation import evaluate

    count = len(task.problems())
    stage = f"{task.name}, {count} questions"

    def under_way(ended: int, planned: int) -> None:
        if progress is not None:
            progress(stage, (len(done) + ended / max(ended, planned, 1)) / count)

    # How long passes take decides nothing here.
    with load(model, measure=False, home=home, notify=notify, progress=progress, **options) as engine:
        made = {"edgetts": version("edgetts"), "started": _now(), "model": engine.model, **header}
        with recorder:
            recorder.begin(made)
            if done:
                notify(f"{len(done)} of {count} questions are done already.")
            known = {one.id for one in done}
            for one in evaluate(
                engine, task, settings, skip=known, limit=limit, cancel=cancel, progress=under_way
            ):
                done.append(one)
                recorder.add(one)
                if one.error is not None:
                    notify(f"question {one.id}: {one.error}")
                under_way(0, 1)
    return cancel is not None and cancel.requested


def _known(path: Path, recorder: Recorder, task: Task) -> list[ProblemRecord]:
    asked = {problem.id: problem.question for problem in task.problems()}
    for one in recorder.done:
        if asked.get(one.id) != one.question:
            raise InvalidInput(
                f"{path} has another question {one.id[:80]!r} than the task.",
                hint="Use the same task and --size to go on with it, or another --record.",
            )
    return list(recorder.done)


def _header(
    model: str | Path | None, task: Task, settings: Settings, options: dict[str, Any]
) -> dict[str, Any]:
    """Return what `edgetts eval` would write of the same run, so that each can go on with the other's."""
    return {
        "task": task.name,
        "task_seed": task.seed,
        "problems": len(task.problems()),
        "strategy": STRATEGY,
        "verify": None,
        "calibration": None,
        "risk": None,
        "budget": settings.budget.to_json(),
        "sampling": asdict(settings.sampling),
        "decode": "plain",
        "system": None,
        "answer_format": None,
        "runtime": options.get("runtime", "auto"),
        "options": {name: options[name] for name in ("threads", "quantize") if options.get(name) is not None},
        "model_source": None if model is None else str(model),
    }


def _file_name(model: str | Path | None, task: str, size: int, header: dict[str, Any]) -> str:
    """Return a name that reads like the model and the task, and differs whenever the settings do."""
    told = hashlib.sha256(json.dumps([task, size, header], sort_keys=True, default=str).encode()).hexdigest()
    words = f"{Path(model).stem if model else 'default'}-{Path(task).stem}"
    return f"{re.sub(r'[^A-Za-z0-9._]+', '-', words)[:80].strip('-.')}-{told[:12]}.jsonl"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
