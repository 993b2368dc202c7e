"""Static graphs through Qualcomm's compiler and emulator: the same session, within what float16 rounds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import sealed_copy
from golden import TOKENS
from static_bundles import StaticBundle, StaticModel, static_bundle  # noqa: F401 - a fixture

from edgetts.bundle import read_manifest
from edgetts.decoding.session import Logits
from edgetts.errors import CorruptFile
from edgetts.runtimes.npu import StaticSession
from edgetts.runtimes.providers.catalogue import find_soc
from edgetts.runtimes.providers.finding import Provider, find_provider, open_graph, session_options
from edgetts.static_form import CompiledNote

pytest.importorskip("onnxruntime_qnn")

SOC = "sm8650"
# Float graphs are computed in float16; the logits spread by about 1, up to 4.
HALF = 0.05


@pytest.fixture(scope="module")
def model(static_bundle: StaticBundle) -> StaticModel:  # noqa: F811
    return static_bundle("llama", target="qnn-htp", cuts=(2,))


@pytest.fixture(scope="module")
def expected(model: StaticModel) -> Logits:
    reference = model.model.reference(context=48)
    return reference.extend(reference.prefill(TOKENS[:1])[0], TOKENS[1:])


def check(session: StaticSession, expected: Logits, allowed: float) -> None:
    """Read a prompt of two chunks, verify a draft, take some of it back, fork, step."""
    branch, logits = session.prefill(TOKENS[:20])
    np.testing.assert_allclose(logits, expected[18], rtol=0, atol=allowed)
    np.testing.assert_allclose(session.extend(branch, TOKENS[20:26]), expected[19:25], rtol=0, atol=allowed)
    session.truncate(branch, 23)
    [child] = session.fork(branch, 1)
    rows = session.step([branch, child], [TOKENS[23], TOKENS[23]])
    np.testing.assert_allclose(rows, expected[[22, 22]], rtol=0, atol=allowed)
    if session.capabilities.exits:
        cut = session.capabilities.exits[0]
        session.advance(branch, TOKENS[24:26], cut)
        rows = session.complete(branch, TOKENS[26:27])
        np.testing.assert_allclose(rows, expected[23:26], rtol=0, atol=allowed)


def test_left_to_itself_a_session_does_not_emulate(model: StaticModel, expected: Logits) -> None:
    session = StaticSession.open(model.bundle, threads=1)
    try:
        [remark] = session.remarks
        assert "run on the CPU" in remark
        assert "emulated" in remark
        check(session, expected, session.capabilities.tolerance)
        assert session.capabilities.tolerance == 1e-4
    finally:
        session.close()


@pytest.mark.parametrize("place", [None, "cpu:2-4", "cpu:0-2"])
def test_layers_run_on_the_emulator(model: StaticModel, expected: Logits, place: str | None) -> None:
    session = StaticSession.open(model.bundle, threads=1, device="npu", soc=SOC, place=place)
    try:
        check(session, expected, HALF)
        assert session.capabilities.tolerance > HALF
        assert "QNNExecutionProvider is emulated here: times say nothing." in session.remarks
        assert any("compiled" in remark and "holds none for sm8650" in remark for remark in session.remarks)
    finally:
        session.close()


def test_rounded_graphs_say_there_what_they_say_on_the_cpu(static_bundle: StaticBundle) -> None:  # noqa: F811
    model = static_bundle("llama", target="qnn-htp", quantize="keep", cuts=(2,))
    found = []
    for device in ("cpu", "npu"):
        session = StaticSession.open(
            model.bundle, threads=1, device=device, soc=SOC if device == "npu" else None
        )
        try:
            # No pass of a whole chunk: of one so tiny the emulator, 2.7, computes some layers wrongly.
            branch, last = session.prefill(TOKENS[:6])
            rows = [last, *session.extend(branch, TOKENS[6:12])]
            rows += [session.step([branch], [token])[0] for token in TOKENS[12:16]]
            found.append(np.stack(rows))
        finally:
            session.close()
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=2 * HALF)


@pytest.fixture(scope="module")
def compiled(model: StaticModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile every graph into a binary of its own: the emulator reads none that holds several."""
    provider = find_provider("QNNExecutionProvider")
    return sealed_copy(model.bundle, tmp_path_factory.mktemp("compiled"), _compiling(provider))


def _compiling(provider: Provider) -> Callable[[Path, dict[str, Any]], None]:
    def compile_all(bundle: Path, body: dict[str, Any]) -> None:
        manifest = read_manifest(bundle)
        assert manifest.static is not None
        directory = f"npu/{SOC}-QNN-{provider.version}"
        (bundle / directory).mkdir(parents=True)
        made = {graph.file: f"{directory}/{graph.file}" for graph in manifest.static.graphs}
        for file, to in made.items():
            entries = {
                "ep.context_enable": "1",
                "ep.context_embed_mode": "0",
                "ep.context_file_path": str(bundle / to),
            }
            open_graph(
                bundle / file, session_options(provider, find_soc(SOC).options, entries=entries), provider
            )
        note = CompiledNote(SOC, "v75", provider.name, provider.version, made, 1.0, 1, 1)
        body["static"]["compiled"] = [asdict(note)]
        written = (path.relative_to(bundle).as_posix() for path in (bundle / directory).iterdir())
        body["files"] |= dict.fromkeys(written, "")

    return compile_all


def test_compiled_graphs_are_opened_instead(compiled: Path, expected: Logits) -> None:
    # Twice, as a provider keeps what it read of a binary for the whole process; and with the plain graphs gone.
    for bundle in (compiled, compiled):
        session = StaticSession.open(bundle, threads=1, device="npu", soc=SOC)
        try:
            check(session, expected, HALF)
            assert session.remarks == ("QNNExecutionProvider is emulated here: times say nothing.",)
        finally:
            session.close()
    # Part of it elsewhere, and then all of it again.
    for place in ("cpu:0-2", None):
        session = StaticSession.open(compiled, threads=1, device="npu", place=place)
        try:
            check(session, expected, HALF)
        finally:
            session.close()


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ({"version": "1.0.0"}, "it was compiled by version 1.0.0 of"),
        ({"shared": True}, "chips can read and the emulator cannot"),
        ({"soc": "sm8550"}, "the bundle holds none for sm8650"),
    ],
)
def test_graphs_compiled_for_something_else_are_compiled_again(
    compiled: Path, expected: Logits, tmp_path: Path, note: dict[str, Any], why: str
) -> None:
    def change(_bundle: Path, body: dict[str, Any]) -> None:
        body["static"]["compiled"][0] |= note

    session = StaticSession.open(sealed_copy(compiled, tmp_path, change), threads=1, device="npu", soc=SOC)
    try:
        assert any("compiled by QNNExecutionProvider as they are loaded" in one for one in session.remarks)
        assert any(why in one for one in session.remarks)
        check(session, expected, HALF)
    finally:
        session.close()


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_damaged_binaries_are_refused_in_one_sentence(compiled: Path, tmp_path: Path, damage: str) -> None:
    def change(bundle: Path, _body: dict[str, Any]) -> None:
        binaries = sorted((bundle / "npu").rglob("*.bin"))
        assert len(binaries) == 8
        if damage == "truncated":
            binaries[0].write_bytes(binaries[0].read_bytes()[:-5000])
        else:
            binaries[0].write_bytes(b"\x7fELF" + bytes(50_000))

    bundle = sealed_copy(compiled, tmp_path, change)
    with pytest.raises(CorruptFile, match=r"cannot load the compiled .*\. Compile the bundle again"):
        StaticSession.open(bundle, threads=1, device="npu", soc=SOC)
    shutil.rmtree(bundle)
    # What was half read must not be in the way of a whole one.
    StaticSession.open(compiled, threads=1, device="npu", soc=SOC).close()
