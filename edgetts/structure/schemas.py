"""Check JSON schemas before they are compiled: their size, their keywords, and whether what they describe can end.

Schemas come from requests of strangers, and the compiler is native code: it runs out of stack on long chains of
references and takes minutes over some numbers, so that everything it is given is bounded here. Knows no vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss
from edgetts.structure.depth import deepest
from edgetts.structure.endings import endless
from edgetts.structure.keywords import ANNOTATIONS, LISTS, MAPS, ONE, REFUSED, VALUES
from edgetts.structure.patterns import check_pattern

LONGEST = 200_000
"""Characters of a schema's JSON at most."""
_DEEPEST_JSON = 120  # the compiler reads 128
_DEEPEST = 128  # schemas within schemas, references followed: each takes 10 kB of stack
_MOST_SCHEMAS = 2_000
_MOST_PROPERTIES = 500
_MOST_VALUES = 10_000  # of all enums
_LONGEST_VALUE = 10_000  # characters of one text
_LARGEST_PATTERNS = 50_000  # pieces of all patterns
_MOST_OBJECTS = 1_000  # and lists among the values of enums: 5,000 take 9 s
_MOST_NAME_PATTERNS = 50  # each is held against each: 300 take 20 s
_MOST_BOUNDED = 500  # numbers: each range becomes an expression, and 5,000 take 15 s
# An automaton that divides has as many states: 100,000 take 6 s.
_LARGEST_DIVISOR = 10_000

_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})

Nodes = dict[str, Any]
"""The schemas within a schema, by where they are: "#/properties/name"."""


def check_schema(schema: object) -> str:
    """Return a schema as JSON. Raises InvalidInput with the place and the name of what is wrong."""
    if isinstance(schema, bool) or not isinstance(schema, Mapping):
        raise InvalidInput(
            f"A JSON schema is an object, not {type(schema).__name__}.",
            hint='For example {"type": "object"}.',
        )
    _check_json(schema)
    text = json.dumps(schema, ensure_ascii=False, allow_nan=False, default=dict)  # any mapping
    if len(text) > LONGEST:
        raise InvalidInput(
            f"The JSON schema has {len(text)} characters, but {LONGEST} is the most.",
            hint="Ask for less at once.",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("The JSON schema is not valid Unicode: it has a lone surrogate.") from error
    nodes = _found(json.loads(text))
    for place, node in nodes.items():
        if isinstance(node, dict):
            _check_keywords(node, place)
    _check_refs(nodes)
    _check_sizes(nodes)
    if (never := endless(nodes, target)) is not None:
        raise InvalidInput(
            f"What the JSON schema describes at {never} never ends, or cannot be.",
            hint="Make something on the way optional, or allow null.",
        )
    return text


def _check_json(schema: Mapping[str, Any]) -> None:
    """Check that it is JSON, and not nested deeper than the compiler reads; a thing that holds itself is."""
    rest: list[tuple[Any, int]] = [(schema, 1)]
    seen = 0
    while rest:
        value, depth = rest.pop()
        seen += 1
        if depth > _DEEPEST_JSON or seen > LONGEST:
            limit = f"{_DEEPEST_JSON} levels" if depth > _DEEPEST_JSON else f"{LONGEST} values"
            raise InvalidInput(f"The JSON schema has more than {limit}.", hint="Ask for less at once.")
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise InvalidInput("The JSON schema has a name that is not a text.")
            rest += ((item, depth + 1) for item in value.values())
        elif isinstance(value, list | tuple):
            rest += ((item, depth + 1) for item in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput("The JSON schema has a number that JSON does not have.", hint="Leave it out.")
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            raise InvalidInput(
                "The JSON schema has a whole number of more than 64 bits.", hint="Leave it out."
            )
        elif value is not None and not isinstance(value, str | int | float):
            raise InvalidInput(f"The JSON schema has a value that is not JSON: {type(value).__name__}.")


def children(place: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the schemas right within one, with where they are."""
    if not isinstance(node, dict):
        return
    for keyword, value in node.items():
        here = f"{place}/{keyword}"
        if keyword in MAPS and isinstance(value, dict):
            yield from ((f"{here}/{_escaped(name)}", one) for name, one in value.items())
        elif keyword in LISTS | {"items"} and isinstance(value, list):
            yield from ((f"{here}/{place}", one) for place, one in enumerate(value))
        elif keyword in ONE and isinstance(value, dict | bool):
            yield here, value


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def target(reference: str) -> str:
    """Return the place that a reference names, spelt as `Nodes` does."""
    return unquote(reference)


def _found(schema: Any) -> Nodes:
    nodes: Nodes = {}
    rest = [("#", schema)]
    while rest:
        place, node = rest.pop()
        nodes[place] = node
        if len(nodes) > _MOST_SCHEMAS:
            raise InvalidInput(
                f"The JSON schema has more than {_MOST_SCHEMAS} schemas within it.",
                hint="Ask for less at once.",
            )
        rest += children(place, node)
    return nodes


def _check_keywords(node: dict[str, Any], place: str) -> None:
    for keyword, value in node.items():
        if keyword in VALUES:
            right, what = VALUES[keyword]
            if not right(value):
                raise InvalidInput(f"In the JSON schema, {keyword!r} at {place} must be {what}.")
        elif keyword in REFUSED:
            raise InvalidInput(
                f"The JSON schema has {keyword!r} at {place}, which cannot be guaranteed.",
                hint="Leave it out, and check the answer for it.",
            )
        elif keyword not in ANNOTATIONS and (not keyword.startswith("x-") or keyword == "x-guidance"):
            hint = "For null, write null among the types." if keyword == "nullable" else "Leave it out."
            raise InvalidInput(
                f"The JSON schema has {keyword[:100]!r} at {place[:200]}, which is no keyword that is known.",
                hint=near_miss(keyword, VALUES, hint),
            )
        elif keyword == "$id" and place != "#":
            raise InvalidInput(
                f"The JSON schema has '$id' at {place}, but only the whole may have one.",
                hint="Leave it out.",
            )
    if "prefixItems" in node and isinstance(node.get("items"), list):
        raise InvalidInput(f"In the JSON schema, 'items' at {place} must be a schema beside 'prefixItems'.")
    names = node.get("required", ())
    # Names of additional properties may come twice, which makes one property of two.
    if node.get("minProperties", 0) > max(1, len(names) + 1):
        raise InvalidInput(
            f"The JSON schema has 'minProperties' at {place}, which can be guaranteed only up to one more than are "
            "required by name.",
            hint="Name them in 'required'.",
        )


def _check_refs(nodes: Nodes) -> None:
    """Check that references name schemas within, and that no way along them is too deep for the compiler."""
    root = nodes["#"]
    version = root.get("$schema", "") if isinstance(root, dict) else ""
    for place, node in nodes.items():
        if not isinstance(node, dict):
            continue
        if "prefixItems" in node and any(old in str(version) for old in ("draft-0", "2019-09")):
            raise InvalidInput(
                f"The JSON schema has 'prefixItems' at {place}, which its '$schema' does not know.",
                hint="Name draft 2020-12, or none.",
            )
        reference = node.get("$ref")
        if reference is not None and target(reference) not in nodes:
            outside = "" if reference.startswith("#") else " in this schema; nothing else is read"
            raise InvalidInput(
                f"The JSON schema refers to {reference[:200]!r} at {place}, where there is no schema{outside}.",
                hint="Refer to one as in '#/$defs/name'.",
            )
    _check_depth(nodes)


def _check_depth(nodes: Nodes) -> None:
    if deepest(nodes, children, target) > _DEEPEST:
        raise InvalidInput(
            f"The JSON schema is more than {_DEEPEST} schemas deep where references are followed.",
            hint="Make it flatter, or refer to fewer schemas that refer to each other.",
        )


def _check_sizes(nodes: Nodes) -> None:
    values = objects = names = bounded = pieces = 0
    divisors: list[Fraction] = []
    for place, node in nodes.items():
        if not isinstance(node, dict):
            continue
        if len(node.get("properties", ())) > _MOST_PROPERTIES:
            raise InvalidInput(
                f"The JSON schema has more than {_MOST_PROPERTIES} properties at {place}.",
                hint="Ask for less at once.",
            )
        listed = [*node.get("enum", ()), *([node["const"]] if "const" in node else [])]
        values += len(listed)
        objects += sum(isinstance(value, dict | list) for value in listed)
        names += len(node.get("patternProperties", ()))
        bounded += not _BOUNDS.isdisjoint(node)
        if any(len(str(value)) > _LONGEST_VALUE for value in listed):
            raise InvalidInput(
                f"The JSON schema has a value of more than {_LONGEST_VALUE} characters at {place}.",
                hint="Add long texts afterwards.",
            )
        for pattern in (node.get("pattern", ""), *node.get("patternProperties", ())):
            pieces += check_pattern(pattern, f"The pattern at {place}")
        if "multipleOf" in node:
            divisors.append(Fraction(str(node["multipleOf"])))
    for number, most, what in (
        (values, _MOST_VALUES, "values in 'enum' and 'const'"),
        (objects, _MOST_OBJECTS, "objects and lists in 'enum' and 'const'"),
        (names, _MOST_NAME_PATTERNS, "patterns of property names"),
        (bounded, _MOST_BOUNDED, "numbers with bounds"),
    ):
        if number > most:
            raise InvalidInput(f"The JSON schema has more than {most} {what}.", hint="Ask for less at once.")
    if pieces > _LARGEST_PATTERNS:
        raise InvalidInput("The patterns of the JSON schema are too large together.", hint="Repeat less.")
    _check_divisors(divisors)


def _check_divisors(divisors: list[Fraction]) -> None:
    """Check what 'multipleOf' takes, were all of them to hold for one number."""
    scale = math.lcm(*(divisor.denominator for divisor in divisors)) if divisors else 1
    whole = [int(divisor * scale) for divisor in divisors]
    common = math.lcm(*whole) if whole else 1
    if max(common, sum(whole) // 2) > _LARGEST_DIVISOR:
        raise InvalidInput(
            f"What 'multipleOf' asks for in the JSON schema is too large together: the least common multiple may be "
            f"{_LARGEST_DIVISOR} of the smallest decimal.",
            hint="Leave it out, and round the number afterwards.",
        )
