"""Find the layers without which a model drafts best for itself, and write it without them (Draft & Verify).

Zhang et al., 2023, "Draft & Verify: Lossless Large Language Model Acceleration via Self-Speculative Decoding",
which skips attention and MLP of a layer apart; llama.cpp leaves out whole layers.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.checksum import sha256_of
from edgetts.decoding.session import Session
from edgetts.errors import InvalidInput
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.exits.own_text import Passage, draw_passages
from edgetts.export.exits.prompts import prompts
from edgetts.export.to_gguf import llamacpp
from edgetts.export.to_gguf.prune import layers_to_prune, spans
from edgetts.export.vocabulary import write_vocabulary
from edgetts.runtimes import open_session
from edgetts.store.records import read_json
from edgetts.tokenizer import Tokenizer

Progress = Callable[[str, float], None]

_WIDTHS = (1, 2, 3, 4, 5, 6, 8)
_LONGEST_DRAFT = 7
_REPEATS = 7
_LEAST_MINUTES = 0.05
# Of the layers, what first guesses leave out of the middle.
_FIRST_SHARES = (0.15, 0.3, 0.45, 0.6, 0.75)
# A text's tokens in one pass while a candidate reads it.
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Trial:
    """A drafter without some layers: how often it is right, what a guess costs, and what follows.

    agreement: share of tokens it guesses as the whole model. cost: a step of it, in steps of the whole model.
    length: of the drafts that promise most. gain: speed with them over plain decoding; below 1 it loses.
    """

    layers: tuple[int, ...]
    agreement: float
    cost: float
    length: int
    gain: float


@dataclass(frozen=True, slots=True)
class Drafter:
    """A drafter that was written, the trials that led to it, and t(w) / t(1) of the whole model."""

    path: Path
    best: Trial
    trials: tuple[Trial, ...]
    curve: dict[int, float]


def find_drafter(
    source: Path,
    destination: Path,
    *,
    minutes: float = 3.0,
    tokens: int = 1500,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Drafter:
    """Search for `minutes` for the layers to leave out of a GGUF file, and write the best drafter there was.

    It is judged on `tokens` tokens that the model itself writes, by the tokens a second that its agreement and
    the measured times promise on this device. Trials are kept beside `destination`, in NAME.search.json: a
    search that was interrupted goes on from there. Raises InvalidInput, MissingExtra, ModelFileError, StorageError.
    """
    llamacpp.need_llamacpp()
    if not source.is_file():
        raise InvalidInput(f"{source} is no GGUF file.", hint="Make one first: edgetts export DIR --to gguf")
    if not minutes >= _LEAST_MINUTES:
        raise InvalidInput(f"The search may take {minutes} minutes, but it needs {_LEAST_MINUTES} at least.")
    show = progress or (lambda stage, share: None)
    scratch = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    scratch.mkdir(parents=True)
    try:
        with open_checkpoint(source) as checkpoint:
            arch = checkpoint.architecture
        if arch.layers < 2:
            raise InvalidInput("The model has one layer: there is none to leave out.")
        settings = {} if threads is None else {"threads": threads}
        whole = open_session("llamacpp", source, **settings)
        try:
            passages = _own_text(whole, source, scratch, tokens, seed, lambda share: show("draw text", share))
            curve = _curve(whole, passages[0])
        finally:
            whole.close()
        record = destination.with_name(f"{destination.stem}.search.json")
        digest = sha256_of(source)
        trials = _kept(record, digest)
        search = _Search(source, scratch, passages, curve, settings)
        ends = time.monotonic() + 60 * minutes
        random = np.random.default_rng(seed + len(trials))
        while time.monotonic() < ends or not trials:
            layers = _next(arch.layers, trials, random)
            if layers is None:
                break
            try:
                chosen = layers_to_prune(arch, layers)
            except InvalidInput:
                trials[layers] = Trial(layers, 0.0, 1.0, 1, 0.0)  # llama.cpp would mistake what is left
                continue
            trials[layers] = search.trial(chosen)
            _keep(record, digest, trials)
            show("search", min(1.0, 1 - (ends - time.monotonic()) / (60 * minutes)))
        best = max(trials.values(), key=lambda trial: trial.gain)
        finished = search.prune(best.layers, {"edgetts.pruned_layers": spans(best.layers)})
        finished.replace(destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    one = curve[1]
    return Drafter(
        destination, best, tuple(trials.values()), {width: seconds / one for width, seconds in curve.items()}
    )


class _Search:
    """Try drafters of one model on one text."""

    def __init__(
        self,
        source: Path,
        scratch: Path,
        passages: Sequence[Passage],
        curve: dict[int, float],
        settings: dict[str, int],
    ) -> None:
        self._source, self._scratch = source, scratch
        self._passages, self._curve, self._settings = passages, curve, settings

    def prune(self, layers: Sequence[int], texts: dict[str, str] | None = None) -> Path:
        output = self._scratch / "drafter.gguf"
        output.unlink(missing_ok=True)
        llamacpp.quantise(self._source, output, None, prune=layers, texts=texts)
        return output

    def trial(self, layers: tuple[int, ...]) -> Trial:
        file = self.prune(layers)
        session = open_session("llamacpp", file, trusted=True, **self._settings)
        try:
            hits = [_hits(session, passage) for passage in self._passages]
            seconds = _step_seconds(session, self._passages[0])
        finally:
            session.close()
        length, gain = best_length(hits, self._curve, seconds)
        share = float(np.concatenate(hits).mean())
        return Trial(layers, round(share, 4), round(seconds / self._curve[1], 4), length, round(gain, 4))


def best_length(
    hits: Sequence[NDArray[np.bool_]], curve: dict[int, float], guess: float
) -> tuple[int, float]:
    """Return the draft length that promises most, and the speed with it over plain decoding.

    hits: by text, whether each token is guessed right where those before it are known. curve: seconds of a
    pass by its width. guess: seconds of one guess.
    """
    widths, times = zip(*sorted(curve.items()), strict=True)
    runs = np.concatenate([_runs(one) for one in hits])
    best = (1, 0.0)
    for length in range(1, _LONGEST_DRAFT + 1):
        expected = 1 + float(np.minimum(runs, length).mean())
        seconds = float(np.interp(1 + length, widths, times)) + length * guess
        best = max(best, (length, expected * times[0] / seconds), key=lambda one: one[1])
    return best


def _runs(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many guesses in a row are right from each position on."""
    runs = np.zeros(len(hits) + 1, np.int64)
    for at in range(len(hits) - 1, -1, -1):
        runs[at] = runs[at + 1] + 1 if hits[at] else 0
    return runs[:-1]


def _own_text(
    session: Session, source: Path, scratch: Path, tokens: int, seed: int, show: Callable[[float], None]
) -> list[Passage]:
    facts = write_vocabulary(source, scratch)
    tokenizer = Tokenizer.load(scratch / TOKENIZER, facts)
    template = ChatTemplate.for_tokenizer(tokenizer)

    def encoded() -> Iterator[list[int]]:
        return (encode_chat(tokenizer, template, [Message("user", text)]) for text in prompts(seed))

    return list(draw_passages(session, encoded(), tokens, temperature=0.0, seed=seed, progress=show))


def _hits(session: Session, passage: Passage) -> NDArray[np.bool_]:
    """Return for each token of a passage whether the session would have drawn it."""
    branch, logits = session.prefill(passage.prompt)
    guesses = [np.asarray([logits.argmax()])]
    text = passage.tokens[:-1]
    for at in range(0, len(text), _CHUNK):
        guesses.append(session.extend(branch, text[at : at + _CHUNK]).argmax(axis=-1))
    session.free(branch)
    return np.asarray(np.concatenate(guesses) == np.asarray(passage.tokens))


def _step_seconds(session: Session, passage: Passage) -> float:
    branch, _ = session.prefill(passage.prompt)
    times = []
    for token in passage.tokens[: 2 * _REPEATS] * 2:
        began = time.perf_counter()
        session.step([branch], [token])
        times.append(time.perf_counter() - began)
    session.free(branch)
    return statistics.median(times)


def _curve(session: Session, passage: Passage) -> dict[int, float]:
    """Time passes of one branch by their width, in turns."""
    branch, _ = session.prefill(passage.prompt)
    times: dict[int, list[float]] = {width: [] for width in _WIDTHS}
    token = passage.tokens[0]
    for _ in range(_REPEATS):
        for width in _WIDTHS:
            began = time.perf_counter()
            session.extend(branch, [token] * width)
            times[width].append(time.perf_counter() - began)
            session.truncate(branch, len(passage.prompt))
    session.free(branch)
    return {width: statistics.median(seconds) for width, seconds in times.items()}


def _next(
    layers: int, trials: dict[tuple[int, ...], Trial], random: np.random.Generator
) -> tuple[int, ...] | None:
    """Return layers to leave out that were not tried: runs in the middle, then neighbours of the best."""
    for share in _FIRST_SHARES:
        count = min(layers - 1, max(1, round(share * layers)))
        first = (layers - count) // 2
        if (chosen := tuple(range(first, first + count))) not in trials:
            return chosen
    for trial in sorted(trials.values(), key=lambda one: one.gain, reverse=True):
        out = set(trial.layers)
        neighbours = [out ^ {layer} for layer in range(layers)]
        neighbours += [out - {gone} | {more} for gone in out for more in range(layers) if more not in out]
        new = [
            n for n in (tuple(sorted(one)) for one in neighbours) if 0 < len(n) < layers and n not in trials
        ]
        if new:
            return new[int(random.integers(len(new)))]
    return None


def _keep(record: Path, digest: str, trials: dict[tuple[int, ...], Trial]) -> None:
    draft = record.with_name(f".{record.name}.{os.getpid()}.partial")
    body = {"source": digest, "trials": [asdict(trial) for trial in trials.values()]}
    draft.write_text(json.dumps(body), encoding="utf-8")
    draft.replace(record)


def _kept(record: Path, digest: str) -> dict[tuple[int, ...], Trial]:
    """Return the trials of an earlier search of the same file; none where there was none, or it is damaged."""
    try:
        body = read_json(record)
        if body["source"] != digest:
            return {}
        found = [Trial(**{**one, "layers": tuple(map(int, one["layers"]))}) for one in body["trials"]]
        return {trial.layers: trial for trial in found if 0 <= float(trial.gain) < 100}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
