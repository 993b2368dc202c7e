"""Ahead-of-time compilation, where no compiler is needed: the child under its limits, what is said of its end, the
bundle that the result goes into, and what is refused before anything starts.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TinyBundle, sealed_copy
from tiny import write_tiny_gguf

from edgetts.bundle import open_bundle, read_manifest
from edgetts.errors import CorruptFile, EdgettsError, InvalidInput, OutOfMemory, RuntimeFailure, StorageError
from edgetts.export.static.compiling import compile_bundle, installing
from edgetts.export.static.compiling.failing import Compilation, failure
from edgetts.export.static.compiling.installing import install
from edgetts.export.static.compiling.supervising import Limits, Outcome, supervise
from edgetts.export.static.convert import convert_static
from edgetts.runtimes.npu.compiled import misfit
from edgetts.runtimes.providers.finding import Provider
from edgetts.static_form import CompiledNote, StaticNote

QNN = "QNNExecutionProvider"
GENEROUS = Limits(3600.0, 8 << 30)
Answers = list[dict[str, Any]]


# The child and its limits


def run_child(
    code: str,
    tmp_path: Path,
    *,
    limits: Limits = GENEROUS,
    hear: Callable[[Any], object] = lambda answer: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Supervise a child that runs `code`, with `tell` to answer and `request` to read."""
    head = (
        "import json, os, signal, sys, time\n"
        "request = json.loads(sys.stdin.readline())\n"
        "def tell(**answer): print(json.dumps(answer), flush=True)\n"
    )
    command = [sys.executable, "-c", head + code]
    return supervise(command, {"number": 7}, limits, hear, cwd=tmp_path, clock=clock)


def test_the_child_gets_the_request_and_answers_one_after_the_other(tmp_path: Path) -> None:
    heard: Answers = []
    code = "tell(graph=1); tell(graph=request['number']); tell(done={'peak_bytes': 5})"
    outcome = run_child(code, tmp_path, hear=heard.append)
    assert heard == [{"graph": 1}, {"graph": 7}]
    assert outcome.answer == {"done": {"peak_bytes": 5}}
    assert (outcome.code, outcome.stopped) == (0, "")


def test_noise_is_no_answer(tmp_path: Path) -> None:
    heard: Answers = []
    code = "print('LIBNATIVE: hello'); print('[1]'); sys.stderr.write('first\\nlast\\n'); sys.exit(3)"
    outcome = run_child(code, tmp_path, hear=heard.append)
    assert (heard, outcome.answer, outcome.code, outcome.said) == ([], None, 3, "last")


def test_a_child_that_takes_too_much_memory_is_killed(tmp_path: Path) -> None:
    limits = Limits(3600.0, 100 << 20)
    outcome = run_child(
        "held = bytearray(300 << 20); tell(graph=1); time.sleep(600)", tmp_path, limits=limits
    )
    assert (outcome.stopped, outcome.answer) == ("memory", None)
    assert outcome.peak_bytes > limits.memory_bytes


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    ticks = count(0.0, 2000.0)
    outcome = run_child("time.sleep(600)", tmp_path, clock=lambda: next(ticks))
    assert outcome.stopped == "time"


def test_a_child_dies_with_whoever_hears_it(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupted(answer: Any) -> None:
        pids.extend(answer["pids"])
        raise KeyboardInterrupt

    code = (
        "import subprocess\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "tell(pids=[os.getpid(), other.pid]); time.sleep(600)"
    )
    with pytest.raises(KeyboardInterrupt):
        run_child(code, tmp_path, hear=interrupted)
    assert len(pids) == 2
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    psutil.wait_procs(processes, timeout=10)
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


# What is said of its end


@pytest.mark.parametrize(
    ("code", "limits", "kind", "said"),
    [
        (
            "tell(graph=2); held = bytearray(300 << 20); time.sleep(600)",
            Limits(3600, 100 << 20),
            OutOfMemory,
            "0.1 GB",
        ),
        ("tell(graph=2); time.sleep(600)", Limits(1.5, 8 << 30), RuntimeFailure, "stopped after 1.5 seconds"),
        (
            "tell(graph=2); os.kill(os.getpid(), signal.SIGSEGV)",
            GENEROUS,
            RuntimeFailure,
            "crashed (SIGSEGV)",
        ),
        (
            "tell(graph=2); os.kill(os.getpid(), signal.SIGKILL)",
            GENEROUS,
            OutOfMemory,
            "killed by the system",
        ),
        ("tell(graph=2); sys.exit('it broke.')", GENEROUS, RuntimeFailure, "failed: it broke."),
        ("tell(graph=2); sys.exit(4)", GENEROUS, RuntimeFailure, "ended with code 4"),
    ],
    ids=["memory", "time", "crash", "killed", "talked", "silent"],
)
def test_one_sentence_says_at_which_graph_and_why(
    code: str, limits: Limits, kind: type[EdgettsError], said: str, tmp_path: Path
) -> None:
    if sys.platform == "win32" and "signal" in code:
        pytest.skip("no signals here")
    heard: Answers = []
    clock = lambda: 100.0 if heard else 0.0  # noqa: E731 - nothing is late before it has begun
    outcome = run_child(code, tmp_path, limits=limits, hear=heard.append, clock=clock)
    compilation = Compilation("sm8650", QNN, ["a.onnx", "b.onnx"], limits, number=heard[-1]["graph"])
    error = failure(compilation, outcome, tmp_path)
    assert type(error) is kind
    assert "Compiling b.onnx (2 of 2) for sm8650" in str(error)
    assert said in str(error)
    assert outcome.stopped != "memory" or "--compile-memory" in error.hint
    assert outcome.stopped != "time" or "--compile-time" in error.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_called_one_whatever_the_compiler_calls_it(tmp_path: Path) -> None:
    (tmp_path / "probe").symlink_to("/dev/full")
    outcome = run_child("sys.exit('Failed to write context cache file.')", tmp_path)
    with pytest.raises(OSError, match="No space"):
        failure(Compilation("sm8650", QNN, ["a.onnx"], GENEROUS), outcome, tmp_path)


def test_an_error_of_the_child_is_the_parents(tmp_path: Path) -> None:
    code = (
        "tell(graph=1); tell(refused={'kind': 'Unsupported', 'message': 'QNN takes no Det.', 'hint': 'Do.'})"
    )
    error = failure(Compilation("sm8650", QNN, ["a.onnx"], GENEROUS), run_child(code, tmp_path), tmp_path)
    assert (type(error).__name__, str(error)) == ("Unsupported", "QNN takes no Det. Do.")


def test_a_kind_of_error_that_nobody_knows_is_a_failure(tmp_path: Path) -> None:
    code = "tell(refused={'kind': 'annotations', 'message': 'Odd.', 'hint': ''})"
    error = failure(Compilation("sm8650", QNN, ["a.onnx"], GENEROUS), run_child(code, tmp_path), tmp_path)
    assert type(error) is RuntimeFailure


# What goes into the bundle


@pytest.fixture(scope="module")
def static_edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("static")
    write_tiny_gguf(directory / "tiny.gguf")
    sizes = {"context": 32, "chunk": 8, "draft_width": 2}
    return convert_static(
        directory / "tiny.gguf", directory / "tiny.edge", target="generic-static", cuts=(2,), **sizes
    )


@pytest.fixture
def bundle(static_edge: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(static_edge, tmp_path / "tiny.edge"))


def note_of(bundle: Path) -> StaticNote:
    note = read_manifest(bundle).static
    assert note is not None
    return note


def files_of(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()
    }


def written(bundle: Path, contents: bytes = b"binary") -> Path:
    """Write what a compiler would: a model for every graph and one binary."""
    output = bundle / ".compiling.test"
    output.mkdir()
    for graph in note_of(bundle).graphs:
        (output / graph.file).write_bytes(b"model of " + graph.file.encode())
    (output / "layers_0_2.w1_qnn.bin").write_bytes(contents)
    return output


def put(
    bundle: Path, soc: str = "sm8650", version: str = "2.7.0", contents: bytes = b"binary"
) -> CompiledNote:
    note = note_of(bundle)
    graphs = {graph.file: graph.file for graph in note.graphs}
    compiled = CompiledNote(soc, "v75", QNN, version, graphs, 1.5, 10, 0, shared=True)
    output = written(bundle, contents)
    try:
        return install(bundle, output, note, compiled)
    finally:
        shutil.rmtree(output)


def test_compiled_graphs_are_named_and_hashed_in_the_manifest(bundle: Path) -> None:
    done = put(bundle)
    manifest = open_bundle(bundle)
    assert manifest.static is not None
    assert manifest.static.compiled == (done,)
    here = {name for name in manifest.files if name.startswith("npu/sm8650-qnn-2.7.0-")}
    assert here == {name for name in files_of(bundle) if name.startswith("npu/")}
    assert set(done.graphs.values()) == {name for name in here if name.endswith(".onnx")}
    assert done.bytes == sum((bundle / name).stat().st_size for name in here)
    assert done.shared


def test_a_new_compilation_takes_the_place_of_the_chips_old_one_only(bundle: Path) -> None:
    other = put(bundle, "sm8550")
    old = put(bundle, contents=b"old")
    new = put(bundle, version="2.8+local", contents=b"new")
    assert note_of(bundle).compiled == (other, new)
    manifest = open_bundle(bundle)
    assert set(files_of(bundle)) == {*manifest.files, "manifest.json"}
    assert not set(old.graphs.values()) & set(manifest.files)


def test_compiling_the_same_again_leaves_it_whole(bundle: Path) -> None:
    first = put(bundle)
    assert put(bundle) == first
    assert set(files_of(bundle)) == {*open_bundle(bundle).files, "manifest.json"}


def test_a_full_disk_leaves_the_bundle_as_it_was(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bundle, contents=b"old")
    before = files_of(bundle)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installing, "replace_manifest", full)
    with pytest.raises(OSError, match="No space"):
        put(bundle, contents=b"new")
    assert files_of(bundle) == before


def test_nothing_is_put_into_a_bundle_that_was_replaced_meanwhile(bundle: Path) -> None:
    note = note_of(bundle)
    other = replace(note, graphs=tuple(replace(g, file=f"x{g.file}") for g in note.graphs))
    compiled = CompiledNote("sm8650", "v75", QNN, "2.7.0", {}, 1.0, 1, 0)
    before = files_of(bundle)
    output = written(bundle)
    with pytest.raises(InvalidInput, match="was replaced while"):
        install(bundle, output, other, compiled)
    shutil.rmtree(output)
    assert files_of(bundle) == before


def test_whether_weights_are_shared_is_yes_or_no(bundle: Path, tmp_path: Path) -> None:
    put(bundle)

    def change(copy: Path, body: dict[str, Any]) -> None:
        body["static"]["compiled"][0]["shared"] = "yes"

    (tmp_path / "changed").mkdir()
    with pytest.raises(CorruptFile, match="malformed"):
        read_manifest(sealed_copy(bundle, tmp_path / "changed", change))


# What is refused before anything starts


@pytest.fixture
def untouched(bundle: Path) -> Iterator[Path]:
    before = files_of(bundle)
    yield bundle
    assert files_of(bundle) == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"soc": "sm8651"}, "sm8650"),
        ({"soc": "sm8650", "provider": "CPUExecutionProvider"}, "compiles nothing ahead of time"),
        ({"soc": "sm8650", "seconds": 0.0}, "0.0 seconds"),
        ({"soc": "sm8650", "seconds": float("nan")}, "nan seconds"),
        ({"soc": "sm8650", "memory_bytes": 0}, "0 bytes"),
    ],
)
def test_wrong_requests_are_refused(untouched: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_bundle(untouched, **asked)
    assert said in str(caught.value)


def test_only_static_bundles_are_compiled(tiny_bundle: TinyBundle) -> None:
    with pytest.raises(InvalidInput, match=r"no static bundle.*--target qnn-htp"):
        compile_bundle(tiny_bundle("llama").bundle, soc="sm8650")


def test_a_bundle_for_other_compilers_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "changed").mkdir()
    apple = sealed_copy(
        bundle, tmp_path / "changed", lambda copy, body: body["static"].update(target="coreml")
    )
    with pytest.raises(InvalidInput, match="exported for coreml"):
        compile_bundle(apple, soc="sm8650")


def test_a_bundle_that_was_changed_is_not_compiled(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "name": "other"}))
    with pytest.raises(EdgettsError, match="changed after export"):
        compile_bundle(bundle, soc="sm8650")


def test_a_bundle_that_cannot_be_written_to_is_told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = sys.modules["edgetts.export.static.compiling.bundles"]
    monkeypatch.setattr(bundles, "find_provider", lambda name: Provider(QNN, "2.7.0"))
    real = Path.mkdir

    def read_only(self: Path, *arguments: Any, **options: Any) -> None:
        if self.parent == bundle:
            raise OSError(30, "Read-only file system")
        real(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(StorageError, match="Read-only file system"):
        compile_bundle(bundle, soc="sm8650")


# What a provider can open


@pytest.mark.parametrize(
    ("changes", "emulated", "said"),
    [
        ({}, False, ""),
        ({"shared": False}, True, ""),
        ({}, True, "the emulator cannot"),
        ({"version": "2.6.0"}, False, "version 2.6.0"),
        ({"provider": "OpenVINOExecutionProvider"}, False, "compiled by OpenVINOExecutionProvider"),
    ],
)
def test_what_does_not_fit_a_provider_is_said(changes: dict[str, Any], emulated: bool, said: str) -> None:
    note = replace(CompiledNote("sm8650", "v75", QNN, "2.7.0", {}, 1.0, 1, 1, shared=True), **changes)
    found = misfit(note, Provider(QNN, "2.7.0", emulated=emulated))
    assert said in found
    assert bool(said) == bool(found)
