"""Find providers and open graphs with them, where there is nothing but the CPU; and what goes wrong, in one sentence."""

from __future__ import annotations

import importlib.util
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgetts.errors import CorruptFile, EdgettsError, InvalidInput, MissingExtra, RuntimeFailure, Unsupported
from edgetts.runtimes.providers import plugins
from edgetts.runtimes.providers.discovery import discover
from edgetts.runtimes.providers.finding import find_provider, open_graph, session_options
from edgetts.runtimes.providers.trial import try_library

linux = pytest.mark.skipif(sys.platform != "linux", reason="ELF")
UNHEARD = "UnheardExecutionProvider"
A_LIBRARY = next(Path(np.__file__).parent.rglob("_multiarray_umath*.so"), None)


def saved(path: Path, *nodes: onnx.NodeProto) -> Path:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    graph = helper.make_graph([*nodes], "graph", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    return saved(tmp_path / "doubling.onnx", helper.make_node("Add", ["x", "x"], ["y"]))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    if A_LIBRARY is None:
        pytest.skip("numpy has no such library here")
    return Path(shutil.copy(A_LIBRARY, tmp_path / "libprovider.so"))


def test_the_cpu_is_there_and_computes(doubling: Path) -> None:
    cpu = find_provider("cpu")
    assert cpu == find_provider("cpuexecutionprovider")
    assert (cpu.name, cpu.version, cpu.devices, cpu.emulated) == (
        "CPUExecutionProvider",
        ort.__version__,
        (),
        False,
    )
    session = open_graph(doubling, session_options(cpu, {}, threads=1), cpu)
    [y] = session.run(None, {"x": np.arange(8, dtype=np.float32)[None]})
    assert y.tolist() == [[0, 2, 4, 6, 8, 10, 12, 14]]
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("fallback", [False, True])
def test_fallback_changes_nothing_for_the_cpu(doubling: Path, fallback: bool) -> None:
    cpu = find_provider("cpu")
    assert open_graph(doubling, session_options(cpu, {}, fallback=fallback), cpu).get_providers()


def test_threads_and_entries_are_what_was_asked_for() -> None:
    settings = session_options(
        find_provider("cpu"), {}, threads=3, entries={"session.disable_prepacking": "1"}
    )
    assert settings.intra_op_num_threads == 3
    assert settings.get_session_config_entry("session.disable_prepacking") == "1"


@pytest.mark.parametrize(
    ("name", "meant"), [("qn", "qnn"), ("OpenVino Execution Provider", "OpenVINOExecutionProvider")]
)
def test_a_misspelt_provider_gets_a_near_miss(name: str, meant: str) -> None:
    with pytest.raises(InvalidInput, match=f"no provider '{name}'. Did you mean '{meant}'"):
        find_provider(name)


def test_a_provider_that_nobody_knows_needs_a_library() -> None:
    with pytest.raises(InvalidInput, match="no provider 'unheard'.*needs its library's path"):
        find_provider("unheard")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnxruntime-ep-openvino.*edgetts\[openvino\]"):
        find_provider("openvino")


@pytest.mark.skipif("XnnpackExecutionProvider" in ort.get_available_providers(), reason="it has it")
def test_a_provider_that_no_package_carries_says_where_it_is() -> None:
    with pytest.raises(RuntimeFailure, match="has no XnnpackExecutionProvider.*Android"):
        find_provider("xnnpack")


def test_an_old_onnxruntime_knows_no_plugins(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    monkeypatch.delattr(ort, "register_execution_provider_library")
    with pytest.raises(RuntimeFailure, match="plug-in that needs onnxruntime.*pip install --upgrade"):
        find_provider(UNHEARD, library)


def package(root: Path, version: str, body: str) -> None:
    """Write a package that says it is OpenVINO's."""
    module = root / "onnxruntime_ep_openvino"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(body, encoding="utf-8")
    facts = root / f"onnxruntime_ep_openvino-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: onnxruntime-ep-openvino\nVersion: {version}\n", encoding="utf-8"
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    root = tmp_path / "site"
    monkeypatch.syspath_prepend(root)
    monkeypatch.delitem(sys.modules, "onnxruntime_ep_openvino", raising=False)

    def install(version: str, body: str) -> None:
        package(root, version, body)
        monkeypatch.syspath_prepend(root)  # forgets what was looked for

    return install


def test_a_package_that_is_too_old_is_refused(installed: Callable[[str, str], None]) -> None:
    installed("1.3.9", "")
    with pytest.raises(RuntimeFailure, match="onnxruntime-ep-openvino is 1.3.9, but edgetts needs 1.4"):
        find_provider("openvino")
    [found] = [one for one in discover() if one.name == "openvino"]
    assert found.state == "unusable"
    assert "1.3.9" in found.why
    assert "pip install" in found.get
    sys.modules.pop("onnxruntime_ep_openvino", None)


@pytest.mark.parametrize("body", ["", "def get_library_path():\n    raise FileNotFoundError('no library')\n"])
def test_a_package_without_its_library_is_refused(installed: Callable[[str, str], None], body: str) -> None:
    installed("1.10", body)
    with pytest.raises(RuntimeFailure, match="does not say where its library is"):
        find_provider("openvino")
    sys.modules.pop("onnxruntime_ep_openvino", None)


def test_a_package_with_a_library_that_was_cut_short_is_refused(
    installed: Callable[[str, str], None], library: Path
) -> None:
    library.write_bytes(library.read_bytes()[:-1000])
    installed("1.10", f"def get_library_path():\n    return {str(library)!r}\n")
    with pytest.raises(RuntimeFailure, match="is cut short"):
        find_provider("openvino")
    sys.modules.pop("onnxruntime_ep_openvino", None)


def broken_at(share: float) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def patched(at: int, new: bytes) -> Callable[[Path], object]:
    def patch(file: Path) -> None:
        raw = bytearray(file.read_bytes())
        raw[at : at + len(new)] = new
        file.write_bytes(raw)

    return patch


@linux
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(b""), "is no shared library"),
        (lambda file: file.write_text("hello\n" * 99), "is no shared library"),
        (lambda file: file.write_bytes(bytes(9999)), "is no shared library"),
        (broken_at(0.00001), "cut short"),
        (broken_at(0.1), "is cut short"),
        (broken_at(0.8), "is cut short"),
        (broken_at(0.99), "is cut short"),
        (patched(4, b"\x01"), "no 64-bit"),
        (patched(18, b"\x08\x00"), "is for ELF machine 8, and this is"),
        (patched(32, b"\xff" * 8), "cut short"),
        (patched(56, b"\x00\x00"), "no plug-in|cannot load|breaks down"),
        (lambda file: None, "is a library, but no plug-in of ONNX Runtime"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(
    library: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(library)
    with pytest.raises(RuntimeFailure, match=message) as caught:
        find_provider(UNHEARD, library)
    assert caught.value.hint
    assert plugins.registered(UNHEARD) is None


@linux
def test_a_library_whose_code_is_damaged_ends_another_process_than_ours(library: Path) -> None:
    raw = bytearray(library.read_bytes())
    [table] = struct.unpack_from("<Q", raw, 32)
    size, count = struct.unpack_from("<HH", raw, 54)
    for at in range(table, table + size * count, size):
        kind, flags, start, length = struct.unpack_from("<IIQ16xQ", raw, at)
        if kind == 1 and flags & 1:  # what is loaded to be executed
            raw[start : start + length] = bytes(length)
    library.write_bytes(raw)
    with pytest.raises(RuntimeFailure, match=r"breaks down when it is loaded: it is ended by SIG\w+\."):
        find_provider(UNHEARD, library)


def test_a_library_that_does_not_come_back_is_given_up(library: Path) -> None:
    with pytest.raises(RuntimeFailure, match="did not end within 0 seconds"):
        try_library(UNHEARD, library, seconds=0.01)


@pytest.mark.parametrize("name", ["nothing.so", "."])
def test_a_library_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeFailure, match="There is no library|is no file"):
        find_provider("qnn", tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "File doesn't exist"),
        (b"", "cannot read broken.onnx"),
        (b"hello", "cannot read broken.onnx"),
        (bytes(500), "cannot read broken.onnx"),
    ],
)
def test_a_file_that_is_no_graph_is_corrupt(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    cpu = find_provider("cpu")
    with pytest.raises(CorruptFile, match=message) as caught:
        open_graph(path, session_options(cpu, {}), cpu)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_graph_with_an_operator_that_there_is_not_is_corrupt(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.onnx", helper.make_node("Frobnicate", ["x"], ["y"], domain="com.microsoft"))
    cpu = find_provider("cpu")
    with pytest.raises(CorruptFile, match="Frobnicate"):
        open_graph(path, session_options(cpu, {}), cpu)


def test_a_graph_whose_weights_are_gone_is_corrupt(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 8], np.ones(8, np.float32).tobytes(), raw=True)
    path = saved(tmp_path / "x.onnx", helper.make_node("Add", ["x", "w"], ["y"]))
    model = onnx.load(path)
    model.graph.initializer.append(weight)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    cpu = find_provider("cpu")
    with pytest.raises(CorruptFile, match=r"cannot read x\.onnx"):
        open_graph(path, session_options(cpu, {}), cpu)


def test_a_compiled_graph_runs_only_where_it_was_compiled_for(tmp_path: Path) -> None:
    node = helper.make_node(
        "EPContext",
        ["x"],
        ["y"],
        domain="com.microsoft",
        source="QNNExecutionProvider",
        embed_mode=1,
        ep_cache_context="x",
    )
    path = saved(tmp_path / "compiled.onnx", node)
    cpu = find_provider("cpu")
    with pytest.raises(EdgettsError, match=r"compiled") as caught:
        open_graph(path, session_options(cpu, {}), cpu)
    assert isinstance(caught.value, Unsupported | CorruptFile)


def test_discovery_tells_of_every_provider_what_to_do() -> None:
    found = {one.name: one for one in discover()}
    assert found["cpu"].state == "ready"
    assert found["cpu"].devices == ("cpu",)
    for one in found.values():
        if one.state == "ready":
            assert one.version
        else:
            assert one.why.endswith(".")
            assert one.get
