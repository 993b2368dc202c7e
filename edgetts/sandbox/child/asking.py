"""The judge's end of the link to a program: ask its process, and believe nothing but plain data."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType

from edgetts.sandbox.child import plain
from edgetts.sandbox.child.link import BrokenLinkError, Link
from edgetts.sandbox.child.remote import Remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class ProgramGoneError(BaseException):
    """The program's process ended, or answers nonsense. No check can catch this by catching Exception."""


class Asking:
    """Ask the program's process to do something, and understand what it says."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._remotes: dict[int, Remote] = {}
        self._callbacks: list[Callable[..., Any]] = []
        self._exceptions: dict[tuple[str, ...], type[BaseException]] = {}
        self._broken = ""

    def broken(self) -> str:
        """Return why nothing more can be asked, empty while something can; it stays."""
        return self._broken

    def begin(self) -> None:
        """Wait until the program has run; `broken` says if it did not end well."""
        try:
            said = self._receive()
            if said[0] != "ready":
                self._broken = str(said[1])
        except ProgramGoneError:
            pass

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Return what an operation on the program's objects gives; raises what it raises."""
        if self._broken:
            raise ProgramGoneError(self._broken)
        message = plain.dumps(["do", operation, list(args), kwargs], self._encode)
        try:
            self._link.send(message)
            while True:
                reply = self._receive()
                if reply[0] != "callback":
                    break
                self._link.send(self._called(*reply[1:]))
        except BrokenLinkError as error:
            self._break(str(error))
        if reply[0] == "ok":
            if reply[2] is not None and operation == "call":
                back, back_kwargs = reply[2]
                for mine, theirs in zip(args[1:], back, strict=True):
                    _restore(mine, theirs)
                for name, theirs in back_kwargs.items():
                    _restore(kwargs[name], theirs)
            return reply[1]
        raise self._exception(reply[1], reply[2])

    def _receive(self) -> Any:
        try:
            reply = plain.loads(self._link.receive(), self._decode)
            if type(reply) is not list or len(reply) != _LENGTHS.get(reply[0], 0):
                raise plain.DamagedError("no reply")
            return reply
        except (BrokenLinkError, plain.DamagedError, MemoryError, LookupError, TypeError) as error:
            self._break(str(error))

    def _break(self, why: str) -> Any:
        self._broken = f"the program's process does not answer: {why}"
        raise ProgramGoneError(self._broken)

    def _called(self, number: Any, args: Any, kwargs: Any) -> bytes:
        """Call a function of the check that the program was given."""
        try:
            return plain.dumps(["ok", self._callbacks[number](*args, **kwargs)], self._encode)
        except Exception as error:  # noqa: BLE001 - the check's own function: the program sees what it raised
            return plain.dumps(["raised", type(error).__name__, str(error)])

    def _encode(self, value: Any) -> list[Any]:
        if type(value) is Remote:
            return ["object", value._number]
        if isinstance(value, (type, BuiltinFunctionType)):
            module, name = value.__module__ or "builtins", value.__qualname__
            if getattr(sys.modules.get(module), name, None) is value:
                return ["library", module, name]
        if not callable(value):
            raise plain.NotPlainError(
                f"a value of type {type(value).__name__} cannot be given to the program"
            )
        for number, known in enumerate(self._callbacks):
            if known is value:
                return ["callback", number]
        self._callbacks.append(value)
        return ["callback", len(self._callbacks) - 1]

    def _decode(self, data: list[Any]) -> Any:
        kind, what = data
        if kind == "object" and type(what) is int:
            return self._remotes.setdefault(what, Remote(self.ask, what))
        if kind == "callback":
            return self._callbacks[what]
        if kind == "type":
            return plain.TYPES[what]
        if kind == "exception":
            return self._exception_class(what)
        raise plain.DamagedError(str(kind))

    def _exception(self, names: Any, args: Any) -> BaseException:
        kind = self._exception_class(names)
        try:
            return kind(*args)
        except Exception:  # noqa: BLE001 - some are made of other things than they hold
            return RuntimeError(f"{names[0]}: {args}"[:1000])

    def _exception_class(self, names: Any) -> type[BaseException]:
        """Return the built-in class, or one made here of the same name, so that checks can catch it."""
        *own, built_in = names
        kind = plain.TYPES.get(built_in, Exception)
        if not issubclass(kind, BaseException):
            kind = Exception
        for depth in range(len(own) - 1, -1, -1):
            key = tuple(names[depth:])
            if key not in self._exceptions:
                self._exceptions[key] = type(str(own[depth]), (kind,), {})
            kind = self._exceptions[key]
        return kind


_LENGTHS = {"ready": 1, "ended": 2, "ok": 3, "raised": 3, "callback": 4}


def _restore(mine: Any, theirs: Any) -> None:
    """Change a container in place into what the program made of its copy."""
    if type(mine) is not type(theirs):
        return
    if type(mine) is list:
        if len(mine) == len(theirs):
            theirs = [_kept(old, new) for old, new in zip(mine, theirs, strict=True)]
        mine[:] = theirs
    elif type(mine) is dict:
        replaced = {key: _kept(mine[key], value) if key in mine else value for key, value in theirs.items()}
        mine.clear()
        mine.update(replaced)
    elif type(mine) is set:
        mine.clear()
        mine.update(theirs)
    elif type(mine) is bytearray:
        mine[:] = theirs


def _kept(old: Any, new: Any) -> Any:
    if type(old) is type(new) and type(old) in (list, dict, set, bytearray):
        _restore(old, new)
        return old
    return new
