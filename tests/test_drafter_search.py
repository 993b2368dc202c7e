"""The search for layers that a drafter can do without: what it promises, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_architecture, write_tiny_gguf

import edgetts
from edgetts.cli import main
from edgetts.errors import InvalidInput
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.to_gguf.drafter import best_length
from edgetts.runtimes import RUNTIMES
from edgetts.types import DecodeParams, SamplingParams

needs_llamacpp = pytest.mark.skipif(
    not RUNTIMES["llamacpp"].installed, reason="needs the extra llamacpp: make test-llamacpp"
)
FLAT = dict.fromkeys((1, 2, 3, 4, 5, 6, 8), 1.0)
STEEP = {width: float(width) for width in FLAT}


def test_where_width_is_free_and_guesses_cost_nothing_every_right_guess_is_won() -> None:
    length, gain = best_length([np.ones(400, bool)], FLAT, 0.0)
    assert length == 7
    assert gain == pytest.approx(8.0, rel=0.02)


def test_where_width_costs_what_it_yields_nothing_is_won() -> None:
    assert best_length([np.ones(100, bool)], STEEP, 0.0)[1] <= 1.0
    assert best_length([np.zeros(100, bool)], FLAT, 0.1)[1] < 1.0


@given(hits=st.lists(st.booleans(), min_size=1, max_size=60), guess=st.floats(0.0, 2.0))
def test_dearer_guesses_promise_less(hits: list[bool], guess: float) -> None:
    seen = [np.asarray(hits)]
    assert best_length(seen, FLAT, guess + 0.1)[1] < best_length(seen, FLAT, guess)[1]


@needs_llamacpp
def test_a_drafter_is_written_measured_and_used(tmp_path: Path) -> None:
    source, output = tmp_path / "tiny.gguf", tmp_path / "small.gguf"
    write_tiny_gguf(source, arch=tiny_architecture("llama"))
    asked = ["export", str(source), "--draft", "-o", str(output), "--minutes", "0.05", "--json"]
    result = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    with open_checkpoint(source) as whole, open_checkpoint(output) as drafter:
        assert drafter.architecture.layers == whole.architecture.layers - len(found["layers"])
    assert 0 <= found["agreement"] <= 1
    kept = json.loads((tmp_path / "small.search.json").read_text(encoding="utf-8"))["trials"]
    assert len(kept) == found["trials"]
    assert max(trial["gain"] for trial in kept) == found["gain"]
    again = json.loads(CliRunner().invoke(main, [*asked, "--force"], catch_exceptions=False).stdout)
    assert again["trials"] >= found["trials"], "the search goes on from what was tried"
    greedy = SamplingParams(temperature=0.0, max_tokens=12)
    decode = DecodeParams("speculative", drafters=("model",))
    exact = {"flash_attention": "off", "cache_type_k": "f32", "cache_type_v": "f32", "threads": 1}
    with edgetts.load(source, runtime="llamacpp", draft_model=output, measure=False, **exact) as engine:
        plain = engine.answer("1 2 3", sampling=greedy)
        drafted = engine.answer("1 2 3", sampling=greedy, decode=decode)
        assert drafted.samples[0].tokens == plain.samples[0].tokens
        assert drafted.usage.speculation is not None
        assert set(drafted.usage.speculation.by_drafter) == {"model"}
    assert not list(tmp_path.glob(".*")), "nothing half-made is left"


@needs_llamacpp
def test_a_draft_model_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    source, other = tmp_path / "tiny.gguf", tmp_path / "other.gguf"
    write_tiny_gguf(source, arch=tiny_architecture("llama"))
    write_tiny_gguf(other, arch=tiny_architecture("llama"))
    other.write_bytes(other.read_bytes().replace(b"<|im_start|>", b"<|im_begin>>"))
    with pytest.raises(InvalidInput, match="another vocabulary"):
        edgetts.load(source, runtime="llamacpp", draft_model=other, measure=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "1"], "--minutes goes with --draft"),
        (["--draft", "--cuts", "1"], "--cuts does not go with --draft"),
        (["--draft", "--quantize", "q4_0"], "--quantize does not go with --draft"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: list[str], message: str) -> None:
    source = tmp_path / "tiny.gguf"
    write_tiny_gguf(source, arch=tiny_architecture("llama"))
    result = CliRunner().invoke(main, ["export", str(source), *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
