"""`edgetts plan`: what `ask` would do, what that should cost, and why; computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.asking import aim_options, read_aim, read_question
from edgetts.cli.shared.budget import budget_options, read_budget, read_sampling
from edgetts.cli.shared.choosing import choosing_options, read_choosing
from edgetts.cli.shared.device import device_options, read_device
from edgetts.errors import InvalidInput, Unsupported, UnsupportedModel

if TYPE_CHECKING:
    from edgetts.types import Plan

_ROWS = 16


@click.command("plan")
@click.argument("question", required=False)
@click.option(
    "--model", "-m", help="A known model, or a path. It must be here already. Default: SmolLM2-135M."
)
@budget_options
@aim_options
@click.option("--system", help="A system message.")
@click.option("--answer", "answer_format", default="auto", show_default=True, help="As for edgetts ask.")
@choosing_options
@click.option("--decode", "mode", default="auto", show_default=True, help="As for edgetts ask.")
@click.option("--runtime", default="auto", show_default=True, help="onnx, llamacpp, npu, or auto.")
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@device_options
@click.option(
    "--device-profile",
    help="Plan for this described device instead, by its published figures: a name of edgetts profile list.",
)
@click.option("--all", "everything", is_flag=True, help="Show every candidate, not only the first ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(question: str | None, **options: Any) -> None:
    """Show the plan for QUESTION, what it was chosen among, and why. Computes nothing.

    The weights are not loaded: the model's files tell its sizes, and how long passes take was measured before, or is
    modelled from published figures. -> marks the plan that is taken, x what breaks a limit.
    """
    from edgetts.cli.shared.explaining import plan_lines

    plan = _plan(read_question(question, "plan"), options)
    if options["as_json"]:
        import json
        from dataclasses import asdict

        click.echo(json.dumps(asdict(plan)))
        return
    for line in plan_lines(plan, None if options["everything"] else _ROWS):
        click.echo(line)


def _notify(sentence: str) -> None:
    click.echo(sentence, err=True)


def _plan(question: str, options: dict[str, Any]) -> Plan:
    from edgetts.selection.answers import AnswerFormat
    from edgetts.types import DecodeParams

    # Everything that can be wrong is said before any file is read.
    budget = read_budget(options)
    sampling = read_sampling(options)
    decode = DecodeParams(options["mode"])
    form = AnswerFormat.parse(options["answer_format"])
    choosing, aim, place = read_choosing(options), read_aim(options), _place(options)
    asked = {
        "budget": budget,
        "sampling": sampling,
        "system": options["system"],
        "answer_format": form,
        "decode": decode,
        **choosing,
        **aim,
    }
    from edgetts.unopened import plan_unopened

    threads = options["threads"]
    if threads is not None and not 1 <= threads <= 1024:
        raise InvalidInput(f"threads is {threads}, but it must be between 1 and 1024.")
    settings = place if threads is None else {**place, "threads": threads}
    device = options["device_profile"]
    try:
        return plan_unopened(
            question,
            model=options["model"],
            runtime=options["runtime"],
            profile=device,
            options=settings,
            notify=_notify,
            **asked,
        )
    except (Unsupported, UnsupportedModel) as error:
        if device is not None:
            raise
        _notify(f"The model's files do not tell enough, so it is loaded: {error.args[0]}")
    from edgetts.engine import load

    with load(
        options["model"], runtime=options["runtime"], offline=True, notify=_notify, **settings
    ) as engine:
        return engine.plan(question, **asked)


def _place(options: dict[str, Any]) -> dict[str, Any]:
    """Return where to run; a described device's name is no kind of device."""
    from edgetts.profiles.devices import shipped_names

    if options["device"] in shipped_names():
        raise InvalidInput(
            f"{options['device']} is a described device, and --device names a kind.",
            hint=f"Plan for it with --device-profile {options['device']}",
        )
    return read_device(options)
