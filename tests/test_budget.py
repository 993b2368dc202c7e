"""A budget says what is wrong with it when it is made, before anything is spent."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetts import Budget
from edgetts.errors import InvalidInput

FIELDS = ("seconds", "tokens", "samples", "memory_bytes", "joules")
WHOLE = ("tokens", "samples", "memory_bytes")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan"), float("inf"), -float("inf"), 0.0])
def test_zero_negative_nan_and_infinite_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=rf"budget's {field} .*Leave it out for no limit\.|whole number"):
        Budget(**{field: value})


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [True, False, "5", b"5", [5], 5j, object()])
def test_what_is_no_number_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"budget's {field} must be a number"):
        Budget(**{field: value})


@pytest.mark.parametrize("field", WHOLE)
def test_what_is_counted_is_whole(field: str) -> None:
    with pytest.raises(InvalidInput, match="whole number"):
        Budget(**{field: 1.5})


def test_the_error_is_one_sentence_with_a_hint_and_an_exit_code() -> None:
    with pytest.raises(InvalidInput) as error:
        Budget(seconds=0)
    assert error.value.exit_code == 2
    assert error.value.hint
    assert "\n" not in str(error.value)


def test_nothing_is_no_limit_and_nothing_can_be_changed_later() -> None:
    budget = Budget()
    assert set(budget.to_json().values()) == {None}
    with pytest.raises(dataclasses.FrozenInstanceError):
        budget.seconds = 0  # type: ignore[misc]


@given(
    seconds=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    whole=st.integers(min_value=1, max_value=2**63),
)
def test_what_is_sound_is_kept_as_it_was_given(seconds: float, whole: int) -> None:
    budget = Budget(seconds=seconds, joules=seconds, tokens=whole, samples=whole, memory_bytes=whole)
    read = json.loads(json.dumps(budget.to_json()))
    assert read == {
        "seconds": seconds,
        "joules": seconds,
        "tokens": whole,
        "samples": whole,
        "memory_bytes": whole,
    }


@pytest.mark.parametrize("field", FIELDS)
def test_what_no_float_can_hold_is_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match="larger than any number"):
        Budget(**{field: 10**400})
