"""Bound how deep a compiler goes into a JSON schema that follows each reference once, in whatever order it does so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Children = Callable[[str, Any], Iterator[tuple[str, Any]]]


def deepest(nodes: Mapping[str, Any], children: Children, target: Callable[[str], str]) -> int:
    """Return an upper bound of the schemas that are entered and not yet left at any time.

    nodes: the schemas by place, "#" the whole. A way through the references passes each schema that is referred to
    once; those of a cycle may all be on it, so that a cycle counts with everything that is in it.
    """
    heights, leads = _blocks(nodes, children, target)
    component = _components(leads)
    totals: dict[int, int] = {}
    for place, number in component.items():
        totals[number] = totals.get(number, 0) + heights[place]
    best = dict(totals)
    # Components are numbered from the ends of the ways backwards.
    for place in sorted(component, key=component.__getitem__):
        here = component[place]
        for other in leads[place]:
            there = component[other]
            if there != here:
                best[here] = max(best[here], totals[here] + best[there])
    return best[component["#"]]


def _blocks(
    nodes: Mapping[str, Any], children: Children, target: Callable[[str], str]
) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Return how deep the schemas that references lead to are written, and to which others they lead."""
    heights: dict[str, int] = {}
    leads: dict[str, set[str]] = {}
    waiting = ["#"]
    while waiting:
        start = waiting.pop()
        if start in heights:
            continue
        heights[start], leads[start] = 1, set()
        rest = [(start, 1)]
        while rest:
            place, depth = rest.pop()
            heights[start] = max(heights[start], depth)
            node = nodes[place]
            if isinstance(node, dict) and "$ref" in node:
                leads[start].add(target(node["$ref"]))
            # Definitions are entered by reference only.
            rest += (
                (inner, depth + 1)
                for inner, _ in children(place, node)
                if not inner[len(place) :].startswith(("/$defs/", "/definitions/"))
            )
        waiting += leads[start]
    return heights, leads


def _components(leads: Mapping[str, set[str]]) -> dict[str, int]:
    """Number the strongly connected components, each before all that lead to it (Tarjan, 1972, without recursion)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    component: dict[str, int] = {}
    held: list[str] = []
    count = 0
    for root in leads:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        held.append(root)
        path = [(root, iter(leads[root]))]
        while path:
            place, ways = path[-1]
            for way in ways:
                if way not in order:
                    order[way] = low[way] = len(order)
                    held.append(way)
                    path.append((way, iter(leads[way])))
                    break
                if way not in component:
                    low[place] = min(low[place], order[way])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[place])
                if low[place] == order[place]:
                    while True:
                        member = held.pop()
                        component[member] = count
                        if member == place:
                            break
                    count += 1
    return component
