"""Say in GGUF's keys what a tokenizer.json says. Knows vocabularies; knows no weights and no architectures.

What is written is read back by edgetts' own reader and compared with the source on many lines, so that a
tokenizer that GGUF cannot hold is refused and never written wrongly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.export.calibration import TEXT
from edgetts.export.mapped_file import shorten
from edgetts.export.to_gguf.keys import Keys
from edgetts.export.tokenizer import special_tokens_from_hf, tokenizer_from_gguf
from edgetts.tokenizer import END_TEXTS, TokenizerFacts, looks_like_control

if TYPE_CHECKING:
    import tokenizers

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE_PIECE = "\u2581"
_PRE_TOKENIZERS = ("gpt-2", "smollm", "qwen2", "llama-bpe", "tekken")
"""llama.cpp's names for the ways to cut words that edgetts can rebuild; a tokenizer.json has none."""
_PROBES = (
    "It's we'll THEY'RE I'M  two   three    spaces\ttab\t\ttabs\n\n\nlines \n \r\n end ",
    "0 12 345 6789 1234567890 3.14159 1,000,000 v2.0.1 ٣٤٥ ⅔ x² 2024-11-24T16:30",
    "naïve café Ελληνικά русский язык עברית العربية हिन्दी ภาษาไทย 日本語の文章 中文分词 한국어 😀👍🏽",
    "def f(x):\n    return x//2 + a/b\n\n\t# a comment!?...\n</div>\n/* path/to/file */\n",
    "camelCase HTTPServer XMLHttpRequest snake_case __init__ ALLCAPS iPhone McDonald ǅ ŉ",
    " leading", "trailing ", "\n", "  ", "a", "'s", "'S x'D", "!!!\n\n", "\u00a0nbsp\u3000wide",
)  # fmt: skip
_DECOMPOSED = "e\u0301tude A\u030a u\u0308"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer as GGUF's keys, what it says beside its vocabulary, and what differs nevertheless."""

    keys: Keys
    facts: TokenizerFacts
    notes: tuple[str, ...] = ()


def vocabulary_from_hf(directory: Path, size: int) -> Vocabulary:
    """Return the keys of a directory's tokenizer for an embedding matrix of `size` rows.

    Rows without a token get one that no text has. Raises UnsupportedModel for kinds that GGUF or
    edgetts' reader does not know, CorruptFile for contradictions.
    """
    import tokenizers

    facts = special_tokens_from_hf(directory)
    source = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    told = json.loads(source.to_str())
    model = told["model"]
    if model["type"] != "BPE" or not model["merges"]:
        raise _unsupported(directory, f"is of the type {shorten(model['type'])}, or has no merges")
    tokens, types = _tokens_and_types(directory, told, size)
    byte_level = "ByteLevel" in _parts(told["decoder"])
    if not byte_level and not model["byte_fallback"]:
        raise _unsupported(directory, "knows neither byte-level pieces nor pieces for single bytes")
    keys: Keys = {
        "tokenizer.ggml.model": "gpt2" if byte_level else "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
    }
    if byte_level:
        keys["tokenizer.ggml.pre"] = _pre_tokenizer(directory, source)
        keys["tokenizer.ggml.merges"] = [" ".join(pair) for pair in model["merges"]]
    else:
        first = source.encode("a", add_special_tokens=False).tokens[:1]
        keys |= {
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.scores": _scores(tokens, types, model["merges"]),
            "tokenizer.ggml.add_space_prefix": bool(first) and first[0].startswith(_SPACE_PIECE),
        }
    keys |= _special_ids(source, directory, facts, model["unk_token"])
    if facts.chat_template is not None:
        keys["tokenizer.chat_template"] = facts.chat_template
    notes = _compared(directory, source, tokenizer_from_gguf(keys), facts)
    return Vocabulary(keys, facts, notes)


def sample_lines() -> list[str]:
    """Return lines of many kinds on which tokenizers are compared."""
    text = files("edgetts.export").joinpath(TEXT).read_text(encoding="utf-8")
    return [*_PROBES, *(line for line in text.splitlines() if line)]


def _tokens_and_types(directory: Path, told: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    model, added = told["model"], told["added_tokens"]
    known: dict[int, str] = {place: token for token, place in model["vocab"].items()}
    known |= {entry["id"]: entry["content"] for entry in added}
    if (largest := max(known)) >= size:
        raise CorruptFile(
            f"{directory.name}/tokenizer.json has the token {shorten(known[largest])} with the id {largest}, "
            f"but the model's vocabulary is {size}.",
            hint="It may belong to another model.",
        )
    tokens = [known.get(place) or f"[PAD{place}]" for place in range(size)]
    types = [_NORMAL if place in known else _UNUSED for place in range(size)]
    if model["byte_fallback"]:
        types = [_BYTE if _BYTE_PIECE.fullmatch(t) else kind for t, kind in zip(tokens, types, strict=True)]
    for entry in added:
        special = entry["special"] or looks_like_control(entry["content"])
        types[entry["id"]] = _CONTROL if special else _USER_DEFINED
    if model["byte_fallback"] and model["unk_token"] in model["vocab"]:
        types[model["vocab"][model["unk_token"]]] = _UNKNOWN
    return tokens, types


def _scores(tokens: Sequence[str], types: Sequence[int], merges: Sequence[Sequence[str]]) -> list[float]:
    """Return SentencePiece's scores: pieces made by earlier merges have higher ones.

    A tokenizer.json lists every way to make a piece, in the order of the pieces' scores.
    """
    made: dict[str, int] = {}
    for left, right in merges:
        made.setdefault(left + right, len(made))
    last = float(len(made))
    return [
        -float(made.get(token, last)) if kind == _NORMAL else 0.0
        for token, kind in zip(tokens, types, strict=True)
    ]


def _pre_tokenizer(directory: Path, source: tokenizers.Tokenizer) -> str:
    """Find the name of what cuts the source's words, by what it does."""
    texts = [*_PROBES, _DECOMPOSED]
    wanted = _cuts(source, texts)
    letters = _byte_letters()
    for name in _PRE_TOKENIZERS:
        keys: Keys = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": name,
            "tokenizer.ggml.tokens": letters,
            "tokenizer.ggml.token_type": [_NORMAL] * len(letters),
            "tokenizer.ggml.merges": [],
        }
        if _cuts(tokenizer_from_gguf(keys), texts) == wanted:
            return name
    raise _unsupported(directory, f"cuts words in none of the ways {', '.join(_PRE_TOKENIZERS)}")


def _cuts(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    cutter: Any = tokenizer.pre_tokenizer
    return [] if cutter is None else [[word for word, _ in cutter.pre_tokenize_str(t)] for t in texts]


def _byte_letters() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _special_ids(
    source: tokenizers.Tokenizer, directory: Path, facts: TokenizerFacts, unknown: str | None
) -> Keys:
    keys: Keys = {"tokenizer.ggml.add_bos_token": facts.add_bos}
    if facts.bos is not None:
        keys["tokenizer.ggml.bos_token_id"] = facts.bos
    ends = list(facts.end_tokens)
    if ends:
        keys["tokenizer.ggml.eos_token_id"] = ends[0]
    # The others are known by their texts, to llama.cpp and to edgetts.
    more = [end for end in ends[1:] if source.id_to_token(end) not in END_TEXTS]
    for name, end in zip(("eot", "eom"), more, strict=False):
        keys[f"tokenizer.ggml.{name}_token_id"] = end
    padding = source.token_to_id(_padding(directory))
    if padding is not None:
        keys["tokenizer.ggml.padding_token_id"] = padding
    if unknown is not None and (place := source.token_to_id(unknown)) is not None:
        keys["tokenizer.ggml.unknown_token_id"] = place
    return keys


def _padding(directory: Path) -> str:
    try:
        value = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8")).get("pad_token")
    except FileNotFoundError:
        return ""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""


def _compared(
    directory: Path, source: tokenizers.Tokenizer, written: tokenizers.Tokenizer, facts: TokenizerFacts
) -> tuple[str, ...]:
    """Encode many lines with both; refuse where plain text differs, note where rarer things do."""

    def same(line: str) -> bool:
        a, b = (t.encode(line, add_special_tokens=False).ids for t in (source, written))
        return bool(a == b)

    if wrong := [line for line in sample_lines() if not same(line)]:
        raise _unsupported(
            directory, f"encodes {len(wrong)} of {len(sample_lines())} lines, as {wrong[0][:30]!r}, otherwise"
        )
    notes = []
    if not same(_DECOMPOSED):
        notes.append(
            "letters that are written as a base and an accent become other tokens than in the source"
        )
    marks = [m for m in {facts.bos_text, facts.eos_text} if m]
    if not all(same(f"a{mark}b {mark} c") for mark in marks):
        notes.append("text right after a control token becomes other tokens than in the source")
    if not facts.end_tokens:
        notes.append("the source names no token that ends a text")
    return tuple(notes)


def _parts(component: Mapping[str, Any] | None) -> set[str]:
    """Return the types of a component and of those it is a sequence of."""
    if component is None:
        return set()
    inner: list[Any] = next((component[key] for key in ("decoders", "pretokenizers") if key in component), [])
    return {component["type"]}.union(*map(_parts, inner))


def _unsupported(directory: Path, what: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"The tokenizer of {directory.name} cannot be written as GGUF: it {what}.",
        hint="Use llama.cpp's own converter for this model.",
    )
