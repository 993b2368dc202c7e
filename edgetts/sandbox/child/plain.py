"""Values that are data and nothing else, as JSON and back: the only thing that crosses a process's border.

What is encoded is exactly of a type named here, never of a subclass, so a value that lies about what it
equals stays where it was made. Decoding makes only these types, whatever the bytes say.
"""

from __future__ import annotations

import builtins
from _json import encode_basestring_ascii as _quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DEPTH = 100
_EXACT = 1 << 53
"""Integers beyond are written in hexadecimal: JSON's are read in decimal, in quadratic time."""


class NotPlainError(TypeError):
    """The value is something else, or nested too deeply."""


class DamagedError(ValueError):
    """These bytes were not made by `dumps`."""


def dumps(value: Any, other: Callable[[Any], Any] | None = None) -> bytes:
    """Return a value as JSON. Raises NotPlainError.

    other: encodes what is not plain as something that its counterpart in `loads` understands.
    """
    return write_json(_encode(value, other, _DEPTH)).encode()


def loads(data: bytes, other: Callable[[Any], Any] | None = None) -> Any:
    """Return what `dumps` was given. Raises DamagedError, whatever the bytes are."""
    import json

    try:
        return _decode(json.loads(data), other, _DEPTH)
    except DamagedError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from None


def write_json(value: Any) -> str:
    """Return None, a number, a text, or a list or dict of such as JSON.

    The json module takes longer to import than most programs to run.
    """
    if isinstance(value, list):
        return f"[{','.join(map(write_json, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_quoted(key)}:{write_json(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return _NOT_FINITE.get(text := float.__repr__(value), text)
    return _CONSTANTS[value] if value is None or isinstance(value, bool) else int.__repr__(value)


def _encode(value: Any, other: Callable[[Any], Any] | None, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is float:
        return value
    if kind is int:
        return value if -_EXACT < value < _EXACT else ["int", hex(value)]
    if depth == 0:
        raise NotPlainError("the value is nested too deeply")
    if kind in _SEQUENCES:
        return [_SEQUENCES[kind], *(_encode(item, other, depth - 1) for item in value)]
    if kind is dict:
        return ["dict", *_pairs(value, other, depth)]
    if kind is bytes or kind is bytearray:
        return [kind.__name__, value.decode("latin-1")]
    if kind is complex:
        return ["complex", value.real, value.imag]
    if kind is range:
        return ["range", *(_encode(n, other, 1) for n in (value.start, value.stop, value.step))]
    name = (kind.__module__, kind.__qualname__)
    if name in _LIBRARY and _from_library(*name) is kind:
        if name[0] == "decimal":
            return ["Decimal", str(value)]
        if name[0] == "fractions":
            return ["Fraction", *(_encode(n, other, 1) for n in (value.numerator, value.denominator))]
        if name[1] == "deque":
            return ["deque", *(_encode(item, other, depth - 1) for item in value)]
        # A defaultdict equals the dict of its items; how it makes more is not data.
        return ["dict" if name[1] == "defaultdict" else name[1], *_pairs(value, other, depth)]
    if other is None:
        raise NotPlainError(f"a value of type {kind.__name__} is not plain data")
    return other(value)


def _pairs(value: Any, other: Callable[[Any], Any] | None, depth: int) -> list[Any]:
    return [[_encode(k, other, depth - 1), _encode(v, other, depth - 1)] for k, v in value.items()]


def _decode(data: Any, other: Callable[[Any], Any] | None, depth: int) -> Any:
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise DamagedError("an object")
        return data
    tag, *items = data
    if depth == 0:
        raise DamagedError("nested too deeply")
    if tag == "int":
        return int(items[0], 16)
    if tag in _MAKE:
        return _MAKE[tag](_decode(item, other, depth - 1) for item in items)
    if tag in ("dict", "Counter", "OrderedDict"):
        pairs = ((_decode(k, other, depth - 1), _decode(v, other, depth - 1)) for k, v in items)
        return dict(pairs) if tag == "dict" else _from_library("collections", tag)(dict(pairs))
    if tag in ("bytes", "bytearray"):
        raw = items[0].encode("latin-1")
        return raw if tag == "bytes" else bytearray(raw)
    if tag == "complex":
        return complex(*items)
    if tag == "range":
        return range(*(_decode(item, other, 1) for item in items))
    if tag == "Decimal":
        return _from_library("decimal", tag)(items[0])
    if tag == "Fraction":
        return _from_library("fractions", tag)(*(_decode(item, other, 1) for item in items))
    if tag == "deque":
        return _from_library("collections", tag)(_decode(item, other, depth - 1) for item in items)
    if other is None:
        raise DamagedError("not plain data")
    return other(data)


TYPES: dict[str, type] = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and value.__name__ == name and name not in ("type", "super")
}
"""The built-in types by name, which are the same in every process; exceptions among them."""
_CONSTANTS = {None: "null", True: "true", False: "false"}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SEQUENCES: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAKE: dict[str, Any] = {name: kind for kind, name in _SEQUENCES.items()}
_LIBRARY = frozenset(
    {
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
    }
)


def _from_library(module: str, name: str) -> Any:
    return getattr(__import__(module), name)
