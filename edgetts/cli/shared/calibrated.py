"""Show what a calibration found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgetts.cli.shared.output import print_rows, printable

if TYPE_CHECKING:
    from edgetts.profiles.measuring.calibration import Calibrated
    from edgetts.profiles.speed import SpeedProfile


def show_calibrated(found: Calibrated) -> None:
    """Print the curve as a table, and everything else in rows."""
    profile, curve = found.profile, found.curve
    title = f"{profile.model} on {profile.runtime}, {profile.made.scope}, measured {profile.made.date}"
    click.echo(printable(f"{title} in {found.seconds:.0f} s"))
    click.echo(f"{'width':>7} {'ms a pass':>11} {'spread':>8} {'tokens/s':>9}")
    for width, seconds in zip(profile.times.widths, profile.times.seconds, strict=True):
        spread = curve.spread_at(width) * 1e3
        click.echo(f"{width:>7} {seconds * 1e3:>11.2f} {f'± {spread:.2f}':>8} {width / seconds:>9.1f}")
    print_rows([*_rows(profile), *_missing(found)])
    for remark in found.remarks:
        click.echo(f"Note: {remark}")


def _missing(found: Calibrated) -> list[tuple[str, str]]:
    said = []
    for part, why in sorted(found.missing.items(), key=lambda one: one[0] != "longer"):
        if part == "longer" and found.profile.times.growth:
            said.append(("", f"reckoned from the speed of weights, not measured: {why}"))
        else:
            said.append(({"longer": "longer texts"}.get(part, part), f"not measured: {why}"))
    return said


def _rows(profile: SpeedProfile) -> list[tuple[str, str]]:
    times = profile.times
    best = max(times.widths, key=lambda width: width / times.at(width))
    rows = [
        (
            "best width",
            f"{best}: {best / times.at(best):.0f} tokens/s, {best / times.at(best) * times.at(1):.1f} times one at a time",
        ),
        ("spread", f"± {times.spread:.0%} of a single pass, at {times.past} tokens a branch"),
        ("opening", f"{times.opening:.1f} s"),
    ]
    if times.prompts:
        read = ", ".join(f"{tokens} in {seconds:.2f} s" for tokens, seconds in times.prompts)
        rows.append(("prompts", f"{times.prefill_rate:.0f} tokens/s ({read})"))
    if (memory := profile.memory) is not None:
        parts = (
            f"{memory.model / 1e6:.0f} MB loaded",
            f"{memory.token / 1e3:.1f} kB a token",
            f"{memory.branch / 1e6:.2f} MB a branch",
        )
        rows.append(("memory", ", ".join(parts)))
    if profile.threads:
        tried = ", ".join(f"{number}: {seconds * 1e3:.1f} ms" for number, seconds in profile.threads)
        chosen = f"{profile.run_threads} taken" if profile.run_threads else "the usual number taken"
        rows.append(("threads", f"{tried}; {chosen}"))
    for one in profile.guessing:
        rows.append(
            (
                f"guessing: {one.drafter}",
                f"{one.right:.0%} right, {one.seconds * 1e3:.3f} ms a guess, {one.gain:.2f} times plain decoding",
            )
        )
    if (load := profile.sustained) is not None:
        slower = "no slower" if load.ratio < 1.02 else f"{load.ratio:.2f} times as long"
        rows.append(("sustained", f"{slower} after {load.seconds:.0f} s of load"))
    if (power := profile.power) is not None:
        rows.append(
            (
                "power",
                f"{power.idle_watts.value:.1f} W idle, {power.busy_watts.value:.1f} W busy ({power.busy_watts.source})",
            )
        )
    if times.growth:
        share = 1000 * times.growth / times.at(1)
        rows.append(
            (
                "longer texts",
                f"{times.growth * 1e6:.2f} µs more a token and branch: {share:+.0%} at 1,000 tokens, one at a time",
            )
        )
    return rows
