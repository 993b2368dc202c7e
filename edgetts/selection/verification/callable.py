"""Make a verifier of a user's function; knows nothing of what it checks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

from edgetts.errors import InvalidInput
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Work

REASON_CHARS = 200


class CallableVerifier:
    """Ask a function of the text: it returns a bool, a share from 0 to 1, a `Verdict`, or None if it cannot tell.

    A share passes from `threshold` on. With `of="work"` the function gets the whole `Work`: question, answer,
    and whether the text is complete; otherwise it is asked only about complete texts, and an unfinished
    one gets no verdict. What goes wrong inside the function is told in the verdict, which is then None:
    the samples were paid for and are not lost for it.
    Errors: InvalidInput for what cannot be called with one argument, and for a threshold outside 0 to 1.
    """

    def __init__(
        self,
        function: Callable[[Any], bool | float | Verdict | None],
        *,
        name: str | None = None,
        rates: ErrorRates | None = None,
        threshold: float = 0.5,
        of: Literal["text", "work"] = "text",
    ) -> None:
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        if not callable(function) or not _takes_one(function):
            raise InvalidInput(
                f"The verifier {self.name!r} cannot be called with one argument.",
                hint="Give a function of the text, or with of='work' of the Work.",
            )
        if of not in ("text", "work"):
            raise InvalidInput(f"A verifier's function gets the 'text' or the 'work', not {of!r}.")
        if not 0 <= threshold <= 1:
            raise InvalidInput(f"The threshold is {threshold}, but it must be from 0 to 1.")
        self._function = function
        self._of = of
        self._threshold = threshold
        self._rates = rates

    @property
    def rates(self) -> ErrorRates | None:
        return self._rates

    def verify(self, work: Work) -> Verdict:
        """Ask the function."""
        if self._of == "text" and not work.complete:
            return Verdict(None, "the text is not complete")
        try:
            return self._read(self._function(work if self._of == "work" else work.text))
        except Exception as error:  # noqa: BLE001  # a user's code may raise anything
            return Verdict(None, f"{self.name} failed with {type(error).__name__}: {error}"[:REASON_CHARS])

    def _read(self, said: Any) -> Verdict:
        if isinstance(said, Verdict):
            return said
        if said is None:
            return Verdict(None, f"{self.name} cannot tell")
        if isinstance(said, bool) or type(said).__name__ in ("bool_", "bool"):  # NumPy's, too
            return Verdict(bool(said), f"{self.name} says {'yes' if said else 'no'}", float(bool(said)))
        share = float(said) if hasattr(said, "__float__") else math.nan
        if not 0 <= share <= 1:
            return Verdict(
                None, f"{self.name} returned {said!r}, which is no share from 0 to 1"[:REASON_CHARS]
            )
        return Verdict(share >= self._threshold, f"{self.name} says {share:.3g}", share)


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # some built-in functions do not tell
        return True
    return True
