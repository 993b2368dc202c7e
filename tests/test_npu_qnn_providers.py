"""Qualcomm's provider as it is installed: found once, opened on its emulator, and every way that it says no."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("onnxruntime_qnn")

from edgetts.errors import CorruptFile, InvalidInput, RuntimeFailure, Unsupported
from edgetts.runtimes.providers import plugins
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.discovery import discover
from edgetts.runtimes.providers.finding import Provider, find_provider, open_graph, session_options

SM8650 = find_soc("sm8650").options


def saved(path: Path, *kinds: str) -> Path:
    """Write a chain of operators of one input each."""
    names = ["x", *map(str, range(len(kinds) - 1)), "y"]
    nodes = [
        helper.make_node(kind, [names[i]] * (2 if kind == "Add" else 1), [names[i + 1]], name=f"{kind}-{i}")
        for i, kind in enumerate(kinds)
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def opened(path: Path, options: Mapping[str, str] = SM8650, **more: object) -> object:
    qnn = find_provider("qnn")
    return open_graph(path, session_options(qnn, options, **more), qnn)  # type: ignore[arg-type]


def compiled(graph: Path, to: Path, options: Mapping[str, str] = SM8650, embedded: bool = False) -> Path:
    entries = {
        "ep.context_enable": "1",
        "ep.context_embed_mode": "1" if embedded else "0",
        "ep.context_file_path": str(to),
    }
    opened(graph, options, entries=entries)
    return to


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    return saved(tmp_path / "doubling.onnx", "Add", "Add")


def test_it_is_registered_once_however_many_look() -> None:
    found: list[Provider] = []
    threads = [threading.Thread(target=lambda: found.append(find_provider("QNN"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {one.name for one in found} == {"QNNExecutionProvider"}
    assert {one.version for one in found} == {version("onnxruntime-qnn")}
    assert all(len(one.devices) >= 1 for one in found)


@pytest.mark.skipif(find_provider("qnn").emulated is False, reason="a chip of Qualcomm's")
def test_discovery_says_that_it_is_emulated() -> None:
    [qnn] = [one for one in discover() if one.name == "qnn"]
    assert (qnn.state, qnn.emulated) == ("ready", True)
    assert qnn.devices[0].startswith("cpu")


def test_a_graph_runs_on_it_alone(doubling: Path) -> None:
    session = opened(doubling)
    [y] = session.run(None, {"x": np.arange(8, dtype=np.float32)[None]})  # type: ignore[attr-defined]
    assert np.allclose(y, [[0, 4, 8, 12, 16, 20, 24, 28]], rtol=1e-2)
    assert session.get_providers()[0] == "QNNExecutionProvider"  # type: ignore[attr-defined]


def test_operators_that_have_no_place_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.onnx", "Add", "Atanh", "Erf")
    with pytest.raises(Unsupported, match=r"x\.onnx cannot run on QNN.*Atanh.*Atanh-1") as caught:
        opened(path)
    assert "Add" not in str(caught.value)
    assert opened(path, fallback=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soc_model": "9999"}, "does not start.*QNN_DEVICE_ERROR_INVALID_CONFIG"),
        ({"backend_path": "/nowhere/libQnnHtp.so"}, "does not start.*cannot open shared object"),
    ],
)
def test_a_backend_that_does_not_start_says_why(
    doubling: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(RuntimeFailure, match=message) as caught:
        opened(doubling, options)
    assert not isinstance(caught.value, Unsupported)


def test_a_misspelt_option_is_refused_which_qnn_would_take(doubling: Path) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'htp_performance_mode'"):
        opened(doubling, {"htp_perfomance_mode": "burst"})


@pytest.mark.parametrize("embedded", [False, True])
def test_what_was_compiled_opens_for_that_chip_and_no_other(
    doubling: Path, tmp_path: Path, embedded: bool
) -> None:
    path = compiled(doubling, tmp_path / "compiled.onnx", embedded=embedded)
    assert opened(path)
    assert opened(path, {})
    with pytest.raises(CorruptFile, match="compiled for the architecture 75, but 73"):
        opened(path, find_soc("sm8550").options)
    cpu = find_provider("cpu")
    with pytest.raises(Unsupported, match="was compiled for QNNExecutionProvider, so CPUExecutionProvider"):
        open_graph(path, session_options(cpu, {}), cpu)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, None])
def test_a_binary_that_is_damaged_is_corrupt(doubling: Path, tmp_path: Path, share: float | None) -> None:
    path = compiled(doubling, tmp_path / "compiled.onnx")
    [binary] = tmp_path.glob("*.bin")
    raw = binary.read_bytes()
    if share is None:
        binary.unlink()
    else:
        binary.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(
        CorruptFile, match=r"cannot load the compiled compiled\.onnx, which is damaged or of another"
    ):
        opened(path)


@pytest.mark.parametrize("soc", ["sm8450", "sm8550", "sm8750", "sm8850"])
def test_the_emulator_takes_chips_of_the_table(doubling: Path, tmp_path: Path, soc: str) -> None:
    chip = find_soc(soc)
    session = opened(compiled(doubling, tmp_path / "compiled.onnx", chip.options), chip.options)
    [fact] = [v for k, v in session.get_modelmeta().custom_metadata_map.items() if "compatibility" in k]  # type: ignore[attr-defined]
    assert fact.split(":")[4:6] == [chip.options["htp_arch"], chip.options["soc_model"]]


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_a_copy_of_the_library_that_was_cut_short_never_ends_the_process(tmp_path: Path) -> None:
    whole = find_provider("qnn").library
    assert whole is not None
    copy = Path(shutil.copy(whole, tmp_path))
    size = copy.stat().st_size
    for share in (0.999, 0.8, 0.3, 0.001):
        with copy.open("r+b") as file:
            file.truncate(int(size * share))
        with pytest.raises(RuntimeFailure, match="cut short"):
            find_provider("UnheardExecutionProvider", copy)


def test_any_plugin_is_taken_by_name_and_path_and_only_once(tmp_path: Path) -> None:
    library = find_provider("qnn").library
    assert library is not None
    assert find_provider("QNNExecutionProvider", library).library == library
    other = Path(shutil.copy(library, tmp_path))
    with pytest.raises(RuntimeFailure, match="was loaded from .* and cannot be loaded from"):
        find_provider("qnn", other)
    assert plugins.registered("QNNExecutionProvider") == library


def test_nothing_but_our_own_words_gets_to_the_terminal(doubling: Path) -> None:
    code = f"""
from pathlib import Path
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.finding import find_provider, open_graph, session_options
qnn = find_provider("qnn")
print("before")
open_graph(Path({str(doubling)!r}), session_options(qnn, find_soc("sm8650").options), qnn)
try:
    open_graph(Path({str(doubling)!r}), session_options(qnn, {{"soc_model": "9999"}}), qnn)
except Exception:
    print("refused")
print("after")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["before", "refused", "after"]
    assert ran.stderr == ""
