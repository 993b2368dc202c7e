"""Schemas that nobody thought of: drawn at random from all keywords, refused, or kept to by whatever is written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from structure_cases import COMPILERS, TOKENIZERS, write

from edgetts.errors import InvalidInput
from edgetts.structure import JsonSchema

pytest.importorskip("llguidance")

VALUES: list[Any] = [None, True, 1, -3, 2.5, "a", 'é"', [], [1], {"a": 1}, {}, "longer text", 0]
NAMES = ["a", "b", "c/d", "é", "x1", "x2"]


class Drawer:
    """Draws schemas, each within `deepest` levels."""

    def __init__(self, seed: int, deepest: int = 3) -> None:
        self._rng = np.random.default_rng(seed)
        self._deepest = deepest

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def one(self, *options: Any) -> Any:
        return options[int(self._rng.integers(len(options)))]

    def some(self, options: list[str]) -> list[str]:
        count = int(self._rng.integers(len(options) + 1))
        return [options[i] for i in self._rng.permutation(len(options))[:count]]

    def schema(self, depth: int = 0) -> Any:
        if depth and self.chance(0.08):
            return self.chance(0.8)
        inner = [self._object, self._array, self._union] if depth < self._deepest else []
        return self.one(self._text, self._number, self._listed, self._plain, *inner)(depth)

    def maybe(self, share: float, **keywords: Any) -> dict[str, Any]:
        return {name: value for name, value in keywords.items() if self.chance(share)}

    def _text(self, depth: int) -> dict[str, Any]:
        pattern = self.one("^a+b?$", "[0-9]{2}", "^(x|yz)*$", r"^\w+$", "q", "^a|b$")
        limits = self.maybe(0.4, minLength=self.one(0, 1, 3), maxLength=self.one(1, 4, 9), pattern=pattern)
        return {"type": "string"} | limits | self.maybe(0.1, format=self.one("uuid", "ipv4", "time"))

    def _number(self, depth: int) -> dict[str, Any]:
        low, high = self.one("minimum", "exclusiveMinimum"), self.one("maximum", "exclusiveMaximum")
        bounds = self.maybe(0.5, **{low: self.one(0, -5, -2.5, 10), high: self.one(0, 5, 12.5, 1000)})
        return (
            {"type": self.one("integer", "number")}
            | bounds
            | self.maybe(0.2, multipleOf=self.one(2, 5, 0.5, 7))
        )

    def _object(self, depth: int) -> dict[str, Any]:
        names = self.some(NAMES)
        return {
            "type": "object",
            "properties": {name: self.schema(depth + 1) for name in names},
            **self.maybe(0.6, required=self.some([*names, "z"])),
            **self.maybe(0.5, additionalProperties=self.one(False, {"type": "integer"}, True)),
            **self.maybe(0.15, patternProperties={"^x": {"type": "boolean"}}),
            **self.maybe(0.15, minProperties=self.one(0, 1, 2), maxProperties=self.one(1, 2, 3)),
        }

    def _array(self, depth: int) -> dict[str, Any]:
        first = [self.schema(depth + 1) for _ in range(self.one(1, 2))]
        return {
            "type": "array",
            **self.maybe(0.8, items=self.schema(depth + 1)),
            **self.maybe(0.3, prefixItems=first),
            **self.maybe(0.5, minItems=self.one(0, 1, 2), maxItems=self.one(0, 2, 3)),
        }

    def _union(self, depth: int) -> dict[str, Any]:
        options = [self.schema(depth + 1) for _ in range(self.one(1, 2))]
        return {
            self.one("anyOf", "oneOf", "allOf"): options,
            **self.maybe(0.2, type=self.one("object", "string")),
        }

    def _listed(self, depth: int) -> dict[str, Any]:
        return self.one(
            {"enum": [self.one(*VALUES) for _ in range(self.one(1, 3))]}, {"const": self.one(*VALUES)}
        )

    def _plain(self, depth: int) -> dict[str, Any]:
        return self.one(
            {"type": self.some(["string", "null", "boolean"]) or "null"}, {"$ref": "#/$defs/a"}, {}
        )


def test_every_schema_is_refused_or_kept_to() -> None:
    kept = refused = 0
    for seed in range(120):
        drawer = Drawer(seed)
        schema = drawer._object(0) | {"$defs": {"a": Drawer(seed + 10_000, 1)._array(0)}}
        try:
            constraint = COMPILERS["bytes"].compile(JsonSchema(schema))
        except InvalidInput:
            refused += 1
            continue
        text = TOKENIZERS["bytes"].decode(write(constraint, TOKENIZERS["bytes"], seed, most=40))
        errors = list(Draft202012Validator(schema).iter_errors(json.loads(text)))
        assert not errors, (seed, text, schema)
        kept += 1
    assert kept > 40, "most should be possible"
    assert refused > 5
