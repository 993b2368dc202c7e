"""`edgetts calibrate`: measure on this device how fast each runtime runs a model, and keep it."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli import INTERRUPTED
from edgetts.cli.shared.device import DEVICE_OPTIONS, device_options, read_device
from edgetts.cli.shared.interrupting import interrupts
from edgetts.cli.shared.task_calibration import task_options, wants_task
from edgetts.device import settle_named
from edgetts.errors import EdgettsError, InvalidInput, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgetts.profiles.measuring.calibration import Calibrated
    from edgetts.profiles.measuring.subject import Instruments, Subject
    from edgetts.profiles.speed import Scope, SpeedProfile
    from edgetts.profiles.store import ProfileStore

FRESH_DAYS = 30
"""How long a calibration is not made again, unless that is asked for."""
_SCOPES = ("first-use", "quick", "full")


@click.command("calibrate")
@click.option(
    "--model", "-m", help="A known model, a path, or hf:owner/repo/file.gguf. Default: SmolLM2-135M."
)
@click.option(
    "--quick",
    is_flag=True,
    help="About 15 seconds: no sustained load, no power, less of the rest. In full it takes up to 3 minutes, "
    "longer for a large model.",
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="onnx, llamacpp, npu, or auto: all that are installed and have the model, one after the other.",
)
@device_options
@click.option(
    "--threads", type=int, help="Measure for this number only. Default: try several, and take the fastest."
)
@click.option("--quantize", help="How to store weights if a conversion is needed: keep, int4, int8 or fp32.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option(
    "--force", is_flag=True, help="Measure again what is not old, and while other programs are busy."
)
@task_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; seconds, bytes and watts.")
def command(
    model: str | None,
    quick: bool,
    runtime: str,
    threads: int | None,
    quantize: str | None,
    offline: bool,
    force: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Measure how fast this device runs a model, so that answers are planned from facts.

    Times of passes by their width and length, of prompts, memory, threads, guessing, and in full also throttling and
    power. Best while nothing else runs. Ctrl-C keeps what is measured, once there is a curve.

    With --task, how often the model is right at a kind of question: alone, by a vote, and at what agreement.
    """
    device = read_device(others)
    task = {name: value for name, value in others.items() if name not in DEVICE_OPTIONS}
    loading = {"quantize": quantize is not None, "threads": threads is not None, "offline": offline}
    speed = {"quick": quick, "force": force, "runtime": runtime != "auto", **loading}
    if wants_task(task, speed):
        from edgetts.cli.shared.task_calibration import calibrate_success

        load = {"runtime": runtime, "quantize": quantize, "offline": offline, **device}
        calibrate_success(model, task, load if threads is None else {**load, "threads": threads}, as_json)
        return
    from edgetts.decoding.session import Cancellation
    from edgetts.measuring import instruments, measuring_alone, subjects_of
    from edgetts.profiles.store import ProfileStore
    from edgetts.store.home import find_home
    from edgetts.store.progress import ProgressLine

    line = ProgressLine(sys.stderr)

    def notify(sentence: str) -> None:
        line.close()
        click.echo(sentence, err=True)

    options = device if threads is None else {**device, "threads": threads}
    runtime, options = settle_named(model, runtime, options)
    home = find_home()
    cancel = Cancellation()
    with measuring_alone(home):
        try:
            bundle, gguf = _forms(model, runtime, options, quantize, offline, line, notify)
        finally:
            line.close()
        subjects = subjects_of(bundle, gguf, _trust(home.root), options)
        store = ProfileStore(home.root / "profiles", notify)
        with interrupts(cancel):
            run = _Run(store, instruments(cancel, notify, line), "quick" if quick else "full", force)
            try:
                run.all(subjects)
            finally:
                line.close()
    if as_json:
        click.echo(json.dumps({"interrupted": cancel.requested, "profiles": run.as_json}))
    else:
        run.show()
    if run.unkept:
        raise StorageError(run.unkept[0], hint="Set EDGETTS_HOME to a directory that can be written.")
    if cancel.requested:
        kept = [one.profile.runtime for one in run.done]
        which = f"what was measured on {' and '.join(kept)} is kept" if kept else "nothing was kept"
        click.echo(f"edgetts: interrupted; {which}.", err=True)
        click.get_current_context().exit(INTERRUPTED)


class _Run:
    """What came of each runtime. known: profiles that are fresh enough; unkept: why others could not be kept."""

    def __init__(self, store: ProfileStore, tools: Instruments, scope: Scope, force: bool) -> None:
        self._store, self._tools, self._scope, self._force = store, tools, scope, force
        self.done: list[Calibrated] = []
        self.known: list[SpeedProfile] = []
        self.unkept: list[str] = []

    def all(self, subjects: list[Subject]) -> None:
        """Calibrate each runtime in turn; raises what the last one failed with where none could be."""
        from edgetts.decoding.session import Cancelled
        from edgetts.profiles.measuring.calibration import calibrate

        failed: EdgettsError | None = None
        for subject in subjects:
            known = None if self._force else self._fresh(subject)
            if known is not None:
                self._tools.notify(
                    f"{known.model} on {known.runtime} was calibrated on {known.made.date} ({known.made.scope}), and nothing "
                    "changed since; --force measures it again."
                )
                self.known.append(known)
                continue
            try:
                found = calibrate(subject, self._scope, self._tools, force=self._force)
            except Cancelled:
                return
            except EdgettsError as error:
                if failed is not None or len(subjects) == 1:
                    raise
                failed = error
                self._tools.notify(f"{subject.runtime}: {error}")
                continue
            self.done.append(found)
            if (why := self._store.put(found.profile)) is not None:
                self.unkept.append(why)
            if self._tools.cancel.requested:
                return
        if failed is not None and not self.done and not self.known:
            raise failed

    def _fresh(self, subject: Subject) -> SpeedProfile | None:
        """Return a profile that is as complete as what was asked for, beyond doubt, and not old; one cut short is not complete."""
        found = self._store.get(subject.mark, subject.facts)
        if found is None or _SCOPES.index(found.made.scope) < _SCOPES.index(self._scope):
            return None
        if (
            found.made.doubt
            or not found.times.prompts
            or not found.memory
            or (self._scope == "full" and not found.sustained)
        ):
            return None
        days = (date.fromisoformat(self._tools.today) - date.fromisoformat(found.made.date)).days
        return found if 0 <= days < FRESH_DAYS else None

    @property
    def as_json(self) -> list[dict[str, Any]]:
        """Every profile, as `edgetts profile show --json` has it, with what is behind it where it was measured now."""
        from edgetts.profiles.writing import speed_table

        measured = [
            {
                "measured": True,
                "kept": not self.unkept,
                "seconds": one.seconds,
                "missing": dict(one.missing),
                "remarks": list(one.remarks),
                "profile": speed_table(one.profile),
            }
            for one in self.done
        ]
        return [*measured, *({"measured": False, "profile": speed_table(one)} for one in self.known)]

    def show(self) -> None:
        from edgetts.cli.shared.calibrated import show_calibrated

        for one in self.done:
            show_calibrated(one)
            if not self.unkept:
                click.echo(f"kept in {self._store.root}")


def _forms(
    model: str | None,
    runtime: str,
    options: dict[str, Any],
    quantize: str | None,
    offline: bool,
    line: Any,
    notify: Any,
) -> tuple[Path | None, Any]:
    from edgetts.loading import find_forms

    if (threads := options.get("threads")) is not None and threads < 1:
        raise InvalidInput(f"--threads is {threads}, but it must be at least 1.")
    return find_forms(
        model,
        runtime,
        options,
        quantize=quantize,
        offline=offline,
        measure=True,
        progress=line,
        notify=notify,
        home=None,
    )


def _trust(root: Path) -> Any:
    from edgetts.bundle import TrustRecord

    return TrustRecord(root / "trust")
