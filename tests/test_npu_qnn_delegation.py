"""Which operators Qualcomm's compiler takes, asked of it: in the table, and refused by name where nothing else may."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime_qnn")

import onnx
from click.testing import CliRunner
from conftest import TinyBundle
from delegation_graphs import WIDE, model, one_not_taken, rounded, weights
from onnx import helper
from static_bundles import StaticBundle, static_bundle  # noqa: F401 - a fixture

from edgetts.cli import main
from edgetts.errors import Unsupported
from edgetts.runtimes.delegation.assignment import trace_options
from edgetts.runtimes.delegation.table import Share, delegation, together
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.finding import Provider, find_provider, open_graph, session_options

QNN, CPU = "QNNExecutionProvider", "CPUExecutionProvider"


@pytest.fixture(scope="module")
def qnn() -> Provider:
    return find_provider("qnn")


@pytest.fixture(scope="module")
def options() -> Mapping[str, str]:
    return find_soc("sm8650").options


def doctor(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["doctor", "--provider", "qnn", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_an_operator_that_it_has_not_is_on_the_cpu_in_its_own_words(
    qnn: Provider, options: Mapping[str, str]
) -> None:
    found = delegation(one_not_taken().SerializeToString(), qnn, options)
    places = {one.name: (one.provider, one.reason) for one in found.placed}
    assert places == {
        "before": (QNN, ""),
        "odd": (CPU, "Operators of type `BiasGelu` are not supported by QNN EP"),
        "determinant": (CPU, "Operators of type `Det` are not supported by QNN EP"),
        "scaled": (QNN, ""),
        "MatMul.4": (QNN, ""),
    }
    assert found.operators == Share(3, 5)
    assert found.macs == Share(1024, 1024)
    assert found.weights == Share(2 * 256, 2 * 256 + 32)
    assert [row.type for row in found.rows[:2]] == ["Det", "com.microsoft:BiasGelu"]


def test_without_fallback_the_same_graph_is_refused_by_name(
    tmp_path: Path, qnn: Provider, options: Mapping[str, str]
) -> None:
    file = tmp_path / "odd.onnx"
    onnx.save(one_not_taken(), file)
    with pytest.raises(Unsupported) as refused:
        open_graph(file, session_options(qnn, options), qnn)
    said = str(refused.value)
    for word in (
        "odd.onnx",
        "Det (determinant: ",
        "BiasGelu (odd: ",
        "not supported by QNN EP",
    ):
        assert word in said
    assert "\n" not in said
    opened = open_graph(file, session_options(qnn, options, fallback=True), qnn)
    assert opened.get_providers() == [QNN, CPU]
    assert {one.name for one in delegation(file, qnn, options).unsupported} == {"odd", "determinant"}


def test_a_float_bundle_runs_on_it_whole(
    static_bundle: StaticBundle,  # noqa: F811
    qnn: Provider,
    options: Mapping[str, str],
) -> None:
    bundle = static_bundle("llama").bundle
    found = together(delegation(file, qnn, options) for file in sorted(bundle.glob("*.w1.onnx")))
    assert not found.unsupported
    assert found.operators.part == found.operators.whole
    assert found.weights.part == found.weights.whole
    assert found.macs.part == found.macs.whole > 0


def test_integer_operators_are_counted_as_it_fuses_them(
    tmp_path: Path, qnn: Provider, options: Mapping[str, str]
) -> None:
    graph = rounded()
    found = delegation(graph.SerializeToString(), qnn, options)
    assert {one.name for one in found.placed if one.provider == QNN} == {"q.x", "product", "last"}
    # The provider's own account of it: every node in the operator that it became part of.
    file = tmp_path / "rounded.onnx"
    onnx.save(graph, file)
    settings = session_options(qnn, {**options, **trace_options(tmp_path)}, fallback=True)
    open_graph(file, settings, qnn)
    trace = json.loads((tmp_path / "qnn_op_trace.json").read_text())
    groups = {
        frozenset(source["name"] for source in one["sources"] if source["type"] == "OP")
        for part in trace["subgraph_traces"]
        for one in part["op_mappings"]
    }
    assert groups == {frozenset({"q.x"}), frozenset({"dx", "dw", "product", "q.a"}), frozenset({"last"})}


def test_shapes_that_are_not_fixed_leave_everything_to_the_cpu(
    qnn: Provider, options: Mapping[str, str]
) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    graph = model(nodes, {"w": weights(WIDE, WIDE)}, rows="tokens").SerializeToString()
    found = delegation(graph, qnn, options)
    assert not found.fixed
    [product] = found.placed
    assert (product.provider, product.reason) == (CPU, "Cannot get shape")
    assert found.operators == Share(0, 1)


def test_doctor_prints_the_table_of_a_static_bundle(static_bundle: StaticBundle) -> None:  # noqa: F811
    bundle = str(static_bundle("llama").bundle)
    code, text, _ = doctor("--model", bundle, "--soc", "sm8650")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "llama-static, a pass of 1 token"
    assert lines[1].split()[:5] == ["OPERATOR", "ON", "QNN", "ON", "CPU"]
    [product] = [line.split() for line in lines if line.startswith("MatMul")]
    assert product[2:4] == ["0", "0"]
    assert product[5] == "100%"
    count = sum(int(line.split()[1]) for line in lines[2:-1])
    assert lines[-1].startswith(
        f"{count} of {count} operators, 100% of the weights and 100% of the multiplications run on {QNN} "
    )
    assert lines[-1].endswith(", emulated here")


def test_doctor_says_why_a_bundle_of_any_shape_stays_on_the_cpu(tiny_bundle: TinyBundle) -> None:
    bundle = str(tiny_bundle("llama").bundle)
    code, text, _ = doctor("--model", bundle)
    assert code == 0
    assert "Cannot get shape (" in text
    assert "shapes are not fixed" in text
    assert text.splitlines()[-1].startswith("0 of ")


def test_json_alone_is_on_standard_output(static_bundle: StaticBundle) -> None:  # noqa: F811
    """Qualcomm's emulator greets there when it starts, so a process of its own is asked."""
    bundle = str(static_bundle("llama").bundle)
    code = "import sys; from edgetts.cli import main; main()"
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "doctor",
            "--provider",
            "qnn",
            "--model",
            bundle,
            "--soc",
            "sm8650",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    assert [one["width"] for one in report["passes"]] == [1, 6, 16]
    assert all(one["share"]["operators"]["ratio"] == 1 for one in report["passes"])
    assert report["options"] == {"htp_arch": "75", "soc_model": "57"}


def test_what_there_is_to_know_of_it_needs_no_model() -> None:
    code, text, _ = doctor("--json", "-o", "htp_performance_mode=burst", "--soc", "SM8550")
    assert code == 0
    report = json.loads(text)
    facts = report["provider"]
    assert (facts["name"], facts["state"]) == (QNN, "ready")
    assert Path(facts["library"]).is_file()
    in_force = report["options in force"]
    assert in_force["htp_arch"] == "73"
    assert in_force["htp_performance_mode"] == "burst"
    assert in_force["backend_type"] == "htp"
    assert "burst" in report["options there are"]["htp_performance_mode"]
    assert "sm8650" in report["chips (--soc)"]
