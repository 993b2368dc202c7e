"""Check that a text gives JSON that a JSON Schema allows; knows nothing of what the JSON means."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag

from edgetts.errors import InvalidInput, MissingExtra
from edgetts.selection.answers.fences import fenced
from edgetts.selection.answers.found import Page
from edgetts.selection.answers.patterns import REGEX_CHARS, compile_pattern
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

MAX_JSON_CHARS = 16_384
MAX_STARTS = 20
"""Places in a text at which JSON is looked for where it is neither fenced nor the whole."""
MAX_DEPTH = 64
REASON_CHARS = 200


class NotJson(ValueError):  # the fault of a text, told as a verdict
    """A text holds no JSON."""


class SchemaVerifier:
    """Pass a text whose JSON a schema allows: the last fenced block, else the whole text, else where it begins.

    `schema` is as JSON is in Python. A text that is not complete fails only where its JSON is closed. Nothing
    is fetched: a `$ref` may point only into the schema itself or to the drafts of JSON Schema.
    Errors: MissingExtra without jsonschema; InvalidInput for a schema that is none, that refers to other
    documents, or whose patterns could take exponential time.
    """

    def __init__(
        self, schema: Mapping[str, Any] | bool, *, rates: ErrorRates | None = None, name: str = "schema"
    ) -> None:
        self.name = name
        self._rates = rates
        self._validator = _validator(schema)
        self._has_patterns = any(True for _ in _patterns(schema))

    @property
    def rates(self) -> ErrorRates | None:
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Find the JSON in a text, and check it."""
        try:
            value = json_in(work.text, complete=work.complete)
        except NotJson as error:
            return Verdict(False if work.complete else None, str(error))
        if self._has_patterns and _longest(value) > REGEX_CHARS:
            return Verdict(
                None, f"a string has more than the {REGEX_CHARS} characters that patterns are tried on"
            )
        try:
            wrong = min(self._validator.iter_errors(value), key=_rank, default=None)
        except RecursionError:
            return Verdict(None, "the schema refers to itself without end")
        except OverflowError:
            return Verdict(False, "a number is too large to be checked")
        except Exception as error:  # noqa: BLE001  # what the package cannot resolve must not lose the samples
            return Verdict(None, f"the schema cannot be applied: {error}"[:REASON_CHARS])
        if wrong is None:
            return Verdict(True, "the schema allows it")
        return Verdict(False, f"{wrong.json_path}: {wrong.message}"[:REASON_CHARS])


def json_in(text: str, *, complete: bool = True) -> Any:
    """Return the JSON of a text. Errors: NotJson."""
    if len(text) > MAX_JSON_CHARS:
        raise NotJson(f"the text has more than {MAX_JSON_CHARS} characters")
    blocks = [block for block in fenced(Page(text)) if block.language in ("", "json", "jsonc", "json5")]
    blocks = [block for block in blocks if block.closed or complete]
    for block in reversed(blocks):
        if block.language or text[slice(*block.span)].lstrip().startswith(("{", "[")):
            return _read(text[slice(*block.span)])
    stripped = text.strip()
    first = min((at for at in (stripped.find("{"), stripped.find("[")) if at >= 0), default=-1)
    if first <= 0:
        return _read(stripped)
    return _embedded(stripped, first)


def _embedded(text: str, at: int) -> Any:
    """The first JSON object or array among prose."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for _ in range(MAX_STARTS):
        if _depth(text[at:]) <= MAX_DEPTH:
            try:
                return decoder.raw_decode(text, at)[0]
            except (ValueError, RecursionError):
                pass
        following = [place for sign in "{[" if (place := text.find(sign, at + 1)) >= 0]
        if not following:
            break
        at = min(following)
    raise NotJson("there is no JSON in the text")


def _read(text: str) -> Any:
    if _depth(text) > MAX_DEPTH:
        raise NotJson(f"it is nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"it is no JSON: {error}"[:REASON_CHARS]) from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _depth(text: str) -> int:
    """How many brackets are open at most, those in strings among them."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    return deepest


def _rank(error: Any) -> tuple[int, str, str]:
    return len(error.absolute_path), error.json_path, error.message


def _validator(schema: Mapping[str, Any] | bool) -> Any:
    try:
        jsonschema = importlib.import_module("jsonschema")
        drafts = importlib.import_module("jsonschema_specifications").REGISTRY
    except ImportError as error:
        raise MissingExtra("jsonschema", "verify") from error
    if not isinstance(schema, Mapping | bool):
        raise InvalidInput(f"A JSON Schema is an object or a boolean, not a {type(schema).__name__}.")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidInput(f"This is no JSON Schema: at {error.json_path}, {error.message}.") from error
    except RecursionError as error:
        raise InvalidInput("This JSON Schema is nested too deep.") from error
    ids = {
        urldefrag(value).url
        for key, value in _entries(schema)
        if key in ("$id", "id") and isinstance(value, str)
    }
    for key, value in _entries(schema):
        if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
            _check_reference(value, schema, ids, drafts)
    for pattern in _patterns(schema):
        compile_pattern(pattern)
    return kind(schema, registry=drafts)  # a registry that retrieves nothing, unlike the default one


def _entries(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, but for those in mere data."""
    open_parts = [schema]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, Mapping):
            for key, value in part.items():
                yield key, value
                if key not in ("const", "enum", "default", "examples"):
                    open_parts.append(value)
        elif isinstance(part, list):
            open_parts.extend(part)


def _patterns(schema: Any) -> Iterator[str]:
    for key, value in _entries(schema):
        if key == "pattern" and isinstance(value, str):
            yield value
        elif key == "patternProperties" and isinstance(value, Mapping):
            yield from value


def _check_reference(reference: str, schema: Any, ids: set[str], drafts: Any) -> None:
    """Refuse what points out of the schema, or nowhere in it."""
    document, fragment = urldefrag(reference)
    if document and not (document in drafts or any(one.endswith(document) for one in ids)):
        raise InvalidInput(
            f"The JSON Schema refers to {reference!r}, another document, and nothing is fetched.",
            hint="Write what it refers to under $defs.",
        )
    if document or ids or not fragment.startswith("/"):
        return
    part = schema
    for step in unquote(fragment)[1:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            part = part[int(name)] if isinstance(part, list) else part[name]
        except (KeyError, ValueError, IndexError, TypeError):
            raise InvalidInput(f"The JSON Schema refers to {reference!r}, which is not there.") from None


def _longest(value: Any) -> int:
    """The length of the longest text in a value."""
    longest = 0
    open_parts = [value]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, str):
            longest = max(longest, len(part))
        elif isinstance(part, dict):
            open_parts.extend((*part.keys(), *part.values()))
        elif isinstance(part, list):
            open_parts.extend(part)
    return longest
