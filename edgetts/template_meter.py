"""Charge a running chat template for what it does; knows fuel and sizes, not what a template may touch."""

# ruff: noqa: N802, N815 - Jinja2 finds visitors by the names of its nodes

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from types import GeneratorType
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

_FUEL = 500_000
"""About a microsecond each on a laptop."""
_SIZE = 1_000_000
"""Elements and characters of one value."""
BITS = 4096
"""Of a whole number."""
CALL = 8
"""Fuel of one call."""
CHARACTERS_A_UNIT = 16
TICK, WEIGH, CONCAT = "(tick)", "(weigh)", "(concat)"


class LimitError(TemplateError):
    """The template runs too long or makes values too large."""


class Meter:
    """Fuel and size limits of one rendering."""

    def __init__(self, extra: int) -> None:
        self.fuel = _FUEL + extra
        self.size = _SIZE + extra
        self.depth = 0

    def burn(self, units: int) -> None:
        self.fuel -= units
        if self.fuel < 0:
            raise LimitError

    def fits(self, size: int) -> None:
        """Refuse a value of this many elements and characters before it is made, or pay for it."""
        if size > self.size:
            raise LimitError
        self.burn(1 + size // CHARACTERS_A_UNIT)

    def weigh(self, value: Any) -> Any:
        """Pay for going through a value once; refuse one too large, counting shared parts each time."""
        if isinstance(value, str):
            self.fits(len(value))
            return value
        if isinstance(value, GeneratorType):
            value = list(self._paid(value))
        size, visited, waiting = 0, 0, [value]
        while waiting:
            item = waiting.pop()
            visited += 1
            if isinstance(item, str):
                size += len(item)
            elif isinstance(item, range):
                visited += len(item)
            elif isinstance(item, dict):
                waiting += item.keys()
                waiting += item.values()
            elif isinstance(item, (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)):
                waiting += item
            elif isinstance(item, int) and item.bit_length() > BITS:
                raise LimitError
            elif isinstance(item, Namespace) and item is not value:
                raise SecurityError("a namespace within a value")
            if size + visited > self.size or visited + len(waiting) > self.fuel:
                raise LimitError
        self.burn(visited + size // CHARACTERS_A_UNIT)
        return value

    def _paid(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.burn(CALL)
            yield item


def count(node: nodes.Node) -> int:
    return sum(1 for _ in node.find_all(nodes.Node))


class MeterInserter(NodeTransformer):
    """Rewrite a parsed template so that what Jinja2 compiles to bare Python is paid for too."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def _filter(self, name: str, node: nodes.Expr, *arguments: nodes.Expr) -> nodes.Filter:
        made = nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
        made.set_environment(self._environment)
        return made

    def _tick(self, node: nodes.Node) -> nodes.Filter:
        # One round costs what its body holds, as plain assignments are not charged one by one.
        weight = nodes.Const(1 + count(node), lineno=node.lineno)
        return self._filter(TICK, nodes.Const(True, lineno=node.lineno), weight)

    def _with_body(self, node: Any) -> nodes.Node:
        tick = self._tick(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_Block = _with_body

    def visit_For(self, node: nodes.For) -> nodes.Node:
        tick = self._tick(node)
        self._with_body(node)
        if node.test is not None:
            node.test = nodes.And(tick, node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._filter(CONCAT, nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._filter(WEIGH, node.expr)
        for operand in node.ops:
            operand.expr = self._filter(WEIGH, operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return self._filter(WEIGH, node) if isinstance(node.arg, nodes.Slice) else node

    def _made(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else self._filter(WEIGH, node)

    visit_List = visit_Dict = visit_Tuple = _made
