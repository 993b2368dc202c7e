"""What quantisation costs: bundles beside their source in float32, on prose or on the model's own chats.

    python benchmarks/fidelity.py SOURCE.gguf [--modes keep,int4,rtn4] [--tokens 2000] [--exact]
    python benchmarks/fidelity.py SOURCE.gguf --chats
    python benchmarks/fidelity.py SOURCE.gguf --llama Q4_0.gguf Q4_K_M.gguf

The reference is the NumPy decoder on the source's dequantised weights. `rtn4` is plain rounding to the
nearest of 16 symmetric levels in blocks of 32, for all matrices: the yardstick of int4. `--exact` runs
every bundle a second time with activations in float32, where only the weights' rounding is left.
`--chats`: texts are answers that the bundle of `keep` draws at temperature 0.7, with their questions, which is
what a model reads and writes in use; prose that it would not write itself is harder. `--llama` takes quantisations of the same source, run by llama-cpp-python, which must be importable.
MB are those of the matrices alone, without norms, tables and tokenizer. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import gguf
import numpy as np
import onnx
import tokenizers
from interleave import command, device
from numpy.typing import NDArray

from edgetts.bundle import MODEL, TOKENIZER, read_manifest, write_manifest
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.checksum import sha256_of
from edgetts.export import convert
from edgetts.export.check import Divergence, reference_logits
from edgetts.export.checkpoint import Checkpoint, open_checkpoint
from edgetts.export.exits.own_text import draw_passages
from edgetts.export.exits.prompts import prompts
from edgetts.export.quantize import nearest, relative_error
from edgetts.export.schemes import QUANTIZE_MODES, Stored, integer
from edgetts.export.tokenizer import tokenizer_from_gguf
from edgetts.runtimes.onnx import OnnxSession
from edgetts.tokenizer import Tokenizer

Floats = NDArray[np.float32]
Logits = Iterator[Floats]

ROUNDED = "rtn4"
TEXT = Path(__file__).with_name("fidelity_text.txt")
STEP = 32


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One row of the table. bytes: of the matrices; mean_kl in nats; seconds: of the conversion."""

    mode: str
    bytes: int
    mean_kl: float
    top1: float
    perplexity_ratio: float
    seconds: float | None = None


class RoundToNearest:
    """Every matrix in 4 symmetric bits, blocks of 32."""

    notes: tuple[str, ...] = ()

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def quantize(self, name: str) -> Stored:
        weights = self._checkpoint.load(name)
        affine = nearest(weights, 4, 32)
        return integer(self._checkpoint, name, affine, relative_error(weights, affine))


@contextmanager
def scheme_of(mode: str) -> Iterator[str]:
    """Make `convert` round to nearest where that is asked for; it offers no such mode itself."""
    if mode != ROUNDED:
        yield mode
        return
    module = importlib.import_module("edgetts.export.convert")
    with mock.patch.object(module, "make_scheme", lambda mode, checkpoint, *rest: RoundToNearest(checkpoint)):
        yield "int4"


def tokenizer_of(checkpoint: Checkpoint) -> tokenizers.Tokenizer:
    if checkpoint.directory is None:
        return tokenizer_from_gguf(checkpoint.metadata)
    return tokenizers.Tokenizer.from_file(str(checkpoint.directory / TOKENIZER))


def compare(
    label: str,
    nbytes: int,
    references: Sequence[Floats],
    logits_of: Callable[[Sequence[int]], Logits],
    texts: Sequence[Sequence[int]],
) -> Fidelity:
    total, positions, predicted = Divergence(), 0, 0
    for reference, tokens in zip(references, texts, strict=True):
        at = 0
        for logits in logits_of(tokens):
            following = np.asarray(tokens[at + 1 : at + 1 + len(logits)], np.int64)
            total += Divergence.between(reference[at : at + len(logits)], logits, following)
            at += len(logits)
        assert at == len(tokens)
        positions += at
        predicted += at - 1
    ratio = math.exp((total.tested_nll - total.reference_nll) / predicted)
    return Fidelity(label, nbytes, total.kl / positions, total.agreements / positions, ratio)


def bundle_logits(session: OnnxSession, tokens: Sequence[int]) -> Logits:
    branch, first = session.prefill(tokens[:1])
    yield first[None]
    for at in range(1, len(tokens), STEP):
        yield session.extend(branch, tokens[at : at + STEP])
    session.free(branch)


def own_chats(source: Path, most: int) -> list[list[int]]:
    """Return questions with the answers that the model draws, `most` tokens in all or a few more."""
    with tempfile.TemporaryDirectory() as directory:
        bundle = convert(source, Path(directory) / "model.edge", quantize="keep", context=1024)
        tokenizer = Tokenizer.load(bundle / TOKENIZER, read_manifest(bundle).tokenizer)
        template = ChatTemplate.for_tokenizer(tokenizer)
        asked: list[list[int]] = []

        def questions() -> Iterator[list[int]]:
            for text in prompts(seed=5):
                asked.append(encode_chat(tokenizer, template, [Message("user", text)]))
                yield asked[-1]

        session = OnnxSession.open(bundle)
        try:
            drawn = draw_passages(session, questions(), most, temperature=0.7, seed=5)
            answers = sorted(drawn, key=lambda passage: passage.index)
        finally:
            session.close()
    chats, total = [], 0
    for answer in answers:
        chats.append([*asked[answer.index], *answer.tokens.tolist()])
        total += len(chats[-1])
        if total >= most:
            break
    return chats


def take_float_activations(bundle: Path) -> None:
    """Rewrite a bundle's graph to multiply with unrounded activations, as no user would: it is slow."""
    path = bundle / MODEL
    graph = onnx.load(str(path), load_external_data=False)
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    path.write_bytes(graph.SerializeToString())
    manifest = read_manifest(bundle)
    write_manifest(bundle, replace(manifest, files={**manifest.files, MODEL: sha256_of(path)}))


def llama_logits(model: Any, tokens: Sequence[int]) -> Logits:
    model.reset()
    model.eval(list(tokens))
    for at in range(0, len(tokens), STEP):
        yield np.asarray(model.scores[at : min(at + STEP, len(tokens))], np.float32)


def measure(
    source: Path, text: str | None, most: int, modes: Sequence[str], llama: Sequence[Path], exact: bool
) -> tuple[list[Fidelity], dict[str, Any]]:
    rows: list[Fidelity] = []
    texts = own_chats(source, most) if text is None else []
    with open_checkpoint(source) as checkpoint:
        if text is not None:
            texts = [tokenizer_of(checkpoint).encode(text, add_special_tokens=False).ids[:most]]
        references = [reference_logits(checkpoint, tokens, lambda share: None) for tokens in texts]
        picked = np.concatenate(
            [
                reference[np.arange(len(tokens) - 1), tokens[1:]]
                - np.logaddexp.reduce(reference[:-1], axis=-1)
                for reference, tokens in zip(references, texts, strict=True)
            ]
        )
        facts = {
            "texts": len(texts),
            "tokens": sum(map(len, texts)),
            "perplexity": round(math.exp(-float(picked.mean())), 3),
        }
    longest = max(map(len, texts))

    def add(row: Fidelity) -> None:
        rows.append(row)
        print(f"  {row.mode}: KL {row.mean_kl:.5f}", file=sys.stderr)

    def tested(label: str, nbytes: int, bundle: Path) -> Fidelity:
        session = OnnxSession.open(bundle)
        try:
            return compare(label, nbytes, references, partial(bundle_logits, session), texts)
        finally:
            session.close()

    for mode in modes:
        with tempfile.TemporaryDirectory() as directory, scheme_of(mode) as scheme:
            bundle = Path(directory) / "model.edge"
            start = time.perf_counter()
            convert(source, bundle, quantize=scheme, context=longest)
            seconds = round(time.perf_counter() - start, 1)
            nbytes = sum(note.bytes for note in read_manifest(bundle).tensors.values())
            add(replace(tested(mode, nbytes, bundle), seconds=seconds))
            if exact:
                take_float_activations(bundle)
                add(tested(f"{mode}, float activations", nbytes, bundle))
    for path in llama:
        from llama_cpp import Llama

        nbytes = sum(int(t.n_bytes) for t in gguf.GGUFReader(path).tensors if len(t.shape) == 2)
        model = Llama(str(path), n_ctx=longest, n_batch=512, logits_all=True, verbose=False)
        add(compare(f"llama.cpp {path.stem}", nbytes, references, partial(llama_logits, model), texts))
        model.close()
    return rows, facts


def print_table(rows: Sequence[Fidelity]) -> None:
    plain = next((row for row in rows if row.mode == ROUNDED), None)
    width = max(len(row.mode) for row in rows) + 2
    print(
        f"{'':{width}}{'MB':>8}  {'mean KL':>8}  {'top-1':>6}  {'perplexity':>10}  beside {ROUNDED}: MB, KL"
    )
    for row in rows:
        line = f"{row.mode:{width}}{row.bytes / 1e6:>8.1f}  {row.mean_kl:>8.5f}  {row.top1:>6.1%}"
        line += f"  {'x':>3}{row.perplexity_ratio:<7.4f}"
        if plain is not None:
            line += f"  {'x':>9}{row.bytes / plain.bytes:.3f}, x{row.mean_kl / plain.mean_kl:.3f}"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a GGUF file or a Hugging Face directory")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--chats", action="store_true", help="the model's own chats instead of a text")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--modes", default=f"keep,int4,int8,{ROUNDED}")
    parser.add_argument("--exact", action="store_true", help="also with activations in float32")
    parser.add_argument("--llama", type=Path, nargs="+", default=[], help="GGUF files of the same source")
    arguments = parser.parse_args()
    modes = [mode for mode in arguments.modes.split(",") if mode]
    if unknown := set(modes) - {*QUANTIZE_MODES, ROUNDED}:
        parser.error(f"unknown modes: {', '.join(sorted(unknown))}")
    rows, facts = measure(
        arguments.source,
        None if arguments.chats else arguments.text.read_text(encoding="utf-8"),
        arguments.tokens,
        modes,
        arguments.llama,
        arguments.exact,
    )
    print(
        f"{arguments.source.name}: {facts['tokens']} tokens in {facts['texts']} texts, perplexity of the reference {facts['perplexity']}"
    )
    print_table(rows)
    versions = {name: version(name) for name in ("edgetts", "onnxruntime", "numpy")}
    if arguments.llama:
        versions["llama-cpp-python"] = version("llama_cpp_python")
    body = {"benchmark": "fidelity", "command": command(), "device": device(), "versions": versions}
    results = [asdict(row) for row in rows]
    print(json.dumps(body | {"source": arguments.source.name, "text": facts, "results": results}))


if __name__ == "__main__":
    main()
