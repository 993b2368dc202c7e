"""What importing loads: `import edgetts` and the command line stay light, and run time never imports export."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from functools import cache

import pytest

import edgetts

HEAVY = frozenset(
    {
        "onnxruntime",
        "tokenizers",
        "numpy",
        "jinja2",
        "gguf",
        "onnx",
        "huggingface_hub",
        "psutil",
        "requests",
        "urllib3",
    }
)


@cache
def loaded_by(statement: str) -> frozenset[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    code = f"import json, sys; before = set(sys.modules)\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-Ic", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return frozenset(json.loads(ran.stdout.splitlines()[-1]))


def packages(modules: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "statement",
    [
        "import edgetts",
        "from edgetts import Budget, SamplingParams, Answer, EdgettsError",
        "from edgetts.cli import main",
        "import sys; from edgetts.cli import main; sys.argv = ['edgetts', '--help']; main(standalone_mode=False)",
    ],
)
def test_the_package_and_its_help_load_nothing_heavy(statement: str) -> None:
    assert packages(loaded_by(statement)) & HEAVY == set()


def test_running_a_model_never_loads_what_makes_one() -> None:
    statement = (
        "import edgetts.engine, edgetts.loading, edgetts.runtimes.onnx, edgetts.store, edgetts.cli.ask"
    )
    modules = loaded_by(statement)
    assert {name for name in modules if name.startswith("edgetts.export")} == set()
    assert packages(modules) & {"gguf", "onnx", "huggingface_hub", "torch", "transformers"} == set()


# room: the rooms it may not know. The engine alone knows all.
PLANNING = ("control.controller", "control.cost", "control.planning")
"""What decides; values of control cross rooms."""
WALLS = {
    "edgetts.decoding": ("selection", "control", "runtimes", "engine", "tokenizer", "chat"),
    "edgetts.scheduling": ("selection", "control", "runtimes", "engine", "tokenizer", "chat", "budget"),
    "edgetts.structure": (
        "selection",
        "control",
        "runtimes",
        "engine",
        "chat",
        "decoding.session",
        "decoding.sampling",
    ),
    "edgetts.tools": ("selection", "control", "runtimes", "engine", "decoding", "scheduling"),
    "edgetts.conversation": ("runtimes", "control.controller", "export", "store", "server", "scheduling"),
    "edgetts.server": (
        "runtimes",
        "control.controller",
        "export",
        "store",
        "decoding.sampling",
        "decoding.parallel",
    ),
    "edgetts.selection": ("decoding", "control", "runtimes", "engine", "tokenizer", "chat"),
    "edgetts.runtimes": ("selection", "control", "engine", "chat", "budget", "export", "store"),
    "edgetts.control": ("selection", "runtimes", "engine", "tokenizer", "chat", "store", "export"),
    "edgetts.sandbox": (
        "selection",
        "decoding",
        "control",
        "runtimes",
        "engine",
        "tokenizer",
        "chat",
        "evaluation",
    ),
    "edgetts.answering": ("runtimes", "engine", "store", "export", "evaluation"),
    "edgetts.evaluation": (
        "decoding",
        "control.controller",
        "control.planning",
        "runtimes",
        "export",
        "store",
    ),
    "edgetts.profiles": (
        "selection",
        *PLANNING,
        "runtimes",
        "engine",
        "tokenizer",
        "chat",
        "export",
    ),
    "edgetts.energy": (
        "selection",
        *PLANNING,
        "runtimes",
        "engine",
        "tokenizer",
        "chat",
        "decoding",
        "store",
    ),
    "edgetts.replay": ("runtimes", "engine", "export"),
    "edgetts.use": ("selection", "runtimes", "engine", "tokenizer", "chat", "decoding"),
    "edgetts.store": ("selection", "control", "engine", "chat", "decoding", "runtimes"),
}


@pytest.mark.parametrize("room", WALLS)
def test_a_room_does_not_import_what_it_says_it_does_not_know(room: str) -> None:
    parts = [f"{room}.{m.name}" for m in pkgutil.iter_modules(importlib.import_module(room).__path__)]
    modules = loaded_by("import " + ", ".join(parts)) - loaded_by("import edgetts")
    known = {f"edgetts.{name}" for name in WALLS[room]}
    assert {m for m in modules if any(m == k or m.startswith(k + ".") for k in known)} == set()


def test_every_public_name_is_there_and_every_lazy_one_is_public() -> None:
    assert len(set(edgetts.__all__)) == len(edgetts.__all__)
    for name in edgetts.__all__:
        assert getattr(edgetts, name) is not None
    assert dir(edgetts) == sorted(edgetts.__all__)
    assert set(edgetts._LAZY) <= set(edgetts.__all__)


def test_public_names_come_from_where_they_are_defined() -> None:
    for name in edgetts.__all__:
        value = getattr(edgetts, name)
        assert getattr(importlib.import_module(value.__module__), name) is value


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Enigne'"):
        _ = edgetts.Enigne


def test_every_module_can_be_imported_alone_and_says_what_it_is() -> None:
    for found in pkgutil.walk_packages(edgetts.__path__, "edgetts."):
        assert (importlib.import_module(found.name).__doc__ or "").strip(), found.name
