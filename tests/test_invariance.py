"""The probe of passes of several widths: silent where logits are the same, loud where they are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TinyBundle

from edgetts.cli import main
from edgetts.decoding.invariance import probe_invariance
from edgetts.decoding.session import Branch, Capabilities, Logits
from edgetts.runtimes.onnx import OnnxSession
from edgetts.testing import FakeSession, ToyModel


class Wavering(FakeSession):
    """Favours token 1 a little more the wider a pass is."""

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        logits = super().extend(branch, tokens)
        logits[:, 1] += 0.25 * len(tokens)
        return logits


def test_a_session_that_is_exact_shows_no_difference() -> None:
    session = FakeSession(ToyModel.random(6, seed=1), context=200)
    found = probe_invariance(session, [1, 2, 3], tokens=40)
    assert {(one.kind, one.width) for one in found} == {(k, w) for k in ("extend", "step") for w in (2, 4, 8)}
    assert all((one.largest, one.flips, one.margin) == (0.0, 0, 0.0) for one in found)
    assert all(one.positions == 39 for one in found)
    assert session.live == []


def test_differences_and_flips_are_counted() -> None:
    model = ToyModel.random(6, seed=1)
    session = Wavering(model, context=200)
    two, _, eight = probe_invariance(session, [1, 2, 3], tokens=42)[:3]
    assert two.largest == pytest.approx(0.5, abs=1e-5)
    assert eight.flips > two.flips >= 1
    assert 0 < two.margin <= 0.5
    text, expected = [1, 2, 3], 0
    for _ in range(41):
        text.append(int(model.logits(text).argmax()))
        row = model.logits(text)
        expected += int((row + 0.5 * (np.arange(6) == 1)).argmax() != row.argmax())
    # The last pass has one token, and wavers by half as much.
    assert abs(two.flips - expected) <= 1


def test_what_a_session_cannot_do_is_not_probed() -> None:
    session = FakeSession(
        ToyModel.random(6), context=200, capabilities=Capabilities(extend=False, fork=False)
    )
    assert probe_invariance(session, [1], tokens=10) == []


def test_doctor_probes_a_model(tiny_bundle: TinyBundle) -> None:
    bundle = tiny_bundle("llama", quantize="int4").bundle
    result = CliRunner().invoke(main, ["doctor", "--model", str(bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "extend 8" in result.stdout
    assert "logits differ by up to" in result.stdout
    missing = CliRunner().invoke(main, ["doctor", "--model", "smollm3-nonesuch"])
    assert missing.exit_code != 0
    assert "Traceback" not in missing.output


def test_exact_weights_hardly_differ(tiny_bundle: TinyBundle) -> None:
    session = OnnxSession.open(tiny_bundle("llama").bundle, threads=1)
    try:
        for one in probe_invariance(session, [5, 6, 7], tokens=20):
            assert one.largest <= session.capabilities.tolerance
    finally:
        session.close()
