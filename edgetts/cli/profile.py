"""`edgetts profile`: what is known of this device, and of others, and how fast models run on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgetts.profiles.curves import StepTimes
    from edgetts.profiles.referring import Referred

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FORCE = click.option("--force", is_flag=True, help="Replace what is there.")


@click.group("profile")
def command() -> None:
    """Show, compare and pass on profiles of devices and of models' speeds."""


@command.command("show")
@click.argument("name", required=False)
@click.option("--model", help="How fast the device runs this model, which must be here.")
@_JSON
def show(name: str | None, model: str | None, as_json: bool) -> None:
    """Show the profile NAME: a device, or the start of a fingerprint. Without NAME, this device and its models."""
    from edgetts.profiles.referring import HERE, refer
    from edgetts.profiles.validity import changes
    from edgetts.profiles.wording import curve_lines, device_lines, speed_lines
    from edgetts.profiles.writing import device_table, speed_table

    found = refer(name or HERE, _home(), _notify)
    modelled = _modelled(found, model) if model is not None else None
    speeds = found.speeds if model is None else tuple(one for one in found.speeds if one.model == model)
    if as_json:
        body: dict[str, Any] = {"name": found.name, "imported": found.elsewhere}
        if found.device is not None:
            body["device"] = device_table(found.device)
        body["speeds"] = [
            speed_table(one) | ({"changed": changes(one.facts)} if not found.elsewhere else {})
            for one in speeds
        ]
        if modelled is not None:
            body["modelled"] = {"model": model} | _curve(modelled)
        _print_json(body)
        return
    lines = [f"{found.name} was imported: all of it is of another machine."] if found.elsewhere else []
    lines += [] if found.device is None else device_lines(found.device)
    for one in speeds:
        lines += ["", *speed_lines(one, changes(one.facts) if not found.elsewhere else ())]
    if modelled is not None:
        lines += ["", f"{model} on onnx, modelled from published figures", *curve_lines(modelled)]
    click.echo("\n".join(lines).lstrip("\n"))


@command.command("list")
@_JSON
def list_profiles(as_json: bool) -> None:
    """List what was measured here, the devices that edgetts describes, and what was imported."""
    from edgetts.profiles.listing import list_rows

    rows = list_rows(_home(), _notify)
    if as_json:
        _print_json([row.to_json() for row in rows])
        return
    shown = [("NAME", "KIND", "DATE", "SCOPE", "MODEL", "RUNTIME", "STATE")]
    shown += [(r.name, r.kind, r.date, r.scope, r.model, r.runtime, r.state) for r in rows]
    _print_rows(shown)


@command.command("diff")
@click.argument("first")
@click.argument("second")
@_JSON
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two profiles, figure by figure. "here" is this device."""
    from dataclasses import asdict

    from edgetts.errors import InvalidInput
    from edgetts.profiles.comparing import compare
    from edgetts.profiles.referring import comparable, refer
    from edgetts.profiles.wording import difference_rows

    one, other = (refer(name, _home(), _notify) for name in (first, second))
    if (one.device is None) is not (other.device is None):
        raise InvalidInput(
            f"{first!r} and {second!r} are not of one kind: a device and a model's speeds.",
            hint="Name two devices, or two fingerprints; see: edgetts profile list",
        )
    found = compare(*comparable(one, other))
    if as_json:
        _print_json([asdict(d) | {"ratio": d.ratio, "beyond_spread": d.beyond_spread} for d in found])
        return
    _print_rows([("FIGURE", first.upper(), second.upper(), "RATIO", "DIFFERS"), *difference_rows(found)])


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_FORCE
@_JSON
def export(file: Path, force: bool, as_json: bool) -> None:
    """Write what is known of this device to FILE, for another machine; no paths, hosts or users are in it."""
    from edgetts.profiles.passing_on import gather, save_export

    gathered = gather(_home())
    save_export(gathered, file, force=force)
    if as_json:
        _print_json({"file": str(file), "device": gathered.device.name, "speeds": len(gathered.speeds)})
    else:
        count = len(gathered.speeds)
        models = f"{count} {'model' if count == 1 else 'models'}"
        click.echo(f"{gathered.device.name} and the speeds of {models} on it are in {file}.")


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it here. Default: the name that is in it.")
@_FORCE
@_JSON
def take_in(file: Path, name: str | None, force: bool, as_json: bool) -> None:
    """Keep a profile that another machine exported. It never counts as measured here."""
    from edgetts.profiles.passing_on import take_in

    kept = take_in(file, name, _home(), force=force)
    if as_json:
        _print_json({"name": kept})
    else:
        click.echo(
            f"Kept as {kept}: edgetts profile show {kept}, or EDGETTS_DEVICE={kept} to reckon with it."
        )


@command.command("learn")
@click.argument("what", type=click.Choice(["on", "off", "status", "forget"]), default="status")
@_JSON
def learn(what: str, as_json: bool) -> None:
    """Learn the device's speeds from real use: numbers alone, in a file that stays here; no text. Default: off."""
    import os

    from edgetts.use.log import UseLog
    from edgetts.use.switch import learning, set_learning
    from edgetts.use.winning import which_wins

    home = _home()
    log = UseLog(home / "profiles")
    if what in ("on", "off"):
        set_learning(home, what == "on")
    elif what == "forget":
        log.forget()
    state, uses = learning(home, os.environ), log.read()
    models = sorted({use.model for use in uses})
    found = {model: which_wins([use for use in uses if use.model == model]) for model in models}
    if as_json:
        from dataclasses import asdict

        wins = {model: [asdict(one) for one in compared] for model, compared in found.items()}
        _print_json({"on": state.on, "why": state.why, "uses": len(uses), "comparisons": wins})
        return
    click.echo(f"Learning from use is {'on' if state.on else 'off'}: {state.why}.")
    click.echo(f"{len(uses)} uses are written down in {log.path}." if uses else "No use is written down.")
    for model, compared in found.items():
        click.echo(model)
        for one in compared:
            click.echo(f"  {one.stated}")


def _modelled(found: Referred, model: str) -> StepTimes | None:
    """Return the modelled curve, where the device is not known to have been measured with the model."""
    from edgetts.bundle import read_manifest
    from edgetts.errors import InvalidInput
    from edgetts.profiles.roofline import modelled_times, shape_of
    from edgetts.store import resolve

    if found.device is None:
        raise InvalidInput(f"{found.name!r} is not a device.", hint="Leave --model out, or name a device.")
    if any(one.model == model for one in found.speeds):
        return None
    manifest = read_manifest(resolve(model, offline=True, notify=_notify))
    return modelled_times(shape_of(manifest), found.device.processor)


def _curve(times: StepTimes) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(times)


def _home() -> Path:
    from edgetts.store.home import find_home

    return find_home().root


def _notify(sentence: str) -> None:
    click.echo(sentence, err=True)


def _print_json(body: Any) -> None:
    import json

    click.echo(json.dumps(body, indent=2, default=dict))


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
