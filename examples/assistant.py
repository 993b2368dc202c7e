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
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import edgetts
from edgetts.errors import InvalidInput, MissingExtra

LIBRARY = Path(__file__).resolve().parent / "library"
EXAMPLES = ("How high is the lighthouse of Orrin Point?", "Who conducts the miners' choir?")
SYSTEM = "You are a helpful assistant. You answer questions about a text in one short sentence, with words of the text."
UNKNOWN = "I do not know: nothing in the library is about that."
DOUBTFUL = "I do not know. What the model says is not from the texts: "
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

    @property
    def spoken(self) -> str:
        return f"{self.title} {self.text}"

    @property
    def terms(self) -> frozenset[str]:
        return frozenset(terms(self.spoken))


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and its place in the library, its BM25 score, and the share of the question's words that it speaks of."""

    passage: Passage
    place: int
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
                raise InvalidInput(
                    f"{path} is larger than {LARGEST:,} bytes.", hint="Split it, or move it away."
                )
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(f"{path} is not UTF-8 text.", hint="Convert it, or move it away.") from None
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
        found += passages_of(path.relative_to(folder).as_posix(), text)
    if not found:
        raise InvalidInput(f"There are no texts (.txt, .md) in {folder}.", hint="Name another folder.")
    return found


def terms(text: str) -> list[str]:
    """Return the words of a text that tell something, in lower case, plurals as singulars."""
    words = re.findall(r"\w+", text.lower().replace("'s", "").replace("\u2019s", ""))
    return [_singular(word) for word in words if word not in STOP]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word


class Library:
    """Passages, and BM25 over them. Raises MissingExtra; InvalidInput where no passage says anything."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", "search") from None
        spoken = [terms(passage.spoken) for passage in passages]
        if not any(spoken):
            raise InvalidInput("The texts hold no words to search for.")
        self.passages = passages
        self._with = Counter(word for passage in passages for word in passage.terms)
        self._index = bm25s.BM25()
        self._index.index(spoken, show_progress=False)

    def find(self, question: str, most: int) -> list[Found]:
        """Return the passages that fit best, the best first, and none that shares no word with the question."""
        asked = terms(question)
        if not asked:
            return []
        scores = self._index.get_scores(asked)
        best = sorted(range(len(self.passages)), key=lambda at: -scores[at])[:most]
        return [
            Found(self.passages[at], at, float(scores[at]), self.coverage(asked, self.passages[at].terms))
            for at in best
            if scores[at] > 0
        ]

    def coverage(self, words: Sequence[str], held: frozenset[str]) -> float:
        """Return the share of words that are `held`, each counted by how few passages have it; 1 without words."""
        worth = {word: math.log(1 + len(self.passages) / (self._with[word] or 0.5)) for word in words}
        return sum(worth[word] for word in held & worth.keys()) / sum(worth.values()) if worth else 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the assistant says. known: whether it found an answer. quote: the sentence of them that speaks most
    of it. sources: the passages shown, the one that speaks most of question and answer first.
    """

    question: str
    answer: str
    known: bool
    quote: str = ""
    sources: tuple[Found, ...] = ()
    usage: edgetts.Usage | None = None


class Assistant:
    """Answers from a library. shown: passages that the model sees at most."""

    def __init__(
        self, engine: edgetts.Engine, library: Library, *, shown: int = 2, max_tokens: int = 60
    ) -> None:
        self._engine, self._library, self._shown = engine, library, shown
        self._sampling = edgetts.SamplingParams(max_tokens=max_tokens)

    def ask(self, question: str) -> Reply:
        library = self._library
        found = library.find(question, self._shown)
        if not found or max(one.coverage for one in found) < LEAST_COVERAGE:
            # Asked all the same, a model would make something up.
            return Reply(question, UNKNOWN, known=False)
        # A passage that fits much worse than another would only distract the model.
        found = [one for one in found if one.score >= found[0].score / 2]
        found.sort(key=lambda one: one.place)
        text = "\n\n".join(one.passage.text for one in found)
        prompt = f"Text:\n{text}\n\nUse the text to answer: {question}"
        answer = self._engine.answer(prompt, system=SYSTEM, sampling=self._sampling)
        said = " ".join(answer.text.split())
        found.sort(key=lambda one: -library.coverage(terms(f"{question} {said}"), one.passage.terms))
        held = frozenset().union(*(one.passage.terms for one in found))
        known = bool(said) and library.coverage(terms(said), held) >= LEAST_COVERAGE
        sentences = re.split(r"(?<=[.!?])\s+", text)
        asked = terms(f"{question} {said}" if known else question)
        quote = max(sentences, key=lambda one: library.coverage(asked, frozenset(terms(one))))
        shown = said if known else f"{DOUBTFUL}{said or 'nothing'}"
        return Reply(question, shown, known, quote, tuple(found), answer.usage)


def written(reply: Reply) -> str:
    """Return a reply for a person."""
    lines = [f"> {reply.question}", reply.answer]
    if reply.sources:
        first, *others = dict.fromkeys(one.passage.file for one in reply.sources)
        also = f" (also read: {', '.join(others)})" if others else ""
        lines += [f"  {'Source' if reply.known else 'Nearest'}: {first}{also}", f'  "{reply.quote}"']
    if usage := reply.usage:
        lines.append(
            f"  {usage.prompt_tokens} tokens asked, {usage.cached_tokens} of them cached; {usage.seconds:.1f} s"
        )
    return "\n".join([*lines, ""])


def questions_typed() -> Iterator[str]:
    """Yield what is typed or piped, a question a line; examples where there is no input at all."""
    nothing = True
    while True:
        try:
            line = input("? " if sys.stdin.isatty() else "").strip()
        except (
            EOFError,
            OSError,
            RuntimeError,
        ):  # the last two: a program that was started without any input
            break
        if line:
            nothing = False
            yield line
    if nothing and not (sys.stdin is not None and sys.stdin.isatty()):
        yield from EXAMPLES


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions from a folder of texts.")
    parser.add_argument("question", nargs="*", help="[typed or piped, a line each]")
    parser.add_argument("--folder", type=Path, default=LIBRARY, help="where the texts are [examples/library]")
    parser.add_argument("--model", help="a name or a path [the default model]")
    parser.add_argument("--json", action="store_true", help="write an object a line")
    chosen = parser.parse_args()
    failed = 0
    try:
        library = Library(read_folder(chosen.folder))
        with edgetts.load(chosen.model, notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
            assistant = Assistant(engine, library)
            for question in [" ".join(chosen.question)] if chosen.question else questions_typed():
                try:
                    reply = assistant.ask(question)
                except InvalidInput as error:  # this question cannot be answered; the next one may
                    print(f"Error: {error}", file=sys.stderr)
                    failed = error.exit_code
                    continue
                print(json.dumps(asdict(reply)) if chosen.json else written(reply), flush=True)
    except edgetts.EdgettsError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if failed:
        raise SystemExit(failed)


if __name__ == "__main__":
    main()
