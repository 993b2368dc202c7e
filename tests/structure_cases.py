"""Vocabularies of every kind, schemas like users', and a writer that draws from whatever is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from test_tokenizer import BYTE_LEVEL, NO_PREFIX, PREFIX

from edgetts.decoding.constraint import Constraint, Matcher
from edgetts.structure.compiler import Compiler
from edgetts.tokenizer import Tokenizer

SCHEMAS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "schemas.json").read_text(encoding="utf-8")
)
PADDING = 5
"""Logits beyond the tokenizer's tokens, as many models have some."""
TOKENIZERS = {"bytes": BYTE_LEVEL, "prefix": PREFIX, "no prefix": NO_PREFIX}


def compiler_of(tokenizer: Tokenizer) -> Compiler:
    return Compiler(tokenizer, tokenizer.vocab_size + PADDING, frozenset(tokenizer.facts.end_tokens))


COMPILERS = {name: compiler_of(tokenizer) for name, tokenizer in TOKENIZERS.items()}


def ends_of(tokenizer: Tokenizer) -> list[int]:
    return sorted(tokenizer.facts.end_tokens)


def spelt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a text in tokens of one byte each, which every vocabulary here has."""
    singles: dict[bytes, int] = {}
    for token in range(tokenizer.vocab_size):
        if not tokenizer.is_control(token):
            singles.setdefault(tokenizer.token_bytes(token), token)
    return [singles[bytes([byte])] for byte in text.encode()]


def accepts(constraint: Constraint, tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text is in the language: it may come, byte by byte, and end there."""
    tokens = [*spelt(tokenizer, text), ends_of(tokenizer)[0]]
    return constraint.start().prefix(tokens) == len(tokens)


def _in_string(text: bytes) -> bool:
    inside = escaped = False
    for byte in text:
        if escaped:
            escaped = False
        elif byte == ord("\\") and inside:
            escaped = True
        elif byte == ord('"'):
            inside = not inside
    return inside


def write(constraint: Constraint, tokenizer: Tokenizer, seed: int, most: int = 60) -> list[int]:
    """Draw tokens uniformly from those allowed, and after `most` of them what closes the JSON soonest."""
    rng = np.random.default_rng(seed)
    ends = set(ends_of(tokenizer))
    closing = {text: spelt(tokenizer, text)[0] for text in ']}"'}
    matcher: Matcher = constraint.start()
    tokens: list[int] = []
    text = b""
    while len(tokens) < 3000:
        allowed = matcher.allowed()
        assert allowed.shape == (tokenizer.vocab_size + PADDING,)
        assert not allowed[tokenizer.vocab_size :].any()
        choices = np.flatnonzero(allowed)
        may_end = [int(token) for token in choices if token in ends]
        assert may_end in ([], sorted(ends)), "all end tokens or none"
        if may_end and (len(tokens) > most or len(choices) == len(may_end)):
            return tokens
        token = int(rng.choice(choices))
        if len(tokens) > most or rng.random() < 0.2:
            wanted = '"' if _in_string(text) else "]}"
            token = next((closing[one] for one in wanted if allowed[closing[one]]), token)
        if token in ends:
            return tokens
        assert matcher.allows(token)
        matcher.take(token)
        tokens.append(token)
        text += tokenizer.token_bytes(token)
    raise AssertionError(f"it does not end: {text[:200]!r}")
