"""Write tokenizer_golden.json from the reference implementations; run by hand, not by the tests.

    pip install tiktoken regex sentencepiece protobuf llama-cpp-python
    python tests/data/tokenizer_golden.py SMOLLM2.gguf

It holds tiny vocabularies trained here (byte-level BPE; two SentencePiece models) and, for every
pre-tokenizer, what tiktoken, SentencePiece or llama.cpp make of tokenizer_lines.py: the SHA-256 of the
ids of all 1,000 lines, and the ids of the lines written by hand.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import runpy
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LINES_MODULE = runpy.run_path(str(HERE / "tokenizer_lines.py"))
LINES: list[str] = LINES_MODULE["lines"]()
WRITTEN = len(LINES_MODULE["WRITTEN"])

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PATTERNS = {
    "llama-bpe": LLAMA3,
    "qwen2": LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),
    "tekken": TEKKEN,
    "gpt-2": GPT2,
}
WHOLE_WORD = b" HTTPServer"
"""A token that no merges lead to: llama-bpe and tekken take it all the same."""


def golden(encode: Callable[[str], list[int]]) -> dict[str, Any]:
    ids = [encode(line) for line in LINES]
    digest = hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()
    return {"sha256": digest, "written": ids[:WRITTEN]}


def train_byte_level(merges: int) -> list[tuple[bytes, bytes]]:
    import regex

    words = Counter(word.encode() for line in LINES for word in regex.findall(LLAMA3, line))
    split = {word: [bytes([b]) for b in word] for word in words}
    learned = []
    for _ in range(merges):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in split.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        for word, parts in split.items():
            merged, at = [], 0
            while at < len(parts):
                width = 2 if tuple(parts[at : at + 2]) == best else 1
                merged.append(b"".join(parts[at : at + width]))
                at += width
            split[word] = merged
    return learned


def byte_level() -> dict[str, Any]:
    import tiktoken

    merges = train_byte_level(600)
    tokens = list(
        dict.fromkeys([*(bytes([b]) for b in range(256)), *(left + right for left, right in merges)])
    )
    result: dict[str, Any] = {"merges": [[left.hex(), right.hex()] for left, right in merges]}
    result["tokens"] = [token.hex() for token in [*tokens, WHOLE_WORD]]
    for pre, pattern in PATTERNS.items():
        known = [*tokens, WHOLE_WORD] if pre in ("llama-bpe", "tekken") else tokens
        ranks = {token: rank for rank, token in enumerate(known)}
        encoding = tiktoken.Encoding(pre, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

        def encode(line: str, pre: str = pre, encoding: Any = encoding) -> list[int]:
            return encoding.encode(unicodedata.normalize("NFC", line) if pre == "qwen2" else line)  # type: ignore[no-any-return]

        result[pre] = golden(encode)
    return result


def sentencepiece(**options: Any) -> dict[str, Any]:
    import sentencepiece as spm
    from sentencepiece import sentencepiece_model_pb2

    with tempfile.TemporaryDirectory() as folder:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(
                line for i, line in enumerate(LINES) if (i - WRITTEN) % 7 < 4 and "\x00" not in line
            ),
            model_prefix=f"{folder}/tiny",
            model_type="bpe",
            vocab_size=1200,
            byte_fallback=True,
            character_coverage=0.98,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            minloglevel=2,
            **options,
        )
        data = Path(folder, "tiny.model").read_bytes()
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(data)
    processor = spm.SentencePieceProcessor(model_proto=data)
    return {
        "tokens": [piece.piece for piece in model.pieces],
        "scores": [round(piece.score, 3) for piece in model.pieces],
        "types": [piece.type for piece in model.pieces],
        **golden(processor.encode),
    }


def llama_cpp(path: str) -> dict[str, Any]:
    from llama_cpp import Llama

    model = Llama(path, vocab_only=True, verbose=False)
    return golden(lambda line: list(model.tokenize(line.encode(), add_bos=False, special=False)))


def main() -> None:
    made = {
        "byte_level": byte_level(),
        "sentencepiece": {
            "prefix": sentencepiece(add_dummy_prefix=True),
            "no_prefix": sentencepiece(
                add_dummy_prefix=False,
                user_defined_symbols=[
                    "\n",
                    "\n\n",
                    "\n\n\n",
                    "\t",
                    "\u2581\u2581",
                    "\u2581\u2581\u2581",
                    "<b>",
                ],
            ),
        },
        "smollm2": llama_cpp(sys.argv[1]),
    }
    (HERE / "tokenizer_golden.json").write_text(
        json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
