"""Replay a decision trace: run its controller again, or other policies on its samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgetts.cli.shared.output import printable
from edgetts.cli.shared.simulating import device_of, make_setting, policy_maker
from edgetts.errors import InvalidInput

DIFFERS = 1
"""Exit code where a trace's decisions are not made again."""
_OF_RECORDS = ("tune_text", "plot", "verify", "orders", "half", "lose", "price")
_OF_POLICIES = (
    "deadline",
    "energy",
    "tokens",
    "max_tokens",
    "device",
    "model",
    "runtime",
    "load_spec",
    "seed",
    "calibration",
    "risk",
)
_SPELLED = {
    "tune_text": "tune",
    "half": "split",
    "price": "by",
    "load_spec": "load",
    "max_tokens": "max-tokens",
}


def retrace(path: Path, options: dict[str, Any]) -> None:
    """Replay every answer of a trace."""
    from edgetts.replay.trace_reading import read_traces

    if (named := _given(_OF_RECORDS)) is not None:
        raise InvalidInput(
            f"A decision trace has no graded answers and no texts for --{named}.",
            hint="Use a record of edgetts eval --record.",
        )
    if options["policies"]:
        _other(path, options)
        return
    if (named := _given(_OF_POLICIES)) is not None:
        raise InvalidInput(
            f"A trace's own controller is run again by what the trace says, so --{named} says nothing.",
            hint="Name another policy with --policy, or leave it out.",
        )
    from edgetts.replay.checking import check
    from edgetts.replay.wording import checked_lines

    traces = read_traces(path)
    checked = [check(trace) for trace in traces]
    if options["as_json"]:
        body = [
            {"line": trace.line, "same": one.same, **asdict(one)}
            for trace, one in zip(traces, checked, strict=True)
        ]
        click.echo(json.dumps({"answers": body}))
    else:
        for trace, one in zip(traces, checked, strict=True):
            for text in checked_lines(trace, one):
                click.echo(printable(text))
    if not all(one.same for one in checked):
        click.get_current_context().exit(DIFFERS)


def _given(names: Sequence[str]) -> str | None:
    """Return the first of these options that the caller named, as it is spelled."""
    source = click.get_current_context().get_parameter_source
    named = (name for name in names if source(name) is click.core.ParameterSource.COMMANDLINE)
    return next((_SPELLED.get(name, name) for name in named), None)


def _other(path: Path, options: dict[str, Any]) -> None:
    """Show what other policies would have made of the samples of each answer."""
    from edgetts.replay.retracing import other_outcome
    from edgetts.replay.simulation import Device
    from edgetts.replay.trace_reading import read_traces
    from edgetts.replay.wording import outcome_lines

    make = policy_maker(options, None)
    policies = [make(spec) for spec in dict.fromkeys(options["policies"])]
    # On the device of the trace, unless another one is named.
    context = click.get_current_context()
    named = context.get_parameter_source("device") is click.core.ParameterSource.COMMANDLINE
    device = device_of(options) if named else None
    body = []
    for trace in read_traces(path):
        here = device
        if here is None and trace.times is not None:
            here = Device(f"{trace.header.get('runtime') or 'device'} as traced", trace.times, trace.power)
        setting = make_setting(options, device=here)
        rows = [(policy.spec, other_outcome(trace, policy, setting)) for policy in policies]
        if options["as_json"]:
            body.append(
                {
                    "line": trace.line,
                    "device": setting.device.stated,
                    "outcomes": [{"policy": name, **asdict(one)} for name, one in rows],
                }
            )
        else:
            for text in outcome_lines(trace, rows):
                click.echo(printable(text))
    if options["as_json"]:
        click.echo(json.dumps({"answers": body}))
