"""Check a JSON value against the schemas that /openapi.json shows, and name the field that is wrong.

Knows the part of JSON Schema that the server's own schemas use, and refuses to check by any other; not what fields mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgetts.near_miss import near_miss
from edgetts.server.refusing import Refusal

Schema = Mapping[str, Any]

KNOWN = frozenset(
    [
        *("type", "enum", "const", "anyOf", "description"),
        *("properties", "required", "additionalProperties", "maxProperties", "propertyNames"),
        *("items", "minItems", "maxItems", "minLength", "maxLength", "pattern"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    ]
)
"""Keywords that `check` obeys; a description only tells people something."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}
_NAMES = {"null": "null", "object": "an object", "array": "an array", "integer": "a whole number"}


def check(value: Any, schema: Schema, path: str = "", *, reasons: Mapping[str, str] | None = None) -> None:
    """Raise Refusal, 400, that names the first field at which a value is not what the schema says.

    reasons: why top-level fields that others know are not supported here.
    """
    if unknown := set(schema) - KNOWN:
        raise AssertionError(f"the schema of {path or 'the body'} uses {unknown}")
    if "anyOf" in schema:
        _check_any(value, schema["anyOf"], path)
        return
    types = schema.get("type")
    if types is not None:
        names = [types] if isinstance(types, str) else list(types)
        if not any(_is(value, name) for name in names):
            wanted = " or ".join(_NAMES.get(name, f"a {name}") for name in names)
            raise _wrong(path, f"must be {wanted}, not {_what(value)}")
    if "const" in schema and not _same(value, schema["const"]):
        raise _wrong(path, f"must be {schema['const']!r}")
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        told = ", ".join("null" if one is None else repr(one) for one in schema["enum"])
        raise _wrong(path, f"must be one of: {told}")
    if isinstance(value, str):
        _check_text(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(value, schema, path)
    elif isinstance(value, list):
        _check_list(value, schema, path)
    elif isinstance(value, dict):
        _check_object(value, schema, path, reasons or {})


def _check_any(value: Any, schemas: Sequence[Schema], path: str) -> None:
    found: list[Refusal] = []
    for schema in schemas:
        try:
            check(value, schema, path)
        except Refusal as refusal:  # noqa: PERF203 - there are few, and each must be tried
            found.append(refusal)
        else:
            return
    # The one that was meant: same type, and the same fixed fields.
    meant = [r for s, r in zip(schemas, found, strict=True) if _is_meant(value, s)]
    if len(meant) == 1:
        raise meant[0]
    marks = {name for s in schemas for name, one in s.get("properties", {}).items() if "const" in one}
    for name in sorted(marks):
        if isinstance(value, dict) and not meant:
            options = {s["properties"][name]["const"] for s in schemas if name in s.get("properties", {})}
            raise _wrong(f"{path}.{name}", f"must be one of: {', '.join(map(repr, sorted(options)))}")
    raise _wrong(path, f"is none of what it may be; as the first: {found[0].message}")


def _is_meant(value: Any, schema: Schema) -> bool:
    types = schema.get("type")
    names = [types] if isinstance(types, str) else list(types or ())
    if names and not any(_is(value, name) for name in names):
        return False
    if not isinstance(value, dict):
        return True
    fixed = {name: one["const"] for name, one in schema.get("properties", {}).items() if "const" in one}
    return all(_same(value.get(name), const) for name, const in fixed.items())


def _check_text(value: str, schema: Schema, path: str) -> None:
    if len(value) < schema.get("minLength", 0):
        raise _wrong(
            path, "is empty" if not value else f"must have {schema['minLength']} characters at least"
        )
    if len(value) > schema.get("maxLength", math.inf):
        raise _wrong(path, f"must have {schema['maxLength']} characters at most, not {len(value)}")
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        raise _wrong(path, f"must match {schema['pattern']}")


def _check_number(value: float, schema: Schema, path: str) -> None:
    if value < schema.get("minimum", -math.inf):
        raise _wrong(path, f"must be {schema['minimum']} at least")
    if value > schema.get("maximum", math.inf):
        raise _wrong(path, f"must be {schema['maximum']} at most")
    if value <= schema.get("exclusiveMinimum", -math.inf):
        raise _wrong(path, f"must be greater than {schema['exclusiveMinimum']}")
    if value >= schema.get("exclusiveMaximum", math.inf):
        raise _wrong(path, f"must be less than {schema['exclusiveMaximum']}")


def _check_list(value: list[Any], schema: Schema, path: str) -> None:
    if len(value) < schema.get("minItems", 0):
        raise _wrong(path, "is empty" if not value else f"must have {schema['minItems']} items at least")
    if len(value) > schema.get("maxItems", math.inf):
        raise _wrong(path, f"must have {schema['maxItems']} items at most, not {len(value)}")
    if "items" in schema:
        for i, item in enumerate(value):
            check(item, schema["items"], f"{path}[{i}]")


def _check_object(value: dict[str, Any], schema: Schema, path: str, reasons: Mapping[str, str]) -> None:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    if len(value) > schema.get("maxProperties", math.inf):
        raise _wrong(path, f"must have {schema['maxProperties']} fields at most, not {len(value)}")
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        if name in known:
            check(item, known[name], where)
        elif others is False:
            if name in reasons:
                raise Refusal(
                    400,
                    f"{where} is not supported: {reasons[name]}",
                    param=where,
                    code="unsupported_parameter",
                )
            hint = near_miss(name, known, "")
            raise Refusal(
                400,
                f"There is no field {where[:200]!r}. {hint}".strip(),
                param=where[:200],
                code="unknown_parameter",
            )
        elif isinstance(others, Mapping):
            check(item, others, where[:200])
        if "propertyNames" in schema and re.search(schema["propertyNames"]["pattern"], name) is None:
            raise _wrong(
                path, f"has the name {name[:60]!r}, but names must match {schema['propertyNames']['pattern']}"
            )
    for name in schema.get("required", ()):
        if name not in value:
            where = f"{path}.{name}" if path else name
            raise Refusal(400, f"{where} is missing.", param=where, code="missing_required_parameter")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON knows one kind of number
    return isinstance(value, _TYPES[name])


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _what(value: Any) -> str:
    for name in ("null", "boolean", "string", "array", "object"):
        if _is(value, name):
            return _NAMES.get(name, f"a {name}")
    return "a number"


def _wrong(path: str, what: str) -> Refusal:
    return Refusal(400, f"{path or 'The body'} {what}.", param=path or None, code="invalid_value")
