"""Draft heads: the network in a bundle, the drafter that asks it, the text they are trained on, and training."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TinyBundle, TinyModel, sealed_copy
from numpy.typing import NDArray

import edgetts
from edgetts.bundle import read_manifest
from edgetts.cli import main
from edgetts.decoding.session import Features
from edgetts.decoding.speculation import Guess, HeadDrafter
from edgetts.errors import ChecksumMismatch, CorruptFile, InvalidInput, MissingExtra
from edgetts.export.heads.fit import Agreement, Heads, Windows, fit, reduced_vocabulary
from edgetts.export.heads.network import heads_model
from edgetts.export.heads.own_text import Passage, draw_passages
from edgetts.export.heads.prompts import prompts
from edgetts.export.heads.tables import Tables
from edgetts.export.heads.train import install_heads, train_heads
from edgetts.runtimes import open_heads
from edgetts.runtimes.onnx import OnnxSession
from edgetts.types import DecodeParams, SamplingParams

Floats = NDArray[np.float32]
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")


def random_heads(hidden: int, vocabulary: Sequence[int], seed: int = 0) -> Heads:
    random = np.random.default_rng(seed)

    def matrix(rows: int, cols: int) -> Floats:
        return (random.standard_normal((rows, cols)) / np.sqrt(cols)).astype(np.float32)

    norms = [(1 + 0.1 * random.standard_normal(hidden)).astype(np.float32) for _ in range(3)]
    return Heads(
        matrix(64 + hidden, 2 * hidden), matrix(hidden, 32), *norms, np.asarray(vocabulary, np.int64)
    )


def with_heads(tiny: TinyModel, directory: Path) -> tuple[Path, Heads]:
    """Copy a bundle and give the copy heads that know nothing."""
    bundle = sealed_copy(tiny.bundle, directory, lambda copy, body: None)
    heads = random_heads(tiny.arch.hidden, range(3, 99, 3))
    tables = Tables(bundle)
    rows = tables.head_rows(heads.vocabulary, tiny.arch.hidden)
    graph = heads_model(heads, tables, rows)
    install_heads(bundle, read_manifest(bundle), graph, 32, 1000, 1.0, Agreement(10, (0.5, 0.4, 0.3)))
    return bundle, heads


def norm(x: Floats, weight: Floats) -> Floats:
    return np.asarray(x / np.sqrt(np.mean(x * x) + 1e-5) * weight, np.float32)


@pytest.mark.parametrize("quantize", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_the_models_own_rows(family: str, quantize: str, tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle(family, quantize=quantize)
    tables = Tables(tiny.bundle)
    ids = np.asarray([0, 5, 17, 40], np.int64)
    table = tiny.weights["token_embd.weight"]
    scale = tiny.arch.embedding_scale or 1.0
    loose = {"fp32": 1e-6, "int8": 0.02, "int4": 0.25}[quantize]
    close = np.abs(table).max() * loose
    assert np.abs(tables.embeddings(ids) - table[ids] * scale).max() <= close * scale
    head = table if tiny.arch.tied_embeddings else tiny.weights["output.weight"]
    assert np.abs(tables.head_rows(ids, tiny.arch.hidden) - head[ids]).max() <= np.abs(head).max() * loose


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_computes_what_the_heads_say(family: str, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle(family)
    bundle, heads = with_heads(tiny, tmp_path)
    network = open_heads("onnx", bundle, threads=1)
    assert network is not None
    tables = Tables(bundle)
    random = np.random.default_rng(1)
    wrong = 0
    for token in (0, 9, 30):
        state = random.standard_normal(tiny.arch.hidden).astype(np.float32)
        guess = network.guess(state, token)
        embedded = tables.embeddings(np.asarray([token], np.int64))[0]
        x = np.concatenate([norm(state, heads.feature_norm), norm(embedded, heads.token_norm)])
        gate, up, skip = np.split(heads.inner @ x, [32, 64])
        following = norm(heads.down @ (gate / (1 + np.exp(-gate)) * up) + skip, heads.out_norm)
        logits = tables.head_rows(heads.vocabulary, tiny.arch.hidden) @ following
        # Weights and activations are rounded to 8 bits.
        assert np.abs(guess.features - following).max() < 0.06 * np.abs(following).max()
        weights = np.exp(logits - logits.max())
        assert guess.probability == pytest.approx(float(weights.max() / weights.sum()), rel=0.1)
        wrong += guess.token != heads.vocabulary[logits.argmax()]
    assert wrong <= 1


def test_answers_are_the_same_with_heads(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle("llama")
    bundle, _ = with_heads(tiny, tmp_path)
    with edgetts.load(bundle, measure=False, threads=1) as engine:
        assert engine.drafters == ("ngram", "heads")
        for temperature in (0.0, 0.9):
            sampling = SamplingParams(temperature=temperature, max_tokens=30, seed=4)
            plain = engine.answer("Hello there", sampling=sampling, decode="plain").samples[0]
            for names in (("heads",), ("ngram", "heads")):
                decode = DecodeParams("speculative", names, 4)
                answer = engine.answer("Hello there", sampling=sampling, decode=decode)
                assert answer.samples[0].tokens == plain.tokens
                if len(plain.tokens) > 3:
                    assert answer.usage.speculation is not None
                    assert "heads" in answer.usage.speculation.by_drafter
    with edgetts.load(tiny.bundle, measure=False, threads=1) as engine:
        assert engine.drafters == ("ngram",)
        with pytest.raises(InvalidInput, match="no draft heads"):
            engine.answer("Hello", decode=DecodeParams(drafters=("heads",)))


class Counting:
    """Guess one more than the token, and count the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def guess(self, features: Features, token: int) -> Guess:
        self.calls.append((float(features[0]), token))
        return Guess(token + 1, 0.75, features + 1)


def test_the_drafter_feeds_on_its_own_guesses_and_computes_none_twice() -> None:
    network = Counting()
    drafter = HeadDrafter(network)
    assert drafter.propose([]) is None, "nothing is known yet"
    drafter.accept([4, 5], np.zeros(2, np.float32))
    first = drafter.propose([])
    assert first is not None
    assert (first.token, first.prior) == (6, 0.75)
    second = drafter.propose([6])
    assert second is not None
    assert second.token == 7
    assert second.kind != first.kind, "deeper guesses are learned about for themselves"
    # Another drafter's guess took the second place: the chain goes on behind it.
    third = drafter.propose([9])
    assert third is not None
    assert third.token == 10
    assert network.calls == [(0.0, 5), (1.0, 6), (1.0, 9)]
    drafter.accept([6], None)
    assert drafter.propose([]) is None


def test_damaged_heads_are_refused(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_heads(tiny_bundle("llama"), tmp_path / "a")
    note = read_manifest(bundle).heads
    assert note is not None
    (bundle / note.file).write_bytes(b"nonsense")
    with pytest.raises(ChecksumMismatch):
        edgetts.load(bundle, measure=False)

    def other_graph(copy: Path, body: dict[str, Any]) -> None:
        (copy / body["heads"]["file"]).write_bytes((copy / "model.onnx").read_bytes())

    def garbage(copy: Path, body: dict[str, Any]) -> None:
        (copy / body["heads"]["file"]).write_bytes(b"garbage")

    for i, change in enumerate((other_graph, garbage)):
        changed = sealed_copy(bundle, tmp_path / str(i), change)
        with pytest.raises(CorruptFile):
            edgetts.load(changed, measure=False)

    def no_file(copy: Path, body: dict[str, Any]) -> None:
        del body["files"][body["heads"]["file"]]

    with pytest.raises(CorruptFile, match="no hash"):
        edgetts.load(sealed_copy(bundle, tmp_path / "none", no_file), measure=False)


def test_training_again_replaces_the_heads(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle("llama")
    bundle, _ = with_heads(tiny, tmp_path)
    first = read_manifest(bundle).heads
    tables = Tables(bundle)
    heads = random_heads(tiny.arch.hidden, range(32), seed=9)
    graph = heads_model(heads, tables, tables.head_rows(heads.vocabulary, tiny.arch.hidden))
    second = install_heads(bundle, read_manifest(bundle), graph, 32, 1, 1.0, Agreement(1, (0.1,)))
    assert first is not None
    assert first.file != second.file
    assert [p.name for p in bundle.glob("heads-*")] == [second.file]
    assert not list(bundle.glob(".*"))
    assert open_heads("onnx", bundle) is not None


# The text


def test_passages_hold_the_states_their_tokens_were_drawn_from(tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle("llama")
    session = OnnxSession.open(tiny.bundle, threads=1)
    shares: list[float] = []
    try:
        starts = ([i % 90, 3, 5] for i in itertools.count(1))
        passages = list(draw_passages(session, starts, 400, temperature=0.0, seed=0, progress=shares.append))
        assert sum(len(p.tokens) for p in passages) >= 400
        head = tiny.weights["token_embd.weight" if tiny.arch.tied_embeddings else "output.weight"]
        for passage in passages:
            best = (passage.features.astype(np.float32) @ head.T).argmax(axis=-1)
            # Kept in 16 bits: near-equals may swap.
            assert (best == passage.tokens).mean() > 0.9
        assert session.cache_bytes == 0
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
    finally:
        session.close()


def test_questions_vary_and_repeat_by_seed() -> None:
    one, same, other = (list(itertools.islice(prompts(seed), 60)) for seed in (1, 1, 2))
    assert one == same
    assert len({*one, *other}) > 100
    assert not any("{" in text.replace("{}", "{") and "}" in text for text in one)


def test_the_reduced_vocabulary_is_what_the_model_says_most() -> None:
    tokens = np.asarray([7] * 5 + [900] * 3 + [4], np.int64)
    passage = Passage(0, np.zeros((9, 32), np.float16), tokens)
    assert reduced_vocabulary([passage], 1000, 5).tolist() == [0, 1, 4, 7, 900]
    assert len(reduced_vocabulary([passage], 6_000, 9_000)) == 6_000


# Training; torch is an extra, and not in `make test`


def test_heads_learn_a_language_of_their_own() -> None:
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    hidden, vocab = 32, 24
    table = random.standard_normal((vocab, hidden)).astype(np.float32)
    head = random.standard_normal((vocab, hidden)).astype(np.float32)

    def passage(begin: int) -> Any:
        # The next token is a function of the last; the state shows it.
        tokens = [(begin * 5 ** (i + 1) + i) % vocab for i in range(40)]
        states = np.stack([head[t] * 3 + 0.1 * random.standard_normal(hidden) for t in tokens])
        return Passage(begin, states.astype(np.float16), np.asarray(tokens, np.int64))

    train, test = (Windows([passage(int(b)) for b in random.integers(1, 999, n)]) for n in (60, 8))
    heads, agreement = fit(
        train, test, lambda ids: table[ids], head, np.arange(vocab), width=64, epochs=120, rate=3e-3
    )
    assert heads.inner.shape == (2 * 64 + hidden, 2 * hidden)
    assert agreement.by_depth[0] > 0.5, "guessing would be right one time in 24"


def test_without_torch_training_names_the_extra(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[train\]"):
        train_heads(tiny_bundle("llama").bundle)
    result = CliRunner().invoke(main, ["heads", "train", str(tiny_bundle("llama").bundle)])
    assert result.exit_code == 7
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary", "3"], "too small"),
        (["--width", "33"], "multiple of 32"),
        (["--questions", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["heads", "train", "smollm2-135m-instruct", *options])
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output


def test_show_tells_what_a_bundle_has(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_heads(tiny_bundle("llama"), tmp_path)
    result = CliRunner().invoke(main, ["heads", "show", str(bundle), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["agreement"] == [0.5, 0.4, 0.3]
    assert "50.0%" in CliRunner().invoke(main, ["heads", "show", str(bundle)]).stdout
    none = CliRunner().invoke(main, ["heads", "show", str(tiny_bundle("llama").bundle)])
    assert none.exit_code != 0
    assert "no draft heads" in none.output
