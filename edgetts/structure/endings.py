"""Find what in a JSON schema no text that ends can satisfy, such as an object that must hold one like itself.

A model kept to such a schema would write until it is cut. Knows schemas only, as checked by `schemas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgetts.structure.keywords import TYPES


def endless(nodes: Mapping[str, Any], target: Callable[[str], str]) -> str | None:
    """Return where a schema describes nothing that ends; None where all of them do.

    nodes: the schemas by place. target: the place that a reference names. A plain `false` does not count.
    """
    ends: set[str] = set()
    rest = list(nodes)
    while rest:
        # A schema ends once what it needs is known to: the least fixed point.
        still = [place for place in rest if not _ends(place, nodes[place], ends, target)]
        ends.update(set(rest).difference(still))
        if len(still) == len(rest):
            break
        rest = still
    return next((place for place in sorted(rest, key=len) if nodes[place] is not False), None)


def _ends(place: str, node: Any, ends: set[str], target: Callable[[str], str]) -> bool:
    if isinstance(node, bool):
        return node
    if "$ref" in node and target(node["$ref"]) not in ends:
        return False
    if any(f"{place}/allOf/{n}" not in ends for n in range(len(node.get("allOf", ())))):
        return False
    for keyword in ("anyOf", "oneOf"):
        options = node.get(keyword)
        if options and not any(f"{place}/{keyword}/{n}" in ends for n in range(len(options))):
            return False
    if "const" in node or "enum" in node:
        return True
    named = node.get("type", TYPES)
    types = {named} if isinstance(named, str) else set(named)
    if types - {"object", "array"}:
        return True
    return ("object" in types and _object_ends(place, node, ends)) or (
        "array" in types and _array_ends(place, node, ends)
    )


def _object_ends(place: str, node: dict[str, Any], ends: set[str]) -> bool:
    properties = node.get("properties", {})
    for name in node.get("required", ()):
        if name in properties:
            escaped = name.replace("~", "~0").replace("/", "~1")
            if f"{place}/properties/{escaped}" not in ends:
                return False
        elif "patternProperties" not in node and not _within(place, node, "additionalProperties", ends):
            return False
    return True


def _array_ends(place: str, node: dict[str, Any], ends: set[str]) -> bool:
    items, first = node.get("items"), "prefixItems"
    if isinstance(items, list):
        first, others = "items", "additionalItems"
    else:
        others = "items"
    count = len(node.get(first, ()))
    least = node.get("minItems", 0)
    if any(f"{place}/{first}/{n}" not in ends for n in range(min(count, least))):
        return False
    return least <= count or _within(place, node, others, ends)


def _within(place: str, node: dict[str, Any], keyword: str, ends: set[str]) -> bool:
    return keyword not in node or f"{place}/{keyword}" in ends
