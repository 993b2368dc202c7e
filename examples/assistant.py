"""Answer questions from a folder of texts, offline: find passages by BM25, show them to the model, name the source.

python examples/assistant.py "How high is the lighthouse of Orrin Point?"
python examples/assistant.py --folder NOTES --json "When does the ferry stay in the harbour?"
python examples/assistant.py                        a question a line, typed or piped; about examples/library

Needs the extra `search`. What all prompts begin with is read once: the instructions are the same for every question, and
passages come in the order of the library, not of their scores, so that questions about the same passages share more.
`cached` says how many tokens of a prompt were not read again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import edgetts
from edgetts.errors import InvalidInput, MissingExtra

LIBRARY = Path(__file__).resolve().parent / "library"
EXAMPLES = ("How high is the lighthouse of Orrin Point?", "Who conducts the miners' choir?")
SYSTEM = (
    "You answer questions from the passages that you are given, in one short sentence. Use nothing but the passages. "
    "If they do not hold the answer, say: I do not know."
)
UNKNOWN = "I do not know: nothing in the library is about that."
LARGEST = 1_000_000  # bytes of one text
WORDS = 120  # of a passage, where its paragraphs allow
# Share of what a question asks about, by how telling its words are, that a passage must speak of.
LEAST_COVERAGE = 0.5
_STOP = """a about all an and any are as at be been but by can could did do does each for from had has have how i if in
into is it its many may me much must my no not of on one or our shall she should so such than that the their them then
there these they this those to was we were what when where which who whom whose why will with would you your"""
STOP = frozenset(_STOP.split())


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text. title: the text's first line."""

    file: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """A passage, its BM25 score, and the share of the question's words, weighted, that it speaks of."""

    passage: Passage
    score: float
    coverage: float


def passages_of(file: str, text: str, words: int = WORDS) -> list[Passage]:
    """Split a text into passages of whole paragraphs, of about `words` words each."""
    title, _, body = text.strip().partition("\n")
    parts: list[str] = []
    for paragraph in (body or title).split("\n\n"):
        clean = " ".join(paragraph.split())
        if parts and len(parts[-1].split()) + len(clean.split()) <= words:
            parts[-1] = f"{parts[-1]} {clean}"
        elif clean:
            parts.append(clean)
    return [Passage(file, title.strip(), part) for part in parts]


def read_folder(folder: Path) -> list[Passage]:
    """Return the passages of all .txt and .md files of a folder, by name. Raises InvalidInput."""
    found: list[Passage] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".txt", ".md") or not path.is_file():
            continue
        try:
            if path.stat().st_size > LARGEST:
                raise InvalidInput(f"{path} is larger than {LARGEST:,} bytes.", hint="Split it, or move it away.")
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(f"{path} is not UTF-8 text.", hint="Convert it, or move it away.") from None
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
        found += passages_of(path.relative_to(folder).as_posix(), text)
    if not found:
        raise InvalidInput(f"There are no texts (.txt, .md) in {folder}.", hint="Name another folder.")
    return found


class Library:
    """Passages, and BM25 over them."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", "search") from None
        self.passages = passages
        self._split = bm25s.tokenization.Tokenizer(stopwords=list(STOP), stemmer=stem)
