"""The program's side of a check: do with its objects what the judge asks, and say what came of it.

Nothing here is trusted: the program shares this process, and may answer in its place. All it can answer is
plain data, or that something is an object of its own.
"""

from __future__ import annotations

import operator

from edgetts.sandbox.child import plain
from edgetts.sandbox.child.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MESSAGE = 10_000
_MUTABLE = (list, dict, set, bytearray)


class Answers:
    """Serve a module's names, and the objects that were handed out."""

    def __init__(self, link: Link, namespace: dict[str, Any]) -> None:
        self._link = link
        self._namespace = namespace
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._callbacks: dict[int, _Callback] = {}
        self._operations: dict[str, Callable[..., Any]] = {**_OPERATIONS, "globals": self._globals}

    def serve(self) -> None:
        """Answer until the other side is gone, which raises BrokenLinkError."""
        while True:
            self._answer(plain.loads(self._link.receive(), self._decode))

    def call_back(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the judge call a function of its own."""
        self._link.send(plain.dumps(["callback", number, list(args), kwargs], self._encode))
        while True:
            reply = plain.loads(self._link.receive(), self._decode)
            if reply[0] == "do":
                self._answer(reply)
            elif reply[0] == "ok":
                return reply[1]
            else:
                raise plain.TYPES.get(reply[1], RuntimeError)(reply[2])

    def _answer(self, message: list[Any]) -> None:
        _, operation, args, kwargs = message
        try:
            result = self._operations[operation](*args, **kwargs)
            # What was changed in place is sent back: the caller has a copy.
            changed = operation == "call" and any(isinstance(a, _MUTABLE) for a in (*args, *kwargs.values()))
            back = [args[1:], kwargs] if changed else None
            reply = plain.dumps(["ok", result, back], self._encode)
        except BaseException as error:  # noqa: BLE001 - whatever was raised, the judge raises too
            reply = self._raised(error)
        self._link.send(reply)

    def _raised(self, error: BaseException) -> bytes:
        names = _lineage(type(error))
        try:
            return plain.dumps(["raised", names, list(error.args)])
        except BaseException:  # noqa: BLE001 - what it holds is not plain, or too deep
            return plain.dumps(["raised", names, [_text(error)]])

    def _globals(self, names: list[str]) -> dict[str, Any]:
        return {name: self._namespace[name] for name in names if name in self._namespace}

    def _encode(self, value: Any) -> list[Any]:
        if isinstance(value, _Callback):
            return ["callback", value.number]
        if isinstance(value, type):
            kind: type = value
            if plain.TYPES.get(kind.__name__) is kind:
                return ["type", kind.__name__]
            if issubclass(kind, BaseException):
                return ["exception", _lineage(kind)]
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return ["object", number]

    def _decode(self, data: list[Any]) -> Any:
        kind, what, *rest = data
        if kind == "object":
            return self._objects[what]
        if kind == "callback":
            return self._callbacks.setdefault(what, _Callback(self, what))
        found: Any = __import__(what, fromlist=["*"])
        for part in rest[0].split("."):
            found = getattr(found, part)
        return found


class _Callback:
    """A function that a check passed; calling it calls it where the check runs."""

    def __init__(self, answers: Answers, number: int) -> None:
        self.number = number
        self._answers = answers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._answers.call_back(self.number, args, kwargs)


def _lineage(kind: type) -> list[str]:
    """Return the names of an exception's classes, up to the first that is built in."""
    names = []
    for base in kind.__mro__:
        names.append(base.__name__)
        if base.__module__ == "builtins":
            break
    return names


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE]
    except BaseException:  # noqa: BLE001 - the program's own text
        return ""


def _call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "enter": lambda value: value.__enter__(),
    "exit": lambda value: value.__exit__(None, None, None),
    "reflected": lambda name, left, right: _OPERATIONS[name](right, left),
    **{f.__name__: f for f in (getattr, setattr, delattr, len, iter, next, str, repr, bool, int, float)},
    **{f.__name__: f for f in (isinstance, round, divmod, dir)},
    **{
        name: getattr(operator, name)
        for name in (
            *("abs", "neg", "pos", "invert", "getitem", "setitem", "delitem"),
            *("eq", "ne", "lt", "le", "gt", "ge"),
            *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
            *("and_", "or_", "xor", "lshift", "rshift"),
        )
    },
}
