"""Make llguidance's form of a vocabulary: every token as the bytes it writes. Any kind of tokenizer has those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.structure.way_out import WaysOut

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from edgetts.tokenizer import Tokenizer

_BYTES = 256


class Vocabulary:
    """The vocabulary of a model, as llguidance takes it: V tokens, and after them each byte by itself.

    The bytes are never drawn; they are there so that any text can be taken by some tokens.
    """

    def __init__(self, tokenizer: Tokenizer, vocab: int, end_tokens: frozenset[int]) -> None:
        """Raises MissingExtra without llguidance, InvalidInput for a model that has no end token."""
        ends = sorted(token for token in end_tokens if 0 <= token < vocab)
        if not ends:
            raise InvalidInput("A model without an end token cannot be kept to a structure.")
        self.vocab = vocab
        self.end_tokens = frozenset(ends)
        self.writes = [tokenizer.token_bytes(token) for token in range(vocab)]
        self.controls = (
            frozenset(token for token in range(vocab) if tokenizer.is_control(token)) | self.end_tokens
        )
        self.end_texts = {self.writes[token].decode(errors="replace") for token in ends}
        self.lone_spaces = frozenset(token for token, written in enumerate(self.writes) if written == b" ")
        self.ways_out = WaysOut(self)
        self.strips_space = tokenizer.strips_first_space
        """Whether a space that a text begins with is not part of it, as SentencePiece has it."""

    def spell(self, data: bytes) -> list[int]:
        """Return tokens that write these bytes, for what `build` made."""
        return [self.vocab + byte for byte in data]

    def build(self, writes: Sequence[bytes] | None = None) -> LLTokenizer:
        """Return llguidance's object. writes: what the tokens write, where that is not what they write elsewhere."""
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError as error:
            raise MissingExtra("llguidance", "structure") from error
        source = _Source(self, self.writes if writes is None else writes)
        return LLTokenizer(TokenizerWrapper(source), eos_token=sorted(self.end_tokens))


class _Source:
    """What `TokenizerWrapper` asks for."""

    def __init__(self, vocabulary: Vocabulary, writes: Sequence[bytes]) -> None:
        self.eos_token_id = min(vocabulary.end_tokens)
        self.bos_token_id = None
        self.tokens = [*writes, *(bytes([byte]) for byte in range(_BYTES))]
        self.special_token_ids = sorted(vocabulary.controls)
        self._spell = vocabulary.spell

    def __call__(self, text: bytes | str) -> list[int]:
        return self._spell(text.encode() if isinstance(text, str) else text)
