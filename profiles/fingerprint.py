"""What a measurement holds for: the machine and whatever else decides it, in words, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_LONGEST = 200


@cache
def _machine() -> tuple[str, str, str]:
    return platform.machine(), platform.system(), _cpu_model()[:_LONGEST]


def machine_facts() -> dict[str, str]:
    """Return what tells machines apart: instruction set, operating system and processor. Nothing that names its owner."""
    return dict(zip(("machine", "system", "cpu"), _machine(), strict=True))


def describe(**facts: Any) -> dict[str, str]:
    """Return the facts a measurement holds for in words, those of the machine first."""
    return machine_facts() | {name: _words(value) for name, value in facts.items()}


def mark_of(facts: Mapping[str, str]) -> str:
    """Return the fingerprint of facts: a file name of 24 hexadecimal digits, whatever their order."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:24]


def fingerprint(**facts: Any) -> str:
    """Identify a model on a machine: the given facts, the processor, and the operating system."""
    return mark_of(describe(**facts))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor()
