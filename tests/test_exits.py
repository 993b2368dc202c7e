"""Guessers: their networks in a bundle, the drafters that ask them, the text they learn from, and training."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TinyBundle, TinyModel, sealed_copy
from numpy.typing import NDArray

import edgetts
from edgetts.bundle import EXITS, ExitsNote, GuesserNote, read_manifest
from edgetts.cli import main
from edgetts.decoding.guessers import Guess
from edgetts.decoding.session import Features
from edgetts.decoding.speculation import RecurrentDrafter
from edgetts.errors import ChecksumMismatch, CorruptFile, InvalidInput, MissingExtra
from edgetts.export import convert
from edgetts.export.exits.calibrate import expected_error, isotonic
from edgetts.export.exits.closed_form import fit_linear
from edgetts.export.exits.fit import fit
from edgetts.export.exits.guessers import Task, try_out
from edgetts.export.exits.install import install
from edgetts.export.exits.network import Network
from edgetts.export.exits.own_text import draw_passages
from edgetts.export.exits.prompts import prompts
from edgetts.export.exits.shipped import find_shipped, install_shipped, ship, shrunk, trained_networks
from edgetts.export.exits.states import States, read_states
from edgetts.export.exits.tables import GraphTables
from edgetts.export.exits.train import reduced_vocabulary, train_exits
from edgetts.runtimes import open_guessers
from edgetts.runtimes.onnx import OnnxSession
from edgetts.types import DecodeParams, LeaveEarly, SamplingParams

Floats = NDArray[np.float32]
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")
WIDTH = 32


def random_network(hidden: int, inputs: int, seed: int = 0, width: int = WIDTH) -> Network:
    random = np.random.default_rng(seed)

    def matrix(rows: int, cols: int) -> Floats:
        return (random.standard_normal((rows, cols)) / np.sqrt(max(1, cols))).astype(np.float32)

    norms = [(1 + 0.1 * random.standard_normal(hidden)).astype(np.float32) for _ in range(inputs + 1)]
    return Network(
        matrix(2 * width + hidden, inputs * hidden), matrix(hidden, width), tuple(norms[1:]), norms[0]
    )


def with_guessers(tiny: TinyModel, directory: Path, seed: int = 0) -> tuple[Path, dict[str, list[Network]]]:
    """Copy a bundle and give the copy guessers that know nothing."""
    bundle = sealed_copy(tiny.bundle, directory, lambda copy, body: None)
    manifest, hidden, layers = read_manifest(tiny.bundle), tiny.arch.hidden, tiny.arch.layers
    made = {
        "recurrent": [random_network(hidden, 2, seed)],
        "parallel": [random_network(hidden, 1, seed + i) for i in (1, 2, 3)],
        "exit": [random_network(hidden, 1, seed + 4, width=0)],
    }
    curve = ((0.0, 0.0), (1.0, 0.5))
    notes = [
        (
            GuesserNote(
                "", kind, manifest.cuts[1] if kind == "exit" else layers, "gradient", (0.5, 0.4, 0.3), curve
            ),
            networks,
        )
        for kind, networks in made.items()
    ]
    tables = GraphTables(bundle)
    vocabulary = np.arange(3, 99, 3)
    note = ExitsNote(32, 1000, 10, 1.0, {"edgetts": "0"}, ())
    install(bundle, manifest, note, notes, tables, tables.head_rows(vocabulary, hidden), vocabulary)
    return bundle, made


@pytest.mark.parametrize("quantize", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("family", FAMILIES)
def test_tables_are_the_models_own_rows(family: str, quantize: str, tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle(family, quantize=quantize)
    tables = GraphTables(tiny.bundle)
    ids = np.asarray([0, 5, 17, 40], np.int64)
    table = tiny.weights["token_embd.weight"]
    scale = tiny.arch.embedding_scale or 1.0
    loose = {"fp32": 1e-6, "int8": 0.02, "int4": 0.25}[quantize]
    close = np.abs(table).max() * loose
    assert np.abs(tables.embeddings(ids) - table[ids] * scale).max() <= close * scale
    head = table if tiny.arch.tied_embeddings else tiny.weights["output.weight"]
    assert np.abs(tables.head_rows(ids, tiny.arch.hidden) - head[ids]).max() <= np.abs(head).max() * loose


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_compute_what_the_networks_say(family: str, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle(family)
    bundle, made = with_guessers(tiny, tmp_path)
    guessers = open_guessers(bundle, threads=1)
    assert guessers is not None
    assert guessers.kinds == {"recurrent", "parallel", "exit"}
    cut = tiny.manifest.cuts[1]
    recurrent, parallel, exit_ = guessers.recurrent, guessers.parallel, guessers.exit(cut)
    assert recurrent is not None
    assert parallel is not None
    assert exit_ is not None
    assert guessers.exit(cut + 1) is None
    assert exit_.vocabulary.tolist() == list(range(3, 99, 3))
    tables = GraphTables(bundle)
    head = tables.head_rows(exit_.vocabulary, tiny.arch.hidden)
    random = np.random.default_rng(1)
    wrong = 0
    for token in (0, 9, 30):
        state = random.standard_normal(tiny.arch.hidden).astype(np.float32)
        embedded = tables.embeddings(np.asarray([token], np.int64))
        following = made["recurrent"][0].apply(state[None], embedded)[0]
        guess = recurrent.guess(state, token)
        # Weights and activations are rounded to 8 bits.
        assert np.abs(guess.features - following).max() < 0.06 * np.abs(following).max()
        logits = head @ following
        weights = np.exp(logits - logits.max())
        assert guess.probability == pytest.approx(float(weights.max() / weights.sum()), rel=0.1)
        wrong += guess.token != exit_.vocabulary[logits.argmax()]
        ahead = parallel.guess_ahead(state)
        assert len(ahead) == 3
        for (token_, _), network in zip(ahead, made["parallel"], strict=True):
            wrong += token_ != exit_.vocabulary[(head @ network.apply(state[None])[0]).argmax()]
        expected = head @ made["exit"][0].apply(state[None])[0]
        read = exit_.read(state)
        assert np.abs(read - expected).max() < 0.06 * np.abs(expected).max()
    assert wrong <= 2
    assert exit_.confidence(0.5) == pytest.approx(0.25), "the calibration's curve"


@pytest.mark.parametrize("drafters", [("recurrent",), ("parallel",), ("exit",), None], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_the_same_with_guessers(
    family: str, drafters: tuple[str, ...] | None, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    bundle, _ = with_guessers(tiny_bundle(family), tmp_path)
    with edgetts.load(bundle, measure=False, threads=1, by_segment=True) as engine:
        assert engine.drafters == ("ngram", "recurrent", "parallel", "exit")
        for temperature, length in itertools.product((0.0, 0.9), (1, 2, 4, 8)):
            sampling = SamplingParams(temperature=temperature, max_tokens=30, seed=4)
            plain = engine.answer("Hello there", sampling=sampling, decode="plain").samples[0]
            decode = DecodeParams("speculative", drafters, length)
            answer = engine.answer("Hello there", sampling=sampling, decode=decode)
            assert answer.samples[0].tokens == plain.tokens
            assert answer.samples[0].finish_reason == plain.finish_reason
            np.testing.assert_allclose(answer.samples[0].logprobs, plain.logprobs, atol=1e-3)
            if len(plain.tokens) > 3 and drafters is not None:
                assert answer.usage.speculation is not None
                assert drafters[0] in answer.usage.speculation.by_drafter
    with edgetts.load(bundle, measure=False, threads=1) as engine:
        assert engine.drafters == ("ngram", "recurrent", "parallel"), "whole graphs cannot stop at a cut"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_closing_an_engine_lets_go_of_guessers_too(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_guessers(tiny_bundle("llama"), tmp_path)
    engine = edgetts.load(bundle, measure=False, threads=1)
    decode = DecodeParams("speculative", ("recurrent",))
    engine.answer("Hello", sampling=SamplingParams(max_tokens=9), decode=decode)

    def mapped() -> int:
        return Path("/proc/self/maps").read_text(encoding="utf-8").count(str(bundle))

    assert mapped() > 0
    engine.close()
    gc.collect()
    assert mapped() == 0


def test_drafters_that_are_not_there_are_told(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    with edgetts.load(tiny_bundle("llama").bundle, measure=False, threads=1) as engine:
        assert engine.drafters == ("ngram",)
        with pytest.raises(InvalidInput, match=r"no recurrent.*edgetts exits train"):
            engine.answer("Hello", decode=DecodeParams(drafters=("recurrent",)))
        with pytest.raises(InvalidInput, match="no drafter nobody"):
            engine.answer("Hello", decode=DecodeParams(drafters=("nobody",)))


class Counting:
    """Guess one more than the token, and count the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    def guess(self, features: Features, token: int, temperature: float | None = None) -> Guess:
        assert temperature is None
        self.calls.append((float(features[0]), token))
        return Guess(token + 1, 0.75, features + 1)


def test_the_drafter_feeds_on_its_own_guesses_and_computes_none_twice() -> None:
    network = Counting()
    drafter = RecurrentDrafter(network)
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


def test_damaged_guessers_are_refused(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_guessers(tiny_bundle("llama"), tmp_path / "a")
    note = read_manifest(bundle).exits
    assert note is not None
    file = note.guessers[0].file
    kept = (bundle / file).read_bytes()
    (bundle / file).write_bytes(b"nonsense")
    with pytest.raises(ChecksumMismatch):
        edgetts.load(bundle, measure=False)
    (bundle / file).write_bytes(kept)

    def other_graph(copy: Path, body: dict[str, Any]) -> None:
        (copy / file).write_bytes((copy / "model.onnx").read_bytes())

    def garbage(copy: Path, body: dict[str, Any]) -> None:
        (copy / file).write_bytes(b"garbage")

    for i, change in enumerate((other_graph, garbage)):
        changed = sealed_copy(bundle, tmp_path / str(i), change)
        with edgetts.load(changed, measure=False, threads=1) as engine, pytest.raises(CorruptFile):
            engine.answer("Hello", decode=DecodeParams("speculative", ("recurrent",)))

    def no_file(copy: Path, body: dict[str, Any]) -> None:
        del body["files"][file]

    with pytest.raises(CorruptFile, match="no hash"):
        edgetts.load(sealed_copy(bundle, tmp_path / "none", no_file), measure=False)


def test_training_again_replaces_the_guessers(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle("llama")
    bundle, _ = with_guessers(tiny, tmp_path)
    first = {path.name for path in (bundle / EXITS).iterdir()}
    note = read_manifest(bundle).exits
    assert note is not None
    tables = GraphTables(bundle)
    network = random_network(tiny.arch.hidden, 2, seed=9)
    vocabulary = np.arange(32)
    made = [(note.guessers[0], [network])]
    install(bundle, read_manifest(bundle), note, made, tables, tables.head_rows(vocabulary, 64), vocabulary)
    second = read_manifest(bundle).exits
    assert second is not None
    left = {f"{EXITS}/{path.name}" for path in (bundle / EXITS).iterdir()}
    assert left == {one.file for one in second.guessers}
    assert not first & {path.name for path in (bundle / EXITS).iterdir()}
    assert not list(bundle.glob(".*"))
    guessers = open_guessers(bundle)
    assert guessers is not None
    assert guessers.kinds == {"recurrent"}


# The text


def test_states_are_what_the_network_held_when_it_drew(tiny_bundle: TinyBundle) -> None:
    tiny = tiny_bundle("llama")
    shares: list[float] = []
    session = OnnxSession.open(tiny.bundle, threads=1)
    starts = ([i % 90, 3, 5] if i % 5 else [7] for i in itertools.count(1))
    passages = list(draw_passages(session, starts, 400, temperature=0.0, seed=0, progress=shares.append))
    assert session.cache_bytes == 0
    session.close()
    assert sum(len(p.tokens) for p in passages) >= 400
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for by_segment in (False, True):
        session = OnnxSession.open(tiny.bundle, threads=1, by_segment=by_segment)
        states = read_states(session, passages)
        assert session.cache_bytes == 0
        session.close()
        assert states.tokens.tolist() == [token for p in passages for token in p.tokens]
        assert (states.best == states.tokens).mean() > 0.99, "they were drawn greedily"
        head = tiny.weights["token_embd.weight" if tiny.arch.tied_embeddings else "output.weight"]
        # Kept in 16 bits: near-equals may swap.
        assert ((states.features.astype(np.float32) @ head.T).argmax(axis=-1) == states.best).mean() > 0.95
        assert sorted(states.streams) == ([1, 2, 3] if by_segment else [])
    reference = tiny.reference(cuts=(1, 2, 3))
    one = passages[2]
    branch, _ = reference.prefill(one.prompt[:-1] or one.prompt)
    reference.truncate(branch, len(one.prompt) - 1)
    stream = reference.advance(branch, [one.prompt[-1], *one.tokens[:-1]], 2)
    found = states.streams[2][states.passage == 2].astype(np.float32)
    np.testing.assert_allclose(found, stream, atol=0.02, rtol=0.01)
    starts_ = states.starts(3)
    assert (states.passage[starts_] == states.passage[starts_ + 3]).all()


def test_questions_vary_and_repeat_by_seed() -> None:
    one, same, other = (list(itertools.islice(prompts(seed), 60)) for seed in (1, 1, 2))
    assert one == same
    assert len({*one, *other}) > 100
    assert not any("{" in text.replace("{}", "{") and "}" in text for text in one)


def test_the_reduced_vocabulary_is_what_the_model_says_most() -> None:
    tokens = np.asarray([7] * 5 + [900] * 3 + [4], np.int64)
    assert reduced_vocabulary(tokens, 1000, 5).tolist() == [0, 1, 4, 7, 900]
    assert len(reduced_vocabulary(tokens, 6_000, 9_000)) == 6_000


# Fitting


def language(seed: int, passages: int) -> tuple[States, Floats, Floats]:
    """Make text in which the next token is a function of the last, and states that show it."""
    random = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    hidden, vocab, length = 32, 24, 40
    table = fixed.standard_normal((vocab, hidden)).astype(np.float32)
    head = fixed.standard_normal((vocab, hidden)).astype(np.float32)
    following = fixed.permutation(vocab)
    tokens = []
    for _ in range(passages):
        token = int(random.integers(vocab))
        for _ in range(length):
            tokens.append(token)
            token = int(following[token])
    ids = np.asarray(tokens, np.int64)
    states = head[ids] * 3 + 0.1 * random.standard_normal((len(ids), hidden))
    place = np.tile(np.arange(length), passages)
    stream = states + 0.3 * random.standard_normal(states.shape)
    halves = states.astype(np.float16)
    text = States(
        halves, {2: stream.astype(np.float16)}, ids, ids, np.repeat(np.arange(passages), length), place
    )
    return text, table, head


@pytest.mark.parametrize("task", [Task("recurrent", 4, 3), Task("exit", 2), Task("parallel", 4, 1)], ids=str)
@pytest.mark.parametrize("how", ["closed form", "gradient"])
def test_networks_learn_a_language_of_their_own(task: Task, how: str) -> None:
    if how == "gradient":
        pytest.importorskip("torch")
    (train, table, head), (tests, _, _) = language(0, 200), language(1, 20)
    vocabulary = np.arange(24)

    def embeddings(ids: NDArray[np.int64]) -> Floats:
        rows: Floats = table[ids]
        return rows

    if how == "gradient":
        network = fit(task, train, embeddings, head, width=64, epochs=60, rate=3e-3)
        assert network.width == 64
    else:
        source, ahead = task.source(train), 1 if task.kind == "recurrent" else task.ahead
        inputs = [lambda at: source[at].astype(np.float32)]
        if task.inputs == 2:
            inputs.append(lambda at: table[train.tokens[at]])
        rows = train.starts(ahead)
        network = fit_linear(inputs, lambda at: train.features[at + ahead].astype(np.float32), rows)
        assert network.width == 0
    trial = try_out(task, network, tests, embeddings, head, vocabulary)
    assert trial.positions == len(tests.starts(task.ahead))
    assert len(trial.agreement) == (3 if task.kind == "recurrent" else 1)
    assert min(trial.agreement) > 0.8, "guessing would be right one time in 24"


def test_calibration_makes_stated_probabilities_true() -> None:
    random = np.random.default_rng(0)
    stated = random.random(20_000).astype(np.float32)
    right = random.random(20_000) < stated**2  # overconfident
    knots = isotonic(stated[::2], right[::2])
    assert len(knots) <= 16
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(knots))
    assert expected_error(stated[1::2], right[1::2], knots) < 0.02
    assert expected_error(stated[1::2], right[1::2], ((0.0, 0.0), (1.0, 1.0))) > 0.1
    assert isotonic(np.zeros(0, np.float32), np.zeros(0, bool)) == ((0.0, 0.0), (1.0, 1.0))


def train(bundle: Path, **options: Any) -> ExitsNote:
    return train_exits(bundle, tokens=1000, vocabulary=64, how="closed-form", threads=1, **options)


def test_training_without_torch_gives_a_bundle_that_drafts_and_leaves_early(
    tiny_bundle: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    bundle = sealed_copy(tiny_bundle("llama").bundle, tmp_path, lambda copy, body: None)
    stages: dict[str, float] = {}
    said: list[str] = []
    note = train(bundle, progress=stages.__setitem__, tell=said.append)
    assert {one.kind for one in note.guessers} == {"recurrent", "parallel", "exit"}
    assert [one.cut for one in note.of_kind("exit")] == [1, 2, 3]
    assert all(one.fitted == "closed form" for one in note.guessers)
    assert len(said) == 7
    assert {"draw text", "draw held-out text", "read the text"} <= set(stages)
    assert {row.criterion for row in note.leaving} == {"confidence", "q-exit", "saturation", "schedule"}
    assert all(0 < row.depth <= 1 for row in note.leaving)
    never = [row for row in note.leaving if row.depth == 1]
    assert all(row.agreement == (1.0, 1.0) for row in never)
    assert read_manifest(bundle).exits == note
    with edgetts.load(bundle, measure=False, threads=1) as engine:
        sampling = SamplingParams(temperature=0.0, max_tokens=30)
        plain = engine.answer("Hello there", sampling=sampling).samples[0]
        drafted = engine.answer("Hello there", sampling=sampling, decode="speculative")
        assert drafted.samples[0].tokens == plain.tokens


@pytest.fixture(scope="module")
def trained(tiny_bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("trained")
    bundle = sealed_copy(tiny_bundle("llama").bundle, directory, lambda copy, body: None)
    train(bundle)
    return bundle


def test_tokens_leave_early_where_that_was_asked_for(trained: Path) -> None:
    sampling = SamplingParams(temperature=0.0, max_tokens=30)
    with edgetts.load(trained, measure=False, threads=1, by_segment=True) as engine:
        plain = engine.answer("Hello there", sampling=sampling)
        assert plain.usage.early_exits is None
        for text in ("confidence=1.1", "q-exit=1.1", "saturation=1.1", "schedule=99"):
            decode = DecodeParams(early_exit=LeaveEarly.parse(text))
            answer = engine.answer("Hello there", sampling=sampling, decode=decode)
            assert answer.samples[0].tokens == plain.samples[0].tokens, text
            assert answer.usage.early_exits is not None
            assert sum(answer.usage.early_exits.left.values()) == 0
        for text in ("confidence=0", "q-exit=0", "saturation=-1", "schedule=1"):
            decode = DecodeParams(early_exit=LeaveEarly.parse(text))
            early = engine.answer("Hello there", sampling=sampling, decode=decode).usage.early_exits
            assert early is not None
            assert sum(early.left.values()) > early.tokens // 2, text
        # Samples side by side run at full depth, and so does one that is joined by others later.
        several = engine.answer("Hello there", budget=edgetts.Budget(samples=3), decode=decode)
        assert len(several.samples) == 3


def test_an_agreement_that_was_not_measured_is_refused(trained: Path) -> None:
    with edgetts.load(trained, measure=False, threads=1, by_segment=True) as engine:
        note = read_manifest(trained).exits
        assert note is not None
        best = max(
            min(row.agreement) for row in note.leaving if row.criterion == "schedule" and row.depth < 1
        )
        assert best < 1
        asked = DecodeParams(early_exit=LeaveEarly(agreement=(1 + best) / 2, criterion="schedule"))
        with pytest.raises(InvalidInput, match=f"tokens by schedule: {best:.1%} is the most.*exits show"):
            engine.answer("Hello", decode=asked)
        with pytest.raises(InvalidInput, match="no criterion 'mood'"):
            engine.answer(
                "Hello", decode=DecodeParams(early_exit=LeaveEarly(agreement=0.9, criterion="mood"))
            )
        kept = engine.answer("Hello", decode=DecodeParams(early_exit=LeaveEarly(agreement=0.001)))
        assert kept.usage.early_exits is not None
        assert sum(kept.usage.early_exits.left.values()) > 0
    with (
        edgetts.load(trained, measure=False, threads=1) as engine,
        pytest.raises(InvalidInput, match="opened whole.*by_segment=True"),
    ):
        engine.answer("Hello", decode=DecodeParams(early_exit=LeaveEarly(agreement=0.5)))


def test_the_command_line_leaves_early_and_drafts_from_first_layers(trained: Path) -> None:
    ask = ["ask", "Hello", "--model", str(trained), "--max-tokens", "20", "--threads", "1", "--json"]
    for options, name in (
        (["--early-exit", "confidence=0"], "early_exits"),
        (["--decode", "speculative", "--draft", "exit"], "speculation"),
        (["--decode", "speculative", "--accept", "typical"], "speculation"),
        (["--accept", "rejection", "--temperature", "0.8", "--draft", "recurrent"], "speculation"),
    ):
        result = CliRunner().invoke(main, [*ask, *options], catch_exceptions=False)
        assert json.loads(result.stdout)["usage"][name] is not None, options
    told = CliRunner().invoke(main, [*ask[:-1], "--early-exit", "confidence=0"], catch_exceptions=False)
    assert "tokens left early" in told.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "how to leave early"),
        ("agreement=x", "how to leave early"),
        ("agreement=2", "between 0 and 1"),
        ("agreement=nan", "between 0 and 1"),
        ("confidence=0.9,q-exit=0.9", "more than one criterion"),
        ("confidence=0.9,criterion=q-exit", "more than one criterion"),
        ("confidence=0.9,agreement=0.9", "either an agreement"),
        ("criterion=q-exit", "either an agreement"),
    ],
)
def test_how_to_leave_early_is_said_right_or_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        LeaveEarly.parse(text)
    result = CliRunner().invoke(main, ["ask", "Hi", "--early-exit", text])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_how_to_leave_early_is_read() -> None:
    assert LeaveEarly.parse("agreement=0.98") == LeaveEarly(0.98)
    assert LeaveEarly.parse("agreement=0.9, criterion=q-exit") == LeaveEarly(0.9, None, "q-exit")
    assert LeaveEarly.parse("schedule=64") == LeaveEarly(None, 64.0, "schedule")
    with pytest.raises(InvalidInput, match="choose one"):
        DecodeParams("speculative", early_exit=LeaveEarly(0.98))


def test_the_same_seed_trains_the_same_guessers(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    notes = []
    for name in ("a", "b"):
        bundle = sealed_copy(tiny_bundle("llama").bundle, tmp_path / name, lambda copy, body: None)
        asked = ["Hello", "Hi there", "What is it?"]
        notes.append(train(bundle, seed=3, questions=asked, kinds=["recurrent", "parallel"]).guessers)
    assert notes[0] == notes[1]
    assert [one.kind for one in notes[0]] == ["recurrent", "parallel"]


# Guessers that come with edgetts


def test_shipped_guessers_are_the_trained_ones(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    tiny = tiny_bundle("llama")
    bundle, made = with_guessers(tiny, tmp_path / "a")
    note = read_manifest(bundle).exits
    assert note is not None
    networks = trained_networks(bundle)
    # A network is what its graph's 8 bits make of it, and when it was shipped what 4 bits make of that.
    for (one, found), expected in zip(networks, made.values(), strict=True):
        assert len(found) == len(expected), one.kind
        np.testing.assert_allclose(found[-1].inner, expected[-1].inner, atol=0.02)
    size = ship(note, networks, np.arange(3, 99, 3), tmp_path / "shipped" / "abc")
    place = find_shipped("abc", tmp_path / "shipped")
    assert place is not None
    assert size == sum(path.stat().st_size for path in place.iterdir())
    assert find_shipped("abd", tmp_path / "shipped") is None
    copy = sealed_copy(tiny.bundle, tmp_path / "b", lambda copy, body: None)
    note = install_shipped(copy, read_manifest(copy), place)
    for (_, found), (_, sent) in zip(trained_networks(copy), networks, strict=True):
        for one, other in zip(found, map(shrunk, sent), strict=True):
            np.testing.assert_allclose(one.inner, other.inner, atol=0.02)
            np.testing.assert_allclose(one.down, other.down, atol=0.02)
    assert [one.kind for one in note.guessers] == ["recurrent", "parallel", "exit"]
    guessers = open_guessers(copy, threads=1)
    assert guessers is not None
    assert guessers.exit(tiny.manifest.cuts[1]) is not None


def ship_recurrent(bundle: Path, place: Path) -> None:
    note = read_manifest(bundle).exits
    assert note is not None
    ship(note, trained_networks(bundle)[:1], np.arange(3, 99, 3), place)


@pytest.mark.parametrize("damage", ["index", "array", "missing", "size"])
def test_damaged_shipped_guessers_are_told(damage: str, tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_guessers(tiny_bundle("llama"), tmp_path / "a")
    place = tmp_path / "shipped"
    ship_recurrent(bundle, place)
    index, part = place / "exits.json", place / "part-00.bin"
    if damage == "index":
        index.write_text("{")
    elif damage == "array":
        part.write_bytes(part.read_bytes()[:-1] + b"x")
    elif damage == "missing":
        part.unlink()
    model = tiny_bundle("llama", **({"hidden": 128} if damage == "size" else {}))
    copy = sealed_copy(model.bundle, tmp_path / "b", lambda copy, body: None)
    with pytest.raises(CorruptFile, match="came with edgetts cannot be used"):
        install_shipped(copy, read_manifest(copy), place)
    assert read_manifest(copy).exits is None


def test_conversion_installs_what_is_shipped(
    tiny_bundle: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_bundle("llama")
    bundle, _ = with_guessers(tiny, tmp_path / "a")
    sha256 = tiny.manifest.source["sha256"]
    ship_recurrent(bundle, tmp_path / "shipped" / sha256)
    place = tmp_path / "shipped" / sha256
    monkeypatch.setattr(
        importlib.import_module("edgetts.export.convert"),
        "find_shipped",
        lambda sha: place if sha == sha256 else None,
    )
    converted = convert(tiny.source, tmp_path / "new.edge", quantize="int8")
    exits = read_manifest(converted).exits
    assert exits is not None
    assert [one.kind for one in exits.guessers] == ["recurrent"]
    with edgetts.load(converted, measure=False, threads=1) as engine:
        assert engine.drafters == ("ngram", "recurrent")


def test_without_torch_training_names_the_extra(
    tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"edgetts\[train\]"):
        train_exits(tiny_bundle("llama").bundle)
    result = CliRunner().invoke(main, ["exits", "train", str(tiny_bundle("llama").bundle)])
    assert result.exit_code == 7
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary", "3"], "too small"),
        (["--width", "33"], "multiple of 32"),
        (["--questions", "nowhere.txt"], "nowhere.txt"),
        (["--fit", "magic"], "no way to fit named 'magic'"),
        (["--tokens", "3", "--fit", "closed-form"], "too few"),
        (["--only", "exit,soul", "--fit", "closed-form"], "no guesser soul to train"),
        (["--minutes", "0", "--fit", "closed-form"], "greater than zero"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], message: str, tiny_bundle: TinyBundle) -> None:
    result = CliRunner().invoke(main, ["exits", "train", str(tiny_bundle("llama").bundle), *options])
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output


def test_show_tells_what_a_bundle_has(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    bundle, _ = with_guessers(tiny_bundle("llama"), tmp_path)
    result = CliRunner().invoke(main, ["exits", "show", str(bundle), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["guessers"][0]["agreement"] == [0.5, 0.4, 0.3]
    assert "50.0%" in CliRunner().invoke(main, ["exits", "show", str(bundle)]).stdout
    none = CliRunner().invoke(main, ["exits", "show", str(tiny_bundle("llama").bundle)])
    assert none.exit_code != 0
    assert "no exits" in none.output
