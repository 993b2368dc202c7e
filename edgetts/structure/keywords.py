"""What keywords of JSON Schema (draft 2020-12) can be guaranteed, and what their values have to be. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
)

# Beyond this a double, in which bounds are compared, is no longer every whole number.
_LARGEST_BOUND = 2**53
_LARGEST_COUNT = 2**31 - 1


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT


def _bound(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_BOUND


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


def _types(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(one, str) and one in TYPES for one in several)


def _schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_schema, value))


def _schema_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_schema, value.values()))


ONE = frozenset({"items", "additionalItems", "additionalProperties"})
"""Keywords whose value is a schema."""
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords whose value is a list of schemas; `items` may be one, too."""
MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
"""Keywords whose value has schemas by name."""

_ANY_SCHEMA = "a schema: an object, true or false"
_SOME_SCHEMAS = "a list of one schema or more"
_BY_NAME = "an object of schemas"
_COUNTED = f"a whole number from 0 to {_LARGEST_COUNT}"
_BOUNDED = f"a number of at most {_LARGEST_BOUND}"

VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_types, f"one or some of {', '.join(TYPES)}"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of one value or more"),
    "const": (lambda value: True, ""),
    "$ref": (_text, "a text"),
    "items": (lambda value: _schema(value) or _schemas(value), _ANY_SCHEMA),
    "additionalItems": (_schema, _ANY_SCHEMA),
    "additionalProperties": (_schema, _ANY_SCHEMA),
    "pattern": (_text, "a text"),
    "format": (lambda value: isinstance(value, str) and value in FORMATS, f"one of {', '.join(FORMATS)}"),
    "required": (_names, "a list of different names"),
    "multipleOf": (lambda value: _bound(value) and value > 0, f"{_BOUNDED}, greater than 0"),
    **dict.fromkeys(LISTS, (_schemas, _SOME_SCHEMAS)),
    **dict.fromkeys(MAPS, (_schema_map, _BY_NAME)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_bound, _BOUNDED)),
    **dict.fromkeys(
        ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
        (_count, _COUNTED),
    ),
}
"""Keywords that are kept to, each with a check of its value and what that has to be."""

ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentMediaType",
        "contentEncoding",
        "discriminator",
    }
)
"""Keywords that tell people and tools something, and limit nothing. So do all that begin with "x-"."""

REFUSED = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "contains",
        "minContains",
        "maxContains",
        "uniqueItems",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$anchor",
        "$dynamicRef",
        "$dynamicAnchor",
        "$recursiveRef",
        "$recursiveAnchor",
        "$vocabulary",
        "contentSchema",
    }
)
"""Keywords of the standard that no grammar is made of."""
