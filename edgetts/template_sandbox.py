"""Render a chat template that nobody has checked; knows Jinja2 and limits, not messages or tokens.

Jinja2's sandbox keeps a template from Python's internals, but not from running for ever or from
filling the memory. So every step is paid with fuel: the compiled template is rewritten so that loops,
operators, calls, filters and new values pass through this environment, which charges each what it
costs and refuses values that are too large. No clock and no trace is needed, so it works in every
thread, and a template that passes once passes always.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial, update_wrapper
from typing import Any, cast

from jinja2 import TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from edgetts.template_meter import (
    BITS,
    CALL,
    CHARACTERS_A_UNIT,
    CONCAT,
    TICK,
    WEIGH,
    LimitError,
    Meter,
    MeterInserter,
    count,
)

__all__ = [
    "FAILURES",
    "MAX_SOURCE",
    "LimitError",
    "RefusalError",
    "SandboxedTemplates",
    "SecurityError",
    "render",
]

MAX_SOURCE = 50_000
"""Characters of a template; real ones have up to about 20,000."""
_MAX_NODES = 15_000
"""Nodes of its syntax tree; real ones have up to about 3,000."""
_DEPTH = 50
"""Macros called from macros."""

_STR_METHODS = frozenset(
    {
        "capitalize", "count", "endswith", "find", "format", "index", "isalnum", "isalpha", "isdecimal",
        "isdigit", "islower", "isnumeric", "isspace", "isupper", "join", "lower", "lstrip", "partition",
        "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip",
        "split", "splitlines", "startswith", "strip", "title", "upper",
    }
)  # fmt: skip
_METHODS: tuple[tuple[type | tuple[type, ...], frozenset[str]], ...] = (
    (str, _STR_METHODS),
    (dict, frozenset({"copy", "get", "items", "keys", "values"})),
    ((list, tuple), frozenset({"copy", "count", "index"})),
    ((int, float, bytes), frozenset()),
)
_CONSTANT_TIME = frozenset({"count", "d", "default", "first", "last", "length"})
_FILTERS = frozenset(
    {
        "abs", "attr", "capitalize", "dictsort", "e", "escape", "float", "groupby", "items", "list",
        "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "safe", "select", "selectattr",
        "sort", "string", "title", "trim", "truncate", "unique", "upper", "wordcount",
    }
)  # fmt: skip
_PRINTF_NUMBER = re.compile(r"\*|\d{4}")
_STRFTIME = re.compile(r"(?:[^%]|%[-#]?[A-Za-z%])*")


class RefusalError(TemplateError):
    """The template itself says no, by raise_exception."""


class _FlatNamespace(Namespace):
    """A namespace that holds no namespace, so that its values stay as small as they were made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if any(isinstance(value, Namespace) for value in dict(*args, **kwargs).values()):
            raise SecurityError("a namespace within a namespace")

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, Namespace):
            raise SecurityError("a namespace within a namespace")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _BoundedFormatter(SandboxedFormatter):
    def __init__(self, environment: SandboxedTemplates) -> None:
        super().__init__(environment)
        self._meter = environment.meter
        self._size = 0

    def format_field(self, value: Any, format_spec: str) -> Any:
        if _PRINTF_NUMBER.search(format_spec):
            raise LimitError
        self._meter.burn(CALL)
        text = super().format_field(value, format_spec)
        self._size += len(text)
        self._meter.fits(self._size)
        return text


class _Generation(Extension):
    """{% generation %} marks the assistant's text for training; its body is plain template."""

    tags = {"generation"}  # noqa: RUF012 - Jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class SandboxedTemplates(ImmutableSandboxedEnvironment):
    """Jinja2 as Hugging Face sets it up for chat templates, under limits.

    One rendering at a time: set `meter` before each.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, strftime_now: Callable[[str], str]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would run filters before anything is charged
            finalize=_charge_output,
            extensions=[LoopControlExtension, _Generation],
        )
        self.meter = Meter(0)
        self._strftime_now = strftime_now
        builtin = self.filters
        self.filters = {
            **{name: self._metered(builtin[name], weigh=name not in _CONSTANT_TIME) for name in _FILTERS},
            **{name: self._metered(builtin[name], weigh=False) for name in _CONSTANT_TIME},
            "format": self._metered(self._format_filter),
            "indent": self._metered(partial(self._indent, builtin["indent"])),
            "int": self._metered(partial(self._int, builtin["int"])),
            "join": self._metered(self._join_filter(builtin["join"])),
            "replace": self._metered(self._replace_filter(builtin["replace"])),
            "tojson": self._metered(self._tojson),
            TICK: self._tick,
            WEIGH: lambda value: self.meter.weigh(value),
            CONCAT: lambda values: self.concat(str(self.meter.weigh(value)) for value in values),
        }
        self.tests = {
            name: self._metered(cast(Callable[..., Any], test)) for name, test in self.tests.items()
        }
        del self.globals["lipsum"]
        self.globals["namespace"] = _FlatNamespace
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = self._now

    def start(self, extra: int) -> None:
        """Fill up for one rendering; `extra` is the size of what the template is given."""
        self.meter = Meter(extra)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if count(tree) > _MAX_NODES:
            raise LimitError
        MeterInserter(self).visit(tree)
        return tree

    def _metered(self, function: Callable[..., Any], weigh: bool = True) -> Callable[..., Any]:
        skip = 1 if hasattr(function, "jinja_pass_arg") else 0

        def metered(*args: Any, **kwargs: Any) -> Any:
            self.meter.burn(CALL)
            if not weigh:
                return function(*args, **kwargs)
            for value in (*args[skip:], *kwargs.values()):
                self.meter.weigh(value)
            return self.meter.weigh(function(*args, **kwargs))

        # Also copies the mark that tells Jinja2 to pass its context or environment.
        return update_wrapper(metered, function)

    def _tick(self, value: Any, weight: int) -> Any:
        self.meter.burn(max(1, weight))  # a template may call this filter by name
        return value

    def concat(self, pieces: Iterable[str]) -> str:
        """Join output, whose literal parts come here for the first time."""
        kept, size = [], 0
        for piece in pieces:
            size += len(piece)
            if size > self.meter.size:
                raise LimitError
            self.meter.burn(1 + len(piece) // CHARACTERS_A_UNIT)
            kept.append(piece)
        return "".join(kept)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        meter = self.meter
        meter.burn(CALL)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            self._check_str_method(owner, obj.__name__, args)
        if meter.depth >= _DEPTH:
            raise LimitError
        meter.depth += 1
        try:
            result = super().call(context, obj, *args, **kwargs)
        finally:
            meter.depth -= 1
        return result if isinstance(result, Namespace) else meter.weigh(result)

    def _check_str_method(self, owner: str, name: str, args: tuple[Any, ...]) -> None:
        self.meter.fits(len(owner))
        for value in args:
            self.meter.weigh(value)
        if name == "join" and args:
            self.meter.fits(len(owner) * _length(args[0]))
        if name == "replace" and len(args) > 1:
            self._check_replace(owner, args[0], args[1])

    def _check_replace(self, text: Any, old: Any, new: Any) -> None:
        text, old, new = str(text), str(old), str(new)
        self.meter.fits(len(text) + (text.count(old) if old else len(text) + 1) * len(new))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = self.meter
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if numbers:
            meter.burn(1)
            if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
                bits = left.bit_length()
                if (bits + right.bit_length() if operator == "*" else bits * max(right, 0)) > BITS:
                    raise LimitError
        elif operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(times, int) and isinstance(sequence, (str, list, tuple)):
                    meter.fits(_length(sequence) * max(times, 0))
        else:
            meter.weigh(left)
            meter.weigh(right)
            if operator == "%" and isinstance(left, str):
                self._check_printf(left, right)
        return meter.weigh(super().call_binop(context, operator, left, right))

    def _check_printf(self, text: str, values: Any) -> None:
        if any(_PRINTF_NUMBER.search(spec) for spec in re.findall(r"%[^a-zA-Z%]*", text)):
            raise LimitError
        before = self.meter.fuel
        self.meter.weigh(values)
        # Every conversion may print everything, escaped, or a float in full.
        largest = (before - self.meter.fuel) * CHARACTERS_A_UNIT * 10 + 1500
        self.meter.fits(len(text) + text.count("%") * largest)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, names in _METHODS:
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"{attribute!r} of a value of type {type(obj).__name__}")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") != "format":
            return None

        def formatted(*args: Any, **kwargs: Any) -> str:
            return _BoundedFormatter(self).vformat(owner, args, kwargs)

        return formatted

    def _format_filter(self, value: Any, *args: Any, **kwargs: Any) -> str:
        values = kwargs or args
        self._check_printf(str(value), values)
        return str(value) % values

    def _indent(
        self, indent: Callable[..., str], text: str, width: int | str = 4, *args: Any, **kw: Any
    ) -> str:
        step = width if isinstance(width, int) else len(width)
        self.meter.fits(len(text) + (text.count("\n") + 1) * step)
        return indent(text, width, *args, **kw)

    def _int(self, to_int: Callable[..., int], value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and len(value) > 1000:
            raise LimitError
        return to_int(value, *args, **kwargs)

    def _join_filter(self, join: Callable[..., str]) -> Callable[..., str]:
        def joined(context: Any, value: Any, d: str = "", attribute: Any = None) -> str:
            self.meter.fits(len(d) * _length(value))
            return join(context, value, d, attribute)

        return update_wrapper(joined, join)

    def _replace_filter(self, replace: Callable[..., str]) -> Callable[..., str]:
        def replaced(context: Any, text: Any, old: Any, new: Any, count: int | None = None) -> str:
            self._check_replace(text, old, new)
            return replace(context, text, old, new, count)

        return update_wrapper(replaced, replace)

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """Hugging Face's filter: Jinja2's own escapes HTML."""
        if indent is not None and not (isinstance(indent, int) and 0 <= indent <= 16):
            raise LimitError
        if separators is not None and sum(len(s) for s in separators) > 16:
            raise LimitError
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def _now(self, form: Any) -> str:
        if not isinstance(form, str) or len(form) > 200 or not _STRFTIME.fullmatch(form):
            raise SecurityError("an odd date format")
        return self._strftime_now(form)


@pass_context
def _charge_output(context: Context, value: Any) -> Any:
    return cast(SandboxedTemplates, context.environment).meter.weigh(value)


def _raise(message: Any) -> None:
    raise RefusalError(str(message))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple, dict, set, range)) else 0


FAILURES: tuple[type[Exception], ...] = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What running an unknown template may raise: it can make Python raise nearly anything."""


def render(environment: SandboxedTemplates, template: Any, values: Mapping[str, Any], extra: int) -> str:
    """Render once under fresh limits."""
    environment.start(extra)
    return str(template.render(values))
