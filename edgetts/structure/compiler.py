"""Compile structures to constraints on one model's tokens, by llguidance (extra `structure`).

Knows vocabularies and grammars; no models and no sampling. What it is given is hostile until it was checked: it
comes from requests, and llguidance is native code that trusts what it reads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edgetts.decoding.constraint import Matcher
from edgetts.errors import InvalidInput, RuntimeFailure
from edgetts.structure.grammars import lark_grammar, regex_grammar, schema_grammar
from edgetts.structure.matching import GrammarMatcher, reason
from edgetts.structure.opening import OpeningMatcher, stripped
from edgetts.structure.structures import Grammar, JsonObject, JsonSchema, Regex, Structure
from edgetts.structure.vocabulary import Vocabulary
from edgetts.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

# Tokens that are tried when a grammar was compiled: what is too ambiguous for the limits shows at the beginning.
_TRIED = 12


class GrammarConstraint:
    """A compiled structure; implements `Constraint`."""

    def __init__(self, name: str, parser: LLMatcher, first: LLMatcher | None, vocabulary: Vocabulary) -> None:
        self._name = name
        self._parser = parser
        self._first = first
        self._vocabulary = vocabulary
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> Matcher:
        """Return a matcher at the beginning; from any thread."""
        with self._lock:
            rest = GrammarMatcher(self._parser.deep_copy(), self._vocabulary)
            if self._first is None:
                return rest
            return OpeningMatcher(
                GrammarMatcher(self._first.deep_copy(), self._vocabulary), rest, self._vocabulary
            )


class Compiler:
    """Compiles for one model. Made at no cost; the vocabulary is built at the first use and kept. Thread-safe.

    JSON comes compact, with or without one space after commas and colons, and its keys in the order of `properties`;
    a model that may lay out JSON freely can write white space until a limit ends it. Texts in it are as long as the
    schema lets them be; what a limit of tokens or a budget ends is brought to a valid end before, by the shortest way
    that is found (`way_out`), and its finish reason tells so ("length", not "end"). Values of `format` are checked for their form: 29 February comes in any year.
    """

    def __init__(self, tokenizer: Tokenizer, vocab: int, end_tokens: frozenset[int]) -> None:
        """vocab: the width of the model's logits; ids that the tokenizer does not have are never allowed."""
        self._tokenizer = tokenizer
        self._vocab = vocab
        self._end_tokens = end_tokens
        self._lock = threading.Lock()
        self._vocabulary: Vocabulary | None = None
        self._built: tuple[LLTokenizer, LLTokenizer | None] | None = None

    def compile(self, structure: Structure) -> GrammarConstraint:
        """Return the constraint that keeps samples to a structure.

        Raises InvalidInput for what is wrong, cannot be guaranteed or is too large, by name; MissingExtra.
        """
        vocabulary, whole, opening = self._vocabularies()
        name, grammar = _grammar(structure, vocabulary)
        parser = _parser(whole, grammar, name)
        first = None if opening is None else _parser(opening, grammar, name)
        _try(GrammarMatcher(parser.deep_copy(), vocabulary), name)
        return GrammarConstraint(name, parser, first, vocabulary)

    def _vocabularies(self) -> tuple[Vocabulary, LLTokenizer, LLTokenizer | None]:
        with self._lock:
            if self._vocabulary is None or self._built is None:
                vocabulary = Vocabulary(self._tokenizer, self._vocab, self._end_tokens)
                opening = vocabulary.build(stripped(vocabulary)) if vocabulary.strips_space else None
                self._vocabulary, self._built = vocabulary, (vocabulary.build(), opening)
            return self._vocabulary, *self._built


def _grammar(structure: Structure, vocabulary: Vocabulary) -> tuple[str, str]:
    """Return what a structure is, in words, and its grammar."""
    if isinstance(structure, JsonSchema):
        return "a JSON schema", schema_grammar(structure.schema)
    if isinstance(structure, JsonObject):
        return "a JSON object", schema_grammar({"type": "object"})
    if isinstance(structure, Regex):
        return "a regular expression", regex_grammar(structure.pattern)
    if isinstance(structure, Grammar):
        return "a grammar", lark_grammar(structure.lark, vocabulary.end_texts)
    raise InvalidInput(
        f"{type(structure).__name__} is no structure.",
        hint="There are JsonSchema, JsonObject, Regex and Grammar.",
    )


def _parser(tokenizer: LLTokenizer, grammar: str, name: str) -> LLMatcher:
    from llguidance import LLMatcher

    parser = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0, limits=_limits())
    if parser.is_error():
        raise InvalidInput(f"{_capital(name)} cannot be compiled: {_told(parser)}.")
    if warnings := parser.get_grammar_warnings():
        raise InvalidInput(f"{_capital(name)} cannot be guaranteed: {warnings[0]}.")
    return parser


def _limits() -> LLParserLimits:
    from llguidance import LLParserLimits

    # Fuel: a mask takes 0.1 s at worst on a slow core. The default gives up on 500 repeated words after 20 of them, and
    # this after 50. States take 2 kB each.
    return LLParserLimits(
        initial_lexer_fuel=2_000_000,
        step_lexer_fuel=500_000,
        step_max_items=20_000,
        max_lexer_states=50_000,
        max_items_in_row=4_000,
        verbose_errors=False,
    )


def _told(parser: LLMatcher) -> str:
    """Return what the compiler says, without where it says so: the grammar around it is ours."""
    lines = [line.strip() for line in parser.get_error().splitlines()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    first = said[0] if said else reason(parser)
    for start in ("failed to compile JSON schema: ",):
        first = first.partition(start)[2] or first
    if first.startswith("oneOf"):  # llguidance names an option of its own
        return "the alternatives of 'oneOf' may overlap; use 'anyOf'"
    return first[:300].rstrip(".")


def _try(matcher: GrammarMatcher, name: str) -> None:
    """Walk a little way into the language. Raises InvalidInput where it is empty or too ambiguous."""
    for taken in range(_TRIED):
        try:
            mask = matcher.allowed()
        except RuntimeFailure as error:
            if taken == 0 and "NoExtension" in str(error):
                raise InvalidInput(f"{_capital(name)} describes no text at all.") from None
            raise InvalidInput(
                f"{_capital(name)} is too complex or describes no text: {error.args[0]}"
            ) from None
        if matcher.may_end:
            return
        try:
            matcher.take(int(mask.argmax()))
        except RuntimeFailure as error:
            raise InvalidInput(f"{_capital(name)} is too complex: {error.args[0]}") from None


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
