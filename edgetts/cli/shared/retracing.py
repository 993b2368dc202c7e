"""Replay a decision trace: run its controller again, or other policies on its samples."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edgetts.cli.shared.output import printable
from edgetts.cli.shared.simulating import device_of, make_setting, policy_maker
from edgetts.errors import InvalidInput

DIFFERS = 1
"""Exit code where a trace's decisions are not made again."""
_OF_RECORDS = ("tune_text", "plot", "verify")


def retrace(path: Path, options: dict[str, Any]) -> None:
    """Replay every answer of a trace."""
    from edgetts.replay.trace_reading import read_traces

    if (named := next((name for name in _OF_RECORDS if options[name] is not None), None)) is not None:
        option = {"tune_text": "tune"}.get(named, named)
        raise InvalidInput(
            f"A decision trace has no graded answers and no texts for --{option}.",
            hint="Use a record of edgetts eval --record.",
        )
    if options["policies"]:
        _other(path, options)
        return
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
