"""Static bundles on the command line: where they run is asked for, shown, and refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import TinyBundle
from fakes_engine import tiny_engine_bundle  # noqa: F401 - a fixture
from static_bundles import DRAFT_WIDTH, StaticBundle, static_bundle  # noqa: F401 - one is a fixture
from tiny import tiny_architecture, write_tiny_gguf

from edgetts.cli import main
from edgetts.runtimes import RUNTIMES


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETTS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGETTS_DEVICE", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def static(static_bundle: StaticBundle) -> Path:  # noqa: F811
    """A static bundle with room for a chat."""
    return static_bundle(context=96, chunk=32).bundle


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> None:
    assert result.exit_code not in (0, 1)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.output
    line = result.stderr.splitlines()[-1]
    for word in words:
        assert word in line


def test_a_static_bundle_answers_by_itself(static: Path) -> None:
    result = run("ask", "1 2", "-m", static, "-n", "3", "--max-tokens", "4", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["plan"]["runtime"] == "npu"
    assert (len(answer["samples"]), answer["plan"]["width"]) == (3, 1)
    same = run(
        "ask",
        "1 2",
        "-m",
        static,
        "-n",
        "3",
        "--max-tokens",
        "4",
        "--json",
        "--device",
        "cpu",
        "--place",
        "cpu:1-3",
        "--runtime",
        "npu",
    )
    assert same.exit_code == 0, same.output
    texts = [[one["text"] for one in json.loads(r.stdout)["samples"]] for r in (result, same)]
    assert texts[0] == texts[1]


WRONG = [
    (("--runtime", "onnx"), ("graphs of fixed shapes", "Take the runtime npu")),
    (("--runtime", "llamacpp"), ("graphs of fixed shapes", "Take the runtime npu")),
    (("--device", "tpu"), ("no device 'tpu'", "npu")),
    (("--device", "gpu"), ("no provider here that runs on a GPU",)),
    (("--provider", "quark"), ("There is no provider 'quark'",)),
    (("--provider", "nnapi"), ("no NnapiExecutionProvider", "onnxruntime for Android")),
    (("--provider", "cpu", "--device", "cpu"), ("both named",)),
    (("-o", "burst"), ("'burst' is no option", "KEY=VALUE")),
    (("-o", "a=1", "-o", "a=2"), ("given twice",)),
    (("-o", "a=1"), ("All layers run on the CPU",)),
    (("--soc", "sm8650"), ("All layers run on the CPU", "Name a device or provider")),
    (("--soc", "sm865"), ("no chip 'sm865'", "sm8650")),
    (("--place", "cpu"), ("must be a device and layers",)),
    (("--place", "cpu:0-2"), ("cannot be placed by themselves", "cut at 1, 3")),
    (("--provider-library", "/no/such.so"), ("needs the provider's name",)),
]


@pytest.mark.parametrize("verb", ["ask", "plan"])
@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(one[0]) for one in WRONG])
def test_what_cannot_run_is_one_sentence(
    static: Path, verb: str, arguments: tuple[str, ...], words: tuple[str, ...], own_home: Path
) -> None:
    refused(run(verb, "1", "-m", static, *arguments), *words)
    assert not (own_home / "profiles" / "speeds").exists(), "nothing was measured before"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "npu"), ("NPUs want fixed shapes", "edgetts export", "--target")),
        (("--soc", "sm8650"), ("no static bundle, which soc is for",)),
        (("--place", "cpu:0-1"), ("no static bundle, which place is for",)),
        (("--fallback",), ("no static bundle, which fallback is for",)),
        (("--runtime", "npu"), ("no graphs of fixed shapes", "--target")),
        (("-o", "a=1"), ("need its name",)),
        (("--provider", "nnapi"), ("no NnapiExecutionProvider",)),
        (("--provider", "cpu", "--runtime", "llamacpp"), ("no providers of ONNX Runtime", "--runtime onnx")),
        (("--device", "gpu", "--runtime", "onnx"), ("run by llama.cpp", "--runtime auto")),
    ],
    ids=lambda one: " ".join(one),
)
def test_a_model_for_processors_says_what_it_lacks(
    tiny_engine_bundle: Path,  # noqa: F811
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    refused(run("ask", "1", "-m", tiny_engine_bundle, *arguments), *words)


@pytest.mark.skipif(RUNTIMES["llamacpp"].installed, reason="of a machine without the extra llamacpp")
def test_a_gpu_takes_llamacpp_and_its_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path, arch=tiny_architecture("llama"))
    refused(run("ask", "1", "-m", path, "--device", "gpu"), "edgetts[llamacpp]")


def test_a_model_for_processors_takes_a_named_provider(tiny_engine_bundle: Path) -> None:  # noqa: F811
    asked = ("ask", "1", "-m", tiny_engine_bundle, "--max-tokens", "4", "-t", "0", "--json")
    plain, named, auto = run(*asked), run(*asked, "--provider", "CPU"), run(*asked, "--device", "cpu")
    texts = [json.loads(result.stdout)["text"] for result in (plain, named, auto)]
    assert texts[0] == texts[1] == texts[2]


def test_a_draft_that_is_too_long_is_said_before_anything_is_loaded(static: Path, own_home: Path) -> None:
    result = run("ask", "1", "-m", static, "--decode", "speculative", "--draft-length", str(DRAFT_WIDTH + 1))
    refused(result, f"drafts of up to {DRAFT_WIDTH} tokens", f"--draft-width {DRAFT_WIDTH + 1}")
    assert result.stderr.count("\n") == 1
    asked = ("ask", "1", "-m", static, "--max-tokens", "4", "--decode", "speculative")
    assert run(*asked, "--draft-length", str(DRAFT_WIDTH)).exit_code == 0
    missing = run(*asked, "--draft", "recurrent")
    refused(missing, "no recurrent guesser")
    refused(run(*asked[:-2], "--early-exit", "agreement=0.9"), "no exits")


def test_a_prompt_that_does_not_fit_is_refused(static: Path) -> None:
    refused(run("ask", "1 2 3 " * 60, "-m", static), "tokens", "96")


def test_a_bundle_shows_what_it_is_for(static: Path, tiny_bundle: TinyBundle) -> None:
    result = run("show", static)
    assert result.exit_code == 0, result.output
    for line in ("target: generic-static", "context: 96", "chunk: 32", f"draft_width: {DRAFT_WIDTH}"):
        assert f"    {line}\n" in result.stdout
    shown = json.loads(run("show", static, "--json").stdout)["manifest"]["static"]
    assert (shown["target"], shown["compiled"]) == ("generic-static", [])
    assert "static" not in json.loads(run("show", tiny_bundle("llama").bundle, "--json").stdout)["manifest"]


def test_a_plan_is_for_a_described_device_and_its_npu(static_bundle: StaticBundle) -> None:  # noqa: F811
    qnn = static_bundle(target="qnn-htp", context=96, chunk=32).bundle

    def seconds(*options: str) -> float:
        result = run("plan", "1", "-m", qnn, "--device-profile", "snapdragon-phone", "--json", *options)
        assert result.exit_code == 0, result.output
        plan = json.loads(result.stdout)
        assert (plan["runtime"], plan["source"], plan["width"]) == ("npu", "modelled", 1)
        return float(plan["seconds"]["value"])

    npu, cpu = seconds(), seconds("--device", "cpu")
    assert npu == seconds("--device", "npu") < seconds("--place", "cpu:0-3") < cpu
    assert seconds("-n", "4") > 2 * npu
    for arguments, words in (
        (("--device", "snapdragon-phone"), ("names a kind", "--device-profile snapdragon-phone")),
        (("--device-profile", "apple-laptop", "--device", "npu"), ("no NPU that runs bundles for qnn-htp",)),
        (("--device-profile", "snapdragon-phone", "--soc", "sm8650"), ("soc is for this device",)),
    ):
        refused(run("plan", "1", "-m", qnn, *arguments), *words)


def test_a_described_device_runs_other_models_on_its_processor(tiny_engine_bundle: Path) -> None:  # noqa: F811
    asked = ("plan", "1", "-m", tiny_engine_bundle, "--device-profile", "snapdragon-phone")
    assert run(*asked, "--device", "cpu").exit_code == 0
    refused(run(*asked, "--device", "npu"), "only processors")


def test_calibrating_a_static_bundle_says_what_wide_passes_are(static: Path, own_home: Path) -> None:
    result = run("calibrate", "-m", static, "--quick", "--force", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    [made] = json.loads(result.stdout)["profiles"]
    assert made["profile"]["runtime"] == "npu"
    assert "wider passes are those over a draft" in " ".join(made["remarks"])
    assert made["profile"]["times"]["growth"] == 0
    assert made["profile"]["facts"]["placed"].startswith("0-4 CPUExecutionProvider")
    refused(run("calibrate", "-m", static, "--device", "npu2"), "no device 'npu2'")
    assert len(list((own_home / "profiles" / "speeds").iterdir())) == 1


def test_an_evaluation_records_where_it_ran(static: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text('{"question": "1", "answer": "1"}\n')
    record = tmp_path / "record.jsonl"
    asked = ("eval", task, "-m", static, "--max-tokens", "3", "--record", record)
    result = run(*asked, "--device", "cpu", "--place", "cpu:1-3")
    assert result.exit_code == 0, result.output
    header = json.loads(record.read_text().splitlines()[0])
    assert "'device': 'cpu', " in str(header)
    assert "'place': 'cpu:1-3'" in str(header)
    refused(run(*asked, "--device", "cpu"), "other")
