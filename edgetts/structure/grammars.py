"""Check grammars in llguidance's Lark dialect before they are compiled, and write the ones of other structures.

Reads their tokens only: strings, regular expressions, control tokens, JSON schemas. What they mean is the compiler's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from edgetts.errors import InvalidInput
from edgetts.structure.patterns import LONGEST as LONGEST_PATTERN
from edgetts.structure.patterns import check_pattern
from edgetts.structure.schemas import LONGEST as LONGEST_SCHEMA
from edgetts.structure.schemas import check_schema

LONGEST = 100_000
"""Characters of a grammar at most."""
_LARGEST_PATTERNS = 50_000

# Compact, as `json.dumps` writes it or without the spaces: a model that may choose white space can do so for ever.
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}

# Without this only one spelling of a forced text in tokens would be allowed, and another where a draft is checked.
_ALL_SPELLINGS = '%llguidance {"no_forcing": true}\n'

_TOKEN = re.compile(
    r'(?P<string>"(?:\\.|[^"\\\n])*")|(?P<comment>(?:#|//)[^\n]*)|/(?P<regex>(?:\\.|[^/\\])+)/'
    r"|(?P<control><[^<>\s]+>)|(?P<json>%json\s*)|(?P<options>\[[a-z][^\]\n\"]*)",
    re.S,
)
_OPTION = re.compile(r"\b(temperature|max_tokens|stop)\s*=")


def schema_grammar(schema: object) -> str:
    """Return the grammar of a JSON schema. Raises InvalidInput for one that is not to be compiled."""
    return f"{_ALL_SPELLINGS}start: {_embedded(check_schema(schema))}"


def regex_grammar(pattern: str) -> str:
    """Return the grammar of a regular expression. Raises InvalidInput for one that is not to be compiled."""
    from llguidance import LLMatcher

    _check_text(pattern, "The regular expression", LONGEST_PATTERN)
    check_pattern(pattern, "The regular expression")
    written: dict[str, Any] = json.loads(LLMatcher.grammar_from_regex(pattern))
    return _ALL_SPELLINGS + str(written["grammars"][0]["lark_grammar"])


def lark_grammar(text: str, end_texts: Collection[str]) -> str:
    """Return a grammar as it is compiled: with the layout of JSON that all structures have.

    end_texts: the model's end tokens, which may come where the text may end and nowhere else. Raises InvalidInput.
    """
    _check_text(text, "The grammar", LONGEST)
    written, at, pieces, schemas = [_ALL_SPELLINGS], 0, 0, 0
    while found := _TOKEN.search(text, at):
        written.append(text[at : found.end()])
        at = found.end()
        if found["regex"] is not None:
            pieces += check_pattern(found["regex"], "A regular expression of the grammar")
        elif found["control"] in end_texts:
            raise InvalidInput(
                f"The grammar has {found['control']}, which ends the model's texts.",
                hint="Leave it out: the model may end wherever the grammar does.",
            )
        elif found["options"] and (option := _OPTION.search(found["options"])):
            raise InvalidInput(
                f"The grammar sets {option[1]!r}, which is not supported.",
                hint="Take 'lazy' or 'suffix', and limit tokens with --max-tokens.",
            )
        elif found["json"]:
            schema, at = _schema_at(text, at)
            written.append(_written(check_schema(schema)))
            schemas += at - found.end()
    if pieces > _LARGEST_PATTERNS or schemas > LONGEST_SCHEMA:
        raise InvalidInput("The patterns of the grammar are too large together.", hint="Repeat less.")
    return "".join([*written, text[at:]])


def _check_text(text: object, what: str, longest: int) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is a text, not {type(text).__name__}.")
    if len(text) > longest:
        raise InvalidInput(
            f"{what} has {len(text)} characters, but {longest} is the most.", hint="Write a shorter one."
        )
    if any("\ud800" <= character <= "\udfff" for character in text) or "\0" in text:
        raise InvalidInput(f"{what} is not valid Unicode text.")


def _schema_at(text: str, at: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        raise InvalidInput("The grammar has '%json' without a JSON schema after it.") from None


def _embedded(schema: str) -> str:
    return f"%json {_written(schema)}"


def _written(schema: str) -> str:
    return json.dumps({**json.loads(schema), "x-guidance": _LAYOUT}, ensure_ascii=False)
