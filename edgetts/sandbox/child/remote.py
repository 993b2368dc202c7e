"""The judge's side of a check: objects of the program, seen from a process where it has no say.

A remote object forwards what can be asked of it. It never decides whether it equals, or is less than, what
the check computed itself: only two objects of the program are compared by the program.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")

_PLAIN_ATTRIBUTES = frozenset({"__name__", "__doc__", "__qualname__"})


class Remote:
    """An object of the program."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _PLAIN_ATTRIBUTES:
            raise AttributeError(name)
        return self._ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("delattr", self, name)

    def __instancecheck__(self, value: Any) -> bool:
        return type(value) is Remote and self._exactly(bool, "isinstance", value, self)

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        return self._exactly(bool, "bool", self)

    def __len__(self) -> int:
        return self._exactly(int, "len", self)

    def __int__(self) -> int:
        return self._exactly(int, "int", self)

    def __float__(self) -> float:
        return self._exactly(float, "float", self)

    def __str__(self) -> str:
        return self._exactly(str, "str", self)

    def __repr__(self) -> str:
        return self._exactly(str, "repr", self)

    def __dir__(self) -> list[str]:
        return self._exactly(list, "dir", self)

    def __iter__(self) -> Any:
        return self._exactly(Remote, "iter", self)

    def __next__(self) -> Any:
        return self._ask("next", self)

    def __enter__(self) -> Any:
        return self._ask("enter", self)

    def __exit__(self, *error: object) -> None:
        self._ask("exit", self)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            key = self._ask("call", slice, key.start, key.stop, key.step)
        return self._ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("setitem", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delitem", self, key)

    def __round__(self, digits: int | None = None) -> Any:
        return self._ask("round", self, digits)

    def _exactly(self, kind: type[_T], operation: str, *args: Any) -> _T:
        value = self._ask(operation, *args)
        if type(value) is not kind:
            raise TypeError(f"{operation} of an object of the program gave no {kind.__name__}")
        return value


def _comparison(operation: str) -> Callable[[Remote, Any], Any]:
    def compare(self: Remote, other: Any) -> Any:
        if type(other) is not Remote:
            return NotImplemented
        return self._exactly(bool, operation, self, other)

    return compare


def _forward(operation: str, *first: str) -> Callable[..., Any]:
    def forwarded(self: Remote, *args: Any) -> Any:
        return self._ask(operation, *first, self, *args)

    return forwarded


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Remote, f"__{_name}__", _comparison(_name))
for _name in ("abs", "neg", "pos", "invert"):
    setattr(Remote, f"__{_name}__", _forward(_name))
for _name in (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul"),
    *("and", "or", "xor", "lshift", "rshift"),
):
    _operator = f"{_name}_" if _name in ("and", "or") else _name
    setattr(Remote, f"__{_name}__", _forward(_operator))
    setattr(Remote, f"__r{_name}__", _forward("reflected", _operator))
