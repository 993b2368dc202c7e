"""`edgetts doctor`: what this device has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.output import printable

if TYPE_CHECKING:
    from edgetts.decoding.session import Session
    from edgetts.host import Host
    from edgetts.runtimes import Runtime

# What runtimes look for; the rest of a processor's flags only hide these.
_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_EXTRAS = {
    "huggingface_hub": ("hub", "models from the Hugging Face Hub"),
    "zeus": ("energy", "meters of graphics processors, Apple Silicon and Jetson"),
}
_WIDTHS = (1, 2, 4, 8, 16)


@click.command("doctor")
@click.option(
    "--model",
    help="Probe a model too: which runtime is faster at what, and how logits differ with the width of a pass.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: str | None, as_json: bool) -> None:
    """Show runtimes, versions, hardware, cache, energy meters, power state, calibrations, and what is missing."""
    report = _report()
    if model is not None:
        report |= _probe(model)
    if as_json:
        import json

        click.echo(json.dumps(report, indent=2))
        return
    for section, facts in report.items():
        click.echo(f"{section}")
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            click.echo(printable(f"  {name:<20} {shown}"))


def _report() -> dict[str, dict[str, Any]]:
    import psutil

    from edgetts.cli.shared.condition import condition
    from edgetts.runtimes import RUNTIMES
    from edgetts.runtimes.hardware import physical_cores
    from edgetts.store.home import find_home, size_on_disk
    from edgetts.store.listing import list_models

    memory = psutil.virtual_memory()
    home = find_home().root
    parent = next(p for p in (home, *home.parents) if p.exists())
    models = sorted({model.name for model in list_models()})
    return {
        "edgetts": {
            "version": version("edgetts"),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "runtimes": {name: _runtime(runtime) for name, runtime in RUNTIMES.items()},
        "providers": _providers(),
        "processor": {
            "cores": f"{physical_cores()} used, {psutil.cpu_count() or '?'} logical",
            "features": _features(),
        },
        "memory": {
            "total": f"{memory.total / 1e9:.1f} GB",
            "available": f"{memory.available / 1e9:.1f} GB",
        },
        "cache": {
            "directory": str(home),
            "size": f"{(size_on_disk(home) if home.exists() else 0) / 1e6:.1f} MB",
            "free on its disk": f"{psutil.disk_usage(str(parent)).free / 1e9:.1f} GB",
            "models": models,
        },
        **condition(home, models),
        "extras": {package: _extra(package) for package in _EXTRAS},
    }


def _probe(model: str) -> dict[str, dict[str, str]]:
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

    times = host.times
    rates = {f"{width} samples": width / times.at(width) for width in _WIDTHS if width > 1}
    alone = 1 / times.at(1)
    rates = {"one sample": alone, "one with guesses": alone * lone_gain(times, host.guess_rate), **rates}
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


def _runtime(runtime: Runtime) -> str:
    if runtime.extra is not None and not runtime.installed:
        return f"missing ({runtime.purpose}): pip install 'edgetts[{runtime.extra}]'"
    try:
        importlib.import_module(runtime.module)
        importlib.import_module(runtime.package)
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be loaded: {error}"
    return f"ready, {runtime.distribution} {version(runtime.distribution)}"


def _providers() -> dict[str, str]:
    try:
        import onnxruntime
    except ImportError as error:
        return {"none": f"onnxruntime cannot be loaded: {error}. Reinstall it: pip install onnxruntime"}
    return dict.fromkeys(onnxruntime.get_available_providers(), "available")


def _extra(package: str) -> str:
    extra, purpose = _EXTRAS[package]
    if importlib.util.find_spec(package) is None:
        return f"missing ({purpose}): pip install 'edgetts[{extra}]'"
    try:
        return f"{version(package)} ({purpose})"
    except PackageNotFoundError:
        return f"present ({purpose})"


def _features() -> list[str]:
    if sys.platform == "darwin":
        return [platform.machine()]
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return [platform.processor() or platform.machine()]
    flags = {
        flag
        for line in text.splitlines()
        if line.startswith(("flags", "Features"))
        for flag in line.partition(":")[2].split()
    }
    return [feature for feature in _FEATURES if feature in flags]
