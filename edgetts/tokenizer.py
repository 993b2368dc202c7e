"""Text to token ids and back, whole or as a stream; knows vocabularies, not models, chats or sampling."""

from __future__ import annotations

import codecs
import itertools
import json
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, UnsupportedModel

if TYPE_CHECKING:
    import tokenizers

END_TEXTS = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<end_of_turn>",
    }
)
"""Tokens that end generation wherever a vocabulary has them, whatever type its file gives them."""

END_TEXTS_IF_CONTROL = frozenset({"</s>", "<eos>"})
"""The same, but also ordinary text (an HTML tag): only where the file says control."""

_CONTROL = re.compile(r"<\|[^|<>\s]+\|>|<(?:start|end)_of_turn>")
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_PIECE = "\u2581"


def looks_like_control(text: str) -> bool:
    """Say whether a token's text is a control token by its form: files mark some of them wrongly."""
    return _CONTROL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What a model says about its vocabulary beside the vocabulary itself. Checked when made.

    bos: id put before a text when add_bos. end_tokens: every id that ends generation, the model's
    own end-of-text first. chat_template: Jinja2 source, None where the model has none. bos_text and
    eos_text are "" where there is no such token.
    """

    bos: int | None
    end_tokens: tuple[int, ...]
    add_bos: bool
    chat_template: str | None
    bos_text: str
    eos_text: str

    def __post_init__(self) -> None:
        ids = [*self.end_tokens, *([] if self.bos is None else [self.bos])]
        texts = [self.bos_text, self.eos_text, "" if self.chat_template is None else self.chat_template]
        sound = (
            all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**32 for i in ids)
            and all(isinstance(text, str) for text in texts)
            and isinstance(self.add_bos, bool)
        )
        if not sound:
            raise CorruptFile("The facts about the tokenizer have values of a wrong type.")


def _byte_level_alphabet() -> dict[str, int]:
    # GPT-2's table: printable Latin-1 stands for itself, the other bytes follow from U+0100.
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(0x100 + place): byte for place, byte in enumerate(others)})
    return table


@dataclass(frozen=True, slots=True)
class _Decoding:
    """How token texts become bytes."""

    byte_level: bool
    strip_space: bool


def _decoding_of(decoder: Any) -> _Decoding:
    state = {} if decoder is None else json.loads(decoder.__getstate__())
    steps = state["decoders"] if state.get("type") == "Sequence" else [state]
    kinds = [step.get("type") for step in steps]
    if "ByteLevel" in kinds:
        return _Decoding(byte_level=True, strip_space=False)
    for step in steps:
        if step.get("type") == "Metaspace" and step.get("replacement") == _SPACE_PIECE:
            return _Decoding(byte_level=False, strip_space=step.get("prepend_scheme") != "never")
        if step.get("type") == "Replace" and step.get("pattern") == {"String": _SPACE_PIECE}:
            return _Decoding(byte_level=False, strip_space="Strip" in kinds)
    raise UnsupportedModel(
        f"The tokenizer decodes by {' and '.join(str(k) for k in kinds)}, which edgetts does not know.",
        hint="Byte-level BPE and SentencePiece-style tokenizers are supported.",
    )


class Tokenizer:
    """Encode and decode with one vocabulary. Usable from several threads.

    `inner` belongs to the Tokenizer from then on: tokens that control a chat are made special in it
    even where its file forgot to.
    """

    def __init__(self, inner: tokenizers.Tokenizer, facts: TokenizerFacts) -> None:
        from tokenizers import AddedToken

        self.facts = facts
        self._inner = inner
        self._lock = threading.Lock()
        self._decoding = _decoding_of(inner.decoder)
        self._alphabet = _byte_level_alphabet() if self._decoding.byte_level else {}
        self._bytes: dict[int, bytes] = {}
        added = inner.get_added_tokens_decoder()
        wanted = {token.content for token in added.values() if looks_like_control(token.content)}
        for token_id in (facts.bos, *facts.end_tokens):
            text = None if token_id is None else inner.id_to_token(token_id)
            if text is not None:
                wanted.add(text)
        wanted -= {token.content for token in added.values() if token.special}
        special = [AddedToken(text, normalized=False, special=True) for text in sorted(wanted)]
        inner.add_special_tokens(special)
        self._added = {i: token.content for i, token in inner.get_added_tokens_decoder().items()}
        self._control = {i: t.content for i, t in inner.get_added_tokens_decoder().items() if t.special}
        self.control_texts = frozenset(self._control.values())
        """Texts of the tokens that only a chat template may write."""
        self._start = inner.pre_tokenizer
        self._continuation = _without_first_prefix(inner.pre_tokenizer)

    @classmethod
    def load(cls, path: Path | str, facts: TokenizerFacts) -> Tokenizer:
        """Read a tokenizer.json. Raises ModelNotFound, CorruptFile or UnsupportedModel."""
        import tokenizers

        if not Path(path).is_file():
            raise ModelNotFound(f"There is no tokenizer file {str(path)!r}.")
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises the bare class for every bad file
            raise CorruptFile(
                f"{str(path)!r} is not a readable tokenizer.json: {error}.", hint="Convert the model again."
            ) from error
        return cls(inner, facts)

    @property
    def vocab_size(self) -> int:
        """Tokens in the vocabulary, control tokens included; a model may have more rows (padding)."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @property
    def strips_first_space(self) -> bool:
        """Whether `decode` drops one space at the beginning of a text: SentencePiece puts it there."""
        return self._decoding.strip_space

    def vocabulary(self) -> dict[str, int]:
        """Return every token, as the vocabulary spells it, with its id."""
        return dict(self._inner.get_vocab(with_added_tokens=True))

    def token_id(self, text: str) -> int | None:
        """Return the id of the token with exactly this text, as the vocabulary spells it."""
        return self._inner.token_to_id(text)

    def is_control(self, token_id: int) -> bool:
        return token_id in self._control

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Encode text; nothing is added (no bos).

        special=False is for text from people: it never yields a control token, whatever it spells.
        special=True is for templates: control tokens are recognised.
        """
        return self.encode_parts([(text, special)])

    def encode_parts(self, parts: Sequence[tuple[str, bool]]) -> list[int]:
        """Encode one text given as parts (text, special); each is tokenised for itself.

        Only the first part is at the beginning of the text, where SentencePiece puts its space. So
        the ids are those of the whole text when the cuts are beside control tokens.
        """
        ids: list[int] = []
        with self._lock:
            for place, (text, special) in enumerate(parts):
                ids += self._encode(text, special=special, start=place == 0)
        return ids

    def _encode(self, text: str, *, special: bool, start: bool) -> list[int]:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InvalidInput(
                    f"The text is not valid Unicode: it has a lone surrogate at position {error.start}.",
                    hint="Read the input as UTF-8.",
                ) from error
        self._inner.encode_special_tokens = not special
        if self._continuation is not None:
            self._inner.pre_tokenizer = self._start if start else self._continuation
        ids: list[int] = self._inner.encode(text, add_special_tokens=False).ids
        if not special and not self._control.keys().isdisjoint(ids):
            return self._encode_cut(text, start=start)
        return ids

    def _encode_cut(self, text: str, *, start: bool) -> list[int]:
        """Encode text whose ordinary merges spell a control token, as in some converted vocabularies."""
        texts = [t for t in self.control_texts if len(t) > 1 and t in text]
        starts = {m.start() + 1 for t in texts for m in re.finditer(f"(?={re.escape(t)})", text)}
        cuts = [0, *sorted(starts), len(text)]
        ids: list[int] = []
        for begin, end in itertools.pairwise(cuts):
            if self._continuation is not None:
                self._inner.pre_tokenizer = self._start if start and begin == 0 else self._continuation
            ids += self._inner.encode(text[begin:end], add_special_tokens=False).ids
        if not self._control.keys().isdisjoint(ids):
            raise InvalidInput("The text spells a control token of this model and cannot be told from it.")
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes a token stands for; a control token's are its text.

        Ids beyond the vocabulary (padding rows of a model) have none. Raises InvalidInput below 0.
        """
        if (known := self._bytes.get(token_id)) is not None:
            return known
        if token_id < 0:
            raise InvalidInput(f"{token_id} is not a token id.")
        text = self._inner.id_to_token(token_id) if token_id < 2**32 else None
        data = b"" if text is None else self._bytes_of(text, added=token_id in self._added)
        self._bytes[token_id] = data
        return data

    def _bytes_of(self, text: str, *, added: bool) -> bytes:
        if self._decoding.byte_level:
            if not added and all(c in self._alphabet for c in text):
                return bytes(self._alphabet[c] for c in text)
            return text.encode()
        if not added and (byte := _BYTE_PIECE.fullmatch(text)):
            return bytes([int(byte[1], 16)])
        return text.replace(_SPACE_PIECE, " ").encode()

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text, without control tokens; invalid UTF-8 becomes U+FFFD.

        A SentencePiece vocabulary with a space prefix loses one space at the beginning.
        """
        stream = TextStream(self)
        return "".join([*(stream.push(i) for i in ids), stream.flush()])


def _without_first_prefix(pre_tokenizer: Any) -> Any:
    """Copy a pre-tokenizer that prefixes the first word; None where it does not."""
    from tokenizers import pre_tokenizers

    state = b"" if pre_tokenizer is None else pre_tokenizer.__getstate__()
    first, never = b'"prepend_scheme":"first"', b'"prepend_scheme":"never"'
    if first not in state:
        return None
    copy = pre_tokenizers.Sequence([])
    copy.__setstate__(state.replace(first, never))
    return copy


class TextStream:
    """Turn token ids into text as they come: whole characters only.

    What `push` returned and `flush` returns joins to `Tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._strip_space = tokenizer._decoding.strip_space

    def push(self, token_id: int) -> str:
        """Take one token; return the characters that are now complete, often one token late."""
        if self._tokenizer.is_control(token_id):
            return ""
        return self._stripped(self._utf8.decode(self._tokenizer.token_bytes(token_id)))

    def flush(self) -> str:
        """End the stream; return U+FFFD for bytes that wait for a rest."""
        return self._stripped(self._utf8.decode(b"", final=True))

    def fork(self) -> TextStream:
        """Return a stream that continues from here, apart from this one."""
        other = TextStream(self._tokenizer)
        other._utf8.setstate(self._utf8.getstate())
        other._strip_space = self._strip_space
        return other

    def _stripped(self, text: str) -> str:
        if text and self._strip_space:
            self._strip_space = False
            return text.removeprefix(" ")
        return text


class StopMatcher:
    """Find the first stop string in a stream of text, holding back what may become one.

    The stream ends where a stop string is first complete, however it was cut into pushes; of
    several that end there the longest counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise InvalidInput("A stop string is empty.")
        self._stops = tuple(stops)
        self._held = ""
        self._stopped = False

    def push(self, text: str) -> tuple[str, bool]:
        """Take text; return what may be shown now and whether a stop string was found."""
        if self._stopped:
            return "", True
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self._stopped = True
            emit, self._held = self._held[: min(found)[1]], ""
            return emit, True
        longest = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - longest
        emit, self._held = self._held[:cut], self._held[cut:]
        return emit, False

    def fork(self) -> StopMatcher:
        """Return a matcher that continues from here, apart from this one."""
        other = StopMatcher(self._stops)
        other._held, other._stopped = self._held, self._stopped
        return other

    def flush(self) -> str:
        """End the stream; return what was held back."""
        emit, self._held = self._held, ""
        return emit

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        top = min(len(stop) - 1, len(self._held))
        return next((n for n in range(top, 0, -1) if self._held.endswith(stop[:n])), 0)
