"""Train the guessers of a bundle on the model's own text, and put them into it."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, ExitsNote, GuesserNote, Manifest, TrustRecord, open_bundle
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.errors import InvalidInput
from edgetts.export.exits.calibrate import expected_error, isotonic
from edgetts.export.exits.closed_form import fit_linear
from edgetts.export.exits.fit import fit, import_torch
from edgetts.export.exits.guessers import Embeddings, Task, Trial, tasks, try_out
from edgetts.export.exits.install import install
from edgetts.export.exits.leaving import leaving_notes
from edgetts.export.exits.network import Floats, Network
from edgetts.export.exits.own_text import Passage, draw_passages
from edgetts.export.exits.prompts import prompts
from edgetts.export.exits.states import States, read_states
from edgetts.export.exits.tables import GraphTables, Tables
from edgetts.runtimes.onnx import OnnxSession
from edgetts.tokenizer import Tokenizer

Progress = Callable[[str, float], None]

VOCABULARY = 8192
FITS = ("best", "gradient", "closed-form")
_HELD_OUT = 1 / 12
_TEMPERATURE = 0.6
_MIN_TOKENS = 1000
# Shares of the time that all networks of a kind get together.
_SHARES = {"recurrent": 0.5, "exit": 0.38, "parallel": 0.12}


@dataclass(frozen=True, slots=True)
class Trained:
    """A network, how it was fitted, what it reached, and what the other way of fitting reached."""

    task: Task
    network: Network
    fitted: str
    trial: Trial
    beaten: tuple[str, tuple[float, ...]] | None = None


def train_exits(
    bundle: Path,
    *,
    tokens: int = 150_000,
    seconds: float = 1200.0,
    width: int | None = None,
    vocabulary: int = VOCABULARY,
    questions: Sequence[str] | None = None,
    how: str = "best",
    kinds: Sequence[str] | None = None,
    threads: int | None = None,
    seed: int = 0,
    trust: TrustRecord | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> ExitsNote:
    """Draw `tokens` tokens of the model's own text, fit guessers to them, and write them into the bundle.

    seconds: of fitting by gradient, all networks together; drawing and reading the text comes before.
    width: of the networks' inner layers, None is about the hidden size. vocabulary: tokens that a guess may
    be. questions: what the text answers; None is a built-in set. how: gradient needs torch, closed-form
    does not, best tries both and keeps the better for each. kinds: of recurrent, exit and parallel, those to
    train; None is all. Guessers already there are replaced when the
    new ones are complete. tell gets a sentence for each network. Raises MissingExtra, InvalidInput, and
    what opening a bundle raises.
    """
    if how not in FITS:
        raise InvalidInput(f"There is no way to fit named {how!r}.", hint=f"There are: {', '.join(FITS)}.")
    wanted_kinds = set(_SHARES) if kinds is None else set(kinds)
    if not wanted_kinds or not wanted_kinds <= set(_SHARES):
        named = ", ".join(sorted(wanted_kinds - set(_SHARES))) or "named"
        raise InvalidInput(f"There is no guesser {named} to train.", hint=f"There are: {', '.join(_SHARES)}.")
    if how != "closed-form":
        import_torch()
    if tokens < _MIN_TOKENS:
        raise InvalidInput(
            f"{tokens} tokens are too few to train on.", hint=f"Take at least {_MIN_TOKENS:,}."
        )
    if not seconds > 0:
        raise InvalidInput(f"The time to fit is {seconds} s, but it must be greater than zero.")
    show = progress or (lambda stage, share: None)
    say = tell or (lambda sentence: None)
    began = time.monotonic()
    manifest = open_bundle(bundle, trust=trust)
    text, held_out = _own_text(bundle, manifest, tokens, questions, threads, seed, trust, show)
    states = _read(bundle, text, threads, trust, lambda share: show("read the text", share))
    tests = _read(bundle, held_out, threads, trust, lambda share: show("read held-out text", share))
    tables = GraphTables(bundle)
    hidden = manifest.architecture.hidden
    reduced = reduced_vocabulary(states.tokens, manifest.architecture.vocab, vocabulary)
    head = tables.head_rows(reduced, hidden)
    embeddings = Embedded(tables, np.concatenate([states.tokens, tests.tokens]))
    trained: list[Trained] = []
    wanted = [t for t in tasks(manifest.cuts, manifest.architecture.layers) if t.kind in wanted_kinds]
    counts = Counter(task.kind for task in wanted)
    whole = sum(_SHARES[kind] for kind in counts)
    for task in wanted:
        name = _name(task)
        one = _train(
            task,
            states,
            tests,
            embeddings,
            head,
            reduced,
            width=width or -(-hidden // 32) * 32,
            seconds=seconds * _SHARES[task.kind] / whole / counts[task.kind],
            how=how,
            seed=seed,
            progress=lambda share, name=name: show(f"fit {name}", share),  # type: ignore[misc]
        )
        trained.append(one)
        say(_sentence(name, one, tests))
    note, made = described(trained, tests, manifest.architecture.layers)
    note = replace(
        note,
        vocabulary=len(reduced),
        tokens=len(states.tokens),
        seconds=round(time.monotonic() - began, 1),
        made_by=_versions(how),
    )
    return install(bundle, manifest, note, made, tables, head, reduced)


def described(
    trained: Sequence[Trained], tests: States, layers: int
) -> tuple[ExitsNote, list[tuple[GuesserNote, list[Network]]]]:
    """Say of networks what they reached on held-out text, and gather those that share a graph."""
    calibrating = tests.passage % 2 == 0
    exits = {one.task.cut: one.trial for one in trained if one.task.kind == "exit"}
    leaving = leaving_notes(exits, tests, layers)
    groups = [[one] for one in trained if one.task.kind != "parallel"]
    if together := [one for one in trained if one.task.kind == "parallel"]:
        groups.append(together)
    made = [(_note(group, calibrating), [one.network for one in group]) for group in groups]
    return ExitsNote(0, 0, len(tests.tokens), 0.0, {}, (), leaving), made


def held_out_states(bundle: Path, tokens: int, seed: int) -> States:
    """Draw text that answers other questions than those of `train_exits` with its default seed, and read it."""
    manifest = open_bundle(bundle)
    _, passages = _own_text(
        bundle, manifest, _MIN_TOKENS, None, None, seed, None, lambda stage, share: None, held_out=tokens
    )
    return _read(bundle, passages, None, None, lambda share: None)


class Embedded:
    """Rows of the embedding table, read once for the tokens that occur."""

    def __init__(self, tables: Tables, tokens: NDArray[np.int64]) -> None:
        self._used = np.unique(tokens)
        self._rows = tables.embeddings(self._used)

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        return self._rows[np.searchsorted(self._used, ids)]


def reduced_vocabulary(tokens: NDArray[np.int64], vocab: int, size: int) -> NDArray[np.int64]:
    """Return the tokens the model used most, filled up with the lowest ids, which merges made first."""
    counts = np.bincount(tokens, minlength=vocab)
    ranked = np.lexsort((np.arange(vocab), -counts))
    return np.sort(ranked[: min(size, vocab)]).astype(np.int64)


def _train(
    task: Task,
    states: States,
    tests: States,
    embeddings: Embeddings,
    head: Floats,
    vocabulary: NDArray[np.int64],
    *,
    width: int,
    seconds: float,
    how: str,
    seed: int,
    progress: Callable[[float], None],
) -> Trained:
    """Fit one network in every way that is wanted, and keep the one that agrees more at the first token."""
    found: list[Trained] = []
    if how != "gradient":
        rows = states.starts(max(task.ahead, 1)) if task.kind == "recurrent" else task.rows(states)
        source, ahead = task.source(states), 1 if task.kind == "recurrent" else task.ahead
        inputs: list[Callable[[NDArray[np.intp]], Floats]] = [lambda at: source[at].astype(np.float32)]
        if task.inputs == 2:
            inputs.append(lambda at: embeddings(states.tokens[at]))
        network = fit_linear(inputs, lambda at: states.features[at + ahead].astype(np.float32), rows)
        trial = try_out(task, network, tests, embeddings, head, vocabulary)
        found.append(Trained(task, network, "closed form", trial))
    if how != "closed-form":
        network = fit(
            task, states, embeddings, head, width=width, seconds=seconds, seed=seed, progress=progress
        )
        trial = try_out(task, network, tests, embeddings, head, vocabulary)
        found.append(Trained(task, network, "gradient", trial))
    found.sort(key=lambda one: one.trial.agreement[0], reverse=True)
    if len(found) == 1:
        return found[0]
    return replace(found[0], beaten=(found[1].fitted, found[1].trial.agreement))


def _note(group: Sequence[Trained], calibrating: NDArray[np.bool_]) -> GuesserNote:
    """Describe networks that share a graph; their confidence is calibrated on half of the held-out text."""
    first = group[0]
    stated, right = [], []
    for one in group:
        # Deeper guesses of a recurrent network are stated by it just so.
        chosen = calibrating[one.trial.rows]
        stated.append(one.trial.stated[0][chosen])
        right.append(one.trial.right[0][chosen])
    agreement = first.trial.agreement if len(group) == 1 else tuple(one.trial.agreement[0] for one in group)
    return GuesserNote(
        file="",
        kind=first.task.kind,
        cut=first.task.cut,
        fitted=", ".join(dict.fromkeys(one.fitted for one in group)),
        agreement=tuple(round(share, 4) for share in agreement),
        calibration=isotonic(np.concatenate(stated), np.concatenate(right)),
    )


def _own_text(
    bundle: Path,
    manifest: Manifest,
    tokens: int,
    questions: Sequence[str] | None,
    threads: int | None,
    seed: int,
    trust: TrustRecord | None,
    show: Progress,
    held_out: int | None = None,
) -> tuple[list[Passage], list[Passage]]:
    """Draw passages to train on, and others to hold out, that answer other questions."""
    tokenizer = Tokenizer.load(bundle / TOKENIZER, manifest.tokenizer)
    template = ChatTemplate.for_tokenizer(tokenizer)

    def encoded(texts: Iterator[str]) -> Iterator[list[int]]:
        return (encode_chat(tokenizer, template, [Message("user", text)]) for text in texts)

    drawn: list[list[Passage]] = []
    train, others = _questions(questions, seed)
    session = OnnxSession.open(bundle, trust=trust, threads=threads)
    try:
        for stage, texts, wanted in (
            ("draw text", train, tokens),
            ("draw held-out text", others, held_out or max(500, round(tokens * _HELD_OUT))),
        ):
            passages = draw_passages(
                session,
                encoded(texts),
                wanted,
                temperature=_TEMPERATURE,
                seed=seed + len(drawn),
                progress=lambda share, stage=stage: show(stage, share),  # type: ignore[misc]
            )
            drawn.append(list(passages))
    finally:
        session.close()
    return drawn[0], drawn[1]


def _read(
    bundle: Path,
    passages: Sequence[Passage],
    threads: int | None,
    trust: TrustRecord | None,
    progress: Callable[[float], None],
) -> States:
    session = OnnxSession.open(bundle, trust=trust, threads=threads, by_segment=True)
    try:
        return read_states(session, passages, progress)
    finally:
        session.close()


def _questions(own: Sequence[str] | None, seed: int) -> tuple[Iterator[str], Iterator[str]]:
    """Return questions to train on and others to hold out."""
    if own is None:
        asked: set[str] = set()

        def remembered() -> Iterator[str]:
            for text in prompts(seed):
                asked.add(text)
                yield text

        # Generators run when they are asked: by then all questions of the training text are known.
        return remembered(), (text for text in prompts(seed + 1_000_003) if text not in asked)
    if len(own) < 2:
        raise InvalidInput("Two questions are needed at least: one to train on, one to hold out.")
    every = max(2, round(1 / _HELD_OUT))
    held = [text for i, text in enumerate(own) if i % every == 1]
    kept = [text for i, text in enumerate(own) if i % every != 1]
    return _for_ever(kept), _for_ever(held)


def _for_ever(texts: Sequence[str]) -> Iterator[str]:
    while True:
        yield from texts


def _name(task: Task) -> str:
    if task.kind == "exit":
        return f"exit before layer {task.cut}"
    return task.kind if task.kind == "recurrent" else f"{task.kind} {task.ahead} ahead"


def _sentence(name: str, one: Trained, tests: States) -> str:
    shares = ", ".join(f"{share:.1%}" for share in one.trial.agreement)
    text = f"{name}: right at {shares} of {one.trial.positions} held-out positions ({one.fitted}"
    if one.beaten is not None:
        other, agreement = one.beaten
        text += f"; {other} {', '.join(f'{share:.1%}' for share in agreement)}"
    return f"{text}), confidence off by {_confidence_error(one.trial, tests):.1%}"


def _confidence_error(trial: Trial, tests: States) -> float:
    """Calibrate on every other held-out passage, and return the expected error on the rest."""
    calibrating = (tests.passage % 2 == 0)[trial.rows]
    stated, right = trial.stated[0], trial.right[0]
    return expected_error(
        stated[~calibrating], right[~calibrating], isotonic(stated[calibrating], right[calibrating])
    )


def _versions(how: str) -> dict[str, str]:
    packages = ["edgetts", "onnxruntime", "numpy"]
    if how != "closed-form" and importlib.util.find_spec("torch") is not None:
        packages.append("torch")
    return {name: version(name) for name in packages}
