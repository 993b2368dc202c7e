"""Try a model on this device: how fast each runtime is, and how logits differ with the width of a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgetts.decoding.session import Session
    from edgetts.host import Host

_WIDTHS = (1, 2, 4, 8, 16)


def probe(model: str) -> dict[str, dict[str, str]]:
    """Say how fast each runtime is, and how far the same tokens' logits lie apart in passes of other widths."""
    from edgetts.engine import load

    def notify(sentence: str) -> None:
        click.echo(sentence, err=True)

    with load(model, offline=True, notify=notify) as engine:
        prompt = engine.tokenizer.encode("The river rises in the hills north of the town.", special=False)
        speeds = {host.runtime: _speeds(host) for host in engine.hosts}
        found = {
            f"passes on {host.runtime}": _passes(host.session, prompt)
            for host in engine.hosts
            if host.session.capabilities.extend
        }
    report = {"tokens a second": {name: ", ".join(_shown(rates)) for name, rates in speeds.items()}}
    if len(speeds) > 1:
        report["faster"] = {
            what: max(speeds, key=lambda name: speeds[name][what]) for what in next(iter(speeds.values()))
        }
    return report | found


def _speeds(host: Host) -> dict[str, float]:
    """Return tokens a second by what is asked, from the curve of a runtime."""
    from edgetts.control.planning.choice import lone_gain
    from edgetts.decoding.speculation import longest_draft

    times = host.times
    alone = 1 / times.at(1)
    # Where samples run one after the other, wider passes are those over a draft.
    together = host.session.capabilities.parallel
    rates = {
        f"{width} samples": width / times.at(width) if together else alone for width in _WIDTHS if width > 1
    }
    longest = longest_draft(host.session.capabilities)
    rates = {
        "one sample": alone,
        "one with guesses": alone * lone_gain(times, host.guess_rate, longest),
        **rates,
    }
    return rates | {"prompt": times.prefill_rate}


def _shown(rates: dict[str, float]) -> list[str]:
    return [f"{what} {rate:.0f}" for what, rate in rates.items()]


def _passes(session: Session, prompt: list[int]) -> dict[str, str]:
    from edgetts.decoding.invariance import probe_invariance

    found = probe_invariance(session, prompt)
    return {
        f"{one.kind} {one.width}": f"logits differ by up to {one.largest:.3g}; {one.flips} of {one.positions} "
        "first choices flip" + (f", which led by up to {one.margin:.3g}" if one.flips else "")
        for one in found
    }
