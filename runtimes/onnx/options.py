"""Say how ONNX Runtime runs a model: threads, memory, providers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnxruntime as ort

from edgetts.errors import InvalidInput
from edgetts.runtimes.hardware import cores_busy_elsewhere, physical_cores


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How ONNX Runtime runs. Lengths in tokens.

    threads: None is one per physical core. spin: threads wait busily inside a pass, which makes small
    models a third faster on an idle device and half as fast on a busy one; None looks, when it opens,
    whether other programs keep a core busy. They sleep between passes. arena: keep freed activations for the next pass.
    providers: execution providers, first choice first. by_segment: open the layers in segments
    instead of whole, so that a pass can stop at a cut. chunk: tokens of a prompt in one pass.
    memory_bytes: limit of all branches' caches. long_prompt: from this many tokens on a prompt is read
    by a graph of its own, exact and on many devices faster (`edgetts.load` measures it); it holds 4-bit weights a second time, is opened when it
    is first needed, and only where that takes less than a tenth of the memory left. None never does.
    """

    threads: int | None = None
    spin: bool | None = None
    arena: bool = True
    providers: tuple[str | tuple[str, Mapping[str, str]], ...] = ("CPUExecutionProvider",)
    by_segment: bool = False
    chunk: int = 256
    memory_bytes: int | None = None
    long_prompt: int | None = 128

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InvalidInput(f"threads is {self.threads}, but it must be between 1 and 1024.")
        if self.chunk < 1:
            raise InvalidInput(f"chunk is {self.chunk}, but it must be at least 1 token.")
        available = ort.get_available_providers()
        for provider in self.providers:
            name = provider if isinstance(provider, str) else provider[0]
            if name not in available:
                raise InvalidInput(
                    f"This onnxruntime has no {name}.",
                    hint=f"It has: {', '.join(available)}. See: edgetts doctor",
                )


def session_options(options: OnnxOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or physical_cores()
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.enable_cpu_mem_arena = options.arena
    settings.log_severity_level = 3
    spin = cores_busy_elsewhere() < 1 if options.spin is None else options.spin
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    # Threads that go on spinning after a pass would steal the cores from sampling and from other segments.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    return settings
