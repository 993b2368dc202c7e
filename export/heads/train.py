"""Train draft heads for a bundle and put them into it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgetts.bundle import MANIFEST, TOKENIZER, HeadsNote, Manifest, TrustRecord, open_bundle, write_manifest
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.errors import InvalidInput
from edgetts.export.heads.fit import Agreement, Windows, fit, import_torch, reduced_vocabulary
from edgetts.export.heads.network import heads_model
from edgetts.export.heads.own_text import Passage, draw_passages
from edgetts.export.heads.prompts import prompts
from edgetts.export.heads.tables import Tables
from edgetts.runtimes.onnx import OnnxSession
from edgetts.tokenizer import Tokenizer

Progress = Callable[[str, float], None]

VOCABULARY = 8192
_HELD_OUT = 1 / 16
_TEMPERATURE = 0.6
_EPOCHS = 1000  # the time allowed ends it
_MIN_TOKENS = 1000


def train_heads(
    bundle: Path,
    *,
    tokens: int = 150_000,
    seconds: float = 900.0,
    width: int | None = None,
    vocabulary: int = VOCABULARY,
    questions: Sequence[str] | None = None,
    threads: int | None = None,
    seed: int = 0,
    trust: TrustRecord | None = None,
    progress: Progress | None = None,
) -> HeadsNote:
    """Draw `tokens` tokens of the model's own text, fit heads to them, and write them into the bundle.

    seconds: of fitting; drawing the text comes before. width: of the network's inner layer, None is
    about the hidden size. vocabulary: tokens that a guess may be. questions: what the text answers;
    None is a built-in set. Heads already there are replaced, when the new ones are complete. Raises
    MissingExtra, InvalidInput, and what opening a bundle raises.
    """
    import_torch()
    if tokens < _MIN_TOKENS:
        raise InvalidInput(
            f"{tokens} tokens are too few to train on.", hint=f"Take at least {_MIN_TOKENS:,}."
        )
    if not seconds > 0:
        raise InvalidInput(f"The time to fit is {seconds} s, but it must be greater than zero.")
    tell = progress or (lambda stage, share: None)
    manifest = open_bundle(bundle, trust=trust)
    arch = manifest.architecture
    tokenizer = Tokenizer.load(bundle / TOKENIZER, manifest.tokenizer)
    template = ChatTemplate.for_tokenizer(tokenizer)

    def encoded(texts: Iterator[str]) -> Iterator[list[int]]:
        return (encode_chat(tokenizer, template, [Message("user", text)]) for text in texts)

    train, held_out = _questions(questions, seed)
    session = OnnxSession.open(bundle, trust=trust, threads=threads)
    try:
        drawn: list[list[Passage]] = []
        for stage, texts, wanted in (
            ("draw text", train, tokens),
            ("draw held-out text", held_out, round(tokens * _HELD_OUT)),
        ):
            passages = draw_passages(
                session,
                encoded(texts),
                wanted,
                temperature=_TEMPERATURE,
                seed=seed + len(drawn),
                progress=lambda share, stage=stage: tell(stage, share),  # type: ignore[misc]
            )
            drawn.append(list(passages))
    finally:
        session.close()
    tables = Tables(bundle)
    reduced = reduced_vocabulary(drawn[0], arch.vocab, vocabulary)
    rows = tables.head_rows(reduced, arch.hidden)
    began = time.monotonic()
    heads, agreement = fit(
        Windows(drawn[0]),
        Windows(drawn[1]),
        tables.embeddings,
        rows,
        reduced,
        width=width or -(-arch.hidden // 32) * 32,
        epochs=_EPOCHS,
        seconds=seconds,
        seed=seed,
        progress=lambda share, loss: tell("fit", share),
    )
    spent = round(time.monotonic() - began, 1)
    drawn_tokens = sum(len(p.tokens) for p in drawn[0])
    return install_heads(
        bundle, manifest, heads_model(heads, tables, rows), len(reduced), drawn_tokens, spent, agreement
    )


def install_heads(
    bundle: Path,
    manifest: Manifest,
    graph: bytes,
    vocabulary: int,
    tokens: int,
    seconds: float,
    agreement: Agreement,
) -> HeadsNote:
    """Write the graph beside the others, then a manifest that names it: at every moment the bundle is whole."""
    digest = hashlib.sha256(graph).hexdigest()
    note = HeadsNote(
        file=f"heads-{digest[:12]}.onnx",
        vocabulary=vocabulary,
        tokens=tokens,
        seconds=seconds,
        positions=agreement.positions,
        agreement=tuple(round(share, 4) for share in agreement.by_depth),
    )
    old = manifest.heads.file if manifest.heads is not None else None
    files = {name: sha for name, sha in manifest.files.items() if name != old}
    draft = bundle / f".{note.file}.{os.getpid()}.partial"
    try:
        draft.write_bytes(graph)
        draft.replace(bundle / note.file)
    finally:
        draft.unlink(missing_ok=True)
    _replace_manifest(bundle, replace(manifest, heads=note, files={**files, note.file: digest}))
    if old is not None and old != note.file:
        (bundle / old).unlink(missing_ok=True)
    return note


def _replace_manifest(bundle: Path, manifest: Manifest) -> None:
    scratch = bundle / f".manifest.{os.getpid()}.partial"
    scratch.mkdir()
    try:
        write_manifest(scratch, manifest)
        (scratch / MANIFEST).replace(bundle / MANIFEST)
    finally:
        (scratch / MANIFEST).unlink(missing_ok=True)
        scratch.rmdir()


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
