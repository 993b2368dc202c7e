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
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.runtimes import Runtime

# What runtimes look for; the rest of a processor's flags only hide these.
_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_EXTRAS = {
    "huggingface_hub": ("hub", "models from the Hugging Face Hub"),
    "zeus": ("energy", "meters of graphics processors, Apple Silicon and Jetson"),
}


@click.command("doctor")
@click.option(
    "--model",
    help="Probe a model too: which runtime is faster at what, and how logits differ with the width of a pass. With "
    "--provider, show which of its operators that one takes instead.",
)
@click.option(
    "--provider",
    help="Show what there is to know of one of ONNX Runtime's providers, such as qnn. With --model, its delegation "
    "table: which operators run on it, which on the CPU, why, and how much of the model that is, for a pass of one "
    "token (--json: of every width). A provider that compiles compiles for it.",
)
@click.option(
    "--provider-option",
    "-o",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the provider; may be repeated.",
)
@click.option("--soc", help="The chip that the provider compiles for, such as sm8650.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str | None, provider: str | None, given: tuple[str, ...], soc: str | None, as_json: bool
) -> None:
    """Show runtimes, versions, hardware, cache, energy meters, power state, calibrations, and what is missing."""
    if provider is not None:
        _show_provider(provider, model, given, soc, as_json)
        return
    if given or soc is not None:
        raise InvalidInput(
            f"{'-o' if given else '--soc'} is for a provider.", hint="Name one: --provider qnn"
        )
    report = _report()
    if model is not None:
        from edgetts.cli.shared.probing import probe

        report |= probe(model)
    _show(report, as_json)


def _show(report: dict[str, dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(report, indent=2))
        return
    for section, facts in report.items():
        click.echo(f"{section}")
        width = max(20, *map(len, facts))
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            click.echo(printable(f"  {name:<{width}} {shown}"))


def _show_provider(
    provider: str, model: str | None, given: tuple[str, ...], soc: str | None, as_json: bool
) -> None:
    from edgetts.cli.shared.provider_options import read_provider_options

    options = read_provider_options(given)
    if model is None:
        from edgetts.cli.shared.providers import provider_report

        _show(provider_report(provider, options, soc), as_json)
        return
    from edgetts.cli.shared.delegating import delegate
    from edgetts.cli.shared.delegation_table import show_delegated

    show_delegated(delegate(model, provider, options, soc, every_width=as_json), as_json)


def _report() -> dict[str, dict[str, Any]]:
    import psutil

    from edgetts.cli.shared.condition import condition
    from edgetts.cli.shared.providers import provider_states
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
        "providers": provider_states(),
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


def _runtime(runtime: Runtime) -> str:
    if runtime.extra is not None and not runtime.installed:
        return f"missing ({runtime.purpose}): pip install 'edgetts[{runtime.extra}]'"
    try:
        importlib.import_module(runtime.module)
        importlib.import_module(runtime.package)
    except (ImportError, OSError, RuntimeError) as error:
        return f"cannot be loaded: {error}"
    return f"ready, {runtime.distribution} {version(runtime.distribution)}"


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
