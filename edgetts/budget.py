"""How much may be spent on one question."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields

from edgetts.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on one answer; None is no limit. Checked when made.

    seconds: wall time from the call to the answer. tokens: every generated token, discarded ones
    included (the prompt is not counted). samples: how many answers may be drawn. memory_bytes:
    cache of all branches, beyond the loaded model. joules: energy, enforced only where the
    device's profile knows its power.
    """

    seconds: float | None = None
    tokens: int | None = None
    samples: int | None = None
    memory_bytes: int | None = None
    joules: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            whole = field.name in ("tokens", "samples", "memory_bytes")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidInput(f"The budget's {field.name} must be a number, not {value!r}.")
            if value != value or value <= 0:  # NaN, for whole numbers of any size too
                raise InvalidInput(
                    f"The budget's {field.name} is {value}, but it must be greater than zero.",
                    hint="Leave it out for no limit.",
                )
            if whole and not isinstance(value, int):
                raise InvalidInput(f"The budget's {field.name} must be a whole number, not {value}.")
            if math.inf > value > sys.float_info.max:
                raise InvalidInput(
                    f"The budget's {field.name} is larger than any number of them.",
                    hint="Leave it out for no limit.",
                )
            if value == math.inf:
                raise InvalidInput(
                    f"The budget's {field.name} is infinite.", hint="Leave it out for no limit."
                )

    def to_json(self) -> dict[str, float | int | None]:
        return asdict(self)
