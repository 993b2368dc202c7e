"""What an NPU would answer: a static bundle compiled for chips and run by the vendor's emulator, beside the CPU.

    python benchmarks/npu.py STATIC.edge --source MODEL.gguf --cpu CPU.edge [--soc sm8550 --soc sm8650]
                             [--tokens 20] [--positions 200] [--question "..."]

The static bundle is one of `edgetts export MODEL.gguf --target qnn-htp`, CPU.edge one of `edgetts export MODEL.gguf`.
For each chip: the graphs are compiled ahead of time with operators on the CPU forbidden (bytes, seconds and peak memory
of the compiler); a chat question is answered greedily by the emulator, beside the CPU bundle's answer; then the CPU
bundle's longer answer is read by the emulator with its question (teacher forcing), and the first choices at the answer's
positions are compared with those of the source in float32, of the CPU bundle, and of the same static graphs on the
CPU provider. The emulator's seconds are printed so that one knows how long a run takes: they say nothing of a chip.
Needs the extra npu, x86-64 Linux. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from interleave import command, device
from numpy.typing import NDArray

from edgetts.bundle import TOKENIZER, read_manifest
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.decoding.session import Session
from edgetts.export.check import Divergence, reference_logits
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.static.compiling import compile_bundle
from edgetts.runtimes.npu import StaticSession
from edgetts.runtimes.onnx import OnnxSession
from edgetts.store.progress import ProgressLine
from edgetts.tokenizer import Tokenizer

Floats = NDArray[np.float32]
QUESTION = "Explain in a few sentences why the sky is blue, and why it is red in the evening."


@dataclass(frozen=True, slots=True)
class Row:
    """What one chip did. shares of positions with the same first choice; seconds are the emulator's."""

    soc: str
    arch: str
    megabytes: float
    compile_seconds: float
    peak_megabytes: float
    top1_source: float
    top1_cpu_bundle: float
    top1_same_graphs: float
    mean_kl_source: float
    perplexity_ratio: float
    tokens: int
    tokens_alike: int
    seconds_a_token: float
    seconds_a_pass: float
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="the checkpoint that both were made from")
    parser.add_argument("--cpu", type=Path, required=True, help="a bundle for the CPU")
    parser.add_argument("--soc", action="append", help="default: sm8550 and sm8650")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--positions", type=int, default=200)
    parser.add_argument("--question", default=QUESTION)
    arguments = parser.parse_args()

    tokenizer = Tokenizer.load(arguments.bundle / TOKENIZER, read_manifest(arguments.bundle).tokenizer)
    template = ChatTemplate.for_tokenizer(tokenizer)
    prompt = encode_chat(tokenizer, template, [Message("user", arguments.question)])
    cpu = OnnxSession.open(arguments.cpu)
    answer = greedy(cpu, prompt, arguments.positions, stop=False)
    text = [*prompt, *answer]
    print(f"{len(prompt)} tokens of a question, {len(answer)} of an answer on the CPU:")
    print(tokenizer.decode(answer[: arguments.tokens]))
    with open_checkpoint(arguments.source) as checkpoint:
        source = reference_logits(checkpoint, text, lambda share: None)[len(prompt) - 1 : -1]
    own = forced(cpu, prompt, answer)
    cpu.close()
    static = StaticSession.open(arguments.bundle, device="cpu")
    same = forced(static, prompt, answer)
    static.close()
    report("static graphs, CPU", Divergence.between(source, same, np.asarray(answer)))
    report("CPU bundle", Divergence.between(source, own, np.asarray(answer)))
    rows = []
    for soc in arguments.soc or ["sm8550", "sm8650"]:
        rows.append(on_chip(arguments, soc, tokenizer, prompt, answer, (source, own, same)))
        print(json.dumps(asdict(rows[-1])), file=sys.stderr, flush=True)
    print()
    names = [
        "soc",
        "MB",
        "compiled s",
        "peak MB",
        "source",
        "CPU bundle",
        "same graphs",
        "KL",
        "ppl ratio",
        "alike",
    ]
    print("  ".join(f"{name:>11}" for name in names))
    for row in rows:
        values = [
            f"{row.soc} {row.arch}",
            f"{row.megabytes:.1f}",
            f"{row.compile_seconds:.1f}",
            f"{row.peak_megabytes:.0f}",
            f"{row.top1_source:.1%}",
            f"{row.top1_cpu_bundle:.1%}",
            f"{row.top1_same_graphs:.1%}",
            f"{row.mean_kl_source:.5f}",
            f"{row.perplexity_ratio:.4f}",
            f"{row.tokens_alike}/{row.tokens}",
        ]
        print("  ".join(f"{value:>11}" for value in values))
    facts = {
        "command": command(),
        "device": device(),
        "onnxruntime-qnn": version("onnxruntime-qnn"),
        "positions": len(answer),
    }
    print(json.dumps({**facts, "rows": [asdict(row) for row in rows]}))


def on_chip(
    arguments: argparse.Namespace,
    soc: str,
    tokenizer: Tokenizer,
    prompt: list[int],
    answer: list[int],
    logits: tuple[Floats, Floats, Floats],
) -> Row:
    """Compile for a chip and let the emulator speak."""
    source, own, same = logits
    with tempfile.TemporaryDirectory(dir=arguments.bundle.resolve().parent) as scratch:
        copy = Path(scratch) / arguments.bundle.name
        shutil.copytree(arguments.bundle, copy)
        line = ProgressLine(sys.stderr)
        try:
            # The emulator opens no binaries whose weights are shared; what it computes is compared below.
            note = compile_bundle(copy, soc=soc, progress=line, share=False, check=False)
        finally:
            line.close()
        session = StaticSession.open(copy, device="npu", soc=soc)
        try:
            for remark in session.remarks:
                print(remark)
            began = time.perf_counter()
            emulated = forced(session, prompt, answer)
            passes = time.perf_counter() - began
            began = time.perf_counter()
            said = greedy(session, prompt, arguments.tokens)
            spoken = time.perf_counter() - began
        finally:
            session.close()
    words = tokenizer.decode(said)
    print(f"{soc}: {words}")
    against = Divergence.between(source, emulated, np.asarray(answer))
    alike = 0
    while alike < len(said) and said[alike] == answer[alike]:
        alike += 1
    return Row(
        soc=soc,
        arch=note.arch,
        megabytes=note.bytes / 1e6,
        compile_seconds=note.seconds,
        peak_megabytes=note.peak_bytes / 1e6,
        top1_source=against.agreements / against.positions,
        top1_cpu_bundle=agreement(own, emulated),
        top1_same_graphs=agreement(same, emulated),
        mean_kl_source=against.kl / against.positions,
        perplexity_ratio=ratio(against),
        tokens=len(said),
        tokens_alike=alike,
        seconds_a_token=spoken / max(1, len(said)),
        seconds_a_pass=passes,
        text=words,
    )


def greedy(session: Session, prompt: Sequence[int], most: int, *, stop: bool = True) -> list[int]:
    """Answer with the likeliest tokens. stop: at an end token; without, the next likeliest takes its place."""
    branch, logits = session.prefill(prompt)
    ends = sorted(session.info.end_tokens)
    said: list[int] = []
    while len(said) < most:
        row = logits.copy()
        if not stop:
            row[ends] = -np.inf
        said.append(int(row.argmax()))
        if said[-1] in session.info.end_tokens or len(said) == most:
            break
        logits = session.step([branch], said[-1:])[0]
    session.free(branch)
    return said


def forced(session: Session, prompt: Sequence[int], answer: Sequence[int]) -> Floats:
    """Return the logits [T, vocab] before each token of an answer that somebody else gave."""
    branch, first = session.prefill(prompt)
    logits = np.concatenate([first[None], session.extend(branch, answer[:-1])])
    session.free(branch)
    return logits


def agreement(one: Floats, other: Floats) -> float:
    """Return the share of positions with the same first choice."""
    return float((one.argmax(axis=-1) == other.argmax(axis=-1)).mean())


def ratio(found: Divergence) -> float:
    """Return the text's perplexity, relative to the reference's."""
    return float(np.exp((found.tested_nll - found.reference_nll) / found.positions))


def report(name: str, found: Divergence) -> None:
    print(
        f"{name} against the source in float32: same first choice {found.agreements / found.positions:.1%}, "
        f"mean KL {found.kl / found.positions:.5f} nats, perplexity times {ratio(found):.4f}"
    )


if __name__ == "__main__":
    main()
