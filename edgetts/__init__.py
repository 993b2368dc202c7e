"""Answer questions with a language model on this device, and decide how much to compute.

import edgetts

with edgetts.load() as engine:
    answer = engine.answer("What is 17 + 25?", budget=edgetts.Budget(seconds=5))
    print(answer.text, answer.usage.tokens_per_second)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from edgetts.budget import Budget
from edgetts.errors import EdgettsError
from edgetts.types import (
    Answer,
    Finished,
    Plan,
    PlanMade,
    Sample,
    SampleDone,
    SamplingParams,
    TextDelta,
    Usage,
)

# ONNX Runtime collects and sends data on its use unless this is set before it is imported. Who wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgetts.chat import Message
    from edgetts.conversation import Conversation
    from edgetts.decoding.session import Cancellation
    from edgetts.engine import Engine, load

__all__ = [
    "load",
    "Engine",
    "Budget",
    "SamplingParams",
    "Message",
    "Conversation",
    "Cancellation",
    "Answer",
    "Sample",
    "Usage",
    "Plan",
    "TextDelta",
    "PlanMade",
    "SampleDone",
    "Finished",
    "EdgettsError",
]

# Names that need NumPy or more, imported when they are first used: `import edgetts` stays quick.
_LAZY = {
    "load": "edgetts.engine",
    "Engine": "edgetts.engine",
    "Message": "edgetts.chat",
    "Conversation": "edgetts.conversation",
    "Cancellation": "edgetts.decoding.session",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'edgetts' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
