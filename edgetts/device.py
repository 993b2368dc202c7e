"""Turn what a caller says of where a model runs into a runtime and its options. Knows devices and forms of models."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetts.errors import InvalidInput, MissingExtra, Unsupported
from edgetts.near_miss import near_miss

DEVICES = ("auto", "cpu", "npu", "gpu")
_FOR_STATIC = ("soc", "place", "fallback", "library")


def check_device(name: str) -> None:
    """Raise InvalidInput for a kind of device that is none."""
    if name not in DEVICES:
        near = near_miss(name, [*DEVICES])
        raise InvalidInput(
            f"There is no device {name!r}.", hint=near or f"Choose one of: {', '.join(DEVICES)}."
        )


@dataclass(frozen=True, slots=True)
class Where:
    """A device by its kind, or a provider of ONNX Runtime by name with options of its own. Raises InvalidInput."""

    device: str = "auto"
    provider: str | None = None
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.provider is not None and self.device != "auto":
            raise InvalidInput("A device and a provider were both named.", hint="Name one of them.")

    def static(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the npu runtime for a static bundle."""
        # Its graphs are segments anyway, so that any pass can stop.
        rest = {name: value for name, value in options.items() if name != "by_segment"}
        if self.device != "auto":
            rest["device"] = self.device
        if self.provider is not None:
            rest["provider"] = self.provider
        if self.provider_options:
            rest["provider_options"] = dict(self.provider_options)
        return rest

    def moving(
        self, model: str | None, runtime: str, options: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """Return the runtime and its options for a model whose graphs take any shape.

        Raises InvalidInput for what only static bundles can do, MissingExtra and Unsupported for a GPU that nothing
        here can use.
        """
        name, hint = model or "The default model", _export_hint(model or "MODEL.gguf")
        if given := [one for one in _FOR_STATIC if one in options]:
            raise InvalidInput(f"{name} is no static bundle, which {given[0]} is for.", hint=hint)
        if self.device == "npu":
            raise InvalidInput(f"{name} is in a form for processors, and NPUs want fixed shapes.", hint=hint)
        if self.device == "gpu":
            return _on_gpu(runtime, options)
        if self.provider is None:
            if self.provider_options:
                raise InvalidInput(
                    "Options of a provider need its name.", hint="For example: --provider xnnpack"
                )
            return runtime, dict(options)
        if runtime == "llamacpp":
            raise InvalidInput("llama.cpp knows no providers of ONNX Runtime.", hint="Take --runtime onnx.")
        from edgetts.runtimes.providers.finding import find_provider

        found = find_provider(self.provider)
        if found.devices:
            raise InvalidInput(
                f"{name} has no graphs of fixed shapes, which {found.name} compiles.", hint=hint
            )
        own = (found.name, dict(self.provider_options))
        cpu = "CPUExecutionProvider"
        providers: tuple[Any, ...] = (own,) if found.name == cpu else (own, cpu)
        return "onnx", {**options, "providers": providers}


def settle(
    where: Where, model: str | Path | None, runtime: str, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the runtime and its options for a model in whatever form it is. Raises as `Where`'s methods do."""
    from edgetts.bundle import is_static

    if is_static(model):
        return runtime, where.static(options)
    return where.moving(None if model is None else str(model), runtime, options)


def settle_named(
    model: str | Path | None, runtime: str, settings: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the same where settings hold the arguments of `Where` by name, beside others."""
    rest = dict(settings)
    device, provider = rest.pop("device", "auto"), rest.pop("provider", None)
    return settle(Where(device, provider, rest.pop("provider_options", {})), model, runtime, rest)


def check_draft(model: str | Path | None, length: int | None) -> None:
    """Raise InvalidInput for drafts longer than a static bundle was exported for; other models have no such limit."""
    from edgetts.bundle import is_static, read_manifest

    if length is None or model is None or not is_static(model):
        return
    from edgetts.decoding.session import Capabilities
    from edgetts.decoding.speculation import longest_draft

    note = read_manifest(Path(model)).static
    if note is not None:
        longest_draft(Capabilities(widest=note.draft_width + 1), length)


def _export_hint(model: str) -> str:
    source = "MODEL.gguf" if Path(model).is_dir() and model.rstrip("/").endswith(".edge") else model
    return f"Export it for one: edgetts export {source} --target qnn-htp"


def _on_gpu(runtime: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if runtime == "onnx":
        raise InvalidInput(
            "On a GPU, models of any shape run by llama.cpp.",
            hint="Take --runtime auto, or name a provider of ONNX Runtime.",
        )
    from edgetts.runtimes import RUNTIMES

    if not RUNTIMES["llamacpp"].installed:
        raise MissingExtra("llama-cpp-python", "llamacpp")
    library = importlib.import_module("llama_cpp")
    if not library.llama_supports_gpu_offload():
        raise Unsupported(
            "This build of llama-cpp-python uses no GPU.",
            hint="Build it for yours, e.g. CMAKE_ARGS=-DGGML_VULKAN=on pip install --force-reinstall llama-cpp-python",
        )
    return "llamacpp", {"gpu_layers": -1, **options}
