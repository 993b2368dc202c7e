"""`edgetts doctor`: what this device has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

# What runtimes look for; the rest of a processor's flags only hide these.
_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_EXTRAS = {"huggingface_hub": ("hub", "models from the Hugging Face Hub")}


@click.command("doctor")
@click.option("--model", help="Probe a model too: how its logits differ with the width of a pass.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: str | None, as_json: bool) -> None:
    """Show runtimes, providers, versions, processor, memory, cache, and what is missing."""
    report = _report()
    if model is not None:
        report["passes"] = _passes(model)
    if as_json:
        import json

        click.echo(json.dumps(report, indent=2))
        return
    for section, facts in report.items():
        click.echo(f"{section}")
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            click.echo(f"  {name:<20} {shown}")


def _report() -> dict[str, dict[str, Any]]:
    import psutil

    from edgetts.runtimes import RUNTIMES
    from edgetts.runtimes.hardware import physical_cores
    from edgetts.store.home import find_home, size_on_disk
    from edgetts.store.listing import list_models

    memory = psutil.virtual_memory()
    home = find_home().root
    parent = next(p for p in (home, *home.parents) if p.exists())
    return {
        "edgetts": {
            "version": version("edgetts"),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
        "runtimes": {name: _runtime(target) for name, target in RUNTIMES.items()},
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
            "models": sorted({model.name for model in list_models()}),
        },
        "energy": {"joules": "not measured: this version reads no meter, and leaves them out"},
        "extras": {package: _extra(package) for package in _EXTRAS},
    }


def _passes(model: str) -> dict[str, str]:
    """Say how far the same tokens' logits lie apart in passes of other widths."""
    from edgetts.decoding.invariance import probe_invariance
    from edgetts.engine import load

    with load(model, offline=True, measure=False) as engine:
        prompt = engine.tokenizer.encode("The river rises in the hills north of the town.", special=False)
        found = probe_invariance(engine.session, prompt)
    return {
        f"{one.kind} {one.width}": f"logits differ by up to {one.largest:.3g}; {one.flips} of {one.positions} "
        "first choices flip" + (f", which led by up to {one.margin:.3g}" if one.flips else "")
        for one in found
    }


def _runtime(target: str) -> str:
    module = target.split(":")[0]
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"cannot be loaded: {error}"
    return f"ready, onnxruntime {version('onnxruntime')}" if module.endswith(".onnx") else "ready"


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
