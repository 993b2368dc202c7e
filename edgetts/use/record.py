"""One answer's use of a device, by a fixed schema in which no text fits that a user or a model wrote."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from edgetts.errors import InvalidInput
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import PowerState
from edgetts.types import StopReason

FORMAT = 1
Mode = Literal["plain", "speculative", "early-exit"]
MODES: tuple[Mode, ...] = get_args(Mode)
RUNTIMES = ("onnx", "llamacpp", "npu", "reference", "other")
DRAFTERS = ("ngram", "exit", "recurrent", "parallel", "model", "other")
STOPS: tuple[str, ...] = (*get_args(StopReason), "other")
POWERS: tuple[str, ...] = (*get_args(PowerState), "unknown")
_MARK = re.compile(r"[0-9a-z]{1,64}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}|model~[0-9a-f]{12}")
_COUNT = 1 << 40
_LAST_HOUR = 10_000_000  # in the year 3110
_MOST_WIDTHS = 32
_MOST = 1e9


@dataclass(frozen=True, slots=True)
class Use:
    """What one answer took. Checked when made: every field is a number, or one of a few words.

    hour: since 1970, UTC; finer would tell when somebody was at the device. mark: fingerprint of the speed profile; curve: of the
    step times in it, so that a ratio is never read against another curve. model: a plain name, or a hash of one.
    prompt: tokens, rounded up to a power of two. samples: drawn in all, at most `width` in one pass. seconds: of
    drawing `tokens`, without the prompt. ratios: (width, median of observed over profile pass time, passes).
    accepted: (drafter, guesses verified, guesses right). joules: None where nobody knows.
    """

    hour: int
    mark: str
    curve: str
    model: str
    runtime: str
    mode: Mode
    width: int
    samples: int
    prompt: int
    tokens: int
    seconds: float
    ratios: tuple[tuple[int, float, int], ...]
    accepted: tuple[tuple[str, int, int], ...]
    joules: float | None
    stop: str
    power: str

    def __post_init__(self) -> None:
        self._need(type(self.hour) is int and 0 <= self.hour < _LAST_HOUR, "hour")
        for name in ("mark", "curve"):
            self._need(_matches(_MARK, getattr(self, name)), name)
        self._need(_matches(_MODEL, self.model), "model")
        words = {"runtime": RUNTIMES, "mode": MODES, "stop": STOPS, "power": POWERS}
        for name, known in words.items():
            value = getattr(self, name)
            self._need(isinstance(value, str) and value in known, name)
        for name in ("width", "samples", "prompt", "tokens"):
            value = getattr(self, name)
            self._need(type(value) is int and 0 <= value < _COUNT, name)
        self._need(self.prompt == bucket(self.prompt), "prompt")
        self._need(_number(self.seconds), "seconds")
        self._need(self.joules is None or _number(self.joules), "joules")
        self._need(isinstance(self.ratios, tuple) and len(self.ratios) <= _MOST_WIDTHS, "ratios")
        for one in self.ratios:
            sound = isinstance(one, tuple) and len(one) == 3 and _counts(one[0], one[2]) and _number(one[1])
            self._need(sound and one[0] > 0 and one[1] > 0 and one[2] > 0, "ratios")
        self._need(isinstance(self.accepted, tuple) and len(self.accepted) <= len(DRAFTERS), "accepted")
        for each in self.accepted:
            sound = isinstance(each, tuple) and len(each) == 3 and _counts(each[1], each[2])
            self._need(sound and each[0] in DRAFTERS and each[2] <= each[1], "accepted")

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **{field.name: getattr(self, field.name) for field in fields(self)}}

    @classmethod
    def from_json(cls, value: object) -> Use:
        """Make one of a line's object. Errors: InvalidInput for anything that is not exactly of this schema."""
        names = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names | {"format"}:
            raise InvalidInput("This is no use, or it has other fields.")
        if type(value["format"]) is not int or value["format"] != FORMAT:
            raise InvalidInput("This use is of another format.")
        body = {name: value[name] for name in names}
        for name in ("ratios", "accepted"):
            if not isinstance(body[name], list) or not all(isinstance(one, list) for one in body[name]):
                raise InvalidInput(f"The {name} of a use are no list of lists.")
            body[name] = tuple(tuple(one) for one in body[name])
        return cls(**body)

    @property
    def day(self) -> int:
        return self.hour // 24

    def _need(self, ok: bool, name: str) -> None:
        if not ok:
            raise InvalidInput(f"A use's {name} cannot be {str(getattr(self, name))[:40]!r}.")


def bucket(tokens: int) -> int:
    """Round a length up to a power of two, at least 16."""
    return max(16, 1 << max(0, tokens - 1).bit_length()) if tokens else 0


def plain_name(model: str) -> str:
    """Return a model's name where it is a plain one; a hash of whatever else it is, such as a path."""
    if _matches(_MODEL, model) and "~" not in model:
        return model
    return f"model~{hashlib.sha256(model.encode(errors='surrogateescape')).hexdigest()[:12]}"


def one_of(value: str, known: tuple[str, ...], otherwise: str) -> str:
    return value if value in known else otherwise


def curve_mark(times: StepTimes) -> str:
    """Return the fingerprint of measured step times."""
    body = repr((times.widths, times.seconds, times.past, times.growth))
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _number(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= _MOST and math.isfinite(value)  # type: ignore[operator,arg-type]


def _counts(*values: object) -> bool:
    return all(type(value) is int and 0 <= value < _COUNT for value in values)
