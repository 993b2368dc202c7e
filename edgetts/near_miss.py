"""Suggest what a misspelt name may have been meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def near_miss(name: object, known: Iterable[str], otherwise: str | None = None, *, most: int = 1) -> str:
    """Return "Did you mean ...?" of the names most like `name`, at most so many.

    Where none is, `otherwise`; without that a list of all there are, which is empty where there are none.
    """
    import difflib  # who makes no mistake need not wait for it

    names = list(known)
    if close := difflib.get_close_matches(str(name).casefold(), names, n=most):
        return f"Did you mean {' or '.join(map(repr, close))}?"
    if otherwise is not None:
        return otherwise
    return f"There are: {', '.join(names)}." if names else ""
